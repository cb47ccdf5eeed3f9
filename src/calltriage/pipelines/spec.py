"""A pipeline's file: its tables and keys, and reading it. Errors name the line, the key and, for an unknown key, the nearest
one."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, cast

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    StringConstraints,
    ValidationError,
    model_validator,
)

from calltriage.errors import SpecError
from calltriage.leaves.nearest import nearest
from calltriage.leaves.strict_json import JsonObject
from calltriage.operations.calls import ListCalls
from calltriage.operations.fields import Severity
from calltriage.pipelines.durations import Span
from calltriage.pipelines.toml_lines import Place, lines_of, nearest_line, told

LARGEST = 2**20
"""Most bytes of a pipeline's file."""


Share = Annotated[float, Field(ge=0, le=1)]
NAME, FROM_ENVIRONMENT, WEB = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$", r"^env:[A-Za-z_][A-Za-z0-9_]*$", r"^https?://"
PATTERNS = {
    NAME: "must be 1 to 64 of the letters A to Z, digits, and _ . - and begin with a letter or a digit",
    FROM_ENVIRONMENT: "must be env:NAME, with the name of an environment variable",
    WEB: "must begin with https:// or http://",
}
"""Patterns of texts in words."""
Name = Annotated[str, StringConstraints(pattern=NAME)]
"""A name that becomes part of fingerprints: letters, digits, `_`, `.` and `-`."""
FromEnvironment = Annotated[str, StringConstraints(pattern=FROM_ENVIRONMENT)]
"""`env:NAME`: the value is in the environment variable NAME, so that the file has no secret."""


class Table(BaseModel):
    """Base class of the file's tables. Unknown keys are refused; values are not converted to other types."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Sample(Table):
    """The calls that a detector examines: a share (0 to 1) of them, and all in which a detector of `always_if` has a
    verified finding."""

    rate: Share = 1.0
    always_if: tuple[str, ...] = Field(default=(), strict=False)


def _sample(value: object) -> object:
    return {"rate": value} if isinstance(value, int | float) and not isinstance(value, bool) else value


FILTERS = {
    "completed", "inbound", "answered_by", "from_number", "to_number", "batch_id", "campaign_id", "duration_gt",
    "duration_lt",
}  # fmt: skip
"""Keys of [calls] that the API's list of calls takes as filters."""


class Calls(Table):
    """Which calls are examined. A call is settled `settle` after it ended: its record may change until then."""

    completed: bool | None = True
    inbound: bool | None = None
    answered_by: tuple[str, ...] | None = Field(default=None, strict=False)
    from_number: tuple[str, ...] | None = Field(default=None, strict=False)
    to_number: tuple[str, ...] | None = Field(default=None, strict=False)
    batch_id: tuple[str, ...] | None = Field(default=None, strict=False)
    campaign_id: tuple[str, ...] | None = Field(default=None, strict=False)
    duration_gt: Annotated[float, Field(ge=0)] | None = None
    duration_lt: Annotated[float, Field(ge=0)] | None = None
    settle: Span = timedelta(minutes=2)
    sample: Share = 1.0
    """Share of the calls, chosen by a hash of their ids: the same calls for all detectors and at each run."""

    def listing(self) -> ListCalls:
        """The list of calls with these filters."""
        return ListCalls.model_validate(self.model_dump(mode="json", include=FILTERS, exclude_none=True))


