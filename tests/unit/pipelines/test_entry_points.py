"""Detectors of installed packages, which the entry-point group `calltriage.detectors` names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pipeline_calls import call_of

from calltriage.errors import DetectorError, SpecError
from calltriage.pipelines.catalogue import ENTRY_POINTS, Opening, built_in, find, opened
from calltriage.pipelines.references import Reference
from calltriage.pipelines.spec import parse_spec

CODE = """
from calltriage.pipelines import Finding, detector
from calltriage.pipelines.detecting import Options

class Days(Options):
    days: int = 60

@detector(version=3, kind="window", options=Days)
def window(call, options):
    for turn in call.agent_turns:
        if f"{options.days} days" in turn.text:
            yield Finding(turn, f"{options.days} days")
"""
Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Installs a distribution with a module `acme_installed`, whose entry points have these names and values."""
    site = tmp_path / "site"
    about = site / "acme_detectors-1.0.dist-info"
    about.mkdir(parents=True)
    (site / "acme_installed.py").write_text(CODE)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-detectors\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("PYTHONPATH", str(site))  # where the process of a detector finds the package

    def installs(**points: str) -> None:
        lines = "".join(f"{name} = {value}\n" for name, value in points.items())
        (about / "entry_points.txt").write_text(f"[{ENTRY_POINTS}]\n{lines}")

    return installs


def file(detect: str) -> str:
    return f'name = "line"\n[[detect]]\n{detect}\n'


async def test_a_detector_of_an_installed_package_is_used_by_the_name_of_its_entry_point(install: Install) -> None:
    install(refund_window="acme_installed:window")
    spec = parse_spec(file('use = "refund_window"\ndays = 30'))

    async with opened(spec, Opening()) as (made,):
        examined = await made.examine(call_of([("agent", "You have 30 days.")]))

    assert (made.name, made.kinds, made.version) == ("refund_window", ("window",), "3")
    assert [one.quote for one in examined.findings] == ["30 days"]


async def test_a_wrong_option_of_an_installed_detector_is_told_with_its_line(install: Install) -> None:
    install(refund_window="acme_installed:window")

    with pytest.raises(SpecError, match=r"line 4: detect 1, dais is wrong.* Did you mean days\?"):
        async with opened(parse_spec(file('use = "refund_window"\ndais = 30'))):
            pass


def test_an_installed_package_takes_the_name_of_no_built_in_rule(install: Install) -> None:
    install(agent_silence="acme_installed:window", refund_window="acme_installed:window")

    assert find("agent_silence") == built_in("agent_silence")
    assert find("refund_window") == Reference("acme_installed", "window")


def test_a_misspelt_name_of_an_installed_detector_is_answered_with_the_nearest(install: Install) -> None:
    install(refund_window="acme_installed:window")

    with pytest.raises(DetectorError, match=r"There is no detector 'refund_windw'\. Did you mean refund_window\?"):
        find("refund_windw")


@pytest.mark.parametrize("value", ["acme_installed", "acme_installed:Rules.window"])
def test_an_entry_point_that_names_no_function_of_a_module_is_told(install: Install, value: str) -> None:
    install(refund_window=value)

    with pytest.raises(DetectorError, match=r"The entry point 'refund_window' .* does not name module:function"):
        find("refund_window")


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("acme_gone:window", "There is no module 'acme_gone'"),
        ("acme_installed:windw", "has no 'windw'. Did you mean window?"),
        ("acme_installed:Days", "acme_installed:Days is not declared with @detector"),
    ],
)
async def test_an_entry_point_that_leads_nowhere_is_told_with_its_line(install: Install, value: str, told: str) -> None:
    install(refund_window=value)

    with pytest.raises(SpecError) as refused:
        async with opened(parse_spec(file('use = "refund_window"'))):
            pass

    assert "line 3: detect 1, use is wrong." in str(refused.value)
    assert told in str(refused.value)
