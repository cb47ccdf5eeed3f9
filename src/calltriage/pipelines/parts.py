"""A client and its account's ledger together, for commands and tools."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from calltriage.errors import SettingsError
from calltriage.journal.journal import Journal
from calltriage.leaves.seals import Seals
from calltriage.pipelines.alerts import PERSON_WAITS_S, alerts_of
from calltriage.pipelines.filing_step import Filer
from calltriage.pipelines.ledger import Ledger
from calltriage.pipelines.ledger.pace import open_ledger_of

if TYPE_CHECKING:
    from calltriage.client.client import Client
    from calltriage.pipelines.spec import Spec

logger = logging.getLogger(__name__)


def journal_of(client: Client) -> Journal | None:
    """The journal in which a client's writes are put on record; None without one."""
    return client.record if isinstance(client.record, Journal) else None


@dataclass(frozen=True)
class Parts:
    """A client and the ledger of its account."""

    client: Client
    ledger: Ledger

    def filer(self, spec: Spec) -> Filer:
        """A filer for findings that a person accepted. `limits.new_issues` does not apply to it.

        It alerts as a run does. Where the address of alerts is not known here, that is logged, and it files without them.
        """
        try:
            alerts = alerts_of(spec, self.ledger, PERSON_WAITS_S)
        except SettingsError as error:
            logger.warning("no alert is sent: %s", error)
            alerts = None
        return Filer(
            self.client, self.ledger, spec, None, Seals(self.client.home.secret), journal_of(self.client), alerts
        )


@asynccontextmanager
async def open_parts(client: Client) -> AsyncGenerator[Parts]:
    """A client with its ledger, at the pace that all processes on it share. Raises SettingsError for a client without a data
    folder."""
    async with open_ledger_of(client) as ledger:
        yield Parts(client, ledger)
