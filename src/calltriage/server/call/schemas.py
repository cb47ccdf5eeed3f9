"""Schemas as an agent should read them: flat, small, and saying what the server accepts."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

from pydantic import Field, create_model

from calltriage.leaves.strict_json import JsonObject, is_array, is_object
from calltriage.operations.base import Operation, Tool
from calltriage.operations.fields import IssueRef, Names, Trimmed, WireOnly, marks

UNSAID = ("title", "default")
"""Schema keywords that only repeat what the name or the description says."""


@cache
def arguments_model(tool: type[Tool]) -> type[Tool]:
    """What an agent passes to a tool: an operation's own fields, where an issue may also be given by its ticket or URL
    and fields that only the wire knows are left out. Any other tool is its own argument model."""
    if not issubclass(tool, Operation):
        return tool
    fields: JsonObject = {}
    for name, field in tool.model_fields.items():
        if any(isinstance(mark, WireOnly) for mark in field.metadata):
            continue
        if names_issue(field.metadata):  # the rules for a UUID do not hold for a reference
            fields[name] = (IssueRef, Field(default=field.default, description=field.description))
        else:
            fields[name] = (field.rebuild_annotation(), field)
    return create_model(tool.__name__, __base__=Tool, __doc__=tool.__doc__, **fields)


@cache
def trimmed_arguments(tool: type[Tool]) -> frozenset[str]:
    """Arguments whose outer blanks are left out."""
    fields = arguments_model(tool).model_fields.items()
    return frozenset(info.alias or name for name, info in fields if any(isinstance(m, Trimmed) for m in marks(info)))


def names_issue(metadata: Iterable[Any]) -> bool:
    return any(isinstance(mark, Names) and mark.kind == "issue" for mark in metadata)


def input_schema(model: type[Tool]) -> JsonObject:
    """The model's JSON Schema without `$ref`, without unions with null, without titles. Objects inside it take no
    other members, either, though the schema does not say so. Members of lists have no patterns here: `checked` has them."""
    schema = model.model_json_schema()
    definitions: JsonObject = schema.pop("$defs", {})
    flat: JsonObject = _flatten(schema, definitions)
    flat.pop("description", None)  # the tool has it already
    for name in model.clearable_fields():
        flat["properties"][name]["type"] = [flat["properties"][name]["type"], "null"]
    return flat


def _flatten(node: object, definitions: JsonObject, *, in_list: bool = False) -> Any:
    if is_array(node):
        return [_flatten(item, definitions, in_list=in_list) for item in node]
    if not is_object(node):
        return node
    members = dict(node)
    if "$ref" in members:
        target = dict(definitions[members.pop("$ref").rpartition("/")[2]])
        target.pop("description", None)
        target.pop("additionalProperties", None)
        members = {**target, **members}
    members = _without_null(members)
    properties = members.pop("properties", None)
    for name in {"minLength", "minItems", "minimum"} & members.keys():
        if members[name] in {0, 1}:  # what nobody passes: an empty or negative value gets an error of its own
            del members[name]
    unsaid = {*UNSAID, *(("pattern",) if in_list else ())}
    flat = {
        key: _flatten(value, definitions, in_list=in_list or key == "items")
        for key, value in members.items()
        if key not in unsaid
    }
    if properties is not None:  # a property may be called `title`: only keywords are dropped
        flat["properties"] = {name: _flatten(value, definitions, in_list=in_list) for name, value in properties.items()}
    return flat


def _without_null(members: JsonObject) -> JsonObject:
    """A schema without its choice of null, if there is one other choice."""
    options = [option for option in members.get("anyOf", ()) if option != {"type": "null"}]
    if len(options) != 1:
        return members
    return {**options[0], **{name: value for name, value in members.items() if name != "anyOf"}}
