"""Settings: the environment (`CALLTRIAGE_…`) or a file of the same names."""

import os
import re
from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Annotated, Literal, Self, cast, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic.fields import FieldInfo

from calltriage.errors import SettingsError
from calltriage.leaves.installed import how_to_add
from calltriage.leaves.strict_json import JsonObject
from calltriage.leaves.urls import ENVIRONMENT, base_url, check_proxy
from calltriage.offering import Policy
from calltriage.storage.kept_secrets import SHORTEST_KEY

Region = Literal["us", "eu", "ca", "au"]

TALKDESK_HOSTS: dict[Region, tuple[str, str]] = {
    "us": ("https://api.talkdeskapp.com", "talkdeskid.com"),
    "eu": ("https://api.talkdeskapp.eu", "talkdeskid.eu"),
    "ca": ("https://api.talkdeskappca.com", "talkdeskidca.com"),
    "au": ("https://api.talkdeskapp.au", "talkdeskid.au"),
}
"""Gateway and identity domain by region (talkdesk-attachments, section 2; the Australian gateway is not documented)."""


MOST_BYTES = 2**20
"""Bytes of a file of settings, or of a secret."""


def read_text(file: Path, what: str) -> str:
    """The text of a file that the operator named. Raises SettingsError that begins with `what`."""
    if not file.is_file():
        raise SettingsError(f"{what} {file} does not exist or is no file.")
    try:
        if file.stat().st_size > MOST_BYTES:
            raise SettingsError(f"{what} {file} is larger than {MOST_BYTES // 2**20} MiB.")
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise SettingsError(f"{what} {file} is not text in UTF-8.") from None
    except OSError as error:
        raise SettingsError(f"{what} {file} cannot be read: {error.strerror}.") from None


def default_data_dir() -> Path:
    """The platform's folder for a user's data."""
    from platformdirs import user_data_path  # noqa: PLC0415  not needed when the folder is given

    return user_data_path("calltriage", appauthor=False)


def public_url(text: str) -> str:
    """A base URL for links, without a slash at its end. Raises ValueError for what cannot be one."""
    try:
        base_url(text)
    except ValueError:
        raise ValueError("must be scheme, host and optional path, such as https://desk.example.com") from None
    return text.rstrip("/")


def is_secret(field: FieldInfo) -> bool:
    """Whether a setting is a secret, which may be in a file of its own."""
    return SecretStr in {field.annotation, *get_args(field.annotation)}


