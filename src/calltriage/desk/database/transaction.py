"""What handlers take and return: a transaction with its caller, a reply, a contract error."""

from __future__ import annotations

import base64
import json
import re
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache, cached_property
from operator import attrgetter
from typing import Any, TypeAlias, TypeVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    CursorResult,
    Executable,
    Integer,
    Row,
    Select,
    Table,
    and_,
    bindparam,
    func,
    literal,
    select,
    tuple_,
)

from calltriage.desk.database import tables
from calltriage.leaves.instants import written
from calltriage.leaves.seals import signature
from calltriage.leaves.strict_json import JsonObject
from calltriage.operations.base import Operation
from calltriage.operations.fields import DEFAULT_LIMIT, NO_ISSUE, UUID_PATTERN, Missing
from calltriage.operations.results import Result

AnyRow: TypeAlias = Row[*tuple[Any, ...]]
Keys: TypeAlias = tuple[ColumnElement[Any], ...]
"""The columns that a list is ordered by. The last one is unique."""


@dataclass(frozen=True, eq=False)
class Listing:
    """A list whose statements are built once: building one costs several times more than running it.

    Attributes:
        query: its rows, with parameters.
        order: what it is ordered by.
        descending: the last rows come first.
    """

    query: Select[*tuple[Any, ...]]
    order: Keys
    descending: bool = False

    @cached_property
    def first(self) -> Select[*tuple[Any, ...]]:
        """The first rows, `size` of them."""
        return _ordered(self.query, self.order, descending=self.descending).limit(bindparam("size", type_=Integer()))

    @cached_property
    def following(self) -> Select[*tuple[Any, ...]]:
        """The rows after a position. Its parts are the parameters `after0`, `after1` and so on."""
        position = tuple_(*(bindparam(f"after{n}", type_=column.type) for n, column in enumerate(self.order)))
        place = tuple_(*self.order)
        return self.first.where(place < position if self.descending else place > position)


def _ordered(query: Select[*tuple[Any, ...]], order: Keys, *, descending: bool) -> Select[*tuple[Any, ...]]:
    """A list in its order. Its rows have the values of a cursor, too, as `_key0`, `_key1` and so on."""
    query = query.order_by(*(column.desc() if descending else column.asc() for column in order))
    return query.add_columns(*(column.label(f"_key{n}") for n, column in enumerate(order)))


@dataclass(frozen=True)
class Principal:
    """Whom a key or token stands for. `key_id`: the key's id; empty for the key of the desk's own user."""

    org_id: str
    user_id: str
    key_id: str = field(default="", compare=False)


@dataclass(frozen=True)
class Reply:
    """A success: its status, and its body without the envelope. `loose`: bytes that no row names once the change is on
    disk."""

    status: int
    body: Any
    loose: tuple[str, ...] = ()


A = TypeVar("A", bound=Operation[object])
Handler: TypeAlias = Callable[["Transaction", Any], Reply]


def handled(operation: type[A], *, by: Callable[[Transaction, A], Reply]) -> tuple[type[Operation[object]], Handler]:
    """An operation and its handler, as a module of handlers lists them."""
    return operation, by


