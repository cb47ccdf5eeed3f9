"""Completions: what a person can mean by what they have typed so far, for the arguments of prompts and the variables of
resource URIs.

A completion helps or says nothing: where the API does not answer in time there are no values, and no error. The values are
words that others chose; the result is marked so.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Literal, cast, get_args, get_origin

import anyio
import mcp_types
from mcp.shared.exceptions import MCPError
from pydantic.fields import FieldInfo

from calltriage.client.side_by_side import at_once
from calltriage.errors import CallError, SettingsError, StoreError
from calltriage.leaves.gate import gate
from calltriage.matching.folding import folded, unaccented
from calltriage.operations.attachments import ListAttachments
from calltriage.operations.calls import ListCalls
from calltriage.operations.categories import ListCategories
from calltriage.operations.fields import named_kind, stored_flag_type
from calltriage.operations.flags import ListFlagTypes
from calltriage.operations.issues import Issue, ListIssues
from calltriage.server.answers.results import untrusted
from calltriage.server.context import ServerParts
from calltriage.server.surfaces import prompts
from calltriage.server.surfaces.mcp_resources import offered

if TYPE_CHECKING:  # the database library comes with it
    from calltriage.pipelines.ledger import Ledger

MOST = 100
"""Values of one completion, by the protocol."""
SECONDS = 3.0
"""Time that a person who types may wait (our choice)."""
LONGEST_TITLE = 80
"""Characters of a title that is shown beside its ticket number."""

Found = tuple[list[str], bool]
"""Values that fit what was typed, and whether the API has others that were not looked at."""


async def _issues(server: ServerParts, typed: str) -> tuple[list[Issue], bool]:
    """Issues whose ticket number begins as typed or whose words match, newest activity first, and whether there may be
    others. Search knows whole words; titles with a word that is still being typed are found among the newest issues."""
    ticket = re.fullmatch(r"(?i)t(-[0-9]{0,12})?", typed)
    asked = [ListIssues(limit=MOST)]
    if typed and typed.lower() not in {"t", "t-"}:
        asked.append(ListIssues(search=typed[:200], limit=MOST))
    pages = await at_once(*(server.client.send(one) for one in asked))
    newest = [one for one in pages[0].items if not typed or ticket or _begins(typed, one.title)]
    found = {issue.id: issue for items in (newest, *(page.items for page in pages[1:])) for issue in items}
    fitting = [one for one in found.values() if not ticket or one.triage_id.lower().startswith(typed.lower())]
    return fitting, any(not page.is_last for page in pages[len(pages) > 1 :])


async def _tickets(server: ServerParts, typed: str) -> Found:
    found, more = await _issues(server, typed)
    return [issue.triage_id for issue in found], more


async def _tickets_with_titles(server: ServerParts, typed: str) -> Found:
    found, more = await _issues(server, typed)
    return [f"{issue.triage_id} {' '.join(issue.title.split())[:LONGEST_TITLE]}" for issue in found], more


async def _calls(server: ServerParts, typed: str) -> Found:
    page = await server.client.send(ListCalls(limit=MOST))
    found = [call.call_id for call in page.calls if call.call_id.lower().startswith(typed.lower())]
    return found, page.total_count is None or page.total_count > len(page.calls)


def _begins(typed: str, name: str) -> bool:
    """Whether a name may be what is being typed: words are not at their end yet."""
    wanted = unaccented(folded(typed))
    return not typed or (wanted != "" and wanted in unaccented(folded(name)))


async def _attachments(server: ServerParts, typed: str) -> Found:
    page = await server.client.send(ListAttachments(per_page=MOST))
    found = [one.id for one in page.items if one.id.lower().startswith(typed.lower()) or _begins(typed, one.name)]
    return found, not page.is_last or page.total is None or page.total > len(page.items)


async def _flag_types(server: ServerParts, typed: str) -> Found:
    page = await server.client.send(ListFlagTypes(limit=MOST))
    words = stored_flag_type(typed)
    return [one.type for one in page.items if words in one.type], not page.is_last


async def _categories(server: ServerParts, typed: str) -> Found:
    page = await server.client.send(ListCategories(limit=MOST))
    found = [one.name for one in page.items if _begins(typed, one.name)]
    return found, not page.is_last


async def _pipelines(server: ServerParts, typed: str) -> Found:
    from calltriage.pipelines.ledger import runs  # noqa: PLC0415  the database library comes with it

    return await _in_ledger(server, typed, runs.pipelines)


async def _detectors(server: ServerParts, typed: str) -> Found:
    from calltriage.pipelines import reviewing  # noqa: PLC0415

    return await _in_ledger(server, typed, reviewing.ran)


async def _in_ledger(server: ServerParts, typed: str, names: Callable[[Ledger], Awaitable[list[str]]]) -> Found:
    """Names that the pipelines' ledger has; none without one."""
    from calltriage.pipelines.ledger.pace import open_ledger_of  # noqa: PLC0415

    try:
        async with open_ledger_of(server.client) as ledger:
            return [name for name in await names(ledger) if _begins(typed, name)], False
    except (SettingsError, StoreError):
        return [], False


