"""Output schemas, built from the shapes that tools declare, to the last field: see answers/shapes.py.

They are small, since hosts send them to models: no descriptions, patterns or lengths, and what stands more than once is
defined once. They are read off the types, as a server is asked for all of them when it starts.
"""

from __future__ import annotations

import json
import types
from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Required, TypeGuard, Union, get_args, get_origin, is_typeddict

from calltriage.leaves.strict_json import JsonObject, is_array, is_object
from calltriage.operations.base import Effect, Tool
from calltriage.operations.results import Page as ApiPage
from calltriage.operations.results import Result
from calltriage.server.answers.shapes import Failure, Marks, Page, Shown, Touched, hints
from calltriage.server.context import result_of

SCALARS: dict[Any, str] = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}
SMALLEST = 40
"""Only schemas with more characters get a definition of their own."""


def result_schema(tool: type[Tool]) -> JsonObject:
    """An object root with `anyOf` of result and error, so that no client throws an error away for breaking it.

    Of a write nothing but its outcome is always there: the API may have done it and answered unreadably.
    """
    shapes = _Shapes()
    found = shapes.members(result_of(tool)) if result_of(tool) is not None else {}
    if tool.effect is not Effect.READ:
        found = {name: (schema, False) for name, (schema, _) in found.items()}
        found["outcome"] = ({"type": "string"}, True)
    if tool.effect in {Effect.ADD, Effect.ENSURE}:
        found.setdefault("issues", (shapes.of(list[Touched]), False))
    always = [name for name, (_, is_always) in found.items() if is_always]
    result = {"required": always, "properties": {name: schema for name, (schema, _) in found.items()}}
    error = {"required": ["error"], "properties": {"error": shapes.of(Failure)}}
    root: JsonObject = {"type": "object", "anyOf": [result, error]}
    return shapes.with_definitions(root)


Members = dict[str, tuple[JsonObject, bool]]
"""Schemas by the member's name, and whether it is always there."""


def marks_schema() -> JsonObject:
    """The members that any object of an answer may have."""
    shapes = _Shapes()
    return shapes.with_definitions(_object(shapes.members(Marks)))


