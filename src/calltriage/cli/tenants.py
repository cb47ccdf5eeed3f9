"""`calltriage desk keys|users|organisations`: who may come in to the embedded desk."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import click

from calltriage.cli.listing import JSON, show_rows
from calltriage.cli.options import EXPIRES, FILE, ORGANISATION, TEXT, settings_of, span
from calltriage.cli.standard_input import start_of
from calltriage.cli.terminal import say
from calltriage.leaves.strict_json import JsonObject

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import timedelta

    from calltriage.desk.operating.tenants import End, NewKey, Tenants, What

NAME = click.option("--name", type=TEXT, help="What it is called.")


def _with_tenants(context: click.Context, work: Callable[[Tenants], Awaitable[Any]]) -> Any:
    """Run work on the desk of the settings."""
    from calltriage.cli import own_key  # noqa: PLC0415

    async def run() -> Any:
        async with own_key.open_tenants(settings_of(context)) as tenants:
            return await work(tenants)

    return anyio.run(run)


def _show_new_key(made: NewKey) -> None:
    """The key alone on standard output, so that it can be piped to where it is kept."""
    about = f"Key {made.id} of user {made.user_id} in organisation {made.org_id}. The key is shown this once:"
    say(about, err=True)
    say(made.key)


def _show_revoked(what: What, row_id: str, *, is_new: bool) -> None:
    state = "is revoked" if is_new else "was revoked before"
    say(f"{what.removesuffix('s').capitalize()} {row_id} {state}. What was written in its name stays.", err=True)


def _revoke(context: click.Context, what: What, row_id: str) -> None:
    is_new = _with_tenants(context, lambda tenants: tenants.revoke(what, row_id))
    _show_revoked(what, row_id, is_new=is_new)


def _change(context: click.Context, what: What, row_id: str, name: str | None, expires: End) -> None:
    if name is None and expires is None:
        raise click.UsageError("Say what changes: --name, --expires or both.")
    _with_tenants(context, lambda tenants: tenants.change(what, row_id, name=name, expires=expires))


@click.group("keys")
def keys() -> None:
    """The keys that the desk accepts: list, make, rotate and revoke them.

    A key stands for one user, and is good while it, its user and the user's organisation are. A change counts from the next
    request on, also in servers that are running. The desk's own key has the id `desk`.
    """


@keys.command("show")
@click.pass_context
def keys_show(context: click.Context) -> None:
    """Print the desk's own key, for a shell: $(calltriage desk keys show).

    It is the one of CALLTRIAGE_DESK_API_KEY, or else of the file desk.key in the data folder. Other keys cannot be shown:
    the desk keeps their digests only.
    """
    from calltriage.cli import own_key  # noqa: PLC0415

    say(anyio.run(own_key.own_key, settings_of(context)).get_secret_value())


@keys.command("list")
@JSON
@click.pass_context
def keys_list(context: click.Context, *, as_json: bool) -> None:
    """List the keys with what they stand for, never the keys themselves."""
    rows = _with_tenants(context, lambda tenants: tenants.keys())
    columns = ("id", "name", "kind", "state", "expires_at", "created_at", "user", "organisation")
    show_rows(rows, columns, as_json=as_json)


@keys.command("add")
@click.argument("name", type=TEXT, required=False)
@click.option("--user", type=TEXT, metavar="ID", help="Id of the user that it stands for.  [default: the desk's own]")
@EXPIRES
@click.option(
    "--public-key",
    type=FILE,
    metavar="FILE",
    help="Add a signing key instead: the public half of a client's key, in PEM.",
)
@click.option(
    "--webhook", is_flag=True, help="Add a webhook key instead: the secret that Bland signs its webhooks with."
)
@click.option(
    "--secret",
    type=FILE,
    metavar="FILE",
    help="With --webhook: where the secret is that Bland shows, - for standard input.  [default: one is made]",
)
@click.pass_context
def keys_add(
    context: click.Context,
    public_key: Path | None,
    secret: Path | None,
    *,
    webhook: bool,
    **given: Any,
) -> None:
    """Make another API key, called NAME, and print it.

    With --public-key, let a client sign in to the attachments API with a key instead of a secret, and print the key's id. It
    is an RSA key of at least 2048 bits, an Ed25519 key, or one on the curve P-256, P-384 or P-521. The client is `desk`,
    with CALLTRIAGE_TALKDESK_PRIVATE_KEY and CALLTRIAGE_TALKDESK_KEY_ID.

    With --webhook, the desk takes Bland's post-call webhooks at /webhooks/bland/ORGANISATION, where they must be signed with
    the secret.
    """
    given["user_id"] = given.pop("user")
    if sum((webhook, public_key is not None)) > 1 or (secret is not None and not webhook):
        raise click.UsageError("Give --public-key, or --webhook with or without --secret.")
    if webhook:
        text = None if secret is None else _text_of(secret)
        made = _with_tenants(context, lambda tenants: tenants.add_webhook_key(text, **given))
        say(f"Bland's webhooks come to /webhooks/bland/{made.org_id} of the desk.", err=True)
        _show_new_key(made)
        return
    if public_key is None:
        _show_new_key(_with_tenants(context, lambda tenants: tenants.add_key(**given)))
        return
    pem = start_of(public_key, 64 * 1024)
    say(_with_tenants(context, lambda tenants: tenants.add_client_key(pem, **given)))


def _text_of(secret: Path) -> str:
    """The secret that a file holds. Raises BadParameter for a file with none, or with bytes that are no text."""
    try:
        text = start_of(secret, 4096).decode().strip()
    except UnicodeDecodeError:
        raise click.BadParameter("must be text in UTF-8", param_hint="--secret") from None
    if not text:
        raise click.BadParameter("the file holds no secret", param_hint="--secret")
    return text


@keys.command("rotate")
@click.argument("id", type=TEXT)
@click.option(
    "--overlap",
    default="24h",
    show_default=True,
    metavar="SPAN",
    callback=span,
    help="How long the present key stays good beside the new one (90m, 24h, 7d; 0m ends it at once).",
)
@EXPIRES
@click.pass_context
def keys_rotate(context: click.Context, id: str, overlap: timedelta, expires: End) -> None:
    """Make a new API key in the place of the key ID, and print it.

    Both are good until the overlap ends. `rotate desk` replaces the desk's own key in its file. The key of a client that
    signs is made by the client: add its new public key, then revoke the old one.
    """
    from calltriage.cli import own_key  # noqa: PLC0415

    _show_new_key(anyio.run(partial(own_key.rotate_key, settings_of(context), id, overlap, expires)))


@keys.command("change")
@click.argument("id", type=TEXT)
@NAME
@EXPIRES
@click.pass_context
def keys_change(context: click.Context, id: str, name: str | None, expires: End) -> None:
    """Give the key ID another name or another end."""
    _change(context, "keys", id, name, expires)


@keys.command("revoke")
@click.argument("id", type=TEXT)
@click.pass_context
def keys_revoke(context: click.Context, id: str) -> None:
    """End the key ID for good, at once; tokens that it bought end with it.

    After `revoke desk`, the next start makes the desk another key of its own.
    """
    from calltriage.cli import own_key  # noqa: PLC0415

    _show_revoked("keys", id, is_new=anyio.run(own_key.revoke_key, settings_of(context), id))


@click.group("users")
def users() -> None:
    """The members of the desk's organisations: list, make and revoke them.

    Owners and assignees of issues are members. Issues keep the id of one who is revoked.
    """


@users.command("list")
@JSON
@click.pass_context
def users_list(context: click.Context, *, as_json: bool) -> None:
    """List the users of all organisations."""
    rows = _with_tenants(context, lambda tenants: tenants.users())
    show_rows(rows, ("id", "name", "state", "expires_at", "created_at", "organisation"), as_json=as_json)


@users.command("add")
@click.argument("name", type=TEXT, required=False)
@ORGANISATION
@EXPIRES
@click.pass_context
def users_add(context: click.Context, name: str | None, organisation: str | None, expires: End) -> None:
    """Make another user of an organisation, called NAME among its members, and print the user's own API key.

    What the key writes is written in this user's name, and what it has read counts as read by this user alone. The key is
    shown this once; the desk keeps its digest.
    """
    _show_new_key(_with_tenants(context, lambda tenants: tenants.add_user(organisation, name, expires)))


@users.command("change")
@click.argument("id", type=TEXT)
@NAME
@EXPIRES
@click.pass_context
def users_change(context: click.Context, id: str, name: str | None, expires: End) -> None:
    """Give the user ID another name or another end."""
    _change(context, "users", id, name, expires)


@users.command("revoke")
@click.argument("id", type=TEXT)
@click.pass_context
def users_revoke(context: click.Context, id: str) -> None:
    """End the user ID for good: no key of the user is good, and the user is no member, from now on."""
    _revoke(context, "users", id)


@click.group("organisations", invoke_without_command=True)
@click.pass_context
def organisations(context: click.Context) -> None:
    """The organisations of the desk: list, make and revoke them. Each key sees its own organisation alone."""
    if context.invoked_subcommand is None:
        raise click.UsageError("`desk organisations` is now `calltriage desk organisations list`.")


@organisations.command("list")
@JSON
@click.pass_context
def organisations_list(context: click.Context, *, as_json: bool) -> None:
    """List the organisations of this desk."""
    rows = _with_tenants(context, lambda tenants: tenants.organisations())
    show_rows(rows, ("id", "name", "state", "expires_at", "created_at"), as_json=as_json)


@organisations.command("add")
@click.argument("name", type=TEXT)
@EXPIRES
@click.pass_context
def organisations_add(context: click.Context, name: str, expires: End) -> None:
    """Make another organisation called NAME on this desk, with one user, and print the user's API key.

    The key is shown this once; the desk keeps its digest.
    """
    _show_new_key(_with_tenants(context, lambda tenants: tenants.add_organisation(name, expires)))


@organisations.command("change")
@click.argument("id", type=TEXT)
@NAME
@EXPIRES
@click.pass_context
def organisations_change(context: click.Context, id: str, name: str | None, expires: End) -> None:
    """Give the organisation ID another name or another end."""
    _change(context, "organisations", id, name, expires)


@organisations.command("revoke")
@click.argument("id", type=TEXT)
@click.pass_context
def organisations_revoke(context: click.Context, id: str) -> None:
    """End the organisation ID for good: none of its keys is good from now on. What it has stays on the desk."""
    _revoke(context, "organisations", id)


MOVED = {
    "key": "keys show",
    "add-user": "users add NAME",
    "add-client-key": "keys add --public-key FILE",
    "add-organisation": "organisations add NAME",
}
"""Commands of earlier versions, and what does their work now."""


def moved(name: str) -> click.Command:
    """A command that says what it is called now, whatever it is given."""

    def say(_: tuple[str, ...]) -> None:
        raise click.UsageError(f"`desk {name}` is now `calltriage desk {MOVED[name]}`.")

    rest = click.Argument(["_"], nargs=-1, type=click.UNPROCESSED)
    anything: JsonObject = {"ignore_unknown_options": True, "help_option_names": []}
    return click.Command(name, callback=say, params=[rest], hidden=True, context_settings=anything)


GROUPS: tuple[click.Command, ...] = (keys, users, organisations, *map(moved, MOVED))
