"""The board in a real browser: Debian's Chromium, driven by Playwright; as a view in the extension's own host, and as a
page.

One event loop runs all tests of this package, so that the browser is started once for them. It does not outlive the package:
other tests want one of their own.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from mcp.client import Client as McpClient
from npm import NODE, install

from board.seats import WIDE, Seat, Served, board_on_port, tab, watched
from calltriage.client.client import Client
from calltriage.server.call.views import BOARD

if TYPE_CHECKING:
    from playwright.async_api import Browser

CHROMIUM = shutil.which("chromium")
PACKAGES = ("@modelcontextprotocol/ext-apps@2.0.4", "axe-core@4.14.1", "rolldown@1.3.3")


@pytest.fixture(scope="package")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="package")
async def browser(anyio_backend: str) -> AsyncGenerator[Browser]:
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on this machine (Debian: apt-get install chromium)")
    from playwright.async_api import async_playwright  # as long to import as all that a quick test needs

    async with async_playwright() as driver:
        opened = await driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        await opened.close()


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the packages from npm."""
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on this machine (Debian: apt-get install chromium)")
    return install(tmp_path_factory.mktemp("npm"), *PACKAGES)


@pytest.fixture(scope="session")
def host_script(packages: Path) -> str:
    """The host of views as one script."""
    home = packages.parent
    shutil.copy(Path(__file__).with_name("host.mjs"), home)
    options = ["--file", "host.bundle.js", "--format", "iife", "--platform", "browser"]
    command = [NODE, packages / "rolldown" / "bin" / "cli.mjs", "host.mjs", *options]
    subprocess.run([*map(str, command)], cwd=home, check=True, capture_output=True, timeout=60)
    return (home / "host.bundle.js").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def axe(packages: Path) -> str:
    return (packages / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


Open = Callable[..., Any]


@pytest.fixture
async def view(browser: Browser, host_script: str) -> Open:
    """Opens a view of an MCP client, the board unless told: `async with view(agent, ...) as seat`. The result of a
    tool that the host called is given to it with `arrive`."""

    @asynccontextmanager
    async def opened(
        agent: McpClient, size: tuple[int, int] = WIDE, theme: str = "light", uri: str = BOARD, **context: Any
    ) -> AsyncGenerator[Seat]:
        found = (await agent.read_resource(uri)).contents[0]
        async with tab(browser, size) as tabs:
            page, requests, complaints = await tabs.new_page(), list[str](), list[str]()
            watched(page, requests, complaints)

            async def call_tool(params: dict[str, Any]) -> dict[str, Any]:
                result = await agent.call_tool(
                    params["name"], params.get("arguments") or {}, meta=params.get("_meta") or None
                )
                return result.model_dump(mode="json", by_alias=True, exclude_none=True)

            await page.expose_function("callTool", call_tool)
            await page.set_content(
                "<!doctype html><html lang='en'><title>host</title><body style='margin:0'></body></html>"
            )
            await page.evaluate(host_script)
            await page.evaluate(
                "([html, context]) => startHost(html, context)",
                [getattr(found, "text", ""), {"theme": theme, **context}],
            )
            yield Seat(page, page.frames[1], requests, complaints)

    return opened


@pytest.fixture
async def served(client: Client, tmp_path: Path) -> AsyncGenerator[Served]:
    """The page, with every tool; each `link` signs one person in."""
    async with board_on_port(client, tmp_path) as found:
        yield found


@pytest.fixture
async def page(browser: Browser) -> Open:
    """Opens the board's page: `async with page(served, ...) as seat`."""

    @asynccontextmanager
    async def opened(
        served: Served, size: tuple[int, int] = WIDE, theme: str = "light", question: str = "", **more: Any
    ) -> AsyncGenerator[Seat]:
        async with tab(browser, size, color_scheme=theme, **more) as tabs:
            page, requests, complaints = await tabs.new_page(), list[str](), list[str]()
            watched(page, requests, complaints)
            await page.goto(served.link + question)
            seat = Seat(page, page.main_frame, requests, complaints)
            await seat.heading("Issues")
            yield seat

    return opened


Axe = Callable[[Seat], Awaitable[list[str]]]


@pytest.fixture
def violations(axe: str) -> Axe:
    """The rules that a screen breaks, by axe-core."""

    async def found(seat: Seat) -> list[str]:
        if not await seat.board.evaluate("() => 'axe' in window"):
            await seat.board.evaluate(axe)
        result = await seat.board.evaluate("() => axe.run({ resultTypes: ['violations', 'passes'] })")
        assert len(result["passes"]) > 10
        return [f"{one['id']}: {one['nodes'][0]['html']}" for one in result["violations"]]

    return found
