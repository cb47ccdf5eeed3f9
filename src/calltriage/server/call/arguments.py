"""A call's arguments: what hosts and models write is read as what they mean, then checked against the tool's model."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from typing import Any

from pydantic import ValidationError

from calltriage.errors import Rejected
from calltriage.leaves.strict_json import JsonObject, is_array, is_object, read_json
from calltriage.operations.base import Effect, Tool
from calltriage.operations.fields import AN_ISSUE, BRIEF_ID_PATTERN, FORM
from calltriage.server.call.hints import is_issue, nearest
from calltriage.server.call.schemas import arguments_model, trimmed_arguments

ALIASES: dict[str, tuple[str, ...]] = {
    "assignee": ("assignee_id",),
    "attachment": ("attachment_id",),
    "body": ("detail", "description"),
    "call": ("call_id",),
    "calls": ("call_ids",),
    "comment": ("detail", "note"),
    "content": ("detail", "text"),
    "file_name": ("name",),
    "file_path": ("path",),
    "filename": ("name",),
    "flag": ("flag_id",),
    "flag_type": ("type",),
    "issue": ("issue_id",),
    "issue_number": ("issue_id",),
    "keywords": ("query", "search"),
    "link_type": ("relation_type",),
    "message": ("detail",),
    "notes": ("note",),
    "owner": ("owner_id",),
    "page_size": ("limit",),
    "phone_number": ("number",),
    "phrase": ("query", "quote"),
    "q": ("query", "search"),
    "query": ("search",),
    "related_issue": ("related_issue_id",),
    "search": ("query",),
    "since": ("start_date",),
    "state": ("status",),
    "text": ("detail",),
    "ticket": ("issue_id",),
    "ticket_id": ("issue_id",),
    "ticket_number": ("issue_id",),
    "timezone": ("time_zone",),
    "triage_id": ("issue_id",),
    "turn_index": ("message_index",),
    "until": ("end_date",),
}
"""Names that models write, each with the arguments that it may mean. It counts if the tool has exactly one of these."""
ID = "id"
"""The name that models write for the only id that a tool requires, or that a tool which gets something has."""
DAY, DAYS = ("date", "day"), ("start_date", "end_date")
"""Names that models write for one day, and the two arguments that such a day is passed as."""
HOST_FIELDS = frozenset({"action", "chatInput", "sessionId", "tool", "toolCallId"})
"""Fields that the automation host n8n adds to the arguments of its agents' calls (n8n issues 21500 and 21716): its own ids,
the tool's name, and what started the run."""
NOTHING = frozenset({"null", "None", "undefined"})
"""Texts that a program writes for a value that it does not have."""
SOUGHT = frozenset({"search", "query", "quote"})
"""Arguments that hold words to look for. There a text of NOTHING is a word: an agent may have said "undefined"."""
BOOLEANS = {"true": True, "false": False}
WHOLE = re.compile(r"(-?[0-9]{1,15})(?:\.0{1,15})?")
DECIMAL = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{1,15})?")


def understood(tool: type[Tool], schema: JsonObject, arguments: JsonObject) -> tuple[JsonObject, str]:
    """The arguments under the tool's own names, without the host's fields and without empty optional ones; and a note on
    what was changed, empty if nothing an agent should know. Unknown names stay, for `checked` to refuse."""
    day = _day(schema, arguments)
    meant = _aliases(tool, schema, arguments)
    hosts = sorted((arguments.keys() & HOST_FIELDS) - schema["properties"].keys() - meant.keys())
    named = {meant.get(name, name): value for name, value in arguments.items() if name not in {day, *hosts}}
    named |= dict.fromkeys(DAYS, arguments[day]) if day else {}
    given, empty = _without_nothing(named, schema)
    notes = [f"{alias} was taken for {name}." for alias, name in meant.items()]
    notes += [f"{day} was taken for {' and '.join(DAYS)}."] if day else []
    if hosts:
        notes.append(f"Left out, since the host adds it to every call: {', '.join(hosts)}.")
    if empty and tool.effect is Effect.CHANGE:
        notes.append(f"Empty text was taken as not given, so this stayed: {', '.join(empty)}.")
    return given, " ".join(notes)