class ContractError(Exception):
    """An answer that the contract knows as an error.

    `code`: the triage contract's word; the attachments contract has a number per status. `fields`: the rule of each refused
    input.
    """

    def __init__(self, status: int, code: str, message: str, fields: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.fields = status, code, message, fields or {}


def not_found(missing: Missing) -> ContractError:
    return ContractError(404, missing.code, missing.says)


def bad_request(**fields: str) -> ContractError:
    """The 400 that names each refused input and its rule."""
    return ContractError(400, "bad_request", "; ".join(f"{name}: {rule}" for name, rule in fields.items()), fields)


def equal(table: Table, *names: str) -> ColumnElement[bool]:
    """The condition that these columns, and the organisation's, have the values given to `Transaction.run`.

    For statements that are built once: building one costs several times more than running it.
    """
    return and_(*(table.c[name] == bindparam(name) for name in ("org_id", *names)))


@cache
def _by_id(table: Table, columns: tuple[str, ...]) -> Select[*tuple[Any, ...]]:
    return select(*(table.c[name] for name in columns or table.c.keys())).where(equal(table, "id"))


@dataclass(frozen=True)
class Transaction:
    """One transaction on behalf of one caller. Handlers reach rows through it, so that the organisation is part of every
    query.

    Attributes:
        connection: open transaction.
        who: the caller.
        now: the instant of the request.
        secret: key for everything the desk signs.
        public_url: the address of the desk, for the URLs in its answers.
        provider: the name of the place of file bytes, which attachments show.
    """

    connection: Connection
    who: Principal
    now: datetime
    secret: bytes
    public_url: str
    provider: str = "embedded"

    @cached_property
    def instant(self) -> str:
        """Now as the triage API writes it: ISO 8601 UTC with milliseconds."""
        return written(self.now)

    def mine(self, table: Table, *more: ColumnElement[bool]) -> ColumnElement[bool]:
        """The condition that a row is of the caller's organisation, and `more`."""
        condition: ColumnElement[bool] = table.c.org_id == self.who.org_id
        for part in more:
            condition = condition & part
        return condition

    def run(self, statement: Executable, **values: object) -> CursorResult[Any]:
        """Run a statement that was built once, for the caller's organisation."""
        return self.connection.execute(statement, {"org_id": self.who.org_id, **values})

    def find(self, table: Table, row_id: str, *columns: str) -> AnyRow | None:
        """The row of this id, or only these columns of it; None if there is none."""
        return self.run(_by_id(table, columns), id=row_id).one_or_none()

    def issue(self, issue_id: str) -> AnyRow:
        """The issue's row. Raises 404, the same for a malformed id, an unknown one and another organisation's."""
        row = self.find(tables.issues, issue_id.lower()) if re.match(UUID_PATTERN, issue_id) else None
        if row is None:
            raise not_found(NO_ISSUE)
        return row

    def page(
        self, listing: Listing, *, limit: int | None, cursor: str | None, name: str, **values: Any
    ) -> tuple[list[AnyRow], str | None]:
        """One page by keyset: rows after the cursor's position, and the next cursor or None.

        A cursor holds the position and is sealed for the list's `name` (its sort included) and the organisation.
        """
        size, query = limit or DEFAULT_LIMIT, listing.first
        if cursor is not None:
            position, query = self.open_cursor(cursor, name), listing.following
            values |= {f"after{n}": value for n, value in enumerate(position)}
        rows = list(self.run(query, size=size + 1, **values))
        return self._page_of(rows, size, len(listing.order), name)

    def after(
        self, query: Select[*tuple[Any, ...]], order: Keys, *, cursor: str | None, name: str, descending: bool
    ) -> Select[*tuple[Any, ...]]:
        """The query for the rows of a list after the cursor's position, in order."""
        if cursor is not None:
            position = tuple_(*(literal(value) for value in self.open_cursor(cursor, name)))
            place = tuple_(*order)
            query = query.where(place < position if descending else place > position)
        return _ordered(query, order, descending=descending)

    def cut(
        self, query: Select[*tuple[Any, ...]], order: Keys, *, limit: int | None, name: str
    ) -> tuple[list[AnyRow], str | None]:
        """The first page of an ordered query, and the cursor after it; None on the last page."""
        size = limit or DEFAULT_LIMIT
        return self._page_of(list(self.connection.execute(query.limit(size + 1))), size, len(order), name)

    def cursor_behind(self, query: Select[*tuple[Any, ...]], order: Keys, *, count: int, name: str) -> str | None:
        """The cursor after the first `count` rows of an ordered query; None if there are no more."""
        keys: Select[*tuple[Any, ...]] = query.with_only_columns(*order)
        rows: list[AnyRow] = list(self.connection.execute(keys.offset(count - 1).limit(2)))
        return self.seal_cursor(list(rows[0]), name) if len(rows) > 1 else None

    def _page_of(self, rows: list[AnyRow], size: int, keys: int, name: str) -> tuple[list[AnyRow], str | None]:
        """The first `size` of `size` + 1 rows that were read, and the cursor after them; None if there are no more."""
        if len(rows) <= size:
            return rows, None
        rows = rows[:size]
        return rows, self.seal_cursor([getattr(rows[-1], f"_key{n}") for n in range(keys)], name)

    def seal_cursor(self, position: list[Any], name: str) -> str:
        payload = json.dumps(position, separators=(",", ":"), ensure_ascii=False).encode()
        return base64.urlsafe_b64encode(self._seal(payload, name) + payload).decode().rstrip("=")

    def open_cursor(self, cursor: str, name: str) -> list[Any]:
        try:
            raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
            if not secrets.compare_digest(raw[:16], self._seal(raw[16:], name)):
                raise ValueError("sealed for another list")
            return json.loads(raw[16:])
        except ValueError as error:
            raise bad_request(cursor="is not a cursor of this list") from error

    def _seal(self, payload: bytes, name: str) -> bytes:
        message = f"{self.who.org_id}\n{name}\n".encode() + payload
        return bytes.fromhex(signature(self.secret, message))[:16]

    def count(self, table: Table, *conditions: ColumnElement[bool]) -> int:
        query = select(func.count()).select_from(table).where(self.mine(table, *conditions))
        return self.connection.execute(query).scalar_one()


def columns_of(table: Table, result: type[Result], *, computed: Iterable[str] = ()) -> tuple[str, ...]:
    """The columns that the API answers: the fields of `result` without computed ones. Raises KeyError for a field without
    a column.

    Each name is a plain string: as a key of an answer, SQLAlchemy's own kind takes many times longer to write as JSON.
    """
    names = result.model_fields.keys() - {"unreadable_fields", *computed}
    return tuple(str(table.c[name].name) for name in result.model_fields if name in names)


def plain_row(row: AnyRow | JsonObject, *names: str) -> JsonObject:
    """The named columns of a row, or of the values that a row was made from."""
    if isinstance(row, dict):
        return {name: row[name] for name in names}
    return dict(zip(names, _values_of(names)(row), strict=True))


@cache
def _values_of(names: tuple[str, ...]) -> Callable[[AnyRow], tuple[Any, ...]]:
    first = attrgetter(*names)
    return first if len(names) > 1 else lambda row: (first(row),)
