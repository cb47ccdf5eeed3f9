"""Versions of a database's tables, and the steps that make older tables those of today."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from calltriage.errors import StoreError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Table

VERSION = "schema_version"
"""The name under which the version is on record."""


@dataclass(frozen=True)
class Schema:
    """What a database's tables are, by a version.

    Attributes:
        owner: whose tables they are, as the subject of a sentence.
        version: that of today, at least 1.
        facts: the table of names and values in which the version is on record.
        steps: package of the steps. The function `upgrade` of its module `v{N}` makes version N of version N - 1.
    """

    owner: str
    version: int
    facts: Table
    steps: str

    def found(self, connection: Connection) -> int | None:
        """The version on record; None in an empty database. Raises StoreError for tables without one, and for a version that
        is not known here."""
        from sqlalchemy import inspect, select  # noqa: PLC0415

        facts = self.facts
        if not inspect(connection).has_table(facts.name):
            return None
        said = (
            connection.execute(select(facts.c.value).where(facts.c.name == VERSION)).scalar_one_or_none() or "unknown"
        )
        if not said.isdigit() or not 1 <= int(said) <= self.version:
            raise StoreError(
                f"{self.owner} has schema version {said}; this calltriage knows {self.version}. Install the calltriage that "
                "wrote it, or point CALLTRIAGE_DATA_DIR (or CALLTRIAGE_DATABASE_URL) elsewhere."
            )
        return int(said)

    def migrate(self, connection: Connection, version: int) -> None:
        """Run all steps in the caller's transaction, so that the tables are of the old version or of today's."""
        from alembic.migration import MigrationContext  # noqa: PLC0415  as slow to import as SQLAlchemy, and rarely needed
        from alembic.operations import Operations  # noqa: PLC0415
        from sqlalchemy import update  # noqa: PLC0415

        operations = Operations(MigrationContext.configure(connection))
        for step in range(version + 1, self.version + 1):
            import_module(f"{self.steps}.v{step}").upgrade(operations)
        change = update(self.facts).where(self.facts.c.name == VERSION)
        connection.execute(change.values(value=str(self.version)))
