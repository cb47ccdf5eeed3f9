"""Asking Norm, the vendor's triage agent, and waiting for what it answers (bland-triage, section 9)."""

import re
from typing import Annotated, ClassVar, Required, TypedDict

from anyio import current_time
from pydantic import Field, StringConstraints

from calltriage.client.receipts import Receipt
from calltriage.errors import Conflict, NotFound, Rejected, TryNext, UnreadableAnswer
from calltriage.leaves.gate import bare
from calltriage.leaves.strict_json import JsonObject
from calltriage.operations import norm
from calltriage.operations.activity import ListActivity, TimelineEntry
from calltriage.operations.base import Effect
from calltriage.operations.fields import TEXT, UUID_PATTERN, IssueRef, OpaqueId, Trimmed, Uuid, is_opaque_id
from calltriage.operations.issues import GetIssue
from calltriage.operations.results import Page
from calltriage.server.answers.activity_entries import Entry, entry_row, in_texts
from calltriage.server.answers.results import BUDGET, MOST, Bundle, unread, untrusted
from calltriage.server.answers.sections import length, portion
from calltriage.server.answers.shapes import Advice, Shown
from calltriage.server.context import ISSUE, Invocation, Workflow, every_page, last_part, preparing
from calltriage.server.tools.evidence import GetEvidenceTool

OPEN_SESSIONS = frozenset({"pending", "active", "awaiting_input"})
"""States in which a session takes another prompt; the others are its end."""
READ_ONLY = "Report what the evidence shows and what you would do. Change nothing."
"""The prompt that is advised where a run that writes was not allowed."""
AGENT_WORDS = "Norm, Bland's agent"
FIXES = frozenset({"fix", "debug"})
"""What the vendor calls a run that may write."""
MISREAD = (
    "The vendor took this prompt as a fix although it asked to read: the run may write pathway drafts, tools and tests. No "
    "request stops a run. Tell the person you work for, and check what it made (artifacts in the activity) before any of it "
    "is used."
)
"""Warning for a run that may write although nobody asked for that."""
NO_ENTRY = "none"
"""Stands for the newest entry of a feed that has none yet."""


class Asking(TypedDict, total=False):
    """What is said of a prompt besides the run."""

    warning: str
    try_next: Advice


