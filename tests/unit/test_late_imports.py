"""What functions load of SQLAlchemy, where another thread may be loading it.

`from sqlalchemy import exc` waits for that thread. `from sqlalchemy.exc import DBAPIError` does not: each thread then waits
for a module that the other one loads, and Python ends that by giving one of them a half loaded module.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import calltriage

PACKAGE, LIBRARY = Path(calltriage.__file__).parent, "sqlalchemy"
SOURCES = [path.relative_to(PACKAGE).as_posix() for path in sorted(PACKAGE.rglob("*.py"))]


def imports(nodes: list[ast.stmt]) -> set[str]:
    """The modules that these statements import from, those in them included."""
    walked = [node for one in nodes for node in ast.walk(one) if isinstance(node, ast.ImportFrom)]
    return {node.module or "" for node in walked}


@pytest.mark.parametrize("source", SOURCES)
def test_what_loads_the_library_late_loads_its_package(source: str) -> None:
    body = ast.parse((PACKAGE / source).read_text(encoding="utf-8")).body
    at_once = imports([node for node in body if isinstance(node, ast.ImportFrom)])
    if any(module.partition(".")[0] == LIBRARY for module in at_once):
        return  # the package is there before a function of the module runs
    late = imports([node for node in body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)])
    assert not [module for module in late if module.startswith(f"{LIBRARY}.")]
