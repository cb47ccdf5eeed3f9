"""File bytes in an object store: S3, Google Cloud Storage or Azure, through one library.

The store is reached with the credentials that its own environment variables name (`AWS_…`, `GOOGLE_…`, `AZURE_…`). Clients
never talk to it, only to the desk's signed links. So the desk knows the hash of every file, and a delete works at once.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from urllib.parse import urlsplit

import anyio

from calltriage.desk.bytes.blobs import (
    PIECE,
    BlobStoreError,
    Intake,
    Received,
    is_name,
    published_name,
    received_name,
)
from calltriage.errors import SettingsError
from calltriage.leaves.installed import how_to_add

PROVIDERS = {"s3": "s3", "gs": "gcs", "az": "azure"}
"""The name that attachments show as `provider`, by the URL's scheme."""
VENDORS = {"s3": "AWS", "gs": "GOOGLE", "az": "AZURE"}
"""Beginning of the names of the store's environment variables, by scheme."""
VARIABLES = {
    "s3": "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS or GOOGLE_SERVICE_ACCOUNT_KEY",
    "az": "AZURE_STORAGE_ACCOUNT_NAME with AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_KEY",
}
"""For messages: the environment variables of each store that matter most."""
REFUSALS = (
    (r"<Code>(NoSuchBucket|ContainerNotFound)", "has no such bucket"),
    (r"Object at location", "lacks an object that it had"),
    (r"status code: 404", "has no such bucket"),
    (
        r"<Code>(SignatureDoesNotMatch|InvalidAccessKeyId|ExpiredToken|InvalidToken|AuthenticationFailed)|status code: 401",
        "does not accept the credentials",
    ),
    (r"169\.254\.169\.254|metadata\.google|Missing credential", "is given no credentials"),
    (r"status code: 403", "accepts the credentials, but not for this bucket: they need the rights to list, read, write and "
     "delete objects below the prefix"),
    (r"<Code>(PermanentRedirect|AuthorizationHeaderMalformed|IllegalLocation)|status code: 30\d",
     "has the bucket in another region"),
    (r"builder error", "has an address with http://, which is not allowed: set AWS_ALLOW_HTTP=true (AZURE_, GOOGLE_) or use "
     "https://"),
    (r"error sending request|timed out|operation timed", "cannot be reached at its address"),
    (r"status code: (429|5\d\d)", "is too busy, or failed by itself: wait, and try again"),
)  # fmt: skip
"""What a store's failure means, by a pattern in the library's message. The first match counts."""
PART = 8 * 2**20
"""Bytes of one part of an upload. Two parts are sent at once."""
PATIENCE = 30
"""Seconds for deleting unwanted bytes. The next sweep deletes what is left then."""


CLIENT: Any = {"connect_timeout": timedelta(seconds=5), "timeout": timedelta(minutes=30)}
"""The long timeout is for a whole file, which is one answer of the store."""
RETRIES: Any = {"max_retries": 3, "retry_timeout": timedelta(seconds=30)}


