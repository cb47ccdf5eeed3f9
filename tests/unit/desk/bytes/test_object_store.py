"""Object stores as they are set up: by URL and their own variables, without a network and without showing either."""

from __future__ import annotations

import os

import pytest

from calltriage.desk.bytes.object_store import open_objects
from calltriage.errors import SettingsError

PREFIXES = ("AWS_", "AZURE_", "GOOGLE_")
AZURE = {"AZURE_STORAGE_ACCOUNT_NAME": "account"}


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(PREFIXES):
            monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("url", "variables", "provider"),
    [
        ("s3://bucket/prefix", {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "canary"}, "s3"),
        ("gs://bucket/prefix", {"GOOGLE_SKIP_SIGNATURE": "true"}, "gcs"),
        ("gs://bucket", {}, "gcs"),
        ("az://container/prefix", AZURE | {"AZURE_STORAGE_ACCOUNT_KEY": "Y2FuYXJ5"}, "azure"),
        ("az://container", AZURE | {"AZURE_STORAGE_CLIENT_ID": "canary"}, "azure"),
    ],
    ids=str,
)  # fmt: skip
def test_each_store_is_set_up_from_its_url_and_its_own_variables(
    monkeypatch: pytest.MonkeyPatch, url: str, variables: dict[str, str], provider: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    blobs = open_objects(url)
    assert blobs.provider == provider
    assert "canary" not in repr(blobs)
    assert "Y2FuYXJ5" not in repr(blobs)


@pytest.mark.parametrize(
    ("url", "variables"),
    [
        ("az://container", {}),
        ("az://container", AZURE | {"AZURE_STORAGE_ACCOUNT_KEY": "canary !"}),
        ("gs://bucket", {"GOOGLE_SERVICE_ACCOUNT": "/canary.json"}),
        ("gs://bucket", {"GOOGLE_SERVICE_ACCOUNT_KEY": '{"canary": 1}'}),
    ],
    ids=str,
)
def test_credentials_that_cannot_be_are_the_operator_s_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, url: str, variables: dict[str, str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match="CALLTRIAGE_BLOBS_URL") as caught:
        open_objects(url)
    assert "canary" not in str(caught.value)
    assert {"s3": "AWS_", "gs": "GOOGLE_", "az": "AZURE_"}[url[:2]] in str(caught.value)
