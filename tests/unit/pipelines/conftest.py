"""Tests that ask for `ledger_url` run on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydantic import SecretStr


@pytest.fixture(params=["sqlite", "postgres"])
def ledger_url(request: pytest.FixtureRequest) -> Iterator[SecretStr | None]:
    """None for the ledger's own file, or the URL of an empty PostgreSQL database."""
    if request.param == "sqlite":
        yield None
        return
    with request.getfixturevalue("postgres").database() as url:
        yield SecretStr(url)
