"""What an empty list says: how what it would list comes to be there."""

from __future__ import annotations

from calltriage.errors import TryNext
from calltriage.leaves.strict_json import JsonObject

WAY_IN = (
    "No tool brings calls in; tell the person: those of a vendor's account appear by themselves; on the embedded desk "
    "`calltriage desk import FILE` loads own calls and `calltriage desk sample` three invented ones, as does the setting "
    "CALLTRIAGE_SAMPLE=1 (in Claude Desktop the option Sample calls) at the next start."
)
NO_CALLS = f"There are no calls. {WAY_IN}"
NO_ISSUES = f"No issue has been filed yet. If there are no calls either: {WAY_IN[:1].lower()}{WAY_IN[1:]}"
NOTHING_FITS = "Nothing fits these filters. The list without them shows whether there is anything at all."


def said_of_nothing(tool: str, filters: JsonObject, words: str, instead: str | None = None) -> JsonObject:
    """Advice beside an empty page of `tool`: a sentence if no filter was set, and the tool that helps if there is one."""
    if filters:
        return {"note": NOTHING_FITS, "try_next": TryNext(tool=tool, arguments={})}
    return {"note": words} | ({} if instead is None else {"try_next": TryNext(tool=instead, arguments={})})
