"""The desk's own OpenAPI document, and the schemas that its references name."""

from __future__ import annotations

from typing import Any

from calltriage.desk.http.openapi import description

DOCUMENT = description()


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema itself, where this one refers to it."""
    while "$ref" in schema:
        schema = DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema
