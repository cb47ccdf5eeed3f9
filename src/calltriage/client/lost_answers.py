"""The errors of a write whose answer did not come: before, while and after it is looked for."""

from __future__ import annotations

import httpx2

from calltriage.errors import CallError, EmptyAnswer, ServerFailure, Unreachable


def may_still_run(error: CallError | None) -> bool | None:
    """Whether the API may still work on a request with this failure. None: for a moment at most."""
    if isinstance(error, EmptyAnswer):
        return True  # the API said success: a row that is not listed yet may still appear
    if error is None or (isinstance(error, ServerFailure) and error.status not in {502, 504}):
        return False
    gave_up = isinstance(error.__cause__, TimeoutError | httpx2.TimeoutException)
    return True if gave_up or error.status == 504 else None


def in_doubt(error: CallError) -> CallError:
    """Error for a write whose outcome the look-up could not determine."""
    return type(error)(
        "No answer came that says whether it was carried out, and looking for it did not settle that. Read the present "
        "state; call again only if it is not there.",
        code="outcome_unknown" if isinstance(error, Unreachable) else error.code,
        status=error.status,
        outcome="unknown",
        request_id=error.request_id,
    )


def not_there(error: CallError) -> CallError:
    """Error for a write that the look-up did not find."""
    was_in_doubt = error.outcome == "unknown"
    return type(error)(
        "The call failed. It was looked for and was not carried out; call again." if was_in_doubt else str(error),
        code=None if was_in_doubt and isinstance(error, Unreachable) else error.code,
        status=error.status,
        field=error.field,
        retry_after_s=error.retry_after_s,
        outcome="not_committed",
        request_id=error.request_id,
    )


def unreachable(message: str, *, is_write: bool, maybe_applied: bool, code: str | None = None) -> Unreachable:
    if not is_write:
        return Unreachable(f"{message} Wait, then call again.", code=code)
    if maybe_applied:
        return Unreachable(
            f"{message} It may or may not have been carried out: read the present state before calling again.",
            code="outcome_unknown",
            outcome="unknown",
        )
    return Unreachable(f"{message} Nothing was carried out; call again.", code=code, outcome="not_committed")
