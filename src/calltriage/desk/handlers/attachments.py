"""Attachments on the desk: reservations, bytes, records (talkdesk-attachments, sections 4 to 7 and 12)."""

from __future__ import annotations

import json
import secrets
from urllib.parse import urlencode

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import ColumnElement, Connection, delete, exists, false, func, insert, select, update

from calltriage.desk.bytes.blobs import is_name_of
from calltriage.desk.database.tables import attachment_labels, attachments, reservations
from calltriage.desk.database.transaction import (
    AnyRow,
    ContractError,
    Reply,
    Transaction,
    bad_request,
    handled,
    not_found,
    plain_row,
)
from calltriage.leaves.seals import signature
from calltriage.leaves.strict_json import JsonObject
from calltriage.operations.attachments import (
    RECORDING_OF,
    CreateAttachment,
    DeleteAttachment,
    GetAttachment,
    GetAttachmentDownloadLink,
    ListAttachments,
    RequestUploadLink,
)
from calltriage.operations.fields import NO_ATTACHMENT, Metadata

LINK_SECONDS = 3600
"""Seconds that an upload link works."""
RESERVATION_SECONDS = 24 * 3600
"""Seconds that a request_id without an attachment works."""
DOWNLOAD_SECONDS = 600
"""Seconds that a download link works."""
PER_PAGE = 50
STATE = "published"
"""The only state: a record exists once its bytes do."""


def request_upload_link(tx: Transaction, call: RequestUploadLink) -> Reply:
    request_id, key = secrets.token_hex(16), secrets.token_hex(16)
    tx.connection.execute(
        insert(reservations).values(
            org_id=tx.who.org_id,
            id=request_id,
            object_key=key,
            allowed_types=call.allowed_mime_types or [],
            expires_at=int(tx.now.timestamp()) + RESERVATION_SECONDS,
        )
    )
    return Reply(200, {"request_id": request_id, "url": _signed_url(tx, "PUT", key, LINK_SECONDS)})


def creatable(tx: Transaction, call: CreateAttachment) -> AnyRow:
    """The reservation that a call may turn into an attachment. Raises ContractError. The checks are in the contract's
    order."""
    found = tx.find(reservations, call.request_id)
    if found is None or found.expires_at <= tx.now.timestamp():
        raise bad_request(request_id="unknown or expired upload reservation")
    taken = select(attachments.c.id).where(tx.mine(attachments, attachments.c.name == call.name))
    if tx.connection.execute(taken).first() is not None:
        raise ContractError(409, "conflict", "Attachments name exist")
    if found.consumed_by is not None:
        raise bad_request(request_id="already used for an attachment")
    if found.blob is None:
        raise bad_request(request_id="no bytes were uploaded for it")
    if found.allowed_types and _essence(found.type) not in {_essence(allowed) for allowed in found.allowed_types}:
        raise bad_request(request_id="the uploaded media type is not among allowed_mime_types")
    return found


def create_attachment(tx: Transaction, call: CreateAttachment, blob: str) -> Reply:
    """Make the record of the bytes published as `blob`. All checks are made again. Of two requests for one name, the
    name's unique index lets one through."""
    found = creatable(tx, call)
    facts = plain_row(found, "size", "type", "sha256", "md5")
    if not is_name_of(blob, tx.who.org_id, found.sha256):
        raise bad_request(request_id="its bytes were replaced meanwhile; send the request again")
    row_facts = {"name": call.name, "metadata": call.metadata, "blob": blob, **facts}
    row = insert_attachment(tx.connection, tx.who.org_id, secrets.token_hex(16), row_facts, tx.instant)
    tx.connection.execute(
        update(reservations)
        .where(tx.mine(reservations, reservations.c.id == found.id))
        .values(consumed_by=row.id, blob=None)
    )
    return Reply(200, _shown(tx, row), loose=(found.blob,))


def insert_attachment(
    connection: Connection, org_id: str, attachment_id: str, facts: JsonObject, created_at: str
) -> AnyRow:
    """Insert a published file and its labels. Returns its row."""
    query = insert(attachments).values(
        org_id=org_id, id=attachment_id, object_key=secrets.token_hex(16), created_at=created_at, **facts
    )
    row = connection.execute(query.returning(attachments)).one()
    given: JsonObject = facts["metadata"] or {}
    labels = [
        {"org_id": org_id, "attachment_id": attachment_id, "name": name, "value": _json_text(value)}
        for name, value in given.items()
    ]
    if labels:
        connection.execute(insert(attachment_labels), labels)
    return row


def get_attachment(tx: Transaction, call: GetAttachment) -> Reply:
    return Reply(200, _shown(tx, _found(tx, call.attachment_id)))