def _day(schema: JsonObject, arguments: JsonObject) -> str | None:
    """The name under which one day was passed to a tool that takes the first and the last of several."""
    names: JsonObject = schema["properties"]
    given = [name for name in DAY if name in arguments and name not in names]
    return given[0] if len(given) == 1 and names.keys() >= set(DAYS) and not arguments.keys() & set(DAYS) else None


def _aliases(tool: type[Tool], schema: JsonObject, arguments: JsonObject) -> dict[str, str]:
    """The tool's own name for each argument that was passed under another. Not if the own name is given as well, or if two
    arguments mean the same."""
    names: JsonObject = schema["properties"]
    if arguments.keys() <= names.keys():
        return {}
    spellings = {spelling: name for name in names for spelling in _spellings(name)}
    found = dict[str, str]()
    for alias in arguments.keys() - names.keys():
        options = {spellings[alias]} if alias in spellings else names.keys() & ALIASES.get(alias, ())
        if alias == ID:
            required = {name for name in schema.get("required", ()) if name.endswith("_id")}
            gets = tool.tool_name().startswith("get_") and not required
            options = {name for name in names if name.endswith("_id")} if gets else required
        if len(options) == 1:
            found[alias] = next(iter(options))
    times = Counter(found.values())
    return {alias: name for alias, name in sorted(found.items()) if times[name] == 1 and name not in arguments}


@cache
def _spellings(name: str) -> frozenset[str]:
    """An argument's name as other languages write it: issueId, issueID, IssueId, issue-id."""
    first, *others = name.split("_")
    camel = first + "".join(map(str.capitalize, others))
    return frozenset(
        {camel, camel[0].upper() + camel[1:], re.sub("Id(s?)$", r"ID\1", camel), "-".join([first, *others])}
    )


def _without_nothing(values: JsonObject, schema: JsonObject) -> tuple[JsonObject, list[str]]:
    """The values without optional ones that are empty, and the names of these. A text for "no value" becomes None."""
    optional = schema["properties"].keys() - set(schema.get("required", ()))
    empty = sorted(name for name in optional & values.keys() if values[name] == "" or _is_empty_list(values[name]))
    given = {
        name: None if name in optional - SOUGHT and _is_nothing(value) else value
        for name, value in values.items()
        if name not in empty
    }
    return given, empty


def _is_empty_list(value: object) -> bool:
    """Whether a value is a list whose members are all empty. A list without members is not."""
    return is_array(value) and len(value) > 0 and all(one in ("", None) for one in value)


def _is_nothing(value: object) -> bool:
    """Whether a value is a text for "no value", or a list of it (Claude Code sends `["null"]` for a list that is null: its
    issue 95239)."""
    if is_array(value):
        return len(value) > 0 and all(isinstance(one, str) and _is_nothing(one) for one in value)
    return isinstance(value, str) and value.strip() in NOTHING


def checked(tool: type[Tool], schema: JsonObject, arguments: JsonObject) -> Tool:
    """The arguments as the tool's model. Raises Rejected naming field and rule; rejected values are never echoed."""
    names: JsonObject = schema["properties"]
    for name in arguments:
        if name not in names:
            near = nearest(name, names)
            hint = f" Did you mean {near}?" if near else ""
            raise Rejected(
                f"Unknown argument.{hint} Nothing was done.", code="unknown_argument", allowed=list(names),
                field=near,
            )  # fmt: skip
    # Some hosts send null for what is not given. A tool that clears fields reads it as that.
    keeps_null = bool(tool.clearable_fields())
    values = {name: _meant(value, names[name]) for name, value in arguments.items() if value is not None or keeps_null}
    values |= {name: _trimmed(values[name]) for name in trimmed_arguments(tool) & values.keys()}
    try:
        return arguments_model(tool).model_validate(values, strict=True)
    except ValidationError as error:
        raise rejected(error, tool, names) from None