class Settings(BaseModel):
    """Everything an operator can set. Without credentials an API is served by the embedded desk."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True, validate_default=True)

    def __init__(self, file: Path | None = None, /, **given: object) -> None:
        """After what is given: the environment, then the settings file; in each a secret may name a file. Raises
        SettingsError for a file that cannot be read."""
        super().__init__(**{**({} if file is None else _told(_held(file))), **_told(os.environ), **given})

    data_dir: Path = Field(
        default_factory=default_data_dir,
        description="folder of the desk, the journal and all keys; default: the platform's folder for user data",
    )
    desk_api_key: SecretStr | None = Field(
        default=None, min_length=SHORTEST_KEY, description="API key that `desk serve` accepts"
    )
    desk_public_url: Annotated[str, AfterValidator(public_url)] | None = Field(
        default=None, description="where clients reach `desk serve`, for the links that it hands out"
    )
    desk_allowed_hosts: tuple[str, ...] = Field(
        default=(),
        description="names that `desk serve` is reached under besides its own address and its public URL, comma-separated",
    )

    sample: bool = Field(
        default=False, description="load three invented calls into the embedded desk, to try things on"
    )
    database_url: SecretStr | None = Field(
        default=None,
        description="PostgreSQL database of the desk, version 12 or newer, `postgresql://user:password@host/database` (`uv "
        "sync --extra postgres`); default: a file in the data folder",
    )

    bland_api_key: SecretStr | None = Field(default=None, description="API key; switches triage to Bland AI")
    bland_base_url: str = Field(default="https://api.bland.ai", description="where Bland's API is")
    bland_auth_scheme: Literal["raw", "bearer"] = Field(
        default="raw", description="how the key is sent: `raw` (bare) or `bearer`"
    )

    talkdesk_account: str | None = Field(
        default=None,
        pattern=r"^[a-z0-9][a-z0-9-]{0,62}$",
        description="account name; with client id and secret or key it switches attachments to Talkdesk",
    )
    talkdesk_client_id: str | None = Field(default=None, description="Talkdesk's OAuth client id")
    talkdesk_client_secret: SecretStr | None = Field(default=None, description="secret of that client")
    talkdesk_private_key: SecretStr | None = Field(
        default=None,
        description="in the place of the secret: a private key (private_key_jwt), as the vendor gave it or in PEM",
    )
    talkdesk_key_id: str | None = Field(default=None, max_length=255, description="key id of that private key")
    talkdesk_region: Region = Field(default="us", description="Talkdesk's region: us, eu, ca or au")
    talkdesk_base_url: str | None = Field(default=None, description="overrides the region's gateway")
    talkdesk_token_url: str | None = Field(default=None, description="overrides the account's token URL")

    proxy: SecretStr | None = Field(
        default=None,
        description="proxy on the way to the vendors, `http://user:password@host:port`; `environment` takes the one that "
        "HTTPS_PROXY, ALL_PROXY and NO_PROXY name, which are not read otherwise",
    )

    allowed_roots: tuple[Path, ...] | None = Field(
        default=None,
        description="over stdio, folders whose files tools may read and make, separated like PATH; `none` for none; "
        "default: the working folder unless your home lies in it, and the folders that the host declares; the data folder "
        "is closed always, and over HTTP every folder is",
    )
    toolsets: tuple[str, ...] = Field(
        default=("core",),
        description="toolsets to offer, comma-separated: core, evidence, attachments, batch, pipelines, catalogue, norm, "
        "cleanup; or all",
    )
    exclude_tools: tuple[str, ...] = Field(default=(), description="tools never to offer, comma-separated")
    read_only: bool = Field(default=False, description="offer no tool that writes")
    confirm: Policy = Field(
        default="ask",
        description="before a removal a person is asked; where the host cannot: `ask` refuses, `panel` lets the board that "
        "the host shows ask, `allow` goes ahead; `deny` removes nothing ever",
    )
    blobs_url: str | None = Field(
        default=None,
        description="where the desk keeps file bytes instead of its folder: `s3://`, `gs://` or `az://` and a bucket (`uv "
        "sync --extra objects`)",
    )
    transcript_cache: Literal["on", "off"] = Field(
        default="on",
        description="keep transcripts that find_calls read of a vendor's calls in the data folder (30 days, 64 MiB) so that "
        "the next search need not read them again; `off` keeps none",
    )
    max_file_mib: int = Field(default=100, ge=1, le=2**20, description="MiB that one file may have")
    deadline_s: float = Field(
        default=30.0, ge=1, le=600, description="seconds that one API call may take, repeats included"
    )
    vendor_rate: float = Field(default=5.0, gt=0, le=1000, description="requests a second to each vendor, on average")
    vendor_burst: int = Field(default=10, ge=1, le=1000, description="requests to each vendor that may come at once")
    writes_per_minute: int = Field(
        default=120,
        ge=0,
        le=100_000,
        description="calls of one writing tool for each caller, on average; half of them at once; ten times as many of a "
        "reading one; 0: any number",
    )
    idempotency_hours: float = Field(default=48.0, ge=1, le=8760, description="how long an idempotency key is known")
    http_token: SecretStr | None = Field(
        default=None, min_length=SHORTEST_KEY, description="bearer token that `serve --http` asks for"
    )
    sealing_key: SecretStr | None = Field(
        default=None,
        min_length=32,
        description="seals the URLs of files, the state of questions and the runs of pipelines that several machines share, "
        "which need the same one; default: a secret kept in the data folder",
    )
    http_public_url: str | None = Field(
        default=None,
        description="where clients reach `serve --http`, for the links that it hands out; default: `https://` and the first "
        "allowed name, without one its own address",
    )
    http_allowed_hosts: tuple[str, ...] = Field(
        default=(), description="names that `serve --http` is reached under off loopback, comma-separated"
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="WARNING", description="least level that is logged, on stderr, one JSON object a line"
    )

    _read_again: Callable[[], Self] | None = PrivateAttr(default=None)

    @field_validator(
        "allowed_roots", "http_allowed_hosts", "desk_allowed_hosts", "toolsets", "exclude_tools", mode="before"
    )
    @classmethod
    def _split(cls, value: object, info: ValidationInfo) -> object:
        """Folders are separated as in PATH, everything else by commas."""
        if info.field_name == "allowed_roots" and value == "none":
            return ()
        separator = os.pathsep if info.field_name == "allowed_roots" else ","
        return [part.strip() for part in value.split(separator) if part.strip()] if isinstance(value, str) else value

    @field_validator("database_url")
    @classmethod
    def _of_postgres(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and re.match(r"postgres(ql)?://[^/]*/[^/?]", value.get_secret_value()) is None:
            raise ValueError("must be like postgresql://user:password@host:5432/database")
        return value

    @field_validator("proxy")
    @classmethod
    def _of_proxy(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and value.get_secret_value() != ENVIRONMENT:
            check_proxy(value.get_secret_value())
        return value

    @field_validator("data_dir", "allowed_roots")
    @classmethod
    def _absolute(cls, value: object) -> object:
        """`~` is the user's home, as hosts' files write it; a relative folder is one from where the server starts."""
        if isinstance(value, tuple):
            return tuple(Path(folder).expanduser().absolute() for folder in cast("tuple[Path, ...]", value))
        return value.expanduser().absolute() if isinstance(value, Path) else value

    def kept_in(self, read_again: Callable[[], Self]) -> Self:
        """These settings, which `read_again` reads from their files."""
        self._read_again = read_again
        return self

    def read_again(self) -> Self | None:
        """What the settings file and the secrets' own files say now; None where none were read. Raises SettingsError."""
        return None if self._read_again is None else self._read_again()

    @property
    def triage_on_desk(self) -> bool:
        return self.bland_api_key is None

    @property
    def attachments_on_desk(self) -> bool:
        return self.talkdesk_client_id is None

    def model_post_init(self, _: object) -> None:
        signs = self.talkdesk_private_key is not None or self.talkdesk_key_id is not None
        if signs and self.talkdesk_client_secret is not None:
            raise SettingsError(
                "Set CALLTRIAGE_TALKDESK_CLIENT_SECRET, or CALLTRIAGE_TALKDESK_PRIVATE_KEY with CALLTRIAGE_TALKDESK_KEY_ID: "
                "not both."
            )
        proof = {
            "CALLTRIAGE_TALKDESK_PRIVATE_KEY": self.talkdesk_private_key,
            "CALLTRIAGE_TALKDESK_KEY_ID": self.talkdesk_key_id,
        }
        parts = {
            "CALLTRIAGE_TALKDESK_CLIENT_ID": self.talkdesk_client_id,
            **(proof if signs else {"CALLTRIAGE_TALKDESK_CLIENT_SECRET": self.talkdesk_client_secret}),
            "CALLTRIAGE_TALKDESK_ACCOUNT or CALLTRIAGE_TALKDESK_TOKEN_URL": self.talkdesk_account
            or self.talkdesk_token_url,
        }
        missing = [name for name, value in parts.items() if value is None]
        if missing and len(missing) < len(parts):
            raise SettingsError(f"Talkdesk needs all of its credentials; missing: {', '.join(missing)}.")
        if self.database_url is not None and find_spec("psycopg") is None:
            raise SettingsError(f"CALLTRIAGE_DATABASE_URL needs the PostgreSQL driver: {how_to_add('postgres')}.")


