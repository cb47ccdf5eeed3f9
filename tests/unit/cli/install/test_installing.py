"""`calltriage install`: one entry in a host's file, and the bytes from before when it goes again."""

from __future__ import annotations

import base64
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from e2e.processes import environment

from calltriage.cli.install.hosts import HOSTS, Launch
from calltriage.cli.install.installing import published
from calltriage.cli.main import main
from calltriage.leaves.installed import Installation

Run = Callable[..., tuple[int, str]]
EDITED = {name: host for name, host in HOSTS.items() if not host.only_by_command}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home in which every host was started once, and a PATH on which none is found."""
    home = tmp_path / "home"
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(home))
    monkeypatch.setenv("XDG_DATA_HOME", str(home / "data"))
    monkeypatch.setenv("PATH", str(tmp_path / "no-programs"))
    for name in [*os.environ]:
        if name.startswith("CALLTRIAGE_") or name == "CODEX_HOME":
            monkeypatch.delenv(name)
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for host in HOSTS:
        file_of(host, home).parent.mkdir(parents=True, exist_ok=True)
    return home


def file_of(name: str, home: Path) -> Path:
    host = HOSTS[name]
    template = host.user if isinstance(host.user, str) else host.user["macos" if sys.platform == "darwin" else "linux"]
    return Path(template.replace("~", str(home), 1))


@pytest.fixture
def run(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command line; its status and what it said."""

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["calltriage", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        code = caught.value.code or 0
        assert isinstance(code, int)
        return code, "".join(capsys.readouterr())

    return run


@pytest.mark.parametrize("name", EDITED)
def test_installed_twice_it_is_one_entry_and_removed_it_was_never_there(name: str, home: Path, run: Run) -> None:
    file = file_of(name, home)
    assert run("install", name)[0] == 0
    once = file.read_bytes()
    status, said = run("install", name)
    assert (status, file.read_bytes()) == (0, once)
    assert "already" in said
    assert run("install", name, "--remove")[0] == 0
    assert not file.exists()
    status, said = run("install", name, "--remove")
    assert (status, "is not in" in said) == (0, True)


FOREIGN = {
    "json": '\ufeff{\r\n  // mine\r\n  "SERVERS": {\r\n    "other": {"command": "x",}, // keep\r\n  }\r\n}\r\n',
    "toml": '# mine\nmodel = "x"\n\n[SERVERS.other]\ncommand = "y" # keep\n\n[tui]\na = 1\n',
    "yaml": '# mine\nSERVERS:\n    other:\n        cmd: "x"  # keep\nGOOSE_MODE: auto\n',
}


@pytest.mark.parametrize("name", EDITED)
def test_what_others_wrote_stays_and_the_very_bytes_come_back(name: str, home: Path, run: Run) -> None:
    file = file_of(name, home)
    before = FOREIGN[file.suffix[1:]].replace("SERVERS", HOSTS[name].members[0]).encode()
    file.write_bytes(before)
    file.chmod(0o640)
    status, said = run("install", name)
    assert status == 0, said
    present = file.read_bytes()
    assert present.startswith(before[:6])
    assert b"mine" in present
    assert b"keep" in present
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert file.with_name(file.name + ".before-calltriage").read_bytes() == before
    assert run("install", name, "--remove")[0] == 0
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir() if path.is_file()] == [file.name]


@pytest.mark.parametrize("name", EDITED)
def test_what_somebody_wrote_since_stays_when_it_is_removed(name: str, home: Path, run: Run) -> None:
    file = file_of(name, home)
    members = HOSTS[name].members[0]
    file.write_text(FOREIGN[file.suffix[1:]].replace("SERVERS", members), encoding="utf-8")
    assert run("install", name)[0] == 0
    file.write_text(file.read_text(encoding="utf-8").replace("keep", "kept since"), encoding="utf-8")
    assert run("install", name, "--remove")[0] == 0
    text = file.read_text(encoding="utf-8")
    assert "kept since" in text
    assert "calltriage" not in text


@pytest.mark.parametrize(
    "text", ["[" * 2_000_000, '{"mcpServers": {"a": 1 "b": 2}}', '{"mcpServers": []}', "\x80", "[]", '{"mcpServers"']
)
def test_a_file_that_cannot_be_read_is_refused_and_stays(text: str, home: Path, run: Run) -> None:
    file = file_of("cursor", home)
    file.write_bytes(text.encode("latin-1"))
    for wish in ([], ["--remove"]):
        status, said = run("install", "cursor", *wish)
        assert status == 1
        assert str(file) in said
        assert "Traceback" not in said
    assert file.read_bytes() == text.encode("latin-1")
    assert [*file.parent.iterdir()] == [file]


