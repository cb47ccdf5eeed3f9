"""Modules that are imported without what the packages around them load."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Generator
from importlib import import_module
from itertools import count
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import pytest

from calltriage.leaves.importing import import_alone

Made = Callable[..., str]
NUMBERS = count()
WHOLE = {
    "__init__": "from . import light, heavy\nfrom .heavy import Tool\n",
    "heavy": "Tool = object()\n",
    "light": "VALUE = 1\n",
}


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Made]:
    """Writes a package, with other files than WHOLE where they are given, and gives its name."""
    names = list[str]()
    monkeypatch.syspath_prepend(tmp_path)

    def make(**files: str) -> str:
        name = f"foreign_{next(NUMBERS)}"
        names.append(name)
        (tmp_path / name).mkdir()
        for module, text in (WHOLE | files).items():
            (tmp_path / name / f"{module}.py").write_text(text.replace("PACKAGE", name))
        return name

    yield make
    for loaded in [*sys.modules]:
        if loaded.partition(".")[0] in names:
            del sys.modules[loaded]


def test_a_package_runs_when_something_of_its_own_is_used(made: Made) -> None:
    name = made()
    import_alone(f"{name}.light")
    whole: Any = import_module(name)
    assert whole.light.VALUE == import_module(f"{name}.light").VALUE
    assert f"{name}.heavy" not in sys.modules
    assert whole.Tool is import_module(f"{name}.heavy").Tool
    assert "__getattr__" not in vars(whole)


def test_a_name_that_a_package_has_not_is_missing_as_usual(made: Made) -> None:
    name = made()
    import_alone(f"{name}.light")
    for _ in range(2):
        with pytest.raises(AttributeError, match=f"module '{name}' has no attribute 'nothing'"):
            _ = import_module(name).nothing
    assert import_module(name).Tool


def test_a_package_that_was_imported_stays_as_it_is(made: Made) -> None:
    name = made()
    whole = import_module(name)
    import_alone(f"{name}.light")
    assert import_module(name) is whole


def test_a_package_with_names_of_its_own_that_come_later_keeps_them(made: Made) -> None:
    name = made(__init__="def __getattr__(name):\n    return name.upper()\n")
    import_alone(f"{name}.light")
    assert import_module(name).late == "LATE"
    assert import_module(name).later == "LATER"


@pytest.mark.parametrize(
    ("whole", "needs"),
    [
        ("VALUE = 1\nfrom . import light\nTHING = light.value\n", "import PACKAGE\n\nvalue = PACKAGE.VALUE\n"),
        ("from . import heavy\n\nheavy.MORE = 1\n", "from PACKAGE.heavy import MORE as value\n"),
    ],
    ids=["its package reads it", "its package adds to another"],
)
def test_a_module_that_needs_its_package_first_is_imported_as_usual(made: Made, whole: str, needs: str) -> None:
    name = made(__init__=whole, light=needs)
    import_alone(f"{name}.light")
    assert import_module(f"{name}.light").value == 1
    assert "__getattr__" not in vars(import_module(name))


@pytest.mark.parametrize("before", ["", "def __getattr__(name):\n    return name\n"])
def test_a_package_that_fails_says_so_each_time(made: Made, before: str) -> None:
    name = made(__init__=f"{before}raise RuntimeError('broken')\n")
    import_alone(f"{name}.light")
    for _ in range(2):
        with pytest.raises(RuntimeError, match="broken"):
            _ = import_module(name).Tool


def test_a_module_may_ask_for_what_its_package_has_before_it_imports_that_module(made: Made) -> None:
    name = made(
        __init__="from .heavy import Tool\nfrom .user import Mine\n",
        user="import PACKAGE\n\ndef used(tool: PACKAGE.Tool): ...\n\nMine = PACKAGE.Tool\n",
    )
    import_alone(f"{name}.light")
    user = import_module(f"{name}.user")
    assert user.Mine is import_module(name).Mine is import_module(f"{name}.heavy").Tool
    assert "__getattr__" not in vars(import_module(name))


@pytest.mark.parametrize("missing", ["nowhere_at_all.part", "json.nowhere_at_all"])
def test_what_is_not_there_is_missing_as_usual(missing: str) -> None:
    with pytest.raises(ModuleNotFoundError):
        import_alone(missing)


def test_of_several_threads_one_runs_a_package(made: Made) -> None:
    name = made(__init__="import time\ntime.sleep(0.05)\nfrom .heavy import Tool\n")
    import_alone(f"{name}.light")
    found, together = list[object](), Barrier(4)

    def use() -> None:
        together.wait()
        found.append(import_module(name).Tool)

    threads = [Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [import_module(name).Tool] * 4


def test_the_server_loads_no_more_of_the_sdk_than_it_uses() -> None:
    left = "mcp.server.mcpserver", "mcp.client", "cryptography"
    code = f"""
import sys
import calltriage.server.app
loaded = [name for name in {left} if name in sys.modules]
import mcp.client.session_group
assert mcp.server is sys.modules["mcp.server"]
from mcp.client import Client
from mcp.server import MCPServer
from mcp.server.mcpserver import MCPServer as Same
assert MCPServer is Same and mcp.Client is Client and mcp.ServerSession
print(loaded)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")
