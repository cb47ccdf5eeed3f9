"""Values for the fields of operations and tools, found by trying: a new field needs none written down for it."""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import BaseModel, ValidationError, create_model

ONE = "0b7f6a54-6f0e-4a57-9d2f-3f2f1c8c9a10"
ANOTHER = "9bbe5547-d5b1-4b83-9f80-87c4af7c6b34"
CANDIDATES: tuple[Any, ...] = (
    ONE, ANOTHER, "high", "low", "done", "closed", "manual", "client", "call", "file", "blocks", "duplicate_of",
    "verify", "status", "report", "create", "text/plain", "audio/wav", 3, 4, 30.5, [ONE], [ANOTHER],
    [{"resource_type": "call", "resource_id": ONE}], [{"resource_type": "file", "resource_id": ANOTHER}],
    {"label": "one"}, {"label": "another"}, True, False,
)  # fmt: skip


@cache
def samples(model: type[BaseModel], name: str) -> tuple[Any, ...]:
    """Different values that a field takes, at least one, none of them its default."""
    info = model.model_fields[name]
    one: Any = create_model("One", value=(info.annotation or Any, info))
    found = list[Any]()
    for value in CANDIDATES:
        try:
            one.model_validate({info.alias or "value": value}, strict=True)
        except ValidationError:
            continue
        if value != info.default:
            found.append(value)
    assert found, f"no sample fits {model.__name__}.{name}: add one to CANDIDATES"
    return tuple(found)
