"""What a terminal is shown: nothing that hides, moves or colours, whoever wrote it."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from calltriage.cli.main import cli, main
from calltriage.cli.options import TEXT
from calltriage.leaves.gate import INVISIBLE, one_line

HOSTILE = "evil\x1b[2J\x1b]0;x\x07\r\u202e\u2066\x9b31m\x7f\u200b\ndone\t\x1b[31m[red]"
Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command line; its status and everything that it said, which is clean."""
    monkeypatch.setenv("CALLTRIAGE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "2000")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    monkeypatch.setattr(logging.getLogger(), "level", logging.WARNING)

    def run(*arguments: str, status: int | None = None) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["calltriage", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        said = "".join(capsys.readouterr())
        raw = INVISIBLE.findall(said) + re.findall("[\t\r]", said)
        assert raw == [], arguments
        is_crash = "Traceback" in said  # Python's own lines, whose ends are the message's, too
        assert is_crash or not any(line.startswith("done") for line in said.splitlines()), "a line that nobody wrote"
        code = caught.value.code or 0
        assert status in {None, code}, said
        assert isinstance(code, int)
        return code, said

    return run


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


COMMANDS = dict(commands(cli))


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_no_command_repeats_an_argument_as_it_was_typed(run: Run, path: tuple[str, ...]) -> None:
    parameters = [one for one in COMMANDS[path].params if one.name != "help"]
    needed = [HOSTILE for one in parameters if isinstance(one, click.Argument) and one.required]
    over_http = ["--http"] if path == ("serve",) else []  # its standard input is the tests'
    for one in parameters:
        if isinstance(one, click.Option):
            flag = one.is_flag or one.count
            run(*path, *over_http, *([f"{one.opts[0]}={HOSTILE}"] if flag else [one.opts[0], HOSTILE]), *needed)
    status, said = run(*path, f"--{HOSTILE}", *needed)
    assert status == 2
    assert "evil" in said or COMMANDS[path].hidden, "a command of an earlier version only says what it is called now"
    status, said = run(*path, *over_http, *needed, HOSTILE, HOSTILE, HOSTILE)
    assert status == 2


def takes_a_name(path: tuple[str, ...]) -> bool:
    return any(one.type in {click.STRING, TEXT} for one in COMMANDS[path].params if one.name != "help")


@pytest.mark.parametrize("path", [path for path in COMMANDS if takes_a_name(path)], ids=" ".join)
def test_bytes_that_are_no_text_are_no_name_and_no_id(run: Run, path: tuple[str, ...]) -> None:
    parameters = COMMANDS[path].params
    needed = ["x" for one in parameters if isinstance(one, click.Argument) and one.required]
    over_http = ["--http"] if path == ("serve",) else []
    tried = [[*path, *over_http, one.opts[0], "\udcff", *needed] for one in parameters if one.type in {click.STRING, TEXT}
             and isinstance(one, click.Option)]  # fmt: skip
    tried += [[*path, "\udcff"] for one in parameters if one.type is TEXT and isinstance(one, click.Argument)]
    for arguments in tried:
        status, said = run(*arguments)
        assert status in {1, 2}
        assert "Traceback" not in said, arguments


def test_an_end_that_is_no_instant_in_utc_is_refused(run: Run) -> None:
    said = run("desk", "keys", "add", "--expires", "9999-12-31T23:59:59-14:00", status=2)[1]
    assert "'9999-12-31T23:59:59-14:00' must be a span" in said


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("desk", "import", "-", "--format", "vaip"), "'vaip' must be one of"),
        (("desk", "import", "-", "--format", "vaip"), "did you mean vapi?"),
        (("desk", "import", "-", "--time-zone", "Berlin"), "'Berlin' must be an IANA time zone"),
        (("journal", "show", "--since", "yesterday"), "'yesterday' must be a span such as 24h"),
        (("journal", "verify", "--head", "12"), "'12' must be as verify prints it"),
        (("board", "--confirm", "x"), "'x' must be the eight"),
        (("serve", "--port", "8000"), "--port has no effect without --http"),
        (("desk", "serve", "--public-url", "desk.example"), "'desk.example' must be scheme"),
    ],
)
def test_what_was_typed_wrong_is_repeated_with_what_would_be_right(
    run: Run, arguments: tuple[str, ...], says: str
) -> None:
    assert says in run(*arguments, status=2)[1]


