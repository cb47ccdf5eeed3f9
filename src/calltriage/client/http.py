"""Requests to one API over its transport, and nothing that a browser would add: no redirect, no cookie, no environment."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import httpx2

TIMEOUT = httpx2.Timeout(connect=3, read=10, write=10, pool=10)
WHOLE = "calltriage.whole"
"""Extension of a request whose answer is small and read at once. An app in this process then runs in the task that asks."""
HEADERS = {
    "accept": "application/json, application/hal+json",
    "accept-encoding": "identity",
    "user-agent": f"python-httpx2/{httpx2.__version__}",
}


@lru_cache(maxsize=1024)
def _joined(base_url: str, path: str) -> httpx2.URL:
    """The URL of a path and its query. The library takes long to read one, and most are asked for several times."""
    return httpx2.URL(f"{base_url.rstrip('/')}{path}")


@dataclass(frozen=True)
class Http:
    """An API's transport, and its base URL, which relative ones are put behind."""

    transport: httpx2.AsyncBaseTransport
    base_url: str

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        params: Mapping[str, Any] | None = None,
        json: object = None,
        data: Mapping[str, Any] | None = None,
        patience: httpx2.Timeout = TIMEOUT,
        whole: bool = False,
    ) -> AsyncGenerator[httpx2.Response]:
        """One request, its answer open while the block runs. Raises httpx2.TransportError when there is none. `whole`: its
        body is small and read at once."""
        if params:
            url = f"{url}?{httpx2.QueryParams(params)}"
        request = httpx2.Request(
            method,
            _joined(self.base_url, url) if url.startswith("/") else url,
            headers={**HEADERS, **headers},
            json=json,
            data=data,
            extensions={"timeout": patience.as_dict(), **({WHOLE: True} if whole else {})},
        )
        response = await self.transport.handle_async_request(request)
        response.request = request
        try:
            yield response
        finally:
            await response.aclose()
