"""Routes of the triage vendor that other clients ask for, beside the contract: the account, calls under way, events and
recordings. They answer as the vendor documents them, for a desk that keeps calls and makes none."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from calltriage.desk.database.tables import calls
from calltriage.desk.database.transaction import AnyRow, Reply, Transaction, not_found
from calltriage.desk.handlers import call_shapes
from calltriage.desk.handlers.attachments import recording_of
from calltriage.desk.handlers.calls import find_call
from calltriage.operations.fields import NO_RECORDING

Path = Mapping[str, str]


def get_account(tx: Transaction, _: Path) -> Reply:
    """The account of the caller's organisation. The desk bills nothing (our choice)."""
    billing = {"current_balance": 0, "refill_to": None}
    return Reply(200, {"status": "active", "billing": billing, "total_calls": tx.count(calls)})


def list_active_calls(_: Transaction, __: Path) -> Reply:
    """Every call on the desk has ended."""
    return Reply(200, {"data": [], "errors": None})


def list_call_events(tx: Transaction, path: Path) -> Reply:
    """The desk keeps no events of the platform that carried a call."""
    find_call(tx, path["call_id"])
    return Reply(200, [])


def get_recording_url(tx: Transaction, path: Path) -> Reply:
    """The recording's URL that the call's source gave."""
    about = find_call(tx, path["call_id"]).record["metadata"]
    url = call_shapes.told("recording_url", about.get("recording_url"))
    if not url:
        raise not_found(NO_RECORDING)
    return Reply(200, {"code": 200, "status": "success", "url": url})


def recording(tx: Transaction, path: Path) -> AnyRow:
    """The file that is a call's recording. Raises ContractError if there is none."""
    find_call(tx, path["call_id"])
    found = recording_of(tx, path["call_id"])
    if found is None:
        raise not_found(NO_RECORDING)
    return found


NEIGHBOURS: dict[str, Callable[[Transaction, Path], Reply]] = {
    "/v1/me": get_account,
    "/v1/calls/active": list_active_calls,
    "/v1/calls/{call_id}/events": list_call_events,
    "/v1/calls/{call_id}/recording": get_recording_url,
}
"""The handler of a GET by path."""
