"""Alerts about incidents and detectors: JSON to a webhook, or Slack's shape.

Equal events are sent once in each `alert.quiet`; the next message says how many were kept back. No message holds words of a
call. The header `X-Calltriage-Signature: sha256=<hex>` is the HMAC-SHA256 of the body with the key of `alert.secret`.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

import anyio
import httpx2
from sqlalchemy import Connection, and_, insert, select, update
from uuid_utils import uuid4

from calltriage.client.credentials import check_base_url
from calltriage.errors import SettingsError
from calltriage.leaves.instants import instant
from calltriage.leaves.seals import signature
from calltriage.leaves.strict_json import JsonObject
from calltriage.pipelines.ledger.tables import alerts

if TYPE_CHECKING:
    from calltriage.pipelines.ledger.ledger import Ledger
    from calltriage.pipelines.spec import Alert, Spec

logger = logging.getLogger(__name__)

SECONDS, PERSON_WAITS_S = 10.0, 3.0
"""Seconds that a receiver has to answer: in a run, and while a person waits for a command."""
SIGNATURE, EVENT_ID = "x-calltriage-signature", "x-calltriage-event-id"
FACTS = ("fingerprint", "detector", "kind", "ticket", "issue_id", "calls")
"""What a message says of an incident."""
OF_SOME = ("found_in", "of_calls", "redactor")
"""What some messages say besides: numbers of calls in one about a detector's rate, and a redactor's name."""
WORDS = {
    "filed": "filed a new issue",
    "reopened": "reopened an issue: the fault came back after it was closed",
    "escalating": "hears a muted incident again: it is found far more often than before",
    "spike": "finds an incident far more often than in the seven days before",
    "rate": "finds something in more calls than its file allows",
    "detector_off": "switched a detector off: it took too long on several calls, and later calls are not examined by it",
    "redactor_off": (
        "switched its redactor off: it took too long on several calls, and detectors fail on later calls in which they find "
        "something"
    ),
    "over_limit": (
        "files no further issue: limits.new_issues is reached in this run or, by a watch, in 24 hours. A watch files what "
        "waits within an hour after there is room; to file it before, accept findings or raise the limit"
    ),
}
"""What a message in Slack's shape says of each event."""


class Hearer(Protocol):
    """Hears of what happens to incidents and detectors."""

    async def tell(self, what: str, event: str, incident: JsonObject, *, lasts: bool = False) -> None:
        """Hear of something that happened. Never raises for a receiver that fails.

        Args:
            what: a key of WORDS.
            event: identifies the event; equal ones within the quiet time are sent once.
            incident: the incident's row, or what is known of the detector or the redactor.
            lasts: it was told of before and lasts since, so it is no further event to be counted as kept back.
        """
        ...


