"""Reads one message of a client: what is meant is repaired, what is no message is answered in words of our own.

The SDK quotes rejected values in its answers over HTTP, and over stdio answers nothing. It also refuses what hosts in
JavaScript write: an id of 1.0, and half of a surrogate pair (`"\\ud800"`). The half becomes an escaped NUL, which every
argument refuses with a clear error. Where an object is due, an empty list is an empty one, as programs write it that know
one kind of empty array (MCPSharp's issue 6), and arguments may be the text of one, as models' APIs hand them out.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

import mcp_types
import pydantic_core
from mcp_types import JSONRPCError, JSONRPCMessage
from mcp_types.jsonrpc import jsonrpc_message_adapter
from pydantic import ValidationError

from calltriage.leaves.lines import MAX_FRAME
from calltriage.leaves.strict_json import JsonObject, RefusedJson, is_crowded, is_object, refuse_depth

ESCAPES = re.compile(
    r"\\\\"  # an escaped backslash, whatever follows it
    r"|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"  # a whole pair
    r"|(?P<half>\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)
MAX_VALUES = 2**18
"""Values of one message: a fourth of what a text holds that is nothing but values."""
START = 64 * 1024
"""Characters in which the id of a message is looked for that is not read whole."""
VERSION = re.compile(r"[A-Za-z0-9._-]{1,32}")
"""The form of a protocol version. The answer to an unknown version repeats it, as the specification wants, so it must hold
no words."""


class Frame(NamedTuple):
    """One JSON-RPC message, and the text of it."""

    text: str
    message: JSONRPCMessage


def repaired(text: str) -> str:
    """JSON whose halves of surrogate pairs are escaped NULs; nothing else changes."""
    return ESCAPES.sub(lambda found: "\\u0000" if found["half"] else found[0], text) if "\\u" in text else text


def read_frame(data: str | bytes) -> Frame | JSONRPCError:
    """One JSON-RPC message, or the answer to what is none."""
    try:
        text = repaired(data if isinstance(data, str) else data.decode())
    except UnicodeDecodeError:
        return NOT_JSON
    if is_crowded(text, MAX_VALUES):
        return _refused(text, f"The message holds more than {MAX_VALUES} values. Send less in one call.")
    try:
        frame: Any = pydantic_core.from_json(text, allow_inf_nan=False)
        refuse_depth(frame)
    except RefusedJson as error:
        return _refused(text, f"The message {error}.")
    except ValueError:
        return NOT_JSON
    if not is_object(frame):
        return _error(None, mcp_types.INVALID_REQUEST, "The message must be one JSON-RPC 2.0 object. Send no batches.")
    return _of_object(text, frame)


def too_long(start: bytes) -> JSONRPCError:
    """The answer to a message that is longer than MAX_FRAME, with the request's id where the start of it says so."""
    text = start[:START].decode(errors="replace")
    return _refused(text, f"The message is longer than {MAX_FRAME} bytes. Pass large files by their path.")


def _refused(text: str, why: str) -> JSONRPCError:
    """The answer to a message that is not read, with the request's id where the start of it says so."""
    try:
        frame: Any = pydantic_core.from_json(text[:START], allow_partial=True)
    except ValueError:
        frame = None
    given = frame.get("id") if is_object(frame) and isinstance(frame.get("method"), str) else None
    known = given if isinstance(given, int | str) and not isinstance(given, bool) else None
    return _error(known, mcp_types.INVALID_REQUEST, why)


def _of_object(text: str, frame: JsonObject) -> Frame | JSONRPCError:
    given: object = frame.get("id")
    changes: JsonObject = {"id": int(given)} if isinstance(given, float) and given.is_integer() else {}
    if changes := changes | _params_meant(frame):
        frame |= changes
        text, given = json.dumps(frame, separators=(",", ":")), frame.get("id")
    known = given if isinstance(given, int | str) and not isinstance(given, bool) else None
    if "method" not in frame:  # an answer: its id is one of the server's requests
        known = None
    elif "id" in frame and known is None:
        return _error(None, mcp_types.INVALID_REQUEST, "The request's id must be a text or a whole number.")
    try:
        message = jsonrpc_message_adapter.validate_python(frame, by_name=False)
    except ValidationError:
        return _error(
            known,
            mcp_types.INVALID_REQUEST,
            "The message is no JSON-RPC 2.0 message: jsonrpc must be 2.0, method a text, params or result an object.",
        )
    if not _has_sound_version(frame):
        return _error(known, mcp_types.INVALID_PARAMS, "The protocol version must be like 2026-07-28.")
    return Frame(text, message)


def _params_meant(frame: JsonObject) -> JsonObject:
    """`params` of a request as an object with an object of `arguments`, where these came as an empty list or as JSON text;
    empty if nothing changes."""
    params: Any = frame.get("params")
    if "method" not in frame or params == []:
        return {"params": {}} if "method" in frame else {}
    arguments: object = params.get("arguments") if is_object(params) else None
    if isinstance(arguments, str):
        try:
            arguments = pydantic_core.from_json(arguments or "{}", allow_inf_nan=False)
            refuse_depth(arguments)
        except ValueError:
            return {}
        return {"params": params | {"arguments": arguments}} if is_object(arguments) else {}
    return {"params": params | {"arguments": {}}} if arguments == [] else {}


def _has_sound_version(frame: JsonObject) -> bool:
    """Whether the version that a request carries in its metadata, if one, can be one: the SDK's answer repeats it."""
    found: object = frame
    for name in ("params", "_meta", "io.modelcontextprotocol/protocolVersion"):
        found = found.get(name) if is_object(found) else None
    return not isinstance(found, str) or VERSION.fullmatch(found) is not None


def _error(known: int | str | None, code: int, message: str) -> JSONRPCError:
    return JSONRPCError(jsonrpc="2.0", id=known, error=mcp_types.ErrorData(code=code, message=message))


NOT_JSON = _error(None, mcp_types.PARSE_ERROR, "The message is not JSON in UTF-8.")
