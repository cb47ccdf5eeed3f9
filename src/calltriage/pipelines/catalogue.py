"""Finds detectors by name: built-in rules, entry points of installed packages, the user's functions, and chat endpoints."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

import httpx2
from pydantic import SecretStr

from calltriage.client.credentials import check_base_url
from calltriage.client.http import Http
from calltriage.client.network import Network
from calltriage.errors import DetectorError, SettingsError
from calltriage.leaves.nearest import nearest
from calltriage.pipelines import child
from calltriage.pipelines.chat.detectors import Criterion, Panel, criterion, detector_of
from calltriage.pipelines.chat.endpoint import Endpoint, Price, Shared, identity
from calltriage.pipelines.chat.kept import FOLDER, KEPT, Answers, Cache, Cassette, NoAnswers, Recorder
from calltriage.pipelines.chat.purse import OwnPurse, Purse
from calltriage.pipelines.detecting import Detector, Rule
from calltriage.pipelines.hangs import Hangs
from calltriage.pipelines.redaction import Redactor
from calltriage.pipelines.references import Reference
from calltriage.pipelines.spec import Detect, Spec, SpecError

ENTRY_POINTS = "calltriage.detectors"
CHAT, REPLAY = "chat", "replay:"
"""`use = "chat"` asks an endpoint; `endpoint = "replay:FILE"` reads the answers from a cassette instead."""
BUILT_INS = {
    "agent_silence": "silences",
    "answer_latency": "silences",
    "talk_over": "silences",
    "digits_differ": "heard",
    "agent_loop": "repeats",
    "caller_repeats": "repeats",
    "contradicts_record": "records",
    "required": "phrases",
    "forbidden": "phrases",
    "before": "phrases",
    "metadata": "facts",
    "asks_for_human": "word_lists",
    "anger": "word_lists",
    "promise": "word_lists",
    "open_question": "word_lists",
    "language": "languages",
}
"""Built-in rules by name, with the module in `detectors` that holds each."""


def is_users(use: str) -> bool:
    """Whether `use` names a function of a user's own, or of an installed package."""
    return use != CHAT and use not in BUILT_INS


def built_in(name: str) -> Rule:
    """A built-in rule. Raises KeyError for an unknown name."""
    rule = getattr(import_module(f"calltriage.pipelines.detectors.{BUILT_INS[name]}"), name)
    assert isinstance(rule, Rule)  # noqa: S101  the table above and the modules are one
    return rule


def find(use: str) -> Rule | Reference:
    """The rule or the reference that `use` names. Raises DetectorError with the nearest name."""
    if use in BUILT_INS:
        return built_in(use)
    if (named := Reference.of(use)) is not None:
        return named
    installed = {point.name: point.value for point in entry_points(group=ENTRY_POINTS)}
    if (value := installed.get(use)) is not None:
        if (named := Reference.of(value)) is not None:
            return named
        raise DetectorError(f"The entry point {use!r} of an installed package does not name module:function.")
    hint = nearest(use, [*BUILT_INS, CHAT, *installed])
    raise DetectorError(f"There is no detector {use!r}. {hint} A function of your own is named as module:function.")


@dataclass
class Opening:
    """What detectors are opened with, besides their file.

    Attributes:
        purse: what endpoints may spend. By default a purse of this process alone, with the file's `limits.usd_per_day`.
        data_folder: where answers of endpoints are cached; None: they are not cached.
        transport: how endpoints are reached; by default over the network, through `proxy`.
        proxy: see network.Network.
        redactor: masks what is sent to endpoints.
        hangs: counts how often users' functions took too long. By default for this process alone.
    """

    purse: Purse | None = None
    data_folder: Path | None = None
    transport: httpx2.AsyncBaseTransport | None = None
    proxy: SecretStr | None = None
    redactor: Redactor | None = None
    hangs: Hangs | None = None


@asynccontextmanager
async def opened(spec: Spec, opening: Opening | None = None) -> AsyncGenerator[list[Detector]]:
    """The detectors of a pipeline's file, in order, while the block runs. Raises SpecError, a line for each fault."""
    async with AsyncExitStack() as stack:
        maker = _Maker(spec, opening or Opening(), stack)
        made = [await maker.made(index, detect) for index, detect in enumerate(spec.detect)]
        panels = maker.panels()
        if maker.network is not None:
            stack.push_async_callback(maker.network.aclose)
        if maker.faults:
            raise SpecError("\n".join(maker.faults))
        yield [one if isinstance(one, Detector) else panels[one.name] for one in made if one is not None]


@dataclass
class _Maker:
    """Makes the detectors of a file, and collects its faults."""

    spec: Spec
    opening: Opening
    stack: AsyncExitStack
    purse: Purse | None = None
    network: httpx2.AsyncBaseTransport | None = None
    """The transport to endpoints, if this object made it."""
    shared: dict[tuple[str, str], Shared] = field(default_factory=dict[tuple[str, str], Shared])
    """What panels share, by address and model."""
    faults: list[str] = field(default_factory=list[str])
    asked: list[tuple[int, Detect, Criterion]] = field(default_factory=list[tuple[int, Detect, Criterion]])

    async def made(self, index: int, detect: Detect) -> Detector | Criterion | None:
        try:
            if detect.use == CHAT:
                asked = criterion(detect.known_as, detect.options, self.spec.folder)
                self.asked.append((index, detect, asked))
                return asked
            return adapted(await self._own(detect), detect)
        except DetectorError as error:
            self._add(index, error)
            return None

    async def _own(self, detect: Detect) -> Detector:
        found, most = find(detect.use), self.spec.limits.findings_per_call
        if isinstance(found, Rule):
            return found.configured(detect.options, name=detect.known_as, most=most, folder=self.spec.folder)
        deadline_s = self.spec.limits.seconds_per_call.total_seconds()
        return await self.stack.enter_async_context(
            child.opened(
                found,
                detect.options,
                name=detect.known_as,
                folder=self.spec.folder,
                deadline_s=deadline_s,
                most=most,
                hangs=self.opening.hangs,
            )
        )

    def panels(self) -> dict[str, Detector]:
        """The detectors that ask endpoints, by name. Those with equal `endpoint`, `when` and `sample` share requests."""
        groups = dict[object, list[tuple[int, Detect, Criterion]]]()
        for row in self.asked:
            _, detect, asked = row
            groups.setdefault((asked.options.endpoint, asked.options.when, detect.sample), []).append(row)
        made = dict[str, Detector]()
        for rows in groups.values():
            try:
                panel = self._panel([asked for *_, asked in rows])
                made |= {asked.name: adapted(detector_of(asked, panel), detect) for _, detect, asked in rows}
            except DetectorError as error:
                self._add(rows[0][0], error)
        return made

    def _panel(self, criteria: list[Criterion]) -> Panel:
        named, folder = criteria[0].options.endpoint, self.spec.folder
        if named.startswith(REPLAY):
            return Panel(criteria, None, Cassette.read(folder / named.removeprefix(REPLAY)), self.opening.redactor)
        endpoint = self._endpoint(named)
        answers: Answers = NoAnswers()
        if self.opening.data_folder is not None:
            answers = Cache(self.opening.data_folder / FOLDER, identity(endpoint), keeps=self.spec.retention or KEPT)
        if (record := self.spec.endpoint[named].record) is not None:
            answers = Recorder(answers, folder / record, self.spec.retention)
        return Panel(criteria, endpoint, answers, self.opening.redactor)

    def _endpoint(self, named: str) -> Endpoint:
        told, cap = self.spec.endpoint[named], self.spec.limits.usd_per_day
        if cap is not None and told.usd_per_mtok is None:
            raise DetectorError(
                f"Endpoint {named} has no usd_per_mtok, so limits.usd_per_day cannot be kept. Name its price.",
                path=("endpoint",),
            )
        try:
            check_base_url(told.base_url, f"The base_url of endpoint {named}")
        except SettingsError as error:
            raise DetectorError(str(error), path=("endpoint",)) from None
        transport = self.opening.transport or self.network
        if transport is None:
            proxy = None if self.opening.proxy is None else self.opening.proxy.get_secret_value()
            transport = self.network = Network(proxy).transport()
        self.purse = self.purse or self.opening.purse or OwnPurse(cap)
        return Endpoint(
            name=named,
            http=Http(transport, told.base_url),
            model=told.model,
            purse=self.purse,
            key_name=None if told.api_key is None else told.api_key.removeprefix("env:"),
            price=None if told.usd_per_mtok is None else Price(*told.usd_per_mtok),
            max_tokens=told.max_tokens,
            timeout_s=told.timeout.total_seconds(),
            parameters=told.parameters,
            shared=self.shared.setdefault((told.base_url.rstrip("/"), told.model), Shared()),
        )

    def _add(self, index: int, error: DetectorError) -> None:
        self.faults.append(self.spec.fault(("detect", index, *(error.path or ("use",))), f"is wrong. {error}"))


def adapted(made: Detector, detect: Detect) -> Detector:
    """A detector with the settings of its table in the pipeline's file."""
    return replace(made, severity=detect.severity or made.severity, group_by=detect.group_by, was=detect.was)