@dataclass(frozen=True)
class Alerts:
    """Sends the alerts of one pipeline.

    Attributes:
        url: where they are sent.
        secret: key of the signature; None: messages are not signed.
        transport: replaced in tests; the network unless given.
        seconds: time for the receiver to answer.
    """

    ledger: Ledger
    pipeline: str
    alert: Alert
    url: str = field(repr=False)
    secret: bytes | None = field(default=None, repr=False)
    transport: httpx2.AsyncBaseTransport | None = field(default=None, repr=False)
    seconds: float = SECONDS

    async def tell(self, what: str, event: str, incident: JsonObject, *, lasts: bool = False) -> None:
        """Send an event unless an equal one was sent within the quiet time.

        A failure of the receiver is logged; the next equal event is sent at once then.
        """
        name, fresh = f"{self.pipeline} {event}", uuid4().hex
        claim = await self.ledger.write(lambda it: self._claim(it, name, fresh, more=0 if lasts else 1))
        if claim is None:
            return
        message_id, kept_back = claim
        try:
            await self._send(self._body(what, message_id, kept_back, incident), message_id)
        except (httpx2.HTTPError, OSError) as error:
            logger.warning("an alert could not be sent: %s", type(error).__name__)
            await self.ledger.write(lambda it: self._give_back(it, name, message_id, kept_back + 1))

    def _claim(self, connection: Connection, name: str, message_id: str, more: int) -> tuple[str, int] | None:
        """Decide whether to send an event. Returns the message's id and how many equal events were kept back; None if this
        one is kept back, too, which counts as `more`. A message is repeated under its first id, so that a receiver can
        recognise it."""
        where = and_(alerts.c.account == self.ledger.account, alerts.c.event == name)
        row = connection.execute(select(alerts).where(where)).one_or_none()
        now = self.ledger.now()
        if row is None:
            values = {"account": self.ledger.account, "event": name, "sent_at": now, "message_id": message_id}
            connection.execute(insert(alerts).values(**values, updated_at=now))
            return message_id, 0
        last = instant(row.sent_at)
        if last is not None and timedelta(0) <= self.ledger.clock() - last < self.alert.quiet:
            connection.execute(update(alerts).where(where).values(suppressed=row.suppressed + more, updated_at=now))
            return None
        again = row.message_id if row.sent_at is None and row.message_id else message_id
        told = {"sent_at": now, "message_id": again, "suppressed": 0, "updated_at": now}
        connection.execute(update(alerts).where(where).values(**told))
        return again, int(row.suppressed)

    def _give_back(self, connection: Connection, name: str, message_id: str, events: int) -> None:
        """Count events as kept back whose message could not be sent."""
        mine = and_(alerts.c.account == self.ledger.account, alerts.c.event == name, alerts.c.message_id == message_id)
        connection.execute(update(alerts).where(mine).values(sent_at=None, suppressed=alerts.c.suppressed + events))

    def _body(self, what: str, message_id: str, kept_back: int, incident: Mapping[str, object]) -> JsonObject:
        facts = {name: incident.get(name) for name in FACTS} | {
            one: incident[one] for one in OF_SOME if one in incident
        }
        if self.alert.shape == "json":
            told = {"id": message_id, "event": what, "pipeline": self.pipeline, "at": self.ledger.now()}
            return {**told, "suppressed": kept_back, "incident": facts}
        more = f" ({kept_back} more like this were kept back)" if kept_back else ""
        about = " / ".join(str(facts[name]) for name in ("ticket", "detector", "kind", "redactor") if facts.get(name))
        about += f" ({facts['found_in']} of {facts['of_calls']} calls)" if "of_calls" in facts else ""
        return {"text": f"Pipeline {self.pipeline} {WORDS.get(what, what)}: {about}{more}"}

    async def _send(self, body: JsonObject, message_id: str) -> None:
        data = json.dumps(body, separators=(",", ":")).encode()
        headers = {"content-type": "application/json", EVENT_ID: message_id}
        if self.secret is not None:
            headers[SIGNATURE] = f"sha256={signature(self.secret, data)}"
        async with httpx2.AsyncClient(transport=self.transport, timeout=self.seconds, trust_env=False) as http:
            with anyio.fail_after(self.seconds):  # in all; the client's own limit is for each part of an answer
                (await http.post(self.url, content=data, headers=headers)).raise_for_status()


def alerts_of(spec: Spec, ledger: Ledger, seconds: float = SECONDS) -> Alerts | None:
    """The alerts of a pipeline's file; None if it has no [alert]. A receiver has `seconds` to answer.

    Raises SettingsError if a variable of the environment is missing, or if the address is neither https nor http on a
    loopback address.
    """
    if spec.alert is None:
        return None
    url = _from_environment(spec.alert.webhook)
    check_base_url(url, f"The address in {spec.alert.webhook.removeprefix('env:')}, the webhook of [alert],")
    secret = None if spec.alert.secret is None else _from_environment(spec.alert.secret).encode()
    return Alerts(ledger, spec.name, spec.alert, url, secret, seconds=seconds)


def _from_environment(reference: str) -> str:
    name = reference.removeprefix("env:")
    value = os.environ.get(name)
    if not value:
        raise SettingsError(f"The environment has no {name}, which the pipeline's file names under [alert].")
    return value