def list_attachments(tx: Transaction, call: ListAttachments) -> Reply:
    """Newest first; filters are exact and combine with AND (talkdesk-attachments, section 6)."""
    page, per_page = call.page or 1, call.per_page or PER_PAGE
    where = tx.mine(attachments, *_filters(tx, call))
    total = tx.count(attachments, where)
    rows = list[AnyRow]()
    if (page - 1) * per_page < total:
        query = select(attachments).where(where).order_by(attachments.c.created_at.desc(), attachments.c.id.desc())
        rows = list(tx.connection.execute(query.limit(per_page).offset((page - 1) * per_page)))

    def link(number: int) -> dict[str, str]:
        query = {**call.payload(), "page": number, "per_page": per_page}
        return {"href": f"{tx.public_url}/attachments/2023-03?{urlencode(query, doseq=True)}"}

    links = {"self": link(page)}
    if page > 1:
        links["prev"] = link(page - 1)
    if page * per_page < total:
        links["next"] = link(page + 1)
    body = {"total": total, "count": len(rows), "page": page, "per_page": per_page}
    return Reply(200, {**body, "_embedded": {"list": [_shown(tx, row) for row in rows]}, "_links": links})


def get_attachment_download_link(tx: Transaction, call: GetAttachmentDownloadLink) -> Reply:
    """A new link for each request. Earlier links work until they expire."""
    key = _found(tx, call.attachment_id).object_key
    return Reply(200, {"url": _signed_url(tx, "GET", key, DOWNLOAD_SECONDS), "expire_time": DOWNLOAD_SECONDS})


def delete_attachment(tx: Transaction, call: DeleteAttachment) -> Reply:
    """Delete the record. Its links stop at once, as they look the record up. The bytes are deleted when this is on disk."""
    row = _found(tx, call.attachment_id)
    tx.connection.execute(delete(attachments).where(tx.mine(attachments, attachments.c.id == row.id)))
    return Reply(204, None, loose=(row.blob,))


def _found(tx: Transaction, attachment_id: str) -> AnyRow:
    row = tx.find(attachments, attachment_id)
    if row is None:
        raise not_found(NO_ATTACHMENT)
    return row


def recording_of(tx: Transaction, call_id: str) -> AnyRow | None:
    """The newest file that is labelled as the recording of a call."""
    label = attachment_labels
    same = (label.c.org_id == attachments.c.org_id) & (label.c.attachment_id == attachments.c.id)
    found = exists().where(same, label.c.name == RECORDING_OF, label.c.value == _json_text(call_id))
    query = select(attachments).where(tx.mine(attachments, found)).order_by(attachments.c.created_at.desc()).limit(1)
    return tx.connection.execute(query).one_or_none()


def _filters(tx: Transaction, call: ListAttachments) -> list[ColumnElement[bool]]:
    wanted = list[ColumnElement[bool]]()
    if call.name is not None:
        wanted.append(attachments.c.name == call.name)
    if call.types:
        wanted.append(func.lower(attachments.c.type).in_([media_type.lower() for media_type in call.types]))
    if call.state is not None and call.state != STATE:
        wanted.append(false())
    for name, value in _labels(call.metadata).items():
        label = attachment_labels.alias()
        same = (label.c.org_id == tx.who.org_id) & (label.c.attachment_id == attachments.c.id)
        wanted.append(exists().where(same, label.c.name == name, label.c.value == _json_text(value)))
    return wanted


def _labels(text: str | None) -> JsonObject:
    """The `metadata` filter, read: a flat JSON object. Raises ContractError."""
    try:
        return TypeAdapter(Metadata).validate_json(text or "{}")
    except ValidationError:
        raise bad_request(metadata="must be a flat JSON object of text, numbers and booleans") from None


def _json_text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _shown(tx: Transaction, row: AnyRow) -> JsonObject:
    here = f"{tx.public_url}/attachments/2023-03/{row.id}"
    return {
        **plain_row(row, "id", "name", "size", "type"),
        "state": STATE,
        "metadata": row.metadata or {},
        "provider": {"name": tx.provider},
        "_links": {"self": {"href": here}, "download_link": {"href": f"{here}/download-link"}},
    }


def _essence(media_type: str) -> str:
    """Type/subtype without parameters, case ignored; no aliases."""
    return media_type.partition(";")[0].strip().lower()


def _signed_url(tx: Transaction, method: str, key: str, seconds: int) -> str:
    expires = int(tx.now.timestamp()) + seconds
    signed = signature(tx.secret, signed_text(method, key, expires))
    return f"{tx.public_url}/blobs/{key}?expires={expires}&signature={signed}"


def signed_text(method: str, key: str, expires: int) -> bytes:
    """What the signature of a URL covers."""
    return f"{method}\n{key}\n{expires}".encode()


HANDLERS = (
    handled(RequestUploadLink, by=request_upload_link),
    handled(ListAttachments, by=list_attachments),
    handled(GetAttachment, by=get_attachment),
    handled(GetAttachmentDownloadLink, by=get_attachment_download_link),
    handled(DeleteAttachment, by=delete_attachment),
)
