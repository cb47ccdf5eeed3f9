"""What help shows first, and what a shell completes."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from calltriage.cli.grouping import EXAMPLES, GROUPS
from calltriage.cli.main import cli
from calltriage.cli.options import roots_of


def test_every_command_has_its_heading_once() -> None:
    placed = [name for names in GROUPS.values() for name in names]
    assert sorted(placed) == sorted(cli.commands)


def test_help_shows_each_command_under_its_heading() -> None:
    said = CliRunner().invoke(cli, ["--help"]).output
    for heading, names in GROUPS.items():
        section = said.partition(f"\n{heading}:\n")[2].partition("\n\n")[0]
        assert [line.split()[0] for line in section.splitlines() if line[2:3] != " "] == list(names)


@pytest.mark.parametrize("example", [example for example, _ in EXAMPLES])
def test_an_example_is_a_command_that_there_is(example: str) -> None:
    words = [word for word in example.split()[1:] if not word.startswith("-")]
    command = cli.commands[words[0]]
    assert CliRunner().invoke(cli, [words[0], "--help"]).exit_code == 0
    for option in (word for word in example.split() if word.startswith("--")):
        assert option in [name for param in command.params for name in param.opts]


@pytest.mark.parametrize("shell", ["bash", "fish", "zsh"])
def test_a_shell_is_told_how_to_complete(shell: str) -> None:
    done = CliRunner().invoke(cli, ["completion", shell])
    assert done.exit_code == 0
    assert f"_CALLTRIAGE_COMPLETE={shell}_complete" in done.output


def test_a_shell_completes_a_command_of_a_group(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("COMP_WORDS", "calltriage desk im"), ("COMP_CWORD", "2")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("_CALLTRIAGE_COMPLETE", "bash_complete")
    done = CliRunner().invoke(cli, [], prog_name="calltriage")
    assert done.output.split() == ["plain,import"]


def test_folders_that_serve_is_given_are_the_roots(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gone = str(tmp_path / "gone")
    assert roots_of((str(tmp_path), gone, "", "${user_config.allowed_roots}"), over_http=False) == (
        tmp_path,
        Path(gone),
    )
    said = capsys.readouterr().err
    assert f"{gone} is no folder" in said
    assert said.count("no folder") == 1
    assert roots_of(("${user_config.allowed_roots}",), over_http=True) is None


def test_over_http_no_folder_is_taken(tmp_path: Path) -> None:
    with pytest.raises(click.UsageError, match="no local file"):
        roots_of((str(tmp_path),), over_http=True)