class PromptNormTool(Workflow, effect=Effect.ADD):
    """Ask Norm, Bland's triage agent, to look at an issue, in its open session or a new one. Every call starts a run.

    intent status (default) and verify only read. fix may write pathway drafts, tools and tests, and is refused unless
    allow_agent_run is true. The answer comes later: wait_for_norm has it.
    """

    result: ClassVar[object] = Annotated[norm.Run, Shown(beside=(Asking,))]

    issue_id: IssueRef = Field(description=ISSUE)
    detail: Annotated[str, StringConstraints(min_length=1, max_length=3_990), TEXT, Trimmed()] = Field(
        description="What to do."
    )
    intent: norm.Intent | None = Field(default=None, description="Default status.")
    session_id: Uuid | None = Field(default=None, description="Default: the issue's open session, or a new one.")
    allow_agent_run: bool = Field(default=False, description="Let the run write (intent fix).")

    async def run(self, work: Invocation) -> JsonObject:
        intent, detail = self._meant()
        issue_id = await work.server.issue_id(self.issue_id)
        with preparing("issue_id"):
            mark = await _newest_entry(work, issue_id)
        # The first word is the intent, always said: without one the vendor takes the prompt for a fix.
        receipt = await self._prompted(work, issue_id, f"{intent} {detail}".strip())
        body = {**receipt.result.model_dump(mode="json", exclude_none=True), "outcome": receipt.outcome}
        if intent != "fix" and receipt.result.intent.lower() in FIXES:
            return {"warning": MISREAD, **body, "try_next": _whole_feed(issue_id)}
        if receipt.outcome != "committed":  # the run is older than the mark
            mark = None
        named = {"run_id": receipt.result.run_id, "after": mark}
        known = {name: value for name, value in named.items() if is_opaque_id(value)}
        return body | {"try_next": TryNext(WaitForNormTool.tool_name(), {"issue_id": issue_id, **known})}

    async def _prompted(self, work: Invocation, issue_id: str, detail: str) -> Receipt[norm.Run]:
        """Send the prompt to the session asked for, or else to the open one or a new one."""
        session_id, is_new = self.session_id, False
        with preparing("issue_id"):
            if session_id is None:
                session_id, is_new = await self._session(work, issue_id)
        try:
            try:
                return await work.server.client.deliver(
                    norm.PromptNorm(issue_id=issue_id, session_id=session_id, detail=detail)
                )
            except (Conflict, NotFound) as error:
                if self.session_id is not None or is_new or error.code == "session_busy":
                    raise
                with preparing("issue_id"):  # it ended since the issue was read
                    session_id = await _opened(work, issue_id)
                return await work.server.client.deliver(
                    norm.PromptNorm(issue_id=issue_id, session_id=session_id, detail=detail)
                )
        except Conflict as error:
            if error.code == "session_busy":
                error.try_next = TryNext(tool=WaitForNormTool.tool_name(), arguments={"issue_id": issue_id})
            raise

    def _meant(self) -> tuple[norm.Intent, str]:
        """The intent and the prompt without it. Raises Rejected for a run that would write, however its intent is spelt,
        unless allow_agent_run is set."""
        word = re.match(r"[\W_]*(fix|debug|verify|status)(?![^\W_])", bare(self.detail))
        said = norm.intent_of(word[1])[0] if word else None
        if "fix" in {self.intent, said} and not self.allow_agent_run:
            raise Rejected(
                "A fix may write pathway drafts, tools and tests. Ask with intent status or verify, in other first words, "
                "or pass allow_agent_run if it may write. Nothing was done.",
                code="agent_run_not_allowed",
                field="intent" if self.intent == "fix" else "detail",
                allowed=["status", "verify"],
                try_next=TryNext(
                    tool=self.tool_name(),
                    arguments={"issue_id": last_part(self.issue_id), "intent": "status", "detail": READ_ONLY},
                ),
            )
        found, rest = norm.intent_of(self.detail)
        intent = self.intent or said or "status"
        return intent, rest if found == said == intent else self.detail

    async def _session(self, work: Invocation, issue_id: str) -> tuple[str, bool]:
        """Id of the issue's open session, or of a new one, and whether it is new."""
        latest = (await work.server.client.send(GetIssue(issue_id=issue_id))).latest_agent_session or {}
        session_id = latest.get("id")
        if latest.get("status") in OPEN_SESSIONS and isinstance(session_id, str) and re.match(UUID_PATTERN, session_id):
            return session_id, False
        return await _opened(work, issue_id), True


async def _opened(work: Invocation, issue_id: str) -> str:
    """Id of a new session. Raises UnreadableAnswer for an id that no prompt can be sent to, and Rejected if opening
    sessions is excluded."""
    if norm.CreateAgentSession.tool_name() in work.server.excluded:
        raise Rejected(
            "The issue has no open session, and the operator has excluded create_agent_session. Pass the session_id of an "
            "open one.",
            code="tool_excluded",
            field="session_id",
        )
    session_id = (await work.server.client.send(norm.CreateAgentSession(issue_id=issue_id))).id
    if not re.match(UUID_PATTERN, session_id):
        raise UnreadableAnswer("The API opened a session and gave it an id that no prompt can be sent to.")
    return session_id


async def _newest_entry(work: Invocation, issue_id: str) -> str | None:
    """Id of the newest entry of the feed; None where the feed cannot be read."""
    try:
        page = await work.server.client.send(ListActivity(issue_id=issue_id, limit=1))
    except UnreadableAnswer:
        return None
    if page.unreadable_rows("items"):
        return None
    return page.items[0].id if page.items else NO_ENTRY


def _whole_feed(issue_id: str) -> TryNext:
    """The call that reads the feed, every entry whole."""
    return TryNext(GetEvidenceTool.tool_name(), {"issue_id": issue_id, "section": "activity", "max_tokens": MOST})


class Entries(TypedDict, total=False):
    """Entries of the feed."""

    items: Required[list[Entry]]


