"""Categories on the desk (bland-triage, section 4)."""

from __future__ import annotations

from sqlalchemy import insert, select

from calltriage.desk.database.tables import categories, new_id, organisations
from calltriage.desk.database.transaction import (
    Reply,
    Transaction,
    bad_request,
    columns_of,
    handled,
    plain_row,
)
from calltriage.leaves.strict_json import JsonObject
from calltriage.operations.categories import BUILT_IN, Category, CreateCategory, ListCategories
from calltriage.operations.fields import DEFAULT_LIMIT, alternatives

CATEGORY_COLUMNS = columns_of(categories, Category)


def folded_name(name: str) -> str:
    """A category's name for comparison: without outer blanks, unless it is blanks alone, and without case (our choice)."""
    return (name.strip() or name).casefold()


BUILT_IN_FOLDED = {name.casefold(): name for name in BUILT_IN}


def ensure_category(tx: Transaction, name: str) -> None:
    """Store a category of this name, unless it exists or is built in."""
    if folded_name(name) not in BUILT_IN_FOLDED:
        _stored_category(tx, name)


def _stored_category(tx: Transaction, name: str) -> tuple[JsonObject, bool]:
    """The category of this name, case and outer blanks ignored, and whether it is new. The first spelling stays."""
    folded = folded_name(name)
    known = tx.connection.execute(
        select(categories).where(tx.mine(categories, categories.c.folded == folded))
    ).one_or_none()
    if known is not None:
        return plain_row(known, *CATEGORY_COLUMNS), False
    row = tx.connection.execute(
        insert(categories)
        .values(org_id=tx.who.org_id, id=new_id(), name=name, folded=folded, created_at=tx.instant)
        .returning(categories)
    ).one()
    return plain_row(row, *CATEGORY_COLUMNS), True


def filtered_names(tx: Transaction, wanted: list[str]) -> set[str]:
    """The folded names that a filter means. A value with a comma is one name if there is such a category, else several
    names."""
    joined = {folded_name(value) for value in wanted if "," in value}
    query = select(categories.c.folded).where(tx.mine(categories, categories.c.folded.in_(joined)))
    whole = set(tx.connection.execute(query).scalars()) if joined else set[str]()
    named = [[value] if folded_name(value) in whole else alternatives(value) for value in wanted]
    return {folded_name(name) for names in named for name in names}


def create_category(tx: Transaction, call: CreateCategory) -> Reply:
    folded = folded_name(call.name)
    if folded in BUILT_IN_FOLDED:
        return Reply(200, _built_in(tx)[folded])
    category, is_new = _stored_category(tx, call.name)
    return Reply(201 if is_new else 200, category)


def list_categories(tx: Transaction, call: ListCategories) -> Reply:
    """Built-in, created and used names, sorted together, case ignored. They are few, so they are merged here.

    The cursor is the name of the last item, as the vendor documents.
    """
    rows = tx.connection.execute(select(categories).where(tx.mine(categories)))
    known = {row.folded: plain_row(row, *CATEGORY_COLUMNS) for row in rows}
    known |= _built_in(tx)
    after = folded_name(call.cursor) if call.cursor else ""
    if call.cursor and after not in known:
        raise bad_request(cursor="is not the name of a category")
    names = sorted(folded for folded in known if folded > after)
    size = call.limit or DEFAULT_LIMIT
    shown = [known[name] for name in names[:size]]
    return Reply(200, {"items": shown, "next_cursor": shown[-1]["name"] if len(names) > size else None})


def _built_in(tx: Transaction) -> dict[str, JsonObject]:
    """The built-in categories by their folded names; they are as old as the organisation."""
    query = select(organisations.c.created_at).where(organisations.c.id == tx.who.org_id)
    since = tx.connection.execute(query).scalar_one()
    return {
        folded: {"id": f"built-in:{name.lower()}", "org_id": tx.who.org_id, "name": name, "created_at": since}
        for folded, name in BUILT_IN_FOLDED.items()
    }


HANDLERS = (
    handled(ListCategories, by=list_categories),
    handled(CreateCategory, by=create_category),
)
