"""How long a module and a function of the package may be. The linter holds how branched a function may be."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import calltriage

PACKAGE = Path(calltriage.__file__).parent
MODULES = {path.relative_to(PACKAGE).as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}
LINES_OF_MODULE = 400
LINES_OF_FUNCTION = 60


@pytest.mark.parametrize("name", MODULES)
def test_a_module_has_at_most_400_lines_and_each_function_at_most_60(name: str) -> None:
    text = MODULES[name].read_text(encoding="utf-8")
    lengths = {
        node.name: (node.end_lineno or 0) - node.lineno + 1
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {function: lines for function, lines in lengths.items() if lines > LINES_OF_FUNCTION} == {}
    assert text.count("\n") <= LINES_OF_MODULE
