"""What an operation is: one pydantic class that declares a call once.

From the class follow the wire request, the desk's route and validation, the tool's name, title, description, schemas
and hints, and the permission to repeat it. Pydantic only: nothing here does I/O.
"""

import re
import string
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeGuard, TypeVar, cast, get_args
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict

from calltriage.leaves.strict_json import JsonObject
from calltriage.operations.contracts import CONTRACTS, Api, Contract
from calltriage.operations.fields import Clearable, missing

if TYPE_CHECKING:
    from calltriage.operations.traces import Trace

R_co = TypeVar("R_co", covariant=True)

STORAGE_FAILED = {"x-calltriage-error": "storage_unavailable"}
"""Header of the desk's answer when its storage fails, on every route. The body is the contract's own. A repeat does not
help."""
STORAGE_BUSY = {"x-calltriage-error": "storage_busy", "retry-after": "1"}
"""Headers of the desk's answer when another process was writing. Nothing was done. A repeat may help."""


class Effect(StrEnum):
    """What a call does to the stored data. Hints for hosts and permission to retry follow from it."""

    READ = "read"
    """Changes nothing."""
    ADD = "add"
    """Adds something each time it is sent: never repeated unless it surely did not arrive."""
    ENSURE = "ensure"
    """Adds something once: a repeat answers with what is there."""
    CHANGE = "change"
    """Overwrites fields. A repeat writes the same, but over whatever came in between."""
    REMOVE = "remove"
    """Takes something away for good: a repeat finds it gone."""


Unnamed = Literal["issue", "flag_types"]
"""Kinds of things that a write may change although none of its fields names them."""


class Tool(BaseModel):
    """Base of what an agent can call: its fields are the arguments, its docstring is what the model reads.

    Unknown arguments are refused. `effect` says what calling it does.
    """

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, frozen=True, defer_build=True)
    effect: ClassVar[Effect]

    def __init_subclass__(cls, *, effect: Effect | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if effect is not None:
            cls.effect = effect

    @classmethod
    @cache
    def tool_name(cls) -> str:
        """`LinkIssue` and `AddFlagTool` → `link_issue` and `add_flag`."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", cls.__name__.removesuffix("Tool")).lower()

    @classmethod
    @cache
    def clearable_fields(cls) -> frozenset[str]:
        """Fields that null clears."""
        marked = (
            name for name, field in cls.model_fields.items() if any(isinstance(m, Clearable) for m in field.metadata)
        )
        return frozenset(marked)


class Operation(Tool, Generic[R_co]):
    """One HTTP call of a vendor contract, typed by its result: `class GetIssue(Operation[Issue], http="GET /…", …)`.

    Args of the class statement:
        http: method and path template; `{names}` in it are fields of the class.
        api: the contract it belongs to.
        effect: what it does.
        success: status codes of success; the first means "done now", a second one "was there already".
        scope: OAuth scope that the token needs, where the API has scopes.
        refuses: statuses of refusal that do not follow from the rest: 404 for what a body names, 409 for a conflict.
        envelope: whether success is wrapped in `{data, errors}` (bland-triage, section 2).
        also_changes: what else it changes, besides the issues and attachments that its fields name.
    """

    method: ClassVar[Literal["GET", "POST", "PUT", "PATCH", "DELETE"]]
    path: ClassVar[str]
    api: ClassVar[Api]
    contract: ClassVar[Contract]
    success: ClassVar[tuple[int, ...]]
    scope: ClassVar[str | None]
    refuses: ClassVar[tuple[int, ...]]
    envelope: ClassVar[bool]
    also_changes: ClassVar[frozenset[Unnamed]]

    def __init_subclass__(
        cls,
        *,
        http: str | None = None,
        api: Api = Api.TRIAGE,
        success: tuple[int, ...] = (200,),
        scope: str | None = None,
        refuses: tuple[int, ...] = (),
        envelope: bool = True,
        also_changes: tuple[Unnamed, ...] = (),
        **kwargs: Any,
    ) -> None:
        super().__init_subclass__(**kwargs)
        if http is None:  # Operation[Flag] itself
            return
        method, cls.path = http.split(" ")
        cls.method = cast("Any", method)
        cls.api, cls.success, cls.scope, cls.envelope, cls.refuses = api, success, scope, envelope, refuses
        cls.contract, cls.also_changes = CONTRACTS[api], frozenset(also_changes)

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: object) -> None:
        """Check the class. Raises TypeError if a field of its path has no `Missing` mark, or if it writes and declares no
        trace."""
        super().__pydantic_init_subclass__(**kwargs)
        for name in cls.path_fields() if hasattr(cls, "path") else ():
            if name not in cls.model_fields or not missing(cls.model_fields[name]):
                raise TypeError(f"{cls.__name__}.{name} stands in the path, so its type needs a Missing mark.")
        if (
            hasattr(cls, "path")
            and cls.effect not in {Effect.READ, Effect.ENSURE}
            and cls.trace is Operation[object].trace
        ):
            raise TypeError(
                f"{cls.__name__} writes, so it needs a trace: how it is looked for when its answer is lost."
            )

    @classmethod
    def missing_fields(cls, says: str) -> dict[str, str]:
        """Fields with a `Missing` mark of these words, and the advice of each. `says`: the message of the API's 404."""
        return {
            name: mark.advice for name, info in cls.model_fields.items() for mark in missing(info) if mark.says == says
        }

    @classmethod
    @cache
    def result_type(cls) -> Any:
        """The `Flag` of `Operation[Flag]`."""
        for base in cls.__mro__:
            arguments = base.__dict__.get("__pydantic_generic_metadata__", {}).get("args")
            if arguments and base.__mro__[1] is Operation:
                return None if arguments[0] is type(None) else arguments[0]
        raise TypeError(f"{cls.__name__} does not name its result: Operation[…]")

    @classmethod
    @cache
    def path_fields(cls) -> tuple[str, ...]:
        return tuple(name for _, name, _, _ in string.Formatter().parse(cls.path) if name)

    def trace(self) -> "Trace[R_co] | None":
        """What the write leaves behind, by which it is found when its answer is lost. None: it is safe to repeat."""
        return None

    def url(self) -> str:
        """The path with its fields, each quoted whole: a `/` in an id stays inside its segment."""
        return self.path.format(**{name: quote(str(getattr(self, name)), safe="") for name in self.path_fields()})

    def payload(self) -> JsonObject:
        """Everything that is not in the path, as JSON values: the query of a GET, the body of anything else.

        A PATCH holds the fields that were set; an explicit null clears a field. Other methods leave nulls out.
        """
        is_patch, path = self.method == "PATCH", set(self.path_fields())
        return self.model_dump(
            mode="json", by_alias=True, exclude=path, exclude_unset=is_patch, exclude_none=not is_patch
        )

    @classmethod
    @cache
    def list_fields(cls) -> frozenset[str]:
        """Query fields that may be repeated."""

        def is_list(annotation: object) -> bool:
            return getattr(annotation, "__origin__", None) is list or any(is_list(a) for a in get_args(annotation))

        return frozenset(name for name, field in cls.model_fields.items() if is_list(field.annotation))


def is_operation(tool: type[Tool]) -> TypeGuard[type[Operation[object]]]:
    return issubclass(tool, Operation)