class Detect(BaseModel):
    """One detector. All other keys are the detector's own options, which the detector checks."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)

    use: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    """A built-in's name, or `module:function`."""
    name: Name | None = None
    """Its name in findings and fingerprints, if not the one of `use`. Names in a file must differ."""
    was: tuple[Name, ...] = Field(default=(), strict=False)
    """Earlier names, the first one first. Findings and incidents keep the first name in their ids."""
    file: Literal["auto", "review", "count"] = "review"
    """auto: findings are filed while `min_precision` is reached. review: a person accepts them first. count: they are only
    counted."""
    min_precision: Share = 0.8
    """Least lower 95 % bound of the precision, by people's verdicts, at which `auto` files."""
    severity: Severity | None = None
    """Default severity of its findings, and the highest that they may have."""
    group_by: tuple[str, ...] = Field(default=(), strict=False)
    """Fields of a call, as `Call.value` finds them. Findings with different values belong to different incidents."""
    sample: Annotated[Sample, BeforeValidator(_sample)] = Sample()
    suppressed_by: tuple[str, ...] = Field(default=(), strict=False)
    """Detectors. If one of them has a verified finding in a call, this detector's findings there are not filed."""

    @model_validator(mode="before")
    @classmethod
    def _lists(cls, value: object) -> object:
        """A single word is a list of one."""
        if not isinstance(value, dict):
            return value
        given = cast("JsonObject", value)
        lists = ("was", "group_by", "suppressed_by")
        return given | {name: [given[name]] for name in lists if isinstance(given.get(name), str)}

    @property
    def known_as(self) -> str:
        """The detector's name in findings and fingerprints."""
        return self.name or re.split(r"[:.]", self.use)[-1]

    @property
    def names(self) -> tuple[str, ...]:
        """The names under which its findings and verdicts are recorded: the present one, and earlier ones."""
        return (self.known_as, *self.was)

    @property
    def identity(self) -> str:
        """The first name that the detector ever had, which is in ids of findings and in fingerprints."""
        return (*self.was, self.known_as)[0]

    @property
    def options(self) -> JsonObject:
        """The detector's own options."""
        return dict(self.model_extra or {})


class Endpoint(Table):
    """A chat endpoint that speaks the OpenAI protocol."""

    base_url: Annotated[str, StringConstraints(pattern=WEB, max_length=500)]
    model: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    api_key: FromEnvironment | None = None
    usd_per_mtok: tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0)]] | None = Field(
        default=None, strict=False
    )
    """Price of 1,000,000 tokens: of the prompt, of the answer."""
    max_tokens: Annotated[int, Field(ge=1, le=100_000)] = 1024
    """Tokens that an answer may have."""
    timeout: Span = timedelta(seconds=60)
    parameters: JsonObject = Field(default_factory=JsonObject)
    """Further fields of each request, such as `temperature`."""
    record: str | None = None
    """File (relative to this one) to which each answer is written. A detector with `endpoint = "replay:FILE"` reads it."""


class FileAfter(Table):
    """An issue is filed when `calls` calls within `within` have the fault. High and critical ones are filed at once."""

    calls: Annotated[int, Field(ge=1, le=10_000)] = 1
    within: Span = timedelta(hours=24)


class Issues(Table):
    """How findings become issues."""

    file_after: FileAfter = FileAfter()
    max_evidence: Annotated[int, Field(ge=1, le=200)] = 20
    """Calls that are attached to one issue. Further ones are counted, in one comment a day."""
    reopen_grace: Span = timedelta(hours=1)
    """A call begun within this time after an issue was closed does not reopen it."""
    reopen_within: Span = timedelta(days=30)
    """An issue closed longer ago is not reopened: a new one is filed and related to it."""
    review_share: Share = 0.05
    """Share (0 to 1) of the findings that could be filed without a person and are held back for review."""
    agent_verdicts: bool = False
    """Whether agents' verdicts count for precision, on findings without a person's verdict."""


class Limits(Table):
    """Limits of cost and output. At a limit of money or issues, work waits; it is not dropped."""

    usd_per_day: Annotated[float, Field(ge=0)] | None = None
    new_issues: Annotated[int, Field(ge=0, le=100_000)] = 20
    """Most new issues of one run; of `watch`, in 24 hours."""
    findings_per_call: Annotated[int, Field(ge=1, le=10_000)] = 50
    """Findings of one detector in one call. More are left out, and the result says so."""
    seconds_per_call: Span = timedelta(seconds=30)
    """Time for one call after which a user's function is killed."""


