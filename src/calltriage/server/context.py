"""The base class of workflows, and what the invocation of a tool works with."""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable
from contextlib import asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import anyio

from calltriage.client.client import Client
from calltriage.errors import CallError, NotFound, Rejected
from calltriage.journal.journal import Journal
from calltriage.journal.turns import turn
from calltriage.leaves.seals import Seals
from calltriage.leaves.strict_json import JsonObject
from calltriage.operations.base import Operation, Tool, is_operation
from calltriage.operations.calls import Turn
from calltriage.operations.fields import WireOnly, marks
from calltriage.operations.issues import Issue, ListIssues
from calltriage.operations.results import Page
from calltriage.server.files.local import CHUNK, FileRoots
from calltriage.server.holders import Holders
from calltriage.server.questions import Questions
from calltriage.server.quota import Quota
from calltriage.server.trails import Trails

if TYPE_CHECKING:
    from mcp_types import ContentBlock

    from calltriage.server.files.handover import Handover

R = TypeVar("R")
F = TypeVar("F")
A = TypeVar("A", bound=Operation[object])

PERSON = "a person on the board "
"""Beginning of a caller's name for a person who is signed in to the board's page. The session's name follows."""
ISSUE = "UUID, ticket (T-1042) or dashboard URL."
PAGES_SEARCHED = 50
"""Pages of 100 issues that are looked through for a ticket number, where search does not know it."""
LOOK_UP_SECONDS = 30.0
"""Time that looking through them may take."""


async def _no_progress(_done: float, _total: float | None, _message: str) -> None:
    """Ignores progress."""


@dataclass(frozen=True)
class ServerParts:
    """What the server has, for every invocation: the APIs, the journal, the files it may read, the tools that it offers.

    Nothing in it belongs to one invocation.
    """

    client: Client
    files: FileRoots
    journal: Journal | None = None
    offered: frozenset[str] = frozenset()
    """Names of the tools that the agent can call."""
    excluded: frozenset[str] = frozenset()
    """Names of the tools that the operator wants nobody to have; no other way leads to what they do."""
    quota: Quota = field(default_factory=Quota)
    """How often each caller may call."""
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    """Waits, in seconds."""
    seals: Seals = field(default_factory=Seals)
    """What handles are made with."""
    questions: Questions | None = None
    """What waits for a person, where there is a data folder."""
    handover: Handover | None = None
    """Files to and from remote clients, where the server has an HTTP side."""
    tickets: dict[str, str] = field(default_factory=dict[str, str])
    """UUIDs of ticket numbers already looked up; a number never names another issue."""
    holders: Holders = field(default_factory=Holders)
    """Which issues hold which calls, where an API cannot be asked that."""
    trails: Trails = field(default_factory=Trails)
    """The pages that led to each cursor."""
    turn: anyio.Lock = field(default_factory=anyio.Lock)
    """One look and the write that depends on it at a time: see `alone`."""
    ending: anyio.Event = field(default_factory=anyio.Event)
    """Set when the server was told to end, and answers only what it has read. What takes long ends then, too."""

    @asynccontextmanager
    async def alone(self) -> AsyncGenerator[None]:
        """Hold around a read and the write that depends on it: the APIs take no condition with a write. Of two such calls to
        the servers of one journal the second reads what the first wrote."""
        async with self.turn, nullcontext() if self.journal is None else turn(self.journal.folder):
            yield

    def allow(self, tool: type[Tool], argument: str) -> None:
        """Raise Rejected (`tool_excluded`) if `tool` is excluded: another tool's `argument` would do what it does."""
        if tool.tool_name() in self.excluded:
            raise Rejected(
                f"The operator has excluded {tool.tool_name()}, and with it this argument. Leave it out.",
                code="tool_excluded",
                field=argument,
            )

    async def issue_id(self, ref: str, argument: str = "issue_id") -> str:
        """The UUID that an issue's reference stands for. Raises NotFound naming the argument that held it."""
        name = last_part(ref)
        if name[:2].lower() != "t-":
            return name.lower()
        ticket = f"T-{int(name[2:])}"
        if ticket not in self.tickets:
            self.tickets[ticket] = await self._look_up(ticket, argument)
        return self.tickets[ticket]

    async def _look_up(self, ticket: str, argument: str) -> str:
        """Search knows ticket numbers in an unpublished draft only, so the list is the fallback (bland-triage,
        section 3)."""
        found, all_seen = _named((await self.client.send(ListIssues(search=ticket, limit=100))).items, ticket), False
        if found is not None:
            return found

        def newest(cursor: str | None) -> ListIssues:
            return ListIssues(sort="created_at", order="desc", limit=100, cursor=cursor)

        def has_passed(page: Page[Issue]) -> bool:
            """Newest first: everything after a lower number is older still."""
            older = int(ticket[2:])
            return any(issue.triage_id == ticket or (issue.number or older) < older for issue in page.items)

        with anyio.move_on_after(LOOK_UP_SECONDS):
            issues, all_seen = await every_page(self.client, newest, PAGES_SEARCHED, has_passed)
            found = _named(issues, ticket)
        if found is not None:
            return found
        raise NotFound(
            "No issue has this ticket number."
            if all_seen
            else "The ticket is not among the newest issues. Find the issue with list_issues and pass its id.",
            field=argument,
        )


