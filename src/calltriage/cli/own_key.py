"""The desk's own key, in its file and in the database, and who else may come in."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

from pydantic import SecretStr

from calltriage.desk.operating.tenants import OWN_KEY, End, NewKey, Tenants
from calltriage.embedded import open_desk
from calltriage.errors import SettingsError
from calltriage.settings import Settings
from calltriage.storage.folders import make_folder
from calltriage.storage.kept_secrets import kept_secret, secret_lock, write_secret

OWN_KEY_FILE = "desk.key"
NEXT_KEY_FILE = "desk.key.next"
"""Holds the key that a rotation is about to make the desk's own."""


def desk_key(settings: Settings) -> SecretStr:
    """The key that `desk serve` accepts: the configured one, or one made at the first start and kept for its owner."""
    if settings.desk_api_key is not None:
        return settings.desk_api_key
    make_folder(settings.data_dir)
    return kept_secret(
        settings.data_dir,
        OWN_KEY_FILE,
        "check that the folder belongs to this user, or set CALLTRIAGE_DESK_API_KEY",
    )


@asynccontextmanager
async def open_tenants(settings: Settings) -> AsyncGenerator[Tenants]:
    """Organisations, users and keys of the desk on the data folder, the desk's own key among them."""
    async with open_desk(settings) as desk:
        await settle_own_key(settings, desk.tenants)
        # A server may have been given another key than this command: only its start replaces the desk's own.
        if not await desk.tenants.has_own_key():
            await desk.tenants.keep_own_key(desk_key(settings).get_secret_value())
        yield desk.tenants


async def own_key(settings: Settings) -> SecretStr:
    """The desk's own key, for its operator to read: one that is good at this moment, at a server that is running, too.

    Where the desk has none that is good, this one becomes it. Raises SettingsError for a key that is not the desk's own.
    """
    async with open_tenants(settings) as tenants:  # settles which key it is
        found = desk_key(settings)
        key, has_one = found.get_secret_value(), await tenants.has_good_own_key()
        if await (tenants.is_own_key(key) if has_one else tenants.keep_own_key(key)):
            return found
    raise SettingsError(
        "The key that is set here is not the desk's own, or has ended. Set CALLTRIAGE_DESK_API_KEY to the one its server "
        f"was started with, or to a new one; if none is set, remove {settings.data_dir / OWN_KEY_FILE}: another one is made."
    )


async def rotate_key(settings: Settings, key_id: str, overlap: timedelta, expires: End = None) -> NewKey:
    """Make a key in the place of another one. The desk's own is replaced in its file, too."""
    if key_id == OWN_KEY and settings.desk_api_key is not None:
        raise SettingsError(
            "The desk's own key is set by CALLTRIAGE_DESK_API_KEY. Make another key with `calltriage desk keys add`, give "
            "it to the clients, then change the variable."
        )
    async with open_tenants(settings) as tenants:
        if key_id != OWN_KEY:
            return await tenants.rotate(key_id, overlap, expires)
        made = secrets.token_urlsafe(32)
        with secret_lock(settings.data_dir / OWN_KEY_FILE):
            write_secret(settings.data_dir / NEXT_KEY_FILE, made)
            try:
                return await tenants.rotate(key_id, overlap, expires, made)
            finally:
                await _take_next_key(settings.data_dir, tenants)


async def settle_own_key(settings: Settings, tenants: Tenants) -> None:
    """Complete or undo a rotation of the desk's own key that was cut off between the database and the file."""
    if (settings.data_dir / NEXT_KEY_FILE).exists():
        with secret_lock(settings.data_dir / OWN_KEY_FILE):
            await _take_next_key(settings.data_dir, tenants)


async def _take_next_key(folder: Path, tenants: Tenants) -> None:
    """Let the key of a rotation be the one in the file if the database has taken it, else forget it."""
    draft = folder / NEXT_KEY_FILE
    if not draft.exists():
        return
    if await tenants.is_own_key(draft.read_text(encoding="ascii", errors="replace").strip()):
        draft.replace(folder / OWN_KEY_FILE)
    else:
        draft.unlink()


async def revoke_key(settings: Settings, key_id: str) -> bool:
    """End a key for good; False when that was done before. The file of the desk's own goes, so that another one is made."""
    async with open_tenants(settings) as tenants:
        is_new = await tenants.revoke("keys", key_id)
    if key_id == OWN_KEY and settings.desk_api_key is None:
        (settings.data_dir / OWN_KEY_FILE).unlink(missing_ok=True)
    return is_new
