"""The demo: an agent's seat. A real MCP client, the real server as a child process, an empty desk, one call triaged."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import anyio
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters
from rich.console import Console
from rich.panel import Panel
from rich.tree import Tree

from calltriage.cli.importing import Wishes, check_paths, load
from calltriage.cli.terminal import shown
from calltriage.desk.importing.sample import sample_lines
from calltriage.errors import CalltriageError, ImportFileError
from calltriage.leaves.gate import one_line
from calltriage.leaves.strict_json import JsonObject
from calltriage.settings import load_settings


@dataclass(frozen=True)
class Story:
    """What the agent says about the call it looks at."""

    title: str
    second_title: str
    flag_type: str
    note: str


SAMPLE_STORY = Story(
    "Agent transfers callers without verifying them",
    "Refund requests are transferred too early",
    "Skipped verification",
    "The caller offers to verify and is transferred all the same.",
)
OWN_STORY = Story(
    "Demo: a call to look into",
    "Demo: a related issue",
    "Worth a look",
    "Marked by the demo: the caller's longest turn.",
)


@dataclass
class Agent:
    """Calls the server and prints each step: what was asked, what came back, how long it took."""

    client: Client
    console: Console
    steps: int = field(default=0)

    async def call(self, why: str, tool: str, **arguments: object) -> JsonObject:
        """Call a tool; a tool error ends the demo with its text."""
        shown = ", ".join(f"{name}={_short(value)}" for name, value in arguments.items())
        self._step(why, f"{tool}({shown})")
        started = perf_counter()
        result = await self.client.call_tool(tool, arguments)
        body: JsonObject = result.structured_content or {}
        if result.is_error:
            raise CalltriageError(f"{tool} answered: {body.get('error', {}).get('message', 'an error')}")
        self._came_back(_facts(body), started)
        return body

    async def read(self, why: str, uri: str) -> JsonObject:
        """Read a resource."""
        self._step(why, f"read {uri}")
        started = perf_counter()
        contents = (await self.client.read_resource(uri)).contents[0]
        body = json.loads(getattr(contents, "text", "{}"))
        self._came_back(f"{len(getattr(contents, 'text', ''))} characters", started)
        return body

    async def list_tools(self) -> None:
        self._step("See what the server offers", "tools/list")
        started = perf_counter()
        tools = (await self.client.list_tools()).tools
        self._came_back(", ".join(tool.name for tool in tools), started)

    def _step(self, why: str, request: str) -> None:
        self.steps += 1
        self.console.print(f"\n[bold]{self.steps}. {shown(why)}[/]")
        self.console.print(f"   [cyan]→[/] {shown(request)}", highlight=False, soft_wrap=True)

    def _came_back(self, facts: str, started: float) -> None:
        took = (perf_counter() - started) * 1000
        self.console.print(f"   [green]←[/] {shown(facts)} [dim]({took:.0f} ms)[/]", highlight=False, soft_wrap=True)


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 76 else f"{text[:75]}…"


def _facts(body: JsonObject) -> str:
    names = (
        "outcome",
        "triage_id",
        "title",
        "type",
        "message_index",
        "message_text",
        "relation_type",
        "name",
        "size",
        "sha256",
    )
    found = [f"{name}: {_short(body[name])}" for name in names if name in body]
    return "  ".join(found) or f"{body.get('returned', len(body))} found"


def _moment(call: JsonObject) -> tuple[int, str]:
    """The turn to flag: the caller's longest, which is where people explain what is wrong."""
    turns: list[JsonObject] = call["transcripts"]
    by_caller = [n for n, turn in enumerate(turns) if turn["user"] == "user"] or list(range(len(turns)))
    place = max(by_caller, key=lambda n: len(turns[n]["text"]))
    return place, turns[place]["text"]


def _tree(evidence: JsonObject) -> Tree:
    """The evidence bundle for a person's eyes; the agent gets the same as one JSON object."""
    issue = evidence["issue"]
    state = shown(f"({issue['severity']}, {issue['status']})")
    tree = Tree(f"[bold]{shown(issue['triage_id'])}[/] {shown(issue['title'])} [dim]{state}[/]")
    for flag in evidence["flags"]["items"]:
        branch = tree.add(f"[yellow]flag[/] {shown(flag['type'])} [dim]{shown(flag.get('note', ''))}[/]")
        for turn in flag.get("turns", []):
            mark = "▌" if turn["message_index"] == flag["message_index"] else " "
            branch.add(f"{mark} [dim]{turn['message_index']} {shown(turn['user'] or '')}:[/] {shown(turn['text'])}")
    for link in evidence["resources"]["items"]:
        tree.add(f"[cyan]{shown(link['resource_type'])}[/] {shown(link['title'])} [dim]{shown(link['status'])}[/]")
    for relation in evidence["relations"]["items"]:
        other = f"{shown(relation['related_triage_id'])} {shown(relation['related_title'])}"
        tree.add(f"[magenta]{shown(relation['relation_type'])}[/] {other} [dim]{shown(relation['direction'])}[/]")
    for entry in evidence["activity"]["items"]:
        tree.add(f"[dim]{shown(entry['created_at'])} {shown(entry['type'])}[/]")
    return tree


