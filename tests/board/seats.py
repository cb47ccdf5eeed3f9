"""A person before the board: the tab of a browser, what is announced there, and the server behind a page."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
from mcp.client import Client as McpClient
from pydantic import SecretStr

from calltriage import serving
from calltriage.client.client import Client
from calltriage.leaves.seals import Seals
from calltriage.leaves.shutdown import Ending
from calltriage.offering import ALL
from calltriage.server.app import build_server
from calltriage.server.files.handover import Handover
from calltriage.server.questions import Questions
from calltriage.server.toolsets import select
from calltriage.server.transports.board_page import BoardPage
from calltriage.server.transports.http import build_http_app

if TYPE_CHECKING:
    from playwright.async_api import Browser, BrowserContext, Frame, Page

WIDE, PHONE = (1000, 900), (360, 740)


@dataclass
class Seat:
    """A person before the board.

    Attributes:
        page: the browser's tab.
        board: the document that the board is in: a frame of the host, or the tab's own.
        requests: URLs that the tab asked for.
        complaints: what the browser complained of: errors of scripts, breaches of policies.
    """

    page: Page
    board: Frame
    requests: list[str]
    complaints: list[str]

    async def heading(self, words: str) -> None:
        """Wait until this screen is shown."""
        await self.board.wait_for_selector(f"h1:has-text('{words}')", timeout=10_000)
        await self.board.wait_for_selector("main:not([aria-busy])", timeout=10_000)

    async def press(self, *keys: str) -> None:
        for key in keys:
            await self.page.keyboard.press(key)

    async def said(self, words: str) -> str:
        """Wait until an outcome with these words is announced; all of it."""
        await self.board.wait_for_selector(f"#said:has-text('{words}')", timeout=10_000)
        return await self.board.locator("#said").inner_text()

    async def seen(self, what: str) -> list[Any]:
        """What the host heard of the view."""
        return await self.page.evaluate(f"seen.{what}")


def watched(page: Page, requests: list[str], complaints: list[str]) -> None:
    """Keep what a tab asks for and complains of."""
    page.on("request", lambda one: requests.append(one.url))
    page.on("pageerror", lambda one: complaints.append(str(one)))
    page.on(
        "console",
        lambda one: complaints.append(f"{one.text} {one.location}") if one.type in {"error", "warning"} else None,
    )


@asynccontextmanager
async def tab(browser: Browser, size: tuple[int, int] = WIDE, **more: Any) -> AsyncGenerator[BrowserContext]:
    context = await browser.new_context(viewport={"width": size[0], "height": size[1]}, **more)
    try:
        yield context
    finally:
        await context.close()


async def arrive(seat: Seat, agent: McpClient, tool: str, **arguments: Any) -> None:
    """The host calls a tool, as its agent wants it, and gives the view the result."""
    result = await agent.call_tool(tool, arguments)
    body = result.model_dump(mode="json", by_alias=True, exclude_none=True)
    await seat.page.evaluate("result => bridge.sendToolResult(result)", body)


@dataclass
class Served:
    """The board's page on a port, over a desk in this process."""

    base: str
    page: BoardPage

    @property
    def link(self) -> str:
        return f"{self.base}/ui#{self.page.new_code()}"


@asynccontextmanager
async def board_on_port(
    client: Client, folder: Path, questions: Questions | None = None, **more: Any
) -> AsyncGenerator[Served]:
    """The board's page on a port, with every tool; files come and go through the folder."""
    token, seals, ending = SecretStr("token-for-tests-0123456789"), Seals(), Ending()
    with serving.listen("127.0.0.1", 0) as listening:
        handover = Handover(serving.address_of(listening), folder / "uploads", seals, 2**20, client)
        tools = select([ALL])
        server = build_server(
            client, version="0.0.0", tools=tools, duplex=False, seals=seals, handover=handover,
            questions=questions and replace(questions, page=f"{serving.address_of(listening)}/ui"), **more,
        )  # fmt: skip
        board = BoardPage(seals, token, questions)
        app = build_http_app(server, host="127.0.0.1", token=token, page=board, handover=handover)
        found = Served(serving.address_of(listening), board)
        async with anyio.create_task_group() as group:
            started = anyio.Event()

            async def serve() -> None:
                await serving.serve_app(app, listening, lambda _: started.set(), ending=ending)

            group.start_soon(serve)
            await started.wait()
            try:
                yield found
            finally:
                ending._act()  # as a signal does, in a process that goes on
