"""What handlers build their answers from."""

from __future__ import annotations

from calltriage.desk.database.tables import flags
from calltriage.desk.database.transaction import columns_of
from calltriage.operations.flags import Flag


def test_the_keys_of_an_answer_are_plain_strings() -> None:
    """Names of SQLAlchemy's own kind take many times longer to write as JSON."""
    assert {type(name) for name in columns_of(flags, Flag)} == {str}
