"""What follows from the declaration of an operation."""

from __future__ import annotations

import inspect
import string
import types
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from pydantic import TypeAdapter, ValidationError

from calltriage.operations import CATALOGUE
from calltriage.operations.attachments import CreateAttachment, GetAttachment
from calltriage.operations.base import Api, Effect, Operation
from calltriage.operations.calls import GetCall
from calltriage.operations.fields import Uuid
from calltriage.operations.flags import AddFlag, Flag, ListFlags
from calltriage.operations.issues import CreateIssue, DeleteIssue, GetIssue, ListIssues, UpdateIssue
from calltriage.operations.results import Page

UUID = "0b7f6a54-6f0e-4a57-9d2f-3f2f1c8c9a10"

every_operation = pytest.mark.parametrize("operation", CATALOGUE, ids=lambda operation: operation.tool_name())


@every_operation
def test_what_the_model_reads_is_there_and_short(operation: type[Operation[Any]]) -> None:
    text = inspect.cleandoc(operation.__dict__.get("__doc__") or "")
    assert 20 < len(text) <= 600
    assert len(text.splitlines()[0]) <= 120


@every_operation
def test_path_fields_are_declared_required_and_cannot_hold_a_slash(operation: type[Operation[Any]]) -> None:
    for name in operation.path_fields():
        assert operation.model_fields[name].is_required()
        for value in ("a/b", "..", "%2F", "a%2Fb", "a b", ""):
            with pytest.raises(ValidationError, match=name):
                operation.model_validate({name: value})


@pytest.mark.parametrize("annotation", [str, Uuid])
def test_an_id_in_a_path_says_what_it_is_called_when_it_names_nothing(annotation: Any) -> None:
    declared = {"__module__": __name__, "__annotations__": {"widget_id": annotation}}
    with pytest.raises(TypeError, match=r"GetWidget\.widget_id"):
        types.new_class(
            "GetWidget",
            (Operation[Flag],),
            {"http": "GET /v1/widgets/{widget_id}", "effect": Effect.READ},
            lambda body: body.update(declared),
        )


@every_operation
def test_the_declaration_is_complete(operation: type[Operation[Any]]) -> None:
    assert operation.path.startswith("/")
    assert operation.success
    assert all(200 <= status < 300 for status in operation.success)
    assert operation.api in Api
    assert operation.effect in Effect
    assert (operation.method == "GET") == (operation.effect is Effect.READ)
    assert (operation.scope is not None) == (operation.api is Api.ATTACHMENTS)
    TypeAdapter(operation.result_type()).json_schema()


def text_schemas(schema: Any, place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema of text in a JSON schema, with its place."""
    if isinstance(schema, dict):
        if schema.get("type") == "string":
            yield place, schema
        for name, part in schema.items():
            yield from text_schemas(part, f"{place}/{name}")
    elif isinstance(schema, list):
        for number, part in enumerate(schema):
            yield from text_schemas(part, f"{place}/{number}")


@every_operation
def test_every_text_argument_is_bounded(operation: type[Operation[Any]]) -> None:
    for place, schema in text_schemas(operation.model_json_schema()):
        bounded = "maxLength" in schema or "enum" in schema or "const" in schema or "{12}$" in schema.get("pattern", "")
        assert bounded, place


def test_no_text_argument_takes_a_nul() -> None:
    taken: list[str] = []
    for operation in CATALOGUE:
        for name in operation.model_fields:
            try:
                operation.model_validate({name: "a\x00b"})
            except ValidationError as error:
                refused = {str(part["loc"][0]) for part in error.errors() if part["type"] != "missing"}
                if name not in refused:
                    taken.append(f"{operation.__name__}.{name}")
            else:
                taken.append(f"{operation.__name__}.{name}")
    assert taken == []


def test_tool_names_are_unique_and_follow_from_the_class_names() -> None:
    names = [operation.tool_name() for operation in CATALOGUE]
    assert len(set(names)) == len(names)
    assert AddFlag.tool_name() == "add_flag"
    assert GetCall.tool_name() == "get_call"
    assert all(set(name) <= set(string.ascii_lowercase + "_") for name in names)


def test_no_two_operations_share_a_route() -> None:
    routes = [(operation.method, operation.path) for operation in CATALOGUE]
    assert len(set(routes)) == len(routes)


def test_a_path_is_filled_with_its_fields() -> None:
    assert GetIssue(issue_id=UUID).url() == f"/v1/triage/issues/{UUID}"
    assert GetAttachment(attachment_id="a1").url() == "/attachments/2023-03/a1"


def test_marks_that_a_url_could_misread_are_quoted() -> None:
    assert GetCall(call_id="a:b@c+d").url() == "/v1/calls/" + quote("a:b@c+d", safe="")


def test_the_payload_holds_neither_path_fields_nor_unset_ones() -> None:
    flag = AddFlag(issue_id=UUID, call_id="call-card", type="Missed handoff", message_index=0)
    assert flag.payload() == {"call_id": "call-card", "type": "Missed handoff", "message_index": 0}


def test_a_patch_says_what_was_set_a_null_included() -> None:
    assert UpdateIssue(issue_id=UUID, title="t", assignee_id=None).payload() == {"title": "t", "assignee_id": None}
    assert UpdateIssue(issue_id=UUID).payload() == {}


def test_an_operation_without_result_says_none() -> None:
    assert DeleteIssue.result_type() is None


def test_only_lists_may_be_repeated_in_a_query() -> None:
    assert ListIssues.list_fields() == {"status", "severity", "category"}
    assert ListFlags.list_fields() == frozenset()


def test_the_result_type_is_the_one_declared() -> None:
    assert AddFlag.result_type() is Flag
    assert ListFlags.result_type() == Page[Flag]


def test_an_operation_that_names_no_result_says_so() -> None:
    class Nameless(Operation, http="GET /x", effect=Effect.READ):  # pyright: ignore[reportMissingTypeArgument]
        """Names no result."""

    with pytest.raises(TypeError, match="Nameless does not name its result"):
        Nameless.result_type()


def test_unknown_arguments_are_refused_and_never_echoed() -> None:
    with pytest.raises(ValidationError) as caught:
        GetIssue.model_validate({"issue_id": "canary-value", "org_id": "canary-other"})
    assert "canary-value" not in str(caught.value)
    assert "canary-other" not in str(caught.value)


def test_an_operation_cannot_be_changed_after_its_check() -> None:
    call = GetIssue(issue_id=UUID)
    with pytest.raises(ValidationError):
        call.issue_id = "../x"


def test_results_ignore_what_they_do_not_know() -> None:
    adapter = TypeAdapter[Page[Flag]](ListFlags.result_type())
    row = {"id": "f", "issue_id": "i", "call_id": "c", "type": "t", "created_at": "now", "new_field": 1}
    page = adapter.validate_python({"items": [row], "further": True})
    assert page.items[0].id == "f"
    assert page.next_cursor is None


def test_results_that_hold_words_of_others_name_their_origin() -> None:
    assert Flag.origin == "flag authors and call parties"
    assert Page[Flag].origin is None


def test_what_may_be_repeated_follows_from_the_effect() -> None:
    assert CreateIssue.effect is Effect.ADD
    assert AddFlag.effect is Effect.ADD
    assert CreateAttachment.effect is Effect.ADD