class Rate(Table):
    """Alert when a detector finds something in more than `share` (0 to 1) of the calls within `within`, if these are at
    least `calls`."""

    share: Share
    calls: Annotated[int, Field(ge=1)] = 50
    within: Span = timedelta(hours=1)


class Alert(Table):
    """Where alerts are sent; `alerts.WORDS` lists the events."""

    webhook: FromEnvironment
    secret: FromEnvironment | None = None
    """Key of the HMAC-SHA256 signature."""
    shape: Literal["json", "slack"] = "json"
    quiet: Span = timedelta(hours=1)
    """For this time after an event was sent, equal ones are counted and told with the next one."""
    rate: Rate | None = None


class Watch(Table):
    """How `watch` learns of calls."""

    every: Span = timedelta(seconds=30)
    """Time between two looks at the list of calls."""
    webhook_secret: FromEnvironment | None = None
    """Key of the vendor's webhook signatures. Without it, webhooks are refused."""


class Spec(Table):
    """A pipeline's file."""

    name: Name
    calls: Calls = Calls()
    detect: tuple[Detect, ...] = Field(max_length=200, strict=False)
    endpoint: dict[str, Endpoint] = Field(default_factory=dict[str, Endpoint])
    issues: Issues = Issues()
    limits: Limits = Limits()
    alert: Alert | None = None
    watch: Watch = Watch()
    redact: str | None = None
    """`builtin`, or `module:function`: masks texts before they are stored or sent anywhere."""
    retention: Span | None = None
    """Age at which the words of findings are removed. Their ids, states and verdicts stay."""

    _file: str = PrivateAttr(default="")
    _folder: Path | None = PrivateAttr(default=None)
    _text: str = PrivateAttr(default="")
    _lines: dict[Place, int] = PrivateAttr(default_factory=dict[Place, int])

    @property
    def folder(self) -> Path:
        """The file's folder, to which paths in the file are relative."""
        return self._folder or Path()

    @property
    def path(self) -> str | None:
        """Where the file is, as an absolute path; None for a text that was not read from a file."""
        return None if self._folder is None else str(self._folder.absolute() / self._file)

    @property
    def text(self) -> str:
        """The file as it was read."""
        return self._text

    @property
    def variables(self) -> dict[str, str]:
        """Names of the environment variables that the file refers to, by what refers to them."""
        alert = self.alert
        named = {
            "[alert] webhook": alert and alert.webhook,
            "[alert] secret": alert and alert.secret,
            "[watch] webhook_secret": self.watch.webhook_secret,
            **{f"[endpoint.{name}] api_key": one.api_key for name, one in self.endpoint.items()},
        }
        return {where: text.removeprefix("env:") for where, text in named.items() if text}

    def line_of(self, *place: str | int) -> int:
        """The line of a value, or of the table around it."""
        return nearest_line(self._lines, place)

    def fault(self, place: Place, what: str) -> str:
        """An error message about a value: file, line, key and `what` is wrong."""
        return f"{self._file} line {self.line_of(*place)}: {told(place)} {what}"