def test_an_entry_made_by_hand_is_set_right_and_what_else_stands_in_it_is_kept(home: Path, run: Run) -> None:
    file = file_of("cursor", home)
    by_hand = {"command": "python", "args": ["-m", "calltriage"], "env": {"MINE": "1"}, "disabled": True}
    file.write_text(json.dumps({"mcpServers": {"calltriage": by_hand}}), encoding="utf-8")
    assert run("install", "cursor")[0] == 0
    entry = json.loads(file.read_text(encoding="utf-8"))["mcpServers"]["calltriage"]
    assert entry["command"] != "python"
    assert (entry["env"], entry["disabled"]) == ({"MINE": "1"}, True)
    assert run("install", "cursor", "--remove")[0] == 0
    assert json.loads(file.read_text(encoding="utf-8")) == {"mcpServers": {}}


def test_a_link_stays_one_and_what_it_points_at_is_edited(home: Path, run: Run, tmp_path: Path) -> None:
    real = tmp_path / "dotfiles" / "cursor.json"
    real.parent.mkdir()
    real.write_text("{}\n", encoding="utf-8")
    file = file_of("cursor", home)
    file.symlink_to(real)
    assert run("install", "cursor")[0] == 0
    assert file.is_symlink()
    assert "calltriage" in real.read_text(encoding="utf-8")
    assert run("install", "cursor", "--remove")[0] == 0
    assert real.read_text(encoding="utf-8") == "{}\n"


def test_secrets_go_by_name_and_never_by_value(home: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLTRIAGE_BLAND_API_KEY", "org_do_not_write_me")
    monkeypatch.setenv("CALLTRIAGE_DATA_DIR", "desk")
    for name, host in EDITED.items():
        status, said = run("install", name)
        file = file_of(name, home)
        assert "org_do_not_write_me" not in said
        if host.naming is None:
            assert (status, file.exists()) == (1, False)
            assert "--settings-file" in said
            continue
        text = file.read_text(encoding="utf-8")
        assert "org_do_not_write_me" not in text
        assert "CALLTRIAGE_BLAND_API_KEY" in text
        assert str(Path.cwd() / "desk") in text


def test_a_settings_file_is_named_where_a_host_cannot_name_a_variable(home: Path, run: Run) -> None:
    settings = Path("mine.env")
    settings.write_text("CALLTRIAGE_BLAND_API_KEY=org_secret\n", encoding="utf-8")
    assert run("--settings-file", str(settings), "install", "zed", "--toolsets", "core,cleanup")[0] == 0
    entry = json.loads(file_of("zed", home).read_text(encoding="utf-8"))["context_servers"]["calltriage"]
    assert entry["env"] == {"CALLTRIAGE_SETTINGS_FILE": str(settings.absolute())}
    assert entry["args"][-3:] == ["serve", "--toolsets", "core,cleanup"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("windsrf",), "Did you mean windsurf?"),
        (("cursor", "--toolsets", "evidnce"), "Did you mean evidence?"),
        (("cursor", "--url", "ftp://x/mcp"), "--url 'ftp://x/mcp' is no address of a server"),
        ((), "Name a host: claude-code, "),
        (("cursor", "--url", "https://x.example/mcp", "--toolsets", "core"), "no effect"),
        (("claude-desktop", "--url", "https://x.example/mcp"), "Connectors"),
        (("lm-studio", "--scope", "project"), "no file for a project"),
        (("claude-code",), "not on PATH"),
        (("zed", "--print-link"), "no such link"),
    ],
)
def test_what_cannot_be_is_said_and_nothing_is_written(
    arguments: tuple[str, ...], says: str, home: Path, run: Run
) -> None:
    status, said = run("install", *arguments)
    assert status == 1
    assert says in said
    assert not file_of(next((name for name in arguments if name in HOSTS), "cursor"), home).exists()


def test_a_home_without_the_host_says_so(home: Path, run: Run) -> None:
    file_of("windsurf", home).parent.rmdir()
    status, said = run("install", "windsurf")
    assert (status, "was not found" in said) == (1, True)
    assert not file_of("windsurf", home).parent.exists()


