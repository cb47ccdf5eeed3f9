"""What an API answers with: read tolerantly, since vendors' documents are examples and their services change.

A result needs its identity: the fields without a default. Every other field may be missing, null or of another type. What
can be read without a guess is read; the rest is left out and named in `unreadable_fields`.
"""

import logging
import re
from collections.abc import Sequence
from functools import cache
from typing import Annotated, Any, ClassVar, Generic, Self, TypeGuard, TypeVar, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    ModelWrapValidatorHandler,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from calltriage.leaves.strict_json import JsonObject, is_array, is_object
from calltriage.operations.fields import TEXT

TRIES = 8
"""Most reads of one answer, each without the parts that broke the read before (our choice)."""
MOST_NAMED = 20
"""Most unreadable fields that a result names."""

PLAIN = re.compile("[A-Za-z0-9_-]{1,64}")


logger = logging.getLogger(__name__)


class Result(BaseModel):
    """Base of everything an API answers with. Unknown fields are ignored: vendors add some (contract, section 10).

    A subclass declared with `origin=` holds words that people outside this program chose; whatever shows it to a model
    marks it as untrusted and names that origin.
    """

    # Validators are built at first use: a server that starts does not wait for those it may never need.
    model_config = ConfigDict(extra="ignore", defer_build=True, allow_inf_nan=False, coerce_numbers_to_str=True)
    origin: ClassVar[str | None] = None
    brief: ClassVar[set[str] | None] = None
    """Names of the fields that a row of a list shows; None for all."""
    begins: ClassVar[str | None] = None
    """Name of the text field whose beginning a row shows, as far as there is room."""
    counted_by: ClassVar[str | None] = None
    """Name of the text field of a row whose place in its list matters, such as a turn. A row that cannot be read keeps
    its place, without its text."""

    unreadable_fields: list[str] | None = None
    """Fields of the answer that cannot be read, as `name` or, inside a list or an object, `name.place`."""

    def __init_subclass__(cls, *, origin: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if origin is not None:
            cls.origin = origin

    def unreadable_rows(self, name: str) -> list[int]:
        """Places of the list `name` whose rows cannot be read."""
        found = (field.partition(".") for field in self.unreadable_fields or [])
        return [int(place) for field, _, place in found if field == name and place.isdigit()]

    @property
    def identity(self) -> tuple[Any, ...]:
        """The values of the fields without a default."""
        return tuple(getattr(self, name) for name, info in type(self).model_fields.items() if info.is_required())

    @property
    def is_silent(self) -> bool:
        """Whether its text cannot be read."""
        return self.counted_by in (self.unreadable_fields or ())

    @model_validator(mode="wrap")
    @classmethod
    def _read(cls, value: object, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """The result of an answer. Raises ValidationError if its identity cannot be read."""
        if isinstance(value, cls):
            return handler(value)
        if not is_object(value):
            return handler(value) if cls.counted_by is None else handler({})._naming([cls.counted_by])
        members = value
        if None in value.values() or "unreadable_fields" in value:  # most rows are read as they are
            members = {name: one for name, one in value.items() if one is not None and name != "unreadable_fields"}
        unreadable = list[str]()
        for _ in range(TRIES):
            try:
                return handler(members)._naming(unreadable)
            except ValidationError as error:
                members = dict(members)
                unreadable += cls._without_broken(members, error)
        return handler(members)._naming(unreadable)

    @classmethod
    def _without_broken(cls, members: JsonObject, error: ValidationError) -> list[str]:
        """Mend each broken member in `members`: read it in another form, or leave out what is broken. Returns the names
        of what is left out. Raises `error` if an identity is missing or a rule between fields is broken."""
        broken = dict[str, list[Any]]()
        for item in error.errors(include_url=False, include_input=False):
            if not item["loc"]:  # a rule between fields: no single field can be left out
                raise error
            broken.setdefault(str(item["loc"][0]), []).append(item)
        if not broken.keys() <= members.keys():
            raise error
        left_out = [name for field, items in broken.items() for name in _mended(members, field, items)]
        for name in left_out:
            logger.warning("%s of %s cannot be read: %s", name, cls.__name__, broken[name.partition(".")[0]][0]["type"])
        return left_out

    def _naming(self, unreadable: list[str]) -> Self:
        if unreadable:
            self.unreadable_fields = list(dict.fromkeys(unreadable))[:MOST_NAMED]
        return self


T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
_cursor = TypeAdapter[str](Annotated[str, TEXT])


class Page(Result, Generic[T_co]):
    """One page of a triage list. Nobody changes its items, so a page of issues is a page of results."""

    items: list[T_co]
    next_cursor: str | None = None
    """Pass back as `cursor`; null or empty on the last page."""

    @field_validator("next_cursor")
    @classmethod
    def _usable_cursor(cls, cursor: str | None) -> str | None:
        """The cursor; None for a blank one. Raises ValueError for one that could not be passed back: it counts as
        unreadable."""
        if not (cursor or "").strip():
            return None
        return _cursor.validate_python(cursor)

    def without_cursor(self) -> Self:
        """A copy of the page whose cursor counts as unreadable."""
        unreadable = [*(self.unreadable_fields or []), "next_cursor"]
        return self.model_copy(update={"next_cursor": None, "unreadable_fields": unreadable})

    @property
    def lost_cursor(self) -> bool:
        """Whether its cursor cannot be read, so that nobody can ask for the next page."""
        return "next_cursor" in (self.unreadable_fields or [])

    @property
    def identities(self) -> frozenset[tuple[Any, ...]]:
        """The identities of its rows."""
        rows: list[Any] = self.items
        return frozenset(row.identity for row in rows if isinstance(row, Result) and row.identity)

    @property
    def is_last(self) -> bool:
        """Whether it is the last page, with every row of it read."""
        return self.next_cursor is None and not self.lost_cursor and not self.unreadable_rows("items")


def is_page(value: object) -> TypeGuard[Page[Result]]:
    return isinstance(value, Page)


class Listed(list[T]):
    """The rows of an answer that is a bare JSON array."""

    def __init__(self, page: Page[T]) -> None:
        super().__init__(page.items)
        self.unreadable_rows = page.unreadable_rows("items")


def lost_rows(rows: Sequence[object]) -> list[int]:
    """Places of the rows that cannot be read, in the list as the API answered it."""
    return rows.unreadable_rows if isinstance(rows, Listed) else []


@cache
def _page_of(result_type: object) -> type[Page[Any]] | None:
    """The page to read a bare list as; None for a result that is an object."""
    return Page[get_args(result_type)[0]] if get_origin(result_type) is list else None


def answered(result_type: Any) -> Any:
    """The type of the JSON that the API answers for a result: the bare list, if the result wraps one (`bare`)."""
    name = getattr(result_type, "bare", None)
    return result_type if name is None else result_type.model_fields[name].annotation


@cache
def _adapter(result_type: Any) -> TypeAdapter[Any]:
    return TypeAdapter(result_type)


def read_result(result_type: object, body: object) -> Any:
    """The result that an answer's JSON stands for. Raises ValueError if its identity cannot be read."""
    page = _page_of(result_type)
    if page is not None:
        return Listed(page.model_validate({"items": body}))
    if is_array(body) and (name := getattr(result_type, "bare", None)):
        body = {name: body}
    if not isinstance(body, dict):
        raise ValueError("no JSON object")
    return _adapter(result_type).validate_python(body)


def _mended(members: JsonObject, name: str, errors: list[Any]) -> list[str]:
    """Mend one broken member in place. Returns the names of what had to be left out."""
    value, kinds = members[name], {item["type"] for item in errors}
    inside = {item["loc"][1] for item in errors if len(item["loc"]) > 1}
    readable = _readable(value, kinds)
    if readable is not None:
        members[name] = readable
        return []
    if is_array(value) and inside:
        members[name] = [row for place, row in enumerate(value) if place not in inside]
        return [f"{name}.{place}" for place in sorted(inside, key=str)]
    if is_object(value) and inside & value.keys():
        members[name] = {key: member for key, member in value.items() if key not in inside}
        return sorted({f"{name}.{key}" if PLAIN.fullmatch(str(key)) else name for key in inside})
    del members[name]
    return [name]


def _readable(value: object, kinds: set[str]) -> Any:
    """The value in the wanted form, if that takes no guess; else None."""
    if "list_type" in kinds and is_object(value):  # one object where the contract has a list
        return [value]
    if "dict_type" in kinds and value == []:  # an empty object, as PHP writes it
        return {}
    if "string_type" in kinds and isinstance(value, bool):
        return "true" if value else "false"
    return None