@dataclass(frozen=True)
class Invocation:
    """What one invocation of a tool has: the server's parts, its caller, the files it may use, whom to tell about progress.

    It is made once all of these are known.
    """

    server: ServerParts
    files: FileRoots
    """The server's, and those of the host's folders where the host declares some."""
    who: str = ""
    """What the transport says of the caller."""
    progress: Callable[[float, float | None, str], Awaitable[None]] = _no_progress
    contents: list[ContentBlock] = field(default_factory=list["ContentBlock"])
    """What the answer holds beside its JSON: pictures and links."""

    @property
    def is_of_person(self) -> bool:
        """Whether a person calls, from the board's own page. A view in a host counts as its agent."""
        return self.who.startswith(PERSON)

    def goes_round(self, asked: Tool, cursor: str | None, rows: Iterable[object], following: str | None) -> bool:
        """Whether a page of a list repeats one that led to its cursor, in this call or another one of the caller's."""
        return self.server.trails.goes_round(f"{self.who} {narrowed_by(asked)}", cursor, rows, following)

    def meter(self, size: int | None, doing: str) -> Callable[[int], Awaitable[None]]:
        """A function to call with the bytes moved so far. It reports progress about every fiftieth of `size`, the total if
        known."""
        told, step = 0, max(CHUNK, (size or 0) // 50)

        async def moved(count: int) -> None:
            nonlocal told
            if count - told >= step or count == size:
                told = count
                await self.progress(count, size, doing)

        return moved


def narrowed_by(asked: Tool) -> str:
    """Names the list that is asked for: the arguments without cursor and limit."""
    return f"{asked.tool_name()} {asked.model_dump_json(exclude={'cursor', 'limit'}, exclude_none=True)}"


def last_part(ref: str) -> str:
    """An issue's reference without the URL around it."""
    return ref.rstrip("/").rpartition("/")[2]


def _named(issues: list[Issue], ticket: str) -> str | None:
    """Id of the issue with this ticket number, if it is among them."""
    return next((issue.id for issue in issues if issue.triage_id == ticket), None)


@contextmanager
def preparing(argument: str | None = None) -> Generator[None]:
    """Around a step that comes before a workflow's own write. A CallError of the step says that the write was not made
    (`not_committed`); a NotFound names `argument` as its field.
    """
    try:
        yield
    except CallError as error:
        error.outcome = "not_committed"
        if isinstance(error, NotFound) and argument is not None:
            error.field = argument
        raise


class Workflow(Tool):
    """A tool that is not one operation. Like one it is a class whose fields are the arguments and whose docstring is what
    the model reads; `run` does the work, and `result` is the shape of
    what it returns (answers/shapes.py). One that `saves` may make local
    files, whatever its effect on the APIs. One that `wraps` an operation takes its arguments over, and sends them with
    `request`. Its name ends in `Tool`: `AddFlag` is the request, `AddFlagTool` the tool."""

    result: ClassVar[object]
    saves: ClassVar[bool] = False

    answers_repeats: ClassVar[bool] = False
    """Whether a repeat of what adds has an answer of its own, "was there already"."""

    def __init_subclass__(
        cls,
        *,
        saves: bool = False,
        answers_repeats: bool = False,
        wraps: type[Operation[object]] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init_subclass__(**kwargs)
        cls.saves, cls.answers_repeats = saves, answers_repeats
        if wraps is not None:
            _take_over(cls, wraps)

    local: ClassVar[str | None] = None
    """Argument that names a local file or folder."""
    unsaving: ClassVar[str] = ""
    """Of a tool that saves, what the model reads of it where no local file may be made."""
    note_in: ClassVar[str] = "note"
    """See note_of; another one where the result has a `note` of its own."""
    bounded: ClassVar[bool] = True
    """Whether all its calls together have the deadline of one; otherwise each has its own."""

    @abstractmethod
    async def run(self, work: Invocation) -> JsonObject: ...

    def request(self, operation: type[A], **given: object) -> A:
        """The operation with those of this tool's arguments that it has, too. `given` overrides them."""
        shared = {name: getattr(self, name) for name in self.model_fields_set if name in operation.model_fields}
        return operation.model_validate({**shared, **given})


def note_of(tool: type[Tool]) -> str:
    """The member of a tool's answer that holds the server's note on the call."""
    return tool.note_in if issubclass(tool, Workflow) else "note"


def result_of(tool: type[Tool]) -> Any:
    """What a tool or an operation returns; None for nothing."""
    return tool.result if issubclass(tool, Workflow) else tool.result_type() if is_operation(tool) else None


def _take_over(tool: type[Workflow], operation: type[Operation[object]]) -> None:
    """Give a tool the arguments of the operation that it wraps, except those that it declares in its own way and those
    that only the wire knows. The operation's order is kept.

    Runs before pydantic collects the fields of the tool.
    """
    annotations = inspect.get_annotations(tool)
    order, place = list(annotations), 0
    for name, info in operation.model_fields.items():
        if name in order:
            place = order.index(name) + 1
        elif not any(isinstance(mark, WireOnly) for mark in marks(info)):
            order.insert(place, name)
            place += 1
            annotations[name] = info.annotation
            setattr(tool, name, info)
    tool.__annotations__ = {name: annotations[name] for name in order}


def numbered(index: int, turn: Turn, began: datetime | None = None) -> JsonObject:
    """A turn as tools show it, under the index that flags take, with its time in a call that `began` then."""
    told: JsonObject = {"message_index": index} | ({} if turn.user is None else {"user": turn.user[:64]})
    times = {"at_s": turn.at_s(began), "for_s": turn.for_s()}
    told |= {name: seconds for name, seconds in times.items() if seconds is not None}
    told |= {"text": turn.text}
    return told | ({"unreadable_fields": turn.unreadable_fields} if turn.unreadable_fields else {})


async def every_page(
    client: Client,
    asked: Callable[[str | None], Operation[Page[R]]],
    most: int,
    is_enough: Callable[[Page[R]], bool] = lambda _: False,
) -> tuple[list[R], bool]:
    """The items of a list's first `most` pages, and whether they are complete: every row was read, up to the list's end or
    to a page that `is_enough`. A repeated cursor, or a page without a new row, ends the reading, too."""
    items, cursor, is_whole, known = list[R](), None, True, set[tuple[Any, ...]]()
    for _ in range(most):
        page = await client.send(asked(cursor))
        if page.items and page.identities <= known:
            return items, False
        known |= page.identities
        items += page.items
        is_whole = is_whole and not page.unreadable_rows("items")
        if is_enough(page):
            return items, is_whole
        if page.next_cursor is None or page.next_cursor == cursor:
            return items, is_whole and page.is_last
        cursor = page.next_cursor
    return items, False