def test_a_project_gets_a_file_of_its_own(home: Path, run: Run) -> None:
    assert run("install", "claude-code", "--scope", "project")[0] == 0
    assert json.loads(Path(".mcp.json").read_text(encoding="utf-8"))["mcpServers"]["calltriage"]["type"] == "stdio"
    assert run("install", "claude-code", "--scope", "project", "--remove")[0] == 0
    assert [*Path.cwd().iterdir()] == []


def test_a_dry_run_shows_our_lines_alone_and_writes_nothing(home: Path, run: Run) -> None:
    file = file_of("cursor", home)
    file.write_text(
        '{\n  "mcpServers": {\n    "other": {"env": {"KEY": "not-to-be-shown"}}\n  }\n}\n', encoding="utf-8"
    )
    before = file.read_bytes()
    status, said = run("install", "cursor", "--dry-run")
    assert status == 0
    assert '+    "calltriage": {' in said.splitlines()
    assert file.read_bytes() == before
    assert [*file.parent.iterdir()] == [file]


def test_a_folder_in_the_files_place_is_said(home: Path, run: Run) -> None:
    file_of("cursor", home).mkdir()
    status, said = run("install", "cursor")
    assert status == 1
    assert "cannot be read" in said


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root may give a file to another user")
def test_a_file_of_another_user_stays_theirs(home: Path, run: Run) -> None:
    file = file_of("cursor", home)
    file.write_text("{}\n", encoding="utf-8")
    os.chown(file, 4321, 4321)
    assert run("install", "cursor")[0] == 0
    assert (file.stat().st_uid, file.stat().st_gid) == (4321, 4321)


@pytest.mark.slow
def test_two_installations_at_once_leave_one_entry(home: Path, tmp_path: Path) -> None:
    file = file_of("cursor", home)
    file.write_text("{}\n", encoding="utf-8")
    env = environment(CALLTRIAGE_DATA_DIR=str(tmp_path / "data"), HOME=str(home), XDG_DATA_HOME=str(home / "data"))
    command = [sys.executable, "-m", "calltriage", "install", "cursor"]
    both = [subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for _ in range(2)]
    said = [process.communicate(timeout=60)[0].decode() for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert file.read_text(encoding="utf-8").count('"calltriage"') == 2  # the entry's name, and the program's
    assert file.with_name("mcp.json.before-calltriage").read_text(encoding="utf-8") == "{}\n"


@pytest.mark.parametrize("name", [name for name, host in HOSTS.items() if host.link])
def test_a_link_says_what_the_file_would_say(name: str, run: Run) -> None:
    status, said = run("install", name, "--print-link")
    assert status == 0
    parts = urlsplit(said.strip())
    query = parse_qs(parts.query)
    launch = published()
    if name == "goose":
        assert (query["cmd"], query["arg"]) == ([launch.command], list(launch.args))
        return
    entry = json.loads(unquote(parts.query) if name == "vscode" else base64.b64decode(query["config"][0]))
    assert entry.pop("name", "calltriage") == "calltriage"
    assert entry == HOSTS[name].entry(launch)


def test_any_other_host_reads_what_is_printed(run: Run) -> None:
    status, said = run("install", "mcp-json")
    assert status == 0
    assert list(json.loads(said)["mcpServers"]) == ["calltriage"]


@pytest.mark.parametrize(
    ("installation", "command"),
    [
        (Installation("clone", "/src/ct"), ("/bin/uv", "run", "--project", "/src/ct", "calltriage")),
        (Installation("bundle", "/b"), ("/bin/uv", "run", "--directory", "/b", "calltriage")),
        (Installation("uv tool", ""), ("/env/bin/calltriage",)),
        (Installation("pip", ""), ("/env/bin/calltriage",)),
    ],
)
def test_it_is_started_the_way_it_was_installed(installation: Installation, command: tuple[str, ...]) -> None:
    assert installation.command(Path("/env"), "/bin/uv") == command


def test_what_is_to_be_typed_next_is_a_command_that_a_shell_finds(run: Run) -> None:
    assert "Try it: uv run calltriage doctor --host zed" in run("install", "zed")[1]
    assert Installation("uv tool", "").typed == "calltriage"


@pytest.mark.parametrize("name", HOSTS)
def test_no_host_is_given_a_value_for_a_secret(name: str) -> None:
    host = HOSTS[name]
    if host.naming is not None:
        entry = json.dumps(host.entry(Launch("uv", (), {}, ("CALLTRIAGE_DESK_API_KEY",))))
        assert "CALLTRIAGE_DESK_API_KEY" in entry
