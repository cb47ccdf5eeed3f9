"""Attachments on the desk: reservations, bytes, records (talkdesk-attachments, sections 4 to 7 and 12)."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Any

from sqlalchemy import insert, select, update

from calltriage.desk.exchange import AnyRow, ContractError, Reply, Transaction, bad_request, plain_row
from calltriage.desk.tables import attachments, reservations
from calltriage.operations.attachments import CreateAttachment, GetAttachment, RequestUploadLink

LINK_SECONDS = 3600
"""Life of an upload link."""
RESERVATION_SECONDS = 24 * 3600
"""Life of an unclaimed request_id."""


def request_upload_link(tx: Transaction, call: RequestUploadLink) -> Reply:
    request_id, key = secrets.token_hex(16), secrets.token_hex(16)
    now = int(tx.now.timestamp())
    tx.connection.execute(
        insert(reservations).values(
            org_id=tx.who.org_id,
            id=request_id,
            object_key=key,
            allowed_types=call.allowed_mime_types or [],
            expires_at=now + RESERVATION_SECONDS,
        )
    )
    expires = now + LINK_SECONDS
    signature = sign(tx.secret, "PUT", key, expires)
    return Reply(
        200, {"request_id": request_id, "url": f"{tx.public_url}/blobs/{key}?expires={expires}&signature={signature}"}
    )


def create_attachment(tx: Transaction, call: CreateAttachment) -> Reply:
    """The checks stand in the contract's order; the name's unique index decides between two at once."""
    found = tx.find(reservations, call.request_id)
    if found is None or found.expires_at <= tx.now.timestamp():
        raise bad_request(request_id="unknown or expired upload reservation")
    taken = select(attachments.c.id).where(tx.mine(attachments, attachments.c.name == call.name))
    if tx.connection.execute(taken).first() is not None:
        raise ContractError(409, "conflict", "Attachments name exist")
    if found.consumed_by is not None:
        raise bad_request(request_id="already used for an attachment")
    if found.sha256 is None:
        raise bad_request(request_id="no bytes were uploaded for it")
    if found.allowed_types and _essence(found.type) not in {_essence(allowed) for allowed in found.allowed_types}:
        raise bad_request(request_id="the uploaded media type is not among allowed_mime_types")
    row = tx.connection.execute(
        insert(attachments)
        .values(
            org_id=tx.who.org_id,
            id=secrets.token_hex(16),
            name=call.name,
            metadata=call.metadata,
            created_at=tx.instant,
            **plain_row(found, "size", "type", "sha256"),
        )
        .returning(attachments)
    ).one()
    tx.connection.execute(
        update(reservations).where(tx.mine(reservations, reservations.c.id == found.id)).values(consumed_by=row.id)
    )
    return Reply(200, _shown(tx, row))


def get_attachment(tx: Transaction, call: GetAttachment) -> Reply:
    row = tx.find(attachments, call.attachment_id)
    if row is None:
        raise no_attachment()
    return Reply(200, _shown(tx, row))


def no_attachment() -> ContractError:
    return ContractError(404, "not_found", "Attachment do not exist")


def _shown(tx: Transaction, row: AnyRow) -> dict[str, Any]:
    here = f"{tx.public_url}/attachments/2023-03/{row.id}"
    return {
        **plain_row(row, "id", "name", "size", "type"),
        "state": "published",
        "metadata": row.metadata or {},
        "provider": {"name": "embedded"},
        "_links": {"self": {"href": here}, "download_link": {"href": f"{here}/download-link"}},
    }


def _essence(media_type: str) -> str:
    """Type/subtype without parameters, case ignored; no aliases."""
    return media_type.partition(";")[0].strip().lower()


def sign(secret: bytes, method: str, key: str, expires: int) -> str:
    """HMAC-SHA256 over method, key and expiry, in hex."""
    return hmac.new(secret, f"{method}\n{key}\n{expires}".encode(), hashlib.sha256).hexdigest()