def run_demo(calls: Path | None, wishes: Wishes) -> None:
    """Run the demo on the calls of an import file, or on the sample calls."""
    settings = load_settings()
    story = SAMPLE_STORY if calls is None else OWN_STORY
    with TemporaryDirectory(prefix="calltriage-demo-") as temporary:
        folder = Path(temporary)
        if calls is None:
            calls = folder / "sample.jsonl"
            calls.write_text("\n".join(sample_lines()), encoding="utf-8")
        with check_paths([calls], wishes, settings.max_file_mib * 2**20) as found:
            records = (entry.values["record"] for entry in found.entries if entry.kind == "call")
            call = next((one for one in records if any(turn["text"].strip() for turn in one["transcripts"])), None)
            if call is None:
                raise ImportFileError("The file holds no call with words in it.")
            own = load_settings(data_dir=folder / "desk")
            load(own, found)
            count = found.entries.counts["call"]
        anyio.run(_show, folder, own.data_dir, call, count, story)


async def _show(folder: Path, data_dir: Path, call: JsonObject, count: int, story: Story) -> None:
    console = Console()
    console.print(
        f"[bold]calltriage demo[/]: an agent, the server as a child process, an empty desk with {count} calls"
    )
    server = StdioServerParameters(
        command=sys.executable,
        args=["-m", "calltriage"],
        env={"CALLTRIAGE_DATA_DIR": str(data_dir)},
        cwd=folder,
    )
    async with Client(server) as client:
        agent = Agent(client, console)
        evidence = await _triage(agent, call, folder, story)
    console.print()
    console.print(Panel(_tree(evidence), title="The evidence, as the resource gives it"))
    console.print(f"[bold green]Done.[/] {agent.steps} steps. The desk was temporary and is gone.")


async def _triage(agent: Agent, call: JsonObject, folder: Path, story: Story) -> JsonObject:
    """One investigation, the way an agent would go about it."""
    place, said = _moment(call)
    call_id: str = call["call_id"]
    await agent.list_tools()
    issue = await agent.call("File an issue", "create_issue", title=story.title, severity="high", category="Dialogue")
    ticket: str = issue["triage_id"]
    this_call = {"issue_id": ticket, "resource_type": "call", "resource_id": call_id}
    await agent.call("Attach the call as evidence", "attach_resource", **this_call)
    await agent.call("Attach it again: nothing happens twice", "attach_resource", **this_call)
    transcript = await agent.call("Read around the moment", "get_transcript", call_id=call_id, around=place)
    for turn in transcript["transcript"]["turns"]:
        mark = "[yellow]▌[/]" if turn["message_index"] == place else " "
        who = f"[dim]{turn['message_index']:>2} {shown(turn['user'])}:[/]"
        agent.console.print(f"     {mark} {who} {shown(turn['text'])}", highlight=False)
    quote = said[:200]
    is_unique = sum(_folded(quote) in _folded(turn["text"]) for turn in call["transcripts"]) == 1 and len(quote) >= 3
    is_quotable = is_unique and one_line(quote) == quote  # tools take no control characters
    where = {"quote": quote} if is_quotable else {"message_index": place}
    flag = {"issue_id": ticket, "call_id": call_id, "type": story.flag_type, "note": story.note}
    await agent.call("Flag the moment", "add_flag", **flag, **where)
    second = {"title": story.second_title, "severity": "medium", "category": "Dialogue"}
    other = await agent.call("File a second issue", "create_issue", **second)
    link = {"issue_id": ticket, "related_issue_id": other["triage_id"], "relation_type": "related_to"}
    await agent.call("Link the two", "link_issue", **link)
    report = f"# {ticket}: {story.title}\n\nCall {call_id}, turn {place}:\n\n> {said}\n"
    await anyio.Path(folder, "report.md").write_text(report, encoding="utf-8")
    await agent.call(
        "Upload a report and hang it on the issue", "create_attachment", path="report.md", attach_to=ticket
    )
    await agent.read("Read the flag-type catalogue", "triage://flag-types")
    return await agent.read("Read the evidence", f"triage://issues/{issue['id']}/evidence")


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())