class _Shapes:
    """Schemas of the shapes that stand in one answer."""

    def __init__(self) -> None:
        self._named: dict[str, JsonObject] = {}
        self._names: dict[str, str] = {}

    def of(self, annotation: Any) -> JsonObject:
        """The schema of a value of this type."""
        annotation, *marks = _unwrapped(annotation)
        origin = get_origin(annotation)
        if annotation in SCALARS:
            return {"type": SCALARS[annotation]}
        if origin is Literal:
            return {"enum": list(get_args(annotation))}
        if origin is list:
            return {"type": "array", **_named("items", self.of(get_args(annotation)[0]))}
        if origin is dict:
            return {"type": "object", **_named("additionalProperties", self.of(get_args(annotation)[1]))}
        if origin in {Union, types.UnionType}:
            return self._any_of(list(get_args(annotation)))
        if not (is_typeddict(annotation) or _is_result(annotation)):
            return {}  # any JSON
        schema = _object(self.members(annotation, *marks))
        return self._defined(
            annotation.__name__,
            schema | ({"additionalProperties": True} if any(mark.is_open for mark in marks) else {}),
        )

    def members(self, shape: Any, *marks: Shown) -> Members:
        """The members of an object of this shape."""
        shape, *more = _unwrapped(shape)
        marks = (*marks, *more)
        if is_typeddict(shape):
            found = {name: (self.of(hint), get_origin(hint) is Required) for name, hint in hints(shape).items()}
        elif _is_page(shape):
            found = self._page(shape)
        else:
            found = self._fields(shape)
        found = {name: one for name, one in found.items() if all(mark.shows(name) for mark in marks)}
        for mark in marks:
            for beside in mark.beside:
                found |= self.members(beside)
        return found

    def _fields(self, result: type[Result]) -> Members:
        return {
            name.removesuffix("_"): (self.of(_without_null(info.annotation)), info.is_required())
            for name, info in result.model_fields.items()
            if name != "unreadable_fields"
        }

    def _page(self, page: type[ApiPage[Any]]) -> Members:
        """A page of an API's list, each row in brief."""
        row: type[Result] = get_args(page.model_fields["items"].annotation)[0]
        brief = None if row.brief is None else frozenset(row.brief)
        shown = self.members(row, Shown(only=brief, without=frozenset({"org_id"})))
        if row.begins:
            shown |= {name: ({"type": "string"}, False) for name in (row.begins, f"{row.begins}_begins")}
        items = {"type": "array", "items": self._defined(row.__name__, _object(shown))}
        return {"items": (items, True), **self.members(Page, Shown(without=frozenset({"total"})))}

    def _any_of(self, options: list[Any]) -> JsonObject:
        schemas = [self.of(one) for one in options]
        if len(schemas) == 1:
            return schemas[0]
        if all(one.keys() == {"type"} for one in schemas):
            return {"type": [one["type"] for one in schemas]}
        return {"anyOf": schemas}

    def _defined(self, name: str, schema: JsonObject) -> JsonObject:
        """A reference to the schema, which stands under a name of its own."""
        text = json.dumps(schema)
        if text not in self._names:
            number = sum(known.rstrip("0123456789") == name for known in self._named)
            self._names[text] = f"{name}{number + 1}" if number else name
            self._named[self._names[text]] = schema
        return {"$ref": f"#/$defs/{self._names[text]}"}

    def with_definitions(self, root: JsonObject) -> JsonObject:
        """The schema with `$defs` for what it uses more than once; the rest is written where it is used."""
        used, waiting = Counter[str](), [root]
        while waiting:
            for name in _references(waiting.pop()):
                used[name] += 1
                if used[name] == 1:
                    waiting.append(self._named[name])
        kept = {name for name, count in used.items() if count > 1 and len(json.dumps(self._named[name])) > SMALLEST}
        definitions = {name: self._placed(self._named[name], kept) for name in self._named if name in kept}
        return {**self._placed(root, kept), **({"$defs": definitions} if definitions else {})}

    def _placed(self, node: object, kept: set[str]) -> Any:
        if is_array(node):
            return [self._placed(one, kept) for one in node]
        if not is_object(node):
            return node
        if "$ref" in node and (name := node["$ref"].rpartition("/")[2]) not in kept:
            return self._placed(self._named[name], kept)
        return {name: self._placed(one, kept) for name, one in node.items()}


def _unwrapped(annotation: object) -> list[Any]:
    """A type without Required and Annotated, followed by the Shown marks on it."""
    marks = list[Any]()
    while get_origin(annotation) in {Required, Annotated}:
        annotation, *said = get_args(annotation)
        marks += [one for one in said if isinstance(one, Shown)]
    return [annotation, *marks]


def _without_null(annotation: object) -> Any:
    """The type without None: a field without a value is left out of an answer."""
    if get_origin(annotation) not in {Union, types.UnionType}:
        return annotation
    return Union[tuple(one for one in get_args(annotation) if one is not type(None))]  # noqa: UP007  of as many as there are


def _is_result(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Result)


def _is_page(shape: object) -> TypeGuard[type[ApiPage[Any]]]:
    return isinstance(shape, type) and issubclass(shape, ApiPage)


def _named(name: str, schema: JsonObject) -> JsonObject:
    """The schema under its keyword, unless it says nothing."""
    return {name: schema} if schema else {}


def _object(members: Members) -> JsonObject:
    """An object inside an answer. It does not say what is always there, since any of it may be cut or unreadable."""
    return {"type": "object", "properties": {name: schema for name, (schema, _) in members.items()}}


def _references(node: object) -> Iterator[str]:
    """Names of the definitions that a schema refers to."""
    if is_array(node):
        for one in node:
            yield from _references(one)
    elif is_object(node):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"].rpartition("/")[2]
        for one in node.values():
            yield from _references(one)