def _meant(value: object, schema: JsonObject) -> object:
    """The value in the schema's type that a host or a model meant. Any other value stays and is refused later."""
    match schema.get("type"), value:
        case "boolean", str():
            return BOOLEANS.get(value.strip().lower(), value)
        case "integer", float() if value.is_integer():
            return int(value)
        case "integer", str() if whole := WHOLE.fullmatch(value.strip()):
            return int(whole[1])
        case "string", int() if schema.get("pattern") == BRIEF_ID_PATTERN and not isinstance(value, bool):
            return str(value)
        case "number", str() if DECIMAL.fullmatch(value.strip()):
            return float(value)
        case "array", _:
            return _listed(value, schema.get("items", {}))
        case "object", _:
            return _object(value, schema)
        case _:
            return value


def _listed(value: object, items: JsonObject) -> object:
    """The list that JSON text, or a single member without a list, was meant for."""
    if isinstance(value, str) and value.lstrip()[:1] in {"[", "{"}:
        value = _parsed(value)
    elif isinstance(value, str) and items.get("type") == "string":
        # A text with commas, or of blanks, is not one member: it would match nothing, and the empty result would look true.
        value = value if "," in value or not value.strip() or value.strip() in NOTHING else [value]
    if is_object(value) and items.get("type") == "object":
        value = [value]
    if is_array(value):
        return [_meant(item, items) for item in value]
    return value


def _object(value: object, schema: JsonObject) -> object:
    """An object that arrived as JSON text, its members read like arguments."""
    if isinstance(value, str) and value.lstrip()[:1] == "{":
        value = _parsed(value)
    if not is_object(value) or "properties" not in schema:
        return value
    given, _ = _without_nothing(value, schema)
    members: JsonObject = schema["properties"]
    return {name: _meant(one, members.get(name, {})) for name, one in given.items() if one is not None}


def _parsed(text: str) -> Any:
    try:
        return read_json(text)
    except ValueError:
        return text


def _trimmed(value: object) -> object:
    """A text, or each text of a list, without outer blanks."""
    if is_array(value):
        return [_trimmed(item) for item in value]
    return value.strip() if isinstance(value, str) else value


def rejected(error: ValidationError, tool: type[Tool], names: JsonObject) -> Rejected:
    """The error for arguments that a model refused, in words for an agent: up to five fields, each with its rule."""
    complaints: list[str] = []
    first: str | None = None
    for item in error.errors(include_url=False, include_input=False, include_context=False)[:5]:
        top = str(item["loc"][0]) if item["loc"] else ""
        members: JsonObject = names.get(top, {}).get("items", {}).get("properties", {})
        # Deeper parts of a path may be keys that the caller made up: only places in a list and known members are shown.
        places = (str(part) for part in item["loc"][1:4] if isinstance(part, int) or part in members)
        path = ".".join([top, *places]) if top in names else "arguments"
        first = first or (top if top in names else None)
        if item["type"] == "missing":
            rule = "required"
        elif is_issue(tool, top) and item["type"] not in {"value_error", FORM}:
            rule = AN_ISSUE
        elif item["type"] == "extra_forbidden":
            rule = f"holds an unknown member; there are: {', '.join(members)}"
        elif item["type"] == "string_too_short" and top in trimmed_arguments(tool):
            rule = "must not be blank"
        elif item["type"] in {"model_type", "dict_type"}:
            rule = f"must be an object{' with ' * bool(members)}{', '.join(members)}"
        else:
            rule = item["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
            rule = rule.replace("String should", "must").replace("List should", "must")
        complaints.append(f"{path}: {rule[:300]}")
    allowed = names.get(first or "", {})
    return Rejected(
        "; ".join(complaints) + ". Nothing was done.",
        field=first,
        allowed=allowed.get("enum") or allowed.get("items", {}).get("enum"),
    )
