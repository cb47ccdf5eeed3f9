"""Applies a file of writes from the command line, through the same two tools that an agent has."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from mcp.client import Client
from rich.console import Console
from rich.progress import Progress

from calltriage.cli.standard_input import start_of
from calltriage.cli.terminal import say
from calltriage.errors import CalltriageError
from calltriage.leaves.folders import Folder
from calltriage.leaves.strict_json import JsonObject, RefusedJson, is_object, read_json
from calltriage.server.batch.plan_triage import MOST_WRITES
from calltriage.server.batch.plans import FOLDER
from calltriage.settings import Settings
from calltriage.wiring import offered_tools, open_server

MOST_BYTES = 16 * 2**20
"""Bytes of a file: several times what a plan can hold."""
MADE, REFUSED, STOPPED = 0, 1, 3
"""Exit statuses."""
GONE = "plan_not_found"
"""What is said of a plan whose time is over, or that is for another organisation."""
MOST_IDLE = 5
"""Calls in a row that may make no write before the command ends: an API may be down."""


@dataclass(frozen=True)
class Wish:
    """What the options of the command say."""

    check: bool = False
    anew: bool = False
    as_json: bool = False


@dataclass(frozen=True)
class Lines:
    """The writes of a file.

    Attributes:
        writes: in order.
        numbers: the line of each.
        digest: of the file's bytes, by which it is known again.
    """

    writes: list[JsonObject]
    numbers: list[int]
    digest: str

    def line(self, write: int) -> int:
        return self.numbers[write - 1]


class PlanFileError(CalltriageError):
    """Lines of a file are no writes; the text has a sentence for each."""


def read_lines(data: bytes) -> Lines:
    """The writes of a file. Raises PlanFileError naming line and member of whatever is none."""
    if len(data) > MOST_BYTES:
        raise PlanFileError(f"The file is larger than {MOST_BYTES // 2**20} MiB. Split it.")
    writes, numbers, complaints = list[JsonObject](), list[int](), list[str]()
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.strip():
            continue
        numbers.append(number)
        if len(numbers) > MOST_WRITES:
            complaints.append(f"line {number}: is write {MOST_WRITES + 1}; a plan holds {MOST_WRITES}. Split the file.")
            break
        write, said = _read(line)
        writes.append(write)
        complaints += [f"line {number}: {said}"] if said else []
    if not numbers:
        complaints.append("The file holds no write.")
    if complaints:
        raise PlanFileError("\n".join(complaints))
    return Lines(writes, numbers, hashlib.sha256(data).hexdigest()[:32])


def _read(line: bytes) -> tuple[Any, str]:
    """The write of a line, and what is wrong with it: nothing, or a sentence."""
    try:
        value = read_json(line)
    except RefusedJson as error:
        return None, str(error)
    except ValueError:
        return None, "is not JSON in UTF-8"
    return value, _complaint(value)


def _complaint(value: object) -> str:
    """What is wrong with a line; empty for a write."""
    if not is_object(value):
        return "must be an object with tool and arguments"
    if unknown := value.keys() - {"tool", "arguments"}:
        known = [name for name in sorted(unknown) if name.isidentifier() and len(name) <= 40]
        return f"{', '.join(known) or 'a member'}: unknown; a write has tool and arguments"
    if not isinstance(value.get("tool"), str):
        return "tool: must be the name of a tool"
    return "" if is_object(value.get("arguments")) else "arguments: must be an object"


def apply_file(settings: Settings, path: Path, wish: Wish) -> int:
    """Apply a file, and say what became of it. Returns the exit status."""
    try:
        lines = read_lines(start_of(path, MOST_BYTES + 1))
    except PlanFileError as error:
        for sentence in str(error).split("\n"):
            say(sentence, err=True)
        return REFUSED
    return anyio.run(apply_lines, settings, lines, wish)


async def apply_lines(settings: Settings, lines: Lines, wish: Wish) -> int:
    """Apply the writes of a file, and say what became of them. Returns the exit status."""
    known = Known(settings.data_dir / FOLDER, lines.digest)
    # The tools that the settings offer, and those for batches.
    settings = settings.model_copy(update={"toolsets": (*settings.toolsets, "batch")})
    if not {"plan_triage", "apply_plan"} <= {tool.tool_name() for tool in offered_tools(settings)}:
        say("The settings do not let a plan be applied: CALLTRIAGE_READ_ONLY or CALLTRIAGE_EXCLUDE_TOOLS.", err=True)
        return REFUSED
    async with open_server(settings, over_stdio=True) as (server, *_), Client(server) as agent:
        seat = Seat(agent, lines, wish, known)
        kept = None if wish.check or wish.anew else known.read()
        return await (seat.planned() if kept is None else seat.applied(kept))


@dataclass(frozen=True)
class Known:
    """What plan a file has, kept as long as plans are."""

    folder: Path
    digest: str

    def read(self) -> JsonObject | None:
        try:
            with Folder(self.folder) as folder, os.fdopen(folder.open(f"{self.digest}.file"), "rb") as file:
                kept = read_json(file.read(1000))
        except (OSError, ValueError):
            return None
        return kept if is_object(kept) and kept.keys() == {"plan_id", "seal"} else None

    def keep(self, plan: JsonObject) -> None:
        text = json.dumps({name: plan[name] for name in ("plan_id", "seal")})
        with Folder(self.folder) as folder:
            folder.put(f"{self.digest}.file", text.encode(), for_good=True)


@dataclass(frozen=True)
class Seat:
    """Whoever applies a file: calls the tools and says what they answer."""

    agent: Client
    lines: Lines
    wish: Wish
    known: Known

    async def planned(self) -> int:
        """Plan the file; apply it where nothing is wrong with it, and that is wished."""
        plan = page = await self._called("plan_triage", {"writes": self.lines.writes})
        rows, problems = dict[int, JsonObject](), dict[int, JsonObject]()
        while True:
            rows |= {row["write"]: row for row in page["plan"]}
            problems |= {row["write"]: row for row in page["problems"]}
            if page["complete"] or "plan_id" not in page:
                break
            page = await self._called("plan_triage", page["omitted"][0]["try_next"]["arguments"])
        if self.wish.check or problems:
            for number in range(1, len(self.lines.writes) + 1):
                self._say_row(rows.get(number) or problems.get(number) or {"write": number, "would": "not shown"})
            self._say_end({"writes": plan["writes"], "ready": plan["ready"]}, _of_check(plan))
        if self.wish.check or problems:
            return REFUSED if problems else MADE
        await anyio.to_thread.run_sync(self.known.keep, plan)
        return await self.applied({"plan_id": plan["plan_id"], "seal": plan["seal"]})

    async def applied(self, plan: JsonObject) -> int:
        """Apply a plan to its end, or to where it stops."""
        page = await self._called("apply_plan", plan, gone=True)
        if not page:
            return await self.planned()
        before = page["of"] if page["outcome"] == "replayed" and page["state"] == "applied" else 0
        page = await self._to_its_end(page)
        told = f"{page['done']} of {page['of']} writes are made."
        if before:
            told += " All were made before; --anew plans the file again."
        self._say_end({name: page[name] for name in ("state", "done", "of", "stopped_at") if name in page}, told)
        if page["state"] == "applied":
            return MADE
        at = f" at line {self.lines.line(page['stopped_at'])}" if "stopped_at" in page else ""
        say(f"Stopped{at}. {page.get('note', 'Run the same command again to go on.')}", err=True)
        return STOPPED

    async def _to_its_end(self, page: JsonObject) -> JsonObject:
        """Go on until all is made and told, or a write stops it. Returns the last answer."""
        idle = 0
        while True:
            for row in page["outcomes"]:
                self._say_row(row)
            if page["complete"] and (page["state"] != "more" or idle == MOST_IDLE):
                return page
            done, following = page["done"], page.get("try_next") or page["omitted"][0]["try_next"]
            if page["complete"]:
                await anyio.sleep(page.get("retry_after_s", 0))
            page = await self._called("apply_plan", following["arguments"])
            idle = 0 if page["done"] > done else idle + 1

    async def _called(self, tool: str, arguments: JsonObject, *, gone: bool = False) -> JsonObject:
        """What a tool answers; an empty object for a plan that is not there any more, where that may be."""
        console = Console(stderr=True)
        with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
            task = bar.add_task(tool.replace("_", " "), total=None)

            async def moved(progress: float, total: float | None, message: str | None) -> None:  # noqa: ARG001  MCP's names
                bar.update(task, completed=progress, total=total)

            result = await self.agent.call_tool(tool, arguments, progress_callback=moved)
        body: JsonObject = result.structured_content or {}
        if result.is_error and gone and body["error"]["code"] == GONE:
            return {}
        if result.is_error:
            raise CalltriageError(body["error"]["message"])
        return body

    def _say_row(self, row: JsonObject) -> None:
        """One write as a line: what it would do or did, or what is wrong with it."""
        line = self.lines.line(row["write"])
        if self.wish.as_json:
            say(json.dumps({"line": line, **row}))
        elif error := row.get("error"):
            where = f"{error['field']}: " if "field" in error else ""
            say(f"line {line}: {row['tool']}: {where}{error['message']}", err=True)
            if instead := error.get("instead"):
                say(f"line {line}: instead: {json.dumps(instead, ensure_ascii=False)}", err=True)
        else:
            made = row.get("triage_id") or row.get("id", "")
            say(f"line {line}: {row.get('would') or ' '.join(filter(None, [row['tool'], row['outcome'], made]))}")

    def _say_end(self, facts: JsonObject, told: str) -> None:
        if self.wish.as_json:
            say(json.dumps(facts))
        else:
            say(told)


def _of_check(plan: JsonObject) -> str:
    bad = plan["writes"] - plan["ready"]
    return f"{plan['ready']} writes can be made, {bad} have problems. Nothing was made."