def _told(variables: Mapping[str, str | None]) -> JsonObject:
    """The settings that variables say, in whatever case they are named; an empty one says nothing. A secret may be in a file
    of its own: `CALLTRIAGE_…_FILE` names it, as container platforms mount it.

    Raises SettingsError where that file cannot be read, or the secret's own variable is set, too.
    """
    held = {name.upper(): value for name, value in variables.items() if value}
    told: JsonObject = {}
    for field_name, field in Settings.model_fields.items():
        name = f"{PREFIX}{field_name.upper()}"
        if name in held:
            told[field_name] = held[name]
        if is_secret(field) and (file := held.get(f"{name}_FILE")):
            if name in held:
                raise SettingsError(f"Set {name} or {name}_FILE: not both.")
            told[field_name] = read_text(Path(file).expanduser(), f"{name}_FILE: the file").strip()
    return told


def _held(file: Path, *, interpolate: bool = True) -> dict[str, str | None]:
    """What a settings file holds. Raises SettingsError where it cannot be read."""
    from dotenv import dotenv_values  # noqa: PLC0415  few starts have a file

    return dotenv_values(stream=StringIO(read_text(file, "The settings file")), interpolate=interpolate)


def settings_file(given: Path | None = None) -> Path | None:
    """The file of settings: the one given, or the one that CALLTRIAGE_SETTINGS_FILE names."""
    return given or (Path(named) if (named := os.environ.get("CALLTRIAGE_SETTINGS_FILE")) else None)


