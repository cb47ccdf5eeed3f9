"""Every exception of the package, sorted by who can act on it.

    CalltriageError
    ├── SettingsError           the operator: a setting is missing or wrong
    │   ├── SpecError           ... a pipeline's file
    │   ├── DetectorError       ... of a pipeline: a detector, or one of its options
    │   └── RunTaken            ... or nothing is wrong: another process works on the run
    ├── ImportFileError         the operator: a line of an import file is wrong
    ├── StoreError              the operator: the desk's folder cannot be used
    │   └── StoreBusyError      wait, then ask again: others were writing for too long
    ├── DetectorFailed          one call was not examined: nobody knows whether there is something to find
    │   ├── DetectorOff         ... and no further one will be: it hung too often
    │   └── Deferred            ... because a cap is reached, or an endpoint asks to wait
    └── CallError               a tool call or a `Client` call did not do what was asked
        ├── Rejected            the caller: mend the arguments
        ├── NotFound            the caller: look the id up
        ├── Conflict            the caller: something must hold first
        ├── Unauthenticated     the operator: the credentials are wrong
        ├── Forbidden           the operator: the credentials may not do this
        ├── RateLimited         wait, then ask again
        ├── ServerFailure       wait, then ask again
        ├── StorageUnavailable  the operator: the desk's folder cannot be used
        ├── Unreachable         the network; `maybe_applied` says whether a write may have arrived
        ├── Blocked             the operator: a certificate or a proxy stands in the way
        └── UnreadableAnswer    log it: the answer broke the contract
            └── EmptyAnswer     it says success and nothing else, where the contract has something to say

A `CallError` carries everything a tool error shows (see `CallError.body`). Its text is ours from the first word to the
last: no value that a caller sent and no text that a vendor answered is ever put into it, because both end up before a
model.
"""

from __future__ import annotations

from typing import Any, Literal, TypeGuard

Outcome = Literal["committed", "replayed", "not_committed", "unknown"]
"""What became of a write: done now, found done already, surely not done, or not known."""


class TryNext(dict[str, Any]):
    """The tool call that mends the situation: `{"tool", "arguments"}`. A type of its own, so that our advice is told from
    whatever else has these keys. `origin` says whose words an argument holds, and marks them as untrusted."""

    def __init__(self, tool: str, arguments: dict[str, Any], *, origin: str | None = None) -> None:
        super().__init__(tool=tool, arguments=arguments)
        if origin is not None:
            self.update(trust="untrusted", origin=origin)


class CalltriageError(Exception):
    """Base of every error the package raises on purpose."""


class SettingsError(CalltriageError):
    """A setting is missing, unknown or contradicts another one; the text says which and what to do."""


class ImportFileError(CalltriageError):
    """An import file has a line that cannot be loaded; the text names the line's number."""


class StoreError(CalltriageError):
    """The desk's data folder cannot be opened or written; the text says what to do."""


class StoreBusyError(StoreError):
    """Others were writing all the time that this write could wait. Nothing of it was done."""


class SpecError(SettingsError):
    """A pipeline's file is wrong. The text has a line for each fault."""


class RunTaken(SettingsError):
    """Another process works on the run or watch."""


class DetectorError(SettingsError):
    """A detector does not exist, or cannot be used as it is set. `path` leads to the option at fault."""

    def __init__(self, message: str, *, path: tuple[str | int, ...] = ()) -> None:
        super().__init__(message)
        self.path = path


class DetectorFailed(CalltriageError):
    """A detector did not get through a call. That says nothing about the call."""


class DetectorOff(DetectorFailed):
    """A detector hung too often and examines no further call until a day later."""


class Deferred(DetectorFailed):
    """A cap is reached, or an endpoint asks to wait, so the call was not examined now. Nothing is lost: it goes on later.

    `wait_s`: seconds until it may go on; None: until the next day (UTC).
    """

    def __init__(self, message: str, *, wait_s: float | None = None) -> None:
        super().__init__(message)
        self.wait_s = wait_s