def test_no_group_repeats_an_argument_as_it_was_typed(run: Run) -> None:
    for group in ((), ("desk",), ("desk", "keys"), ("desk", "users"), ("desk", "delete"), ("journal",)):
        assert "evil" in run(*group, HOSTILE, status=2)[1]
    run("--settings-file", HOSTILE, "doctor", status=2)


def call(call_id: str, *texts: str, **more: object) -> str:
    turns = [{"speaker": "caller" if n % 2 else "agent", "text": text} for n, text in enumerate(texts)]
    return json.dumps({"call_id": call_id, "created_at": "2026-05-01T10:00:00Z", "turns": turns, **more})


def test_names_and_data_are_shown_visibly_by_every_command(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / HOSTILE
    folder.mkdir()
    good, bad = folder / "good.jsonl", folder / f"{HOSTILE}.jsonl"
    good.write_text(call("c-1", HOSTILE, HOSTILE * 9, "and \ud800 more", summary=HOSTILE) + "\n", encoding="utf-8")
    bad.write_text(
        "\n".join([call(HOSTILE, "x"), json.dumps({HOSTILE: 1}), json.dumps({"kind": HOSTILE}), "{" + HOSTILE]) + "\n"
        + json.dumps({"kind": "file", "path": HOSTILE + "/absent"}) + "\n", encoding="utf-8",
    )  # fmt: skip
    run("desk", "import", str(good), status=0)
    run("desk", "import", str(bad), status=1)
    run("desk", "import", "--skip-bad", str(bad), status=0)
    assert r"\u202e" in run("demo", "--calls", str(good), status=0)[1]
    run("demo", "--calls", str(bad), status=1)
    archive = folder / HOSTILE
    assert r"\u202e" in run("desk", "backup", str(archive), status=0)[1]
    run("desk", "backup", str(folder / "absent" / HOSTILE))
    run("desk", "restore", "--overwrite", str(archive), status=0)
    run("desk", "restore", str(bad), status=1)


def test_folders_settings_and_variables_are_shown_visibly(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tmp_path / f"{HOSTILE}.env"
    settings.write_text(f"CALLTRIAGE_READ_ONLY={json.dumps(HOSTILE)}\n", encoding="utf-8")
    run("--settings-file", str(settings), "doctor", status=1)
    monkeypatch.setenv("CALLTRIAGE_DATA_DIR", str(tmp_path / HOSTILE))
    monkeypatch.setenv("CALLTRIAGE_ALLOWED_ROOTS", str(tmp_path / f"root{HOSTILE}"))
    assert r"\u202e" in run("doctor")[1]
    (tmp_path / "file").touch()
    monkeypatch.setenv("CALLTRIAGE_DATA_DIR", str(tmp_path / "file" / HOSTILE))
    for command in ("doctor", "desk import good.jsonl", "journal show", "journal verify", "journal export"):
        (tmp_path / "good.jsonl").write_text(call("c", "a") + "\n")
        run(*command.split(), status=1)


def test_an_error_of_ours_is_shown_visibly(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    class Crashing(click.Command):
        def invoke(self, ctx: click.Context) -> None:
            raise RuntimeError(HOSTILE)

    monkeypatch.setitem(cli.commands, "crash", Crashing("crash"))
    status, said = run("crash")
    assert status == 1
    assert "Traceback" in said
    assert "RuntimeError: evil" in said


def test_every_line_of_the_command_line_goes_through_one_place() -> None:
    here = Path(__file__).parents[3] / "src" / "calltriage"
    printing = re.compile(
        r"\bclick\.(s?echo|secho|prompt|confirm|style)\(|(?<![.\w])print\(|rich\.markup|sys\.std(out|err)\.write"
    )
    found = {
        str(file.relative_to(here)) for file in here.rglob("*.py") if printing.search(file.read_text(encoding="utf-8"))
    }
    assert found == {"cli/terminal.py"}


@pytest.mark.parametrize("character", ["\x00", "\x1b", "\x7f", "\x9b", "\u202e", "\u2028", "\n", "\r", "\t", "\udcff"])
def test_a_character_that_is_not_seen_is_written_out(character: str) -> None:
    assert one_line(f"a{character}b") == f"a\\u{ord(character):04x}b"