def spec_hash(spec: Spec) -> str:
    """SHA-256 (hexadecimal) of a file's meaning: comments and the order of keys do not change it."""
    told = spec.model_dump(mode="json") | {"detect": [one.model_dump(mode="json") for one in spec.detect]}
    return hashlib.sha256(json.dumps(told, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def read_spec(path: Path) -> Spec:
    """Read and check the file at a path. Raises SpecError with a line for each fault."""
    try:
        if path.stat().st_size > LARGEST:
            raise SpecError(f"{path}: larger than {LARGEST // 2**20} MiB, which no pipeline's file is.")
        text = path.read_bytes().decode()
    except OSError as error:
        raise SpecError(
            f"{path}: cannot be read ({error.strerror}). Write one with: calltriage pipeline init"
        ) from None
    except UnicodeDecodeError as error:
        raise SpecError(f"{path}: is no UTF-8 text (byte {error.start}).") from None
    return parse_spec(text, path.name, path.absolute().parent)


def parse_spec(text: str, name: str = "pipeline.toml", folder: Path | None = None) -> Spec:
    """Check the text of a file. `name` is shown in errors. Raises SpecError with a line for each fault."""
    spec = stored_spec(text, name, folder)
    if faults := _contradictions(spec):
        raise SpecError("\n".join(faults))
    return spec


def stored_spec(text: str, name: str = "pipeline.toml", folder: Path | None = None) -> Spec:
    """The same for a text that was checked before it was stored, perhaps by a version that let more pass: its names are not
    checked again."""
    try:
        given = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SpecError(f"{name}: is no TOML: {error}") from None
    lines = lines_of(text)
    try:
        spec = Spec.model_validate(given)
    except ValidationError as error:
        raise SpecError("\n".join(f"{name} {fault}" for fault in _faults(error, lines))) from None
    spec._file, spec._folder, spec._text, spec._lines = name, folder, text, lines  # pyright: ignore[reportPrivateUsage]
    return spec


def _contradictions(spec: Spec) -> list[str]:
    """Faults between values: names used twice, and names that refer to nothing."""
    found, names = list[str](), set[str]()
    if not spec.detect:
        found.append(spec.fault(("detect",), "has no detector. Add a [[detect]] table."))
    for index, detect in enumerate(spec.detect):
        if detect.known_as in names:
            what = f"is the second {detect.known_as}. Give it a `name` of its own."
            found.append(spec.fault(("detect", index, "use"), what))
        names.add(detect.known_as)
    had = Counter(name for one in spec.detect for name in set(one.names))
    for index, detect in enumerate(spec.detect):
        found += _lost_names(spec, index, detect, names - {detect.known_as})
        for name in (name for name in dict.fromkeys(detect.was) if had[name] > 1):
            what = f"names {name!r}, which another detector of this file has or had. One of them needs another name."
            found.append(spec.fault(("detect", index, "was"), what))
    return found


def _lost_names(spec: Spec, index: int, detect: Detect, others: set[str]) -> list[str]:
    found, endpoint = list[str](), detect.options.get("endpoint")
    if isinstance(endpoint, str) and not endpoint.startswith("replay:") and endpoint not in spec.endpoint:
        what = f"names no [endpoint.…] of this file. {nearest(endpoint, set(spec.endpoint))}"
        found.append(spec.fault(("detect", index, "endpoint"), what))
    for key, named in (("suppressed_by", detect.suppressed_by), ("sample", detect.sample.always_if)):
        for other in set(named) - others:
            what = f"names {other!r}, which is no other detector of this file. {nearest(other, others)}"
            found.append(spec.fault(("detect", index, key), what))
    return found


def _faults(error: ValidationError, lines: dict[Place, int]) -> list[str]:
    found = list[tuple[int, str]]()
    for item in error.errors(include_url=False, include_input=False):
        place = tuple(item["loc"])
        line = nearest_line(lines, place)
        if item["type"] == "extra_forbidden":
            fault = f"is no key. {nearest(str(place[-1]), _keys_at(place[:-1]))}"
        elif item["type"] == "missing":
            fault = "is missing."
        elif item["type"] == "string_pattern_mismatch":
            fault = f"{PATTERNS[item.get('ctx', {})['pattern']]}."
        else:
            what = item["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
            fault = f"{what}." if what.startswith("must") or what == item["msg"] else f"must be {what}."
        found.append((line, f"line {line}: {told(place)} {fault}"))
    return [fault for _, fault in sorted(found)]


def _keys_at(place: Place) -> set[str]:
    """The keys of the table at a place."""
    model: type[BaseModel] = Spec
    tables: dict[str, type[BaseModel]] = {
        "calls": Calls, "detect": Detect, "endpoint": Endpoint, "issues": Issues, "limits": Limits, "alert": Alert,
        "watch": Watch, "file_after": FileAfter, "sample": Sample, "rate": Rate,
    }  # fmt: skip
    for part in place:
        model = tables.get(str(part), model)
    return set(model.model_fields)