AUTHORS = {"call": "call parties", "attachment": "the uploader", "flag_type": "flag authors", "pipeline": "the operator",
           "detector": "the operator"}  # fmt: skip
"""Whose words the values are, where they are not those of the issues' authors."""
SOURCES: dict[str, Callable[[ServerParts, str], Awaitable[Found]]] = {
    "issue": _tickets,
    "call": _calls,
    "attachment": _attachments,
    "flag_type": _flag_types,
    "category": _categories,
    "pipeline": _pipelines,
    "detector": _detectors,
}
"""Where the values come from, by what the argument names; a prompt's issues come with their titles."""


async def complete(params: mcp_types.CompleteRequestParams, server: ServerParts) -> mcp_types.CompleteResult:
    """Values for one argument. An unknown prompt, template or argument is a protocol error."""
    info = _argument(params, server)
    kind = named_kind(info)
    by_title = kind == "issue" and isinstance(params.ref, mcp_types.PromptReference)
    source = _tickets_with_titles if by_title else SOURCES.get(kind or "")
    typed = params.argument.value.strip()
    if source is None:
        values, more = [word for word in _words(info.annotation) if word.startswith(typed.lower())], False
    else:
        values, more = await _in_time(source, server, typed)
    shown: list[str] = gate(list(dict.fromkeys(values)))[0]
    return mcp_types.CompleteResult(
        completion=mcp_types.Completion(
            values=shown[:MOST], total=None if more else len(shown), has_more=more or len(shown) > MOST
        ),
        _meta=None if source is None else cast("Any", untrusted(AUTHORS.get(kind or "", "issue authors"))),
    )


async def _in_time(source: Callable[[ServerParts, str], Awaitable[Found]], server: ServerParts, typed: str) -> Found:
    with anyio.move_on_after(SECONDS):
        try:
            return await source(server, typed)
        except (CallError, ValueError):  # the API failed, or what was typed is nothing that it can be asked for
            pass
    return [], False


def _argument(params: mcp_types.CompleteRequestParams, server: ServerParts) -> FieldInfo:
    name, ref = params.argument.name, params.ref
    if isinstance(ref, mcp_types.PromptReference):
        prompt = prompts.offered(server).get(ref.name)
        info = prompt and prompt.model_fields.get(name)
    else:
        variables = [kind.variable() for kind in offered(server) if str(kind.template) == ref.uri]
        info = next((found[1] for found in variables if found and found[0] == name), None)
    if info is None:
        raise MCPError(
            mcp_types.INVALID_PARAMS, "No such argument: prompts/list and resources/templates/list have them."
        )
    return info


def _words(annotation: object) -> list[str]:
    """The words that an argument may be, where it is one of a few; unions with null are looked into."""
    if get_origin(annotation) is Literal:
        return [str(word) for word in get_args(annotation)]
    return [word for option in get_args(annotation) for word in _words(option)]
