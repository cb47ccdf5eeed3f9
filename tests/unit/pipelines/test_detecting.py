"""Detectors: declared, configured, run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pipeline_calls import call_of

from calltriage.errors import DetectorError, DetectorFailed
from calltriage.pipelines import Finding, Measure, detector
from calltriage.pipelines.calls import Call, Timing
from calltriage.pipelines.catalogue import BUILT_INS, adapted, built_in, find, opened
from calltriage.pipelines.detecting import MOST_FINDINGS, MOST_MEASURES, Options, Rule, Verdict
from calltriage.pipelines.durations import Span
from calltriage.pipelines.references import Reference, load
from calltriage.pipelines.spec import Detect, SpecError, parse_spec

CALL = call_of([("agent", "You have 60 days."), ("caller", "Thanks.")])


class Days(Options):
    """Options of the detectors of this module."""

    days: int = 60
    within: Span = timedelta(seconds=3)


@detector(version=2, kind=("wrong_window", "other"), options=Days)
def wrong_window(call: Call, options: Days) -> Iterator[Finding]:
    for turn in call.agent_turns:
        if f"{options.days} days" in turn.text:
            yield Finding(turn, f"{options.days} days")


def as_list(call: Call) -> list[Finding]:
    return [Finding(0, "60 days")]


async def as_coroutine(call: Call) -> list[Finding]:
    return as_list(call)


async def as_async_generator(call: Call) -> AsyncIterator[Finding]:
    for one in as_list(call):
        yield one


@pytest.mark.parametrize("function", [as_list, as_coroutine, as_async_generator])
async def test_a_function_may_say_what_it_finds_in_any_way(function: object) -> None:
    made = detector(version=1, kind="window")(function).configured()  # pyright: ignore[reportArgumentType]

    examined = await made.examine(CALL)

    assert (examined.verdict, [one.quote for one in examined.findings]) == (Verdict.FOUND, ["60 days"])


async def test_options_reach_the_function() -> None:
    usual, other = wrong_window.configured(), wrong_window.configured({"days": 30}, name="thirty")

    assert (await usual.examine(CALL)).verdict is Verdict.FOUND
    assert (await other.examine(CALL)).verdict is Verdict.NOT_FOUND
    assert (usual.name, other.name) == ("wrong_window", "thirty")


def test_a_version_hash_changes_with_version_options_and_code_and_not_with_the_name_in_a_file() -> None:
    same = wrong_window.configured({"within": "3s"}, name="other name")
    others = [
        wrong_window.configured({"days": 30}),
        detector(version=3, kind="window", options=Days)(wrong_window.function).configured(),
        detector(version=2, kind="window")(as_list).configured(),
        detector(version=2, kind="window")(as_coroutine).configured(),
    ]

    assert same.version_hash == wrong_window.configured().version_hash
    assert len({same.version_hash, *(other.version_hash for other in others)}) == 5


@pytest.mark.parametrize(
    ("options", "says", "path"),
    [
        ({"dais": 3}, "no option 'dais'. Did you mean days?", ("dais",)),
        ({"days": "many"}, "option 'days' is wrong", ("days",)),
        ({"within": "3 parsecs"}, "option 'within' is wrong: .*such as \"8s\"", ("within",)),
        ({"within": -1}, "option 'within' is wrong", ("within",)),
    ],
)
def test_a_wrong_option_is_named_with_the_nearest(options: dict[str, object], says: str, path: tuple[str, ...]) -> None:
    with pytest.raises(DetectorError, match=says) as refused:
        wrong_window.configured(options)
    assert refused.value.path == path


async def test_a_detector_that_raises_says_so_and_not_what_was_said() -> None:
    @detector(version=1, kind="raises")
    def raises(call: Call) -> Iterator[Finding]:
        yield Finding(0, "60 days")
        raise LookupError(call.turns[0].text)

    with pytest.raises(DetectorFailed, match=r"^Detector raises raised LookupError in test_detecting\.py line \d+\.$"):
        await raises.configured().examine(CALL)


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("\n@detector(version=1)\ndef f(call): ...\n", "TypeError in acme_{name}.py line 2"),
        ("\n\nx = json.loads('our words')\n", "JSONDecodeError in acme_{name}.py line 3"),
        ("\n\n\ndef f(:\n", "SyntaxError in acme_{name}.py line 4"),
    ],
)
def test_a_module_that_cannot_be_imported_is_told_with_the_line_and_without_the_errors_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, says: str
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    name = says.split("Error")[0].lower()
    (tmp_path / f"acme_{name}.py").write_text(f"import json; from calltriage.pipelines import detector{code}")
    with pytest.raises(DetectorError) as refused:
        load(Reference(f"acme_{name}", "f"))
    assert str(refused.value) == f"The module 'acme_{name}' cannot be imported: {says.format(name=name)}."


async def test_a_detector_that_yields_something_else_or_a_colour_as_severity_fails() -> None:
    @detector(version=1, kind="wrong")
    def of_texts(call: Call) -> list[Finding]:
        return ["60 days"]  # pyright: ignore[reportReturnType]  what is tested

    @detector(version=1, kind="wrong")
    def of_colours(call: Call) -> list[Finding]:
        return [Finding(0, "60 days", severity="red")]  # pyright: ignore[reportArgumentType]  what is tested

    with pytest.raises(DetectorFailed, match="no Finding and no Measure"):
        await of_texts.configured().examine(CALL)
    with pytest.raises(DetectorFailed, match="severity must be one of critical"):
        await of_colours.configured().examine(CALL)


async def test_a_detector_measures_a_call_in_which_it_finds_nothing() -> None:
    @detector(version=1, kind="pace")
    def pace(call: Call) -> Iterator[Measure]:
        yield Measure("words", call.turns[0].words)
        yield Measure("pace", 2.5, "words/s")

    examined = await pace.configured().examine(CALL)

    assert examined.verdict is Verdict.NOT_FOUND
    assert examined.measures == (Measure("words", 4), Measure("pace", 2.5, "words/s"))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (("two words", 1.0), "A measure's name must be lower-case letters"),
        (("pace", float("nan")), "A measure's value must be a number, at most 1e\\+15 from 0"),
        (("pace", 10**400), "A measure's value must be a number, at most 1e\\+15 from 0"),
        (("pace", "fast"), "A measure's value must be a number, at most 1e\\+15 from 0"),
        (("pace", True), "A measure's value must be a number, at most 1e\\+15 from 0"),
        (("pace", 1.0, "of what was said"), "A measure's unit must be at most 16 letters"),
        (("pace", 1.0, None), "A measure's unit must be at most 16 letters"),
    ],
)
async def test_a_measure_with_a_wrong_member_fails_and_says_which(given: tuple[Any, ...], says: str) -> None:
    @detector(version=1, kind="pace")
    def pace(call: Call) -> Iterator[Measure]:
        yield Measure(*given)

    with pytest.raises(DetectorFailed, match=says):
        await pace.configured().examine(CALL)


@pytest.mark.parametrize("told", [Finding(0, "60 days"), Measure("pace", 1.0)])
async def test_a_function_may_return_one_thing_alone(told: Finding | Measure) -> None:
    @detector(version=1, kind="window")
    def one(call: Call) -> Finding | Measure:
        return told

    examined = await one.configured().examine(CALL)
    assert [*examined.findings, *examined.measures] == [told]


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["pace", "pace"], "yielded the measure pace twice"),
        ([f"m{number}" for number in range(MOST_MEASURES + 1)], f"yielded more than {MOST_MEASURES} measures"),
    ],
)
async def test_a_measure_that_is_yielded_twice_and_too_many_of_them_fail(names: list[str], says: str) -> None:
    @detector(version=1, kind="pace")
    def pace(call: Call) -> Iterator[Measure]:
        yield from (Measure(name, 1.0) for name in names)

    with pytest.raises(DetectorFailed, match=says):
        await pace.configured().examine(CALL)


async def test_of_ten_thousand_findings_the_first_are_kept_and_the_rest_is_counted() -> None:
    @detector(version=1, kind="many")
    def many(call: Call) -> Iterator[Finding]:
        for _ in range(10_000):
            yield Finding(0, "60 days")

    examined = await many.configured().examine(CALL)

    assert (len(examined.findings), examined.left_out) == (MOST_FINDINGS, 10_000 - MOST_FINDINGS)


async def test_a_detector_is_not_offered_on_a_call_without_what_it_needs() -> None:
    exact = detector(version=1, kind="timed", timing=Timing.EXACT)(as_list).configured()
    corrected = detector(version=1, kind="redone", needs_corrected=True)(as_list).configured()

    assert [(await made.examine(CALL)).verdict for made in (exact, corrected)] == [Verdict.NOT_OFFERED] * 2
    assert (await exact.examine(CALL)).why == "It needs exact times of turns; this call has no times."


def test_what_a_file_says_of_findings_never_makes_a_word_list_more_than_reviewed() -> None:
    words = detector(version=1, kind="words", review_only=True)(as_list).configured()
    made = adapted(words, Detect(use="words", severity="high", group_by=("line",), was=("before",)))

    assert (made.review_only, made.severity, made.group_by, made.identity) == (True, "high", ("line",), "before")


def test_every_rule_of_the_package_is_found_by_its_name_and_says_what_it_finds() -> None:
    rules = {name: built_in(name) for name in BUILT_INS}

    assert list(rules) == [rule.name for rule in rules.values()] == list(BUILT_INS)
    assert all((rule.function.__doc__ or "").count("\n") > 2 for rule in rules.values())
    assert all("Times: " in (rule.function.__doc__ or "") for rule in rules.values())


def test_a_name_that_is_no_detector_is_answered_with_the_nearest() -> None:
    assert isinstance(find("agent_silence"), Rule)
    assert find("acme.checks:wrong_window") == Reference("acme.checks", "wrong_window")
    with pytest.raises(DetectorError, match=r"no detector 'agent_silense'\. Did you mean agent_silence\?"):
        find("agent_silense")


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        (Reference("no_such_module_anywhere", "f"), "no module 'no_such_module_anywhere'. Put it"),
        (Reference("calltriage.pipelines.detectors.silences", "agent_silense"), "Did you mean agent_silence?"),
        (Reference("json", "dumps"), "json:dumps is not declared with @detector"),
    ],
)
def test_a_reference_that_leads_nowhere_says_what_is_missing(reference: Reference, says: str) -> None:
    with pytest.raises(DetectorError) as refused:
        load(reference)
    assert says in str(refused.value)


@pytest.mark.parametrize("kind", ["", "Has Blanks", ("fine", "NOT")])
def test_a_kind_is_a_plain_word(kind: str | tuple[str, ...]) -> None:
    with pytest.raises(DetectorError, match="kind"):
        detector(version=1, kind=kind)


async def test_the_detectors_of_a_file_are_opened_with_what_it_says_of_them() -> None:
    text = """
        name = "line"
        [[detect]]
        use = "agent_silence"
        name = "slow"
        was = "late"
        at_least = "5s"
        severity = "high"
        group_by = "pathway_id"
    """
    async with opened(parse_spec(text)) as (made,):
        assert (made.name, made.identity, made.severity, made.group_by) == ("slow", "late", "high", ("pathway_id",))
        assert made.version_hash == find_rule("agent_silence").configured({"at_least": 5}).version_hash


async def test_each_fault_of_a_files_detectors_is_told_with_its_line() -> None:
    text = 'name = "line"\n[[detect]]\nuse = "agent_silense"\n[[detect]]\nuse = "agent_silence"\nat_leest = "5s"\n'

    with pytest.raises(SpecError) as refused:
        async with opened(parse_spec(text)):
            pass
    first, second = str(refused.value).splitlines()
    assert "line 3: detect 1, use" in first
    assert "Did you mean agent_silence?" in first
    assert "line 6: detect 2, at_leest" in second
    assert "Did you mean at_least?" in second


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("sevrity", "severity"), ("min_precison", "min_precision"), ("grup_by", "group_by"), ("fille", "file"),
        ("supressed_by", "suppressed_by"), ("smaple", "sample"), ("at_leest", "at_least"),
    ],
)  # fmt: skip
async def test_a_misspelt_key_of_a_detectors_table_is_answered_with_the_nearest(key: str, meant: str) -> None:
    spec = parse_spec(f'name = "line"\n[[detect]]\nuse = "agent_silence"\n{key} = 1\n')

    with pytest.raises(SpecError, match=f"line 4: detect 1, {key} is wrong.* Did you mean {meant}"):
        async with opened(spec):
            pass


@pytest.mark.parametrize(
    ("use", "own"),
    [('"chat"\nendpoint = "replay:none"\nprompt = "none"', "speaker"), ('"acme_misspelt:finds"', "days")],
    ids=["chat", "a function"],
)
async def test_a_models_detector_and_a_users_function_know_their_own_keys_and_those_of_every_table(
    use: str, own: str, tmp_path: Path
) -> None:
    (tmp_path / "acme_misspelt.py").write_text(MISSPELT)
    for key, meant in (("sevrity", "severity"), (own[:-1], own)):
        spec = parse_spec(f'name = "line"\n[[detect]]\nuse = {use}\n{key} = 1\n', folder=tmp_path)
        with pytest.raises(SpecError, match=rf"line \d: detect 1, {key} is wrong.* Did you mean {meant}"):
            async with opened(spec):
                pass


MISSPELT = """
from calltriage.pipelines import detector
from calltriage.pipelines.detecting import Options

class Days(Options):
    days: int = 60

@detector(version=1, kind="odd", options=Days)
def finds(call, options):
    return []
"""


def find_rule(name: str) -> Rule:
    found = find(name)
    assert isinstance(found, Rule)
    return found
