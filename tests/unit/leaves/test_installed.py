"""Advice on what to install, by the way in which the package was installed."""

from __future__ import annotations

from pathlib import Path

from calltriage.leaves.installed import how_to_add, installation_of


def test_advice_is_true_for_the_way_of_installing(tmp_path: Path) -> None:
    editable = {"url": f"file://{tmp_path}", "dir_info": {"editable": True}}
    in_bundle = installation_of(editable, tmp_path).how_to_add("postgres")
    assert "bundle does not carry" in in_bundle
    assert "pip install" not in in_bundle
    (tmp_path / "tests").mkdir()
    assert installation_of(editable, tmp_path).how_to_add("postgres") == f"run `uv sync --extra postgres` in {tmp_path}"
    built = {"url": "file:///src", "dir_info": {}}
    assert (
        installation_of(built, tmp_path).how_to_add("objects")
        == 'run `pip install "calltriage[objects] @ file:///src"`'
    )
    (tmp_path / "uv-receipt.toml").touch()
    said = installation_of(built, tmp_path).how_to_add("objects")
    assert said == 'run `uv tool install --force "calltriage[objects] @ file:///src"`'
    assert installation_of({}, tmp_path).how_to_add("objects") == 'run `uv tool install --force "calltriage[objects]"`'


def test_these_tests_run_from_a_clone() -> None:
    assert how_to_add("postgres").startswith("run `uv sync --extra postgres` in /")