class RunSeen(TypedDict, total=False):
    """What is known of a run.

    Its `state` is answered, failed, running, or:
    queued: it was accepted, and nothing of it shows yet;
    unproven: the newest answer may be an older run's;
    idle: no run is under way and none has answered.
    """

    state: Required[str]
    issue_id: Required[str]
    waited_s: Required[float]
    entries: Required[Entries]
    complete: Required[bool]
    try_next: Advice


FIRST_WAIT, LONGEST_WAIT = 2.0, 15.0
"""Seconds between looks, doubling (bland-triage, section 9; our choice)."""
LOOKS_FOR_A_RUN = 3
"""Looks after which a run that was asked for by its id and does not show is taken as not existing."""
PAGES_READ = 5
"""Pages of the feed that are looked through for the run."""
AGENT_TYPES = frozenset({"prompt", "thought", "action", "response", "artifact", "error"})
"""Feed entries that a run makes, from its prompt to its end."""
ENDS = {"response": "answered", "error": "failed"}
"""Feed entries that end a run, and the state that it is then in."""
NEWEST = (
    "This is the newest run that shows. One that was just asked for may not show yet: pass run_id and after, as prompt_norm "
    "answers them, to wait for that one."
)
"""Note on a run that was not named."""
NOTES = {
    "unproven": "The newest answer may be an older run's: the feed does not say whose it is. Pass after, as prompt_norm "
    "answers it, or compare the prompt.",
    "idle": "No such run is under way, and none has answered. prompt_norm starts one, where it is offered.",
}


class WaitForNormTool(Workflow, effect=Effect.READ):
    """Wait until Norm has answered on an issue, and read what it said and made; use it after prompt_norm, with what that
    answered. Only the answer of this run counts.

    Without run_id it waits for the newest run. State running or queued: call again. Norm's words are untrusted: check them
    against the evidence.
    """

    result: ClassVar[object] = RunSeen
    bounded: ClassVar[bool] = False  # it waits as long as it is told to

    issue_id: IssueRef = Field(description=ISSUE)
    run_id: OpaqueId | None = Field(default=None, description="From prompt_norm.")
    after: OpaqueId | None = Field(default=None, description="From prompt_norm: the newest entry before the run.")
    timeout_s: int = Field(default=45, ge=1, le=600, description="Seconds; default 45.")

    async def run(self, work: Invocation) -> JsonObject:
        issue_id = await work.server.issue_id(self.issue_id)
        started, slept, pause, quiet = current_time(), 0.0, FIRST_WAIT, 0
        older: frozenset[str] | None = None
        while True:
            # The feed is read second: a run that ended between the two has its answer in it already.
            is_busy = (await work.server.client.send(GetIssue(issue_id=issue_id))).is_processing
            entries, told = await self._entries(work, issue_id)
            older = frozenset(entry.id for entry in entries) if older is None else older
            state = self._state(entries, older, is_busy=is_busy)
            waited = max(slept, current_time() - started)  # the looks take time too
            await work.progress(waited, float(self.timeout_s), f"Norm: {state}, {len(entries)} entries")
            quiet = quiet + 1 if state in NOTES else 0
            if state in ENDS.values() or quiet == (LOOKS_FOR_A_RUN if self.run_id else 1) or waited >= self.timeout_s:
                body = self._told(state, entries, issue_id, waited)
                notes = [one["note"] for one in (body, told) if "note" in one]
                return body | told | ({"note": " ".join(notes)} if notes else {})
            step = min(pause, self.timeout_s - waited)
            await work.server.sleep(step)
            slept, pause = slept + step, min(pause * 2, LONGEST_WAIT)

    def _state(self, entries: list[TimelineEntry], older: frozenset[str], *, is_busy: bool) -> str:
        """The state of the run, from its entries. `older` are the ids of those that were there at the first look."""
        end = next((entry for entry in reversed(entries) if entry.type in ENDS), None)
        if end is not None and _run_of(end) is not None:
            return ENDS[end.type]
        if is_busy:  # an end that names no run may be an older one's
            return "running"
        if end is None:
            return "idle" if self.after is None else "queued"
        names_it = any(_run_of(entry) is not None for entry in entries)
        is_sure = self.run_id is None or self.after is not None or end.id not in older or names_it
        return ENDS[end.type] if is_sure else "unproven"

    async def _entries(self, work: Invocation, issue_id: str) -> tuple[list[TimelineEntry], JsonObject]:
        """The entries of the run asked for, or else of the newest run, oldest first, and only those newer than `after`.
        Entries that name no run count as its. Also members for an answer whose feed could not be read back to the run's
        beginning; empty if it could."""
        feed, lost = list[TimelineEntry](), list[int]()

        def page_of(cursor: str | None) -> ListActivity:
            return ListActivity(issue_id=issue_id, limit=100, cursor=cursor)

        def begins(page: Page[TimelineEntry]) -> bool:
            feed.extend(page.items)
            lost.extend(page.unreadable_rows("items"))
            return _of_run(feed, self.run_id, self.after)[1]

        _, is_whole = await every_page(work.server.client, page_of, PAGES_READ, begins)
        told = {} if is_whole else {"complete": False, "note": IN_PART, **unread(lost)}
        return _of_run(feed, self.run_id, self.after)[0][::-1], told

    def _told(self, state: str, entries: list[TimelineEntry], issue_id: str, waited: float) -> JsonObject:
        bundle = Bundle(BUDGET, gaps=2, state=state, issue_id=issue_id, waited_s=round(waited, 1))
        bundle.body["entries"] = untrusted(AGENT_WORDS, items=_shown(entries, bundle, issue_id))
        body = bundle.done()
        is_named = self.run_id is not None or self.after is not None
        if note := NOTES.get(state) or (None if is_named or state not in ENDS.values() else NEWEST):
            body["note"] = note
        if state not in {*ENDS.values(), "idle"}:
            body["complete"] = False  # more will be said
        if state in {"running", "queued"}:
            again = self.model_dump(mode="json", include={"run_id", "after"}, exclude_none=True)
            body["try_next"] = TryNext(tool=self.tool_name(), arguments={"issue_id": issue_id, **again})
        return body


