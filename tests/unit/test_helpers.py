"""Where tests get what they share: from helper modules, never from one another."""

from __future__ import annotations

import ast
from pathlib import Path

TESTS = Path(__file__).parents[1]
MODULES = {path.relative_to(TESTS).as_posix(): path for path in sorted(TESTS.rglob("*.py"))}


def imported(tree: ast.Module) -> set[str]:
    """Each dotted name that the module imports, and each name that it imports from one."""
    names = set[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            names |= {f"{node.module or ''}.{alias.name}" for alias in node.names}
    return names


def test_nothing_is_imported_from_a_test_module() -> None:
    modules = {path.stem for path in MODULES.values() if path.name.startswith("test_")}
    found = {
        (name, one)
        for name, path in MODULES.items()
        for one in imported(ast.parse(path.read_text(encoding="utf-8")))
        if modules & set(one.split("."))
    }
    assert found == set()
