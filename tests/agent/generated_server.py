"""An MCP server that FastMCP generates from the desk's OpenAPI document: over stdio, or with `MCP_PORT` on that port.

`seats.py` and the benchmark of peers start it, in an environment of its own: FastMCP is no dependency of this project.
"""

# pyright: reportMissingImports=false

from __future__ import annotations

import os
from collections.abc import AsyncGenerator

import httpx2


class DeskAuth(httpx2.Auth):
    """The API key, or on the attachments' side a token that it buys."""

    requires_response_body = True

    def __init__(self, url: str, client_id: str, key: str) -> None:
        self._url, self._client_id, self._key = url, client_id, key
        self._token: str | None = None

    async def async_auth_flow(self, request: httpx2.Request) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        if not request.url.path.startswith("/attachments/"):
            request.headers["authorization"] = self._key
        else:
            if self._token is None:
                pair = httpx2.BasicAuth(self._client_id, self._key)
                asked = httpx2.Request("POST", f"{self._url}/oauth/token", data={"grant_type": "client_credentials"})
                bought = yield next(pair.auth_flow(asked))
                await bought.aread()
                self._token = bought.json()["access_token"]
            request.headers["authorization"] = f"Bearer {self._token}"
        yield request


def main() -> None:
    from fastmcp import FastMCP

    url = os.environ["DESK_URL"]
    document = httpx2.get(f"{url}/openapi.json").json()
    auth = DeskAuth(url, os.environ["DESK_CLIENT"], os.environ["DESK_KEY"])
    client = httpx2.AsyncClient(base_url=url, auth=auth, timeout=60)
    server = FastMCP.from_openapi(document, client=client, name="desk")
    if port := os.environ.get("MCP_PORT"):
        server.run("http", show_banner=False, host="127.0.0.1", port=int(port), stateless_http=True, log_level="error")
    else:
        server.run(show_banner=False)


if __name__ == "__main__":
    main()