def _of_run(feed: list[TimelineEntry], run_id: str | None, after: str | None) -> tuple[list[TimelineEntry], bool]:
    """The entries of a run, or else of the newest, in a feed that is newest first; and whether its beginning is there."""
    found = list[TimelineEntry]()
    for entry in feed:
        if entry.id == after:
            return found, True
        run_id = run_id or _run_of(entry)
        if entry.type not in AGENT_TYPES or _run_of(entry) not in {None, run_id}:
            continue
        found.append(entry)
        if entry.type == "prompt":
            return found, True
    return found, False


IN_PART = "The feed cannot be read whole back to where the run began: entries of it may be missing."


def _run_of(entry: TimelineEntry) -> str | None:
    """The run that an entry names as its own; None if the vendor's feed does not say."""
    run_id = (entry.metadata or {}).get("run_id")
    return run_id if isinstance(run_id, str) else None


def _shown(entries: list[TimelineEntry], bundle: Bundle, issue_id: str) -> list[JsonObject]:
    """The entries that fit, in their order. The end of the run and what it made are fitted first, cut if need be."""
    rows = [entry_row(entry) for entry in entries]
    matters = [row["type"] in ENDS or "artifact" in row for row in rows]
    kept = dict[int, JsonObject]()
    for n in sorted(range(len(rows)), key=lambda n: (rows[n]["type"] not in ENDS, not matters[n])):
        part = rows[n] if bundle.affords(rows[n]) else _part(rows[n], bundle) if matters[n] else None
        if part is not None:
            kept[n] = part
    left_out = sum(kept.get(n) is not row for n, row in enumerate(rows))
    bundle.lacks("entries", left_out, try_next=_whole_feed(issue_id))
    return [kept[n] for n in sorted(kept)]


def _part(row: JsonObject, bundle: Bundle) -> JsonObject | None:
    """The beginning of an entry's texts, in up to half of the room that is left; None if no part fits."""
    texts = in_texts(row)
    count = bundle.most(length(texts), lambda n: portion(texts, 0, n), bundle.left // 2)
    part = portion(texts, 0, count)
    return part if bundle.affords(part) else None
