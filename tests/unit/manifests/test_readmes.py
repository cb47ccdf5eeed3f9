"""The READMEs lead where they say: their links, and the commands that they print."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from calltriage.cli.main import cli

ROOT = Path(__file__).parents[3]
READMES = [path for path in ROOT.glob("**/README.md") if not {".venv", "node_modules", "build"} & {*path.parts}]
LINK = re.compile(r"\]\(([^)\s]+)\)")


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as code hosts make them."""
    headings = re.findall(r"(?m)^#+ (.+)$", text)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("readme", READMES, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_link_leads_to_a_file_and_a_heading(readme: Path) -> None:
    for link in LINK.findall(readme.read_text(encoding="utf-8")):
        if link.startswith(("https://", "http://")):
            continue
        path, _, anchor = link.partition("#")
        target = readme if not path else readme.parent / path
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), link


def commands(readme: Path) -> list[list[str]]:
    """The arguments of each command of ours that stands in a block for a shell."""
    blocks = re.findall(r"(?ms)^```sh\n(.*?)^```$", readme.read_text(encoding="utf-8"))
    lines = [line.partition("uv run calltriage ") for block in blocks for line in block.splitlines()]
    return [shlex.split(re.split(r"\)| \| ", rest)[0], comments=True) for _, found, rest in lines if found]


@pytest.mark.parametrize("arguments", commands(ROOT / "README.md"), ids=" ".join)
def test_each_command_that_the_readme_prints_is_understood(arguments: list[str]) -> None:
    command: click.Command = cli
    context = click.Context(cli, info_name="calltriage")
    while isinstance(command, click.Group):
        name, found, arguments = command.resolve_command(context, arguments)
        assert found is not None
        context, command = click.Context(found, info_name=name, parent=context), found
    command.make_parser(context).parse_args([*arguments])