def load_settings(env_file: Path | None = None, **given: object) -> Settings:
    """Read the settings; what is given here wins over the environment. Raises SettingsError that names each variable at
    fault and its rule, never a value."""
    file = settings_file(env_file)
    try:
        settings = Settings(file, **given)
        return settings.kept_in(partial(load_settings, None if file is None else file.absolute(), **given))
    except ValidationError as error:
        found = [
            f"CALLTRIAGE_{str(item['loc'][0]).upper()}: {item['msg'].replace(COUNTED, 'characters')}"
            for item in error.errors(include_url=False, include_input=False, include_context=False)
        ]
        raise SettingsError("Settings are wrong. " + "; ".join(found)) from None


COUNTED = "items after validation"
"""What pydantic says that it counts in a secret that is too short: these are characters."""
PREFIX = "CALLTRIAGE_"
FROM_ENVIRONMENT = ("CALLTRIAGE_SETTINGS_FILE", "SSL_CERT_FILE", "SSL_CERT_DIR")
"""What the environment alone can say."""
OF_KUBERNETES = re.compile(r"CALLTRIAGE_(SERVICE_(HOST|PORT\w*)|PORT(_\d+_\w+)?)")
"""What Kubernetes sets in every container beside a service of this name; a port of its own is an address."""


LONGEST, MOST_NAMED = 80, 20
"""Characters of a wrong name that are shown, and wrong names of a file; the others are counted."""


def misnamed(file: Path | None) -> list[str]:
    """A sentence for each variable of the environment, and each name in a settings file, that is no setting."""
    fields = Settings.model_fields.items()
    known = {f"{PREFIX}{name.upper()}" for name, _ in fields}
    known |= {f"{PREFIX}{name.upper()}_FILE" for name, field in fields if is_secret(field)}
    found = list[str]()
    for name, value in os.environ.items():
        is_kubernetes = OF_KUBERNETES.fullmatch(name) and (name != "CALLTRIAGE_PORT" or "://" in value)
        if name.upper().startswith(PREFIX) and not is_kubernetes and name.upper() not in {*known, *FROM_ENVIRONMENT}:
            found.append(f"{name} is no setting and has no effect. {_nearest(name, known)}")
    held = [] if file is None or not file.is_file() else _names_in(file)
    wrong = [name if len(name) <= LONGEST else f"{name[:LONGEST]}…" for name in held if name.upper() not in known]
    for name in wrong[:MOST_NAMED]:
        if name.upper() in FROM_ENVIRONMENT:
            found.append(f"{name} has no effect in the settings file {file}. Set it in the environment.")
        else:
            found.append(f"{name} in the settings file {file} is no setting and has no effect. {_nearest(name, known)}")
    if len(wrong) > MOST_NAMED:
        found.append(f"{len(wrong) - MOST_NAMED} more names in the settings file {file} are no settings.")
    return found


def _names_in(file: Path) -> list[str]:
    try:
        return list(_held(file, interpolate=False))
    except SettingsError:  # told when the settings are loaded
        return []


def _nearest(name: str, known: set[str]) -> str:
    from difflib import get_close_matches  # noqa: PLC0415  for a name that is wrong

    bare = {one.removeprefix(PREFIX): one for one in known}
    close = get_close_matches(name.upper().removeprefix(PREFIX), bare, 1, 0.5)
    return f"Did you mean {bare[close[0]]}?" if close else "Remove it; the README lists the settings."
