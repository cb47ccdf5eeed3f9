"""Forms of clients that nobody knows yet: how many may come in at once, and which one makes room."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import pytest
from starlette.requests import Request
from virtual_time import VirtualLoop

from calltriage.desk.app import Desk
from calltriage.desk.database.transaction import ContractError
from calltriage.desk.http.tokens import FORM_SECONDS, FORMS, FORMS_OF_ADDRESS, FormReader


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Callable[[], VirtualLoop]]]:
    return "asyncio", {"loop_factory": VirtualLoop}


def request(address: str, *pieces: bytes, **headers: str) -> Request:
    """A request whose body is these pieces, and then never ends."""
    left = list(pieces)

    async def receive() -> dict[str, Any]:
        if not left:
            await anyio.sleep_forever()
        return {"type": "http.request", "body": left.pop(0), "more_body": True}

    fields = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "POST", "headers": fields, "client": (address, 1)}, receive)


async def read(forms: FormReader, given: Request, refused: list[Any], *, is_known: bool = False) -> None:
    try:
        await forms.read(given, is_known=is_known)
    except ContractError as error:
        refused.append((given.client.host if given.client else "", error.status, anyio.current_time()))


async def test_a_form_that_does_not_come_is_given_up_after_its_time() -> None:
    refused, began = list[Any](), anyio.current_time()
    await read(FormReader(), request("a", b"g"), refused)
    [(_, status, at)] = refused
    assert status == 408
    assert at - began == pytest.approx(FORM_SECONDS, abs=0.1)


@pytest.mark.parametrize(
    ("addresses", "room"),
    [(["a"] * (FORMS_OF_ADDRESS + 1), "a"), (["first", *map(str, range(FORMS))], "first")],
    ids=["of one address", "of all"],
)
async def test_where_places_are_taken_the_slowest_makes_room(addresses: list[str], room: str) -> None:
    refused, forms = list[Any](), FormReader()
    async with anyio.create_task_group() as group:
        for address in addresses:
            group.start_soon(read, forms, request(address, b"g"), refused)
            await anyio.lowlevel.checkpoint()
        await anyio.sleep(1)
        assert [(one, status) for one, status, _ in refused] == [(room, 408)]
        group.cancel_scope.cancel()


async def test_a_client_that_is_known_takes_none_of_these_places() -> None:
    refused, forms = list[Any](), FormReader()

    async with anyio.create_task_group() as group:
        for _ in range(FORMS_OF_ADDRESS):
            group.start_soon(read, forms, request("a", b"g"), refused)
        await anyio.sleep(1)

        async def known() -> None:
            await forms.read(request("a", b"g"), is_known=True)

        group.start_soon(known)
        await anyio.sleep(1)
        assert refused == []
        group.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content-type": "application/x-www-form-urlencoded", "content-length": "65537"}, 413),
        ({"content-type": "multipart/form-data; boundary=x", "content-length": "9"}, 400),
        ({"content-type": "application/json", "content-length": "9"}, 400),
        ({"authorization": "Basic ZGVzazp3cm9uZw==", "content-length": "9"}, 401),
        ({"authorization": "Bearer x", "content-length": "9"}, 401),
    ],
)
async def test_what_is_refused_by_its_header_is_not_read(the_desk: Desk, headers: dict[str, str], status: int) -> None:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        raise AssertionError("the body was read")

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    fields = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {
        "type": "http", "method": "POST", "path": "/oauth/token", "raw_path": b"/oauth/token", "query_string": b"",
        "headers": fields, "client": ("a", 1), "server": ("b", 2), "scheme": "http", "root_path": "",
    }  # fmt: skip
    await the_desk(scope, receive, send)
    assert sent[0]["status"] == status
