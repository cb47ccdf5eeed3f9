"""Names that are no setting: named, with the nearest one, before anybody wonders why they have no effect."""

from __future__ import annotations

from pathlib import Path

import pytest

from calltriage.errors import SettingsError
from calltriage.settings import Settings, load_settings, misnamed


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("CALLTRIAGE_READONLY", "CALLTRIAGE_READ_ONLY"),
        ("CALLTRIAGE_BLAND_APIKEY", "CALLTRIAGE_BLAND_API_KEY"),
        ("CALLTRIAGE_BLAND_APIKEY_FILE", "CALLTRIAGE_BLAND_API_KEY_FILE"),
        ("CALLTRIAGE_TOOLSET", "CALLTRIAGE_TOOLSETS"),
        ("CALLTRIAGE_ALLOWED_ROOT", "CALLTRIAGE_ALLOWED_ROOTS"),
        ("calltriage_confrim", "CALLTRIAGE_CONFIRM"),
        ("CALLTRIAGE_HTTP_PROXY", "CALLTRIAGE_PROXY"),
        ("CALLTRIAGE_DATA_DIR_FILE", "CALLTRIAGE_DATA_DIR"),
        ("CALLTRIAGE_XYZZY", "README"),
    ],
)
def test_a_variable_and_a_line_that_are_no_setting_are_named(
    name: str, nearest: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "settings.env"
    file.write_text(f"{name}=canary\nCALLTRIAGE_CONFIRM=deny\n", encoding="utf-8")
    [said] = misnamed(file)
    assert said.startswith(f"{name} in the settings file {file} is no setting")
    monkeypatch.setenv(name, "canary")
    [said] = misnamed(None)
    assert said.startswith(f"{name} is no setting")
    assert nearest in said
    assert "canary" not in said


def test_a_file_of_wrong_names_is_told_in_a_few_lines(tmp_path: Path) -> None:
    file = tmp_path / "settings.env"
    file.write_text("[" * 10**5 + "".join(f"\nN{number}=x" for number in range(10_000)), encoding="utf-8")
    said = misnamed(file)
    assert said[-1].startswith("9981 more names in the settings file")
    assert max(map(len, said)) < 1000
    assert len(said) == 21


def test_every_setting_is_known_in_both_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "settings.env"
    names = [f"CALLTRIAGE_{name.upper()}" for name in Settings.model_fields]
    file.write_text("".join(f"{name}=x\n{name.lower()}=x\n" for name in names), encoding="utf-8")
    for name in [*names, "CALLTRIAGE_SETTINGS_FILE", "CALLTRIAGE_HTTP_TOKEN_FILE"]:
        monkeypatch.setenv(name, "x")
    assert misnamed(file) == []


def test_names_of_other_things_in_a_settings_file_are_named(tmp_path: Path) -> None:
    file = tmp_path / "settings.env"
    file.write_text("BLAND_API_KEY=x\nSSL_CERT_FILE=x\nCALLTRIAGE_SETTINGS_FILE=x\n", encoding="utf-8")
    first, second, third = misnamed(file)
    assert "Did you mean CALLTRIAGE_BLAND_API_KEY?" in first
    assert "Set it in the environment" in second
    assert "Set it in the environment" in third
    assert misnamed(tmp_path / "absent") == []
    file.write_bytes(b"\xff\xfe")
    assert misnamed(file) == []


def test_what_kubernetes_sets_is_nobody_s_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "CALLTRIAGE_SERVICE_HOST": "10.0.0.1", "CALLTRIAGE_SERVICE_PORT_HTTP": "8000",
        "CALLTRIAGE_PORT": "tcp://10.0.0.1:8000", "CALLTRIAGE_PORT_8000_TCP_ADDR": "10.0.0.1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    assert misnamed(None) == []
    monkeypatch.setenv("CALLTRIAGE_PORT", "8000")
    assert len(misnamed(None)) == 1


def test_a_secret_that_is_too_short_is_told_by_its_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLTRIAGE_SEALING_KEY", "abc")
    with pytest.raises(SettingsError, match=r"CALLTRIAGE_SEALING_KEY: .* at least 32 characters, not 3$"):
        load_settings()


def test_what_is_given_wins_over_the_environment_and_that_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "settings.env"
    file.write_text(
        "CALLTRIAGE_VENDOR_BURST=1\nCALLTRIAGE_MAX_FILE_MIB=2\nCALLTRIAGE_CONFIRM=deny\n"
        "CALLTRIAGE_BLAND_BASE_URL=https://${CALLTRIAGE_HOME}.example\nCALLTRIAGE_READ_ONLY\n",
        encoding="utf-8",
    )
    monkeypatch.setenv("CALLTRIAGE_HOME", "here")
    monkeypatch.setenv("calltriage_vendor_burst", "3")
    monkeypatch.setenv("CALLTRIAGE_MAX_FILE_MIB", "4")
    monkeypatch.setenv("CALLTRIAGE_CONFIRM", "")
    found = load_settings(file, max_file_mib=5)
    assert (found.vendor_burst, found.max_file_mib, found.confirm) == (3, 5, "deny")
    assert (found.bland_base_url, found.read_only) == ("https://here.example", False)


def test_a_secret_s_own_file_in_the_environment_wins_over_the_settings_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, own = tmp_path / "settings.env", tmp_path / "key"
    file.write_text("CALLTRIAGE_BLAND_API_KEY=of-the-file\n", encoding="utf-8")
    own.write_text(" its-own\n", encoding="utf-8")
    monkeypatch.setenv("CALLTRIAGE_BLAND_API_KEY_FILE", str(own))
    key = load_settings(file).bland_api_key
    assert key is not None
    assert key.get_secret_value() == "its-own"
    monkeypatch.setenv("CALLTRIAGE_BLAND_API_KEY", "both")
    with pytest.raises(SettingsError, match="not both"):
        load_settings(file)
