"""Databases: where they are kept, how they are read and written. Knows no table.

    database = Database(SqliteFile(folder, "journal.sqlite3"), prepare)
    rows = await database.read(lambda connection: connection.execute(query).all())
    await database.write(lambda connection: connection.execute(change) and None)
    await database.close()

`prepare(engine)` makes or checks the tables at the first use, while no other process does; `writing(engine)` is the
transaction to make them in. SQLAlchemy is imported at the first use, not with this package.
"""

from calltriage.storage.database import Database
from calltriage.storage.postgres import PostgresDatabase
from calltriage.storage.sqlite import SqliteFile
from calltriage.storage.transactions import Place, writing

__all__ = ["Database", "Place", "PostgresDatabase", "SqliteFile", "writing"]
