"""The table of requirements and the contract tests name each other completely."""

from __future__ import annotations

import ast
from pathlib import Path

from contract.requirements import REQUIREMENTS

HERE = Path(__file__).parent


def names_of_tests(folder: Path = HERE) -> list[str]:
    """Names of the test functions of the other files of this folder, or of another one."""
    files = [path for path in sorted(folder.rglob("test_*.py")) if path.name != Path(__file__).name]
    return [
        node.name
        for path in files
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef) and node.name.startswith("test_")
    ]


async def test_every_test_that_a_requirement_names_exists() -> None:
    """What a client does of itself, over a bad network above all, is proved among its own tests."""
    missing = {name for requirement in REQUIREMENTS for name in requirement.tests} - set(names_of_tests(HERE.parent))
    assert missing == set()


async def test_every_contract_test_proves_a_requirement() -> None:
    unnamed = set(names_of_tests()) - {name for requirement in REQUIREMENTS for name in requirement.tests}
    assert unnamed == set()


async def test_names_are_given_once_and_no_requirement_is_without_a_test() -> None:
    ids, names = [requirement.id for requirement in REQUIREMENTS], names_of_tests()
    assert sorted(ids) == sorted(set(ids))
    assert sorted(names) == sorted(set(names))
    assert [requirement.id for requirement in REQUIREMENTS if not requirement.tests] == []