class CallError(CalltriageError):
    """A call failed. `code` is stable, `str(error)` says what happened and what to do next.

    Attributes:
        code: stable snake_case word; the vendor's own where it has one (`call_not_attached`).
        status: HTTP status that the API answered, if one did.
        field: argument at fault, if one is.
        allowed: values or names that would have been accepted.
        retryable: the same call may succeed later.
        retry_after_s: seconds to wait first, if known.
        try_next: tool call that mends the situation.
        outcome: what became of the write, None for a read.
        request_id: names the request in a log; the vendor's own where an API answered, and marked so.
        details: further trusted facts, shown as they are.
        for_operator: what happened and what to do, as an operator reads it; None where the kind of error says it.
    """

    default_code = "failed"
    retryable = False
    for_operator: str | None = None

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        status: int | None = None,
        field: str | None = None,
        allowed: list[str] | None = None,
        retry_after_s: float | None = None,
        try_next: TryNext | None = None,
        outcome: Outcome | None = None,
        request_id: str | None = None,
        details: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code or self.default_code
        self.status = status
        self.field = field
        self.allowed = allowed
        self.retry_after_s = retry_after_s
        self.try_next = try_next
        self.outcome: Outcome | None = outcome
        self.request_id = request_id
        self.details = details or {}

    @property
    def is_refusal(self) -> bool:
        """Whether the same call would surely be refused again."""
        return not self.retryable and self.outcome != "unknown"

    def as_part(self) -> dict[str, Any]:
        """The failure as a part of an answer whose other parts stand."""
        return {"outcome": self.outcome or "not_committed", "error": self.body()}

    def body(self) -> dict[str, Any]:
        """The error as an agent sees it: code, message and what is known besides."""
        known = {
            "status": self.status,
            "field": self.field,
            "allowed": self.allowed,
            "retry_after_s": self.retry_after_s,
            "try_next": self.try_next,
            "outcome": self.outcome,
            "request_id": self.request_id,
            "request_id_of": "vendor" if self.request_id is not None and self.status is not None else None,
        }
        return {
            "code": self.code,
            "message": str(self),
            "retryable": self.retryable and self.outcome != "unknown",
            **{name: value for name, value in known.items() if value is not None},
            **self.details,
        }


class Rejected(CallError):
    """The arguments break a rule, found here before sending or by the API (HTTP 400, 413, 415, 422)."""

    default_code = "invalid_arguments"


class NotFound(CallError):
    """The id names nothing in the caller's organisation (HTTP 404)."""

    default_code = "not_found"


class Conflict(CallError):
    """Something must hold first, or a name is taken (HTTP 409). Never retried: it is a verdict."""

    default_code = "conflict"


class Unauthenticated(CallError):
    """The API does not accept the configured credentials (HTTP 401)."""

    default_code = "unauthenticated"


class Forbidden(CallError):
    """The credentials are good but may not do this (HTTP 403)."""

    default_code = "forbidden"


class RateLimited(CallError):
    """Too many requests (HTTP 429); nothing was carried out."""

    default_code = "rate_limited"
    retryable = True


class ServerFailure(CallError):
    """The API failed (HTTP 5xx)."""

    default_code = "server_failure"
    retryable = True


class StorageUnavailable(CallError):
    """The desk cannot use its data folder (HTTP 503 of ours); nothing was carried out and waiting does not help."""

    default_code = "storage_unavailable"


class Unreachable(CallError):
    """No answer: refused, cut, or past the deadline. `maybe_applied` says whether a write may have been carried out."""

    default_code = "unreachable"
    retryable = True

    @property
    def maybe_applied(self) -> bool:
        return self.outcome == "unknown"


class Blocked(CallError):
    """A certificate or a proxy stops the call before it is sent. Waiting does not help."""

    default_code = "proxy_refused"


class UnreadableAnswer(CallError):
    """The API answered with something that is not its contract: HTML, cut JSON, a missing field."""

    default_code = "unreadable_answer"


class EmptyAnswer(UnreadableAnswer):
    """The API answered success and nothing else where its contract has a body: no proof that a write was carried out."""


def is_group(error: BaseException) -> TypeGuard[BaseExceptionGroup[BaseException]]:
    """Whether an error wraps several, as a task group raises them."""
    return isinstance(error, BaseExceptionGroup)


def first_of(error: BaseException) -> BaseException:
    """The first error that a group wraps, at any depth. An error that is not a group is its own first."""
    while is_group(error):
        error = error.exceptions[0]
    return error