@dataclass(frozen=True)
class ObjectBlobs:
    """Bytes below a bucket's prefix. Nothing else that lies there is touched."""

    store: Any = field(repr=False)  # its repr shows its variables, and panics if it has no account name
    provider: str
    settings: str

    def is_there(self) -> bool:
        return True

    async def check(self) -> None:
        """Ask for one page of the bucket's list: it works only with the right address, bucket and credentials."""
        import obstore  # noqa: PLC0415

        with _told():
            await anext(aiter(cast("Any", obstore).list(self.store)), None)

    async def receive(self, content: AsyncIterator[bytes], limit: int) -> Received:
        import obstore  # noqa: PLC0415

        name = received_name()
        with _told():
            writer = obstore.open_writer_async(self.store, name, buffer_size=PART, max_concurrency=2)

        async def write(batch: list[bytes]) -> None:
            with _told():
                await writer.write(b"".join(batch))

        try:
            async with Intake() as intake:
                await intake.take(content, limit, write)
                with _told():
                    await writer.close()
        except BaseException:
            await self._abandon(writer, name)
            raise
        return intake.received(name)

    async def _abandon(self, writer: Any, name: str) -> None:
        """Remove a failed upload. Parts already sent are in no listing, and the library cannot delete them: the upload is
        completed, and the object deleted. If that fails, the next sweep deletes it."""
        with anyio.move_on_after(PATIENCE, shield=True), suppress(BlobStoreError):
            try:
                with _told():
                    await writer.close()
            finally:
                await self.drop(name)

    async def publish(self, received: str, sha256: str, org_id: str) -> str:
        import obstore  # noqa: PLC0415

        name = published_name(org_id, sha256)
        with _told():
            await obstore.copy_async(self.store, received, name)
        return name

    async def read(self, name: str, start: int, length: int) -> AsyncGenerator[bytes]:
        import obstore  # noqa: PLC0415

        with _told():
            whole = await obstore.head_async(self.store, name)
        if whole["size"] < start + length:
            raise BlobStoreError("an object is shorter than it was")
        if not length:
            return
        with _told():
            answer = await obstore.get_async(self.store, name, options={"range": (start, start + length)})
            pieces = aiter(answer.stream(min_chunk_size=PIECE))
        while True:
            with _told():
                piece = await anext(pieces, None)
            if piece is None:
                return
            yield bytes(piece)

    async def drop(self, *names: str) -> None:
        import obstore  # noqa: PLC0415

        with anyio.move_on_after(PATIENCE, shield=True) as in_time:
            for name in names:
                try:
                    with _told():
                        await obstore.delete_async(self.store, name)
                except BlobStoreError as error:
                    if not isinstance(error.__cause__, FileNotFoundError):
                        raise
        if in_time.cancelled_caught:
            raise BlobStoreError("the object store does not answer")

    async def unchanged_for(self, seconds: float) -> AsyncGenerator[str]:
        import obstore  # noqa: PLC0415

        before = datetime.now(UTC) - timedelta(seconds=seconds)
        with _told():
            pages = aiter(cast("Any", obstore).list(self.store))  # one of its overloads is untyped
        while True:
            with _told():
                page = await anext(pages, None)
            if page is None:
                return
            for found in page:
                if is_name(found["path"]) and found["last_modified"] < before:
                    yield found["path"]


@contextmanager
def _told() -> Generator[None]:
    """Turn a failure of the store into BlobStoreError. The store's own words may hold addresses and are not repeated."""
    from obstore.exceptions import BaseError  # noqa: PLC0415

    try:
        yield
    except (BaseError, OSError, ValueError) as error:
        known = (told for pattern, told in REFUSALS if re.search(pattern, str(error)))
        why = next(known, f"does not answer as such a store does ({type(error).__name__})")
        raise BlobStoreError(f"the object store {why}") from error


def open_objects(url: str) -> ObjectBlobs:
    """The store at a URL such as `s3://bucket/prefix`. Sends no request.

    Raises SettingsError, whose words hold no part of the URL.
    """
    parts = urlsplit(url)
    if parts.scheme not in PROVIDERS or not re.fullmatch(r"[A-Za-z0-9._-]{1,255}", parts.netloc) or parts.query:
        raise SettingsError(
            "CALLTRIAGE_BLOBS_URL must be s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX, the prefix at "
            "will; credentials go into the store's own variables, such as AWS_ACCESS_KEY_ID."
        )
    try:
        from obstore.exceptions import BaseError  # noqa: PLC0415
        from obstore.store import from_url  # noqa: PLC0415
    except ImportError:
        raise SettingsError(f"CALLTRIAGE_BLOBS_URL needs an extra: {how_to_add('objects')}.") from None
    try:
        # Options given here replace the environment's, so whether plain HTTP is allowed is passed on.
        plain = os.environ.get(f"{VENDORS[parts.scheme]}_ALLOW_HTTP", "").lower() == "true"
        options: Any = {**CLIENT, "allow_http": plain}
        store = from_url(url, client_options=options, retry_config=RETRIES)
        return ObjectBlobs(store, PROVIDERS[parts.scheme], f"CALLTRIAGE_BLOBS_URL, {VARIABLES[parts.scheme]}")
    except (BaseError, ValueError) as error:
        raise SettingsError(
            f"The object store of CALLTRIAGE_BLOBS_URL cannot be set up ({type(error).__name__}). Check its own variables, "
            f"such as {VARIABLES[parts.scheme]}."
        ) from None
