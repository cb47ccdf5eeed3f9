"""A user's detector in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import Process
from pipeline_calls import call_of

from calltriage.errors import DetectorError, DetectorFailed, DetectorOff
from calltriage.pipelines import child
from calltriage.pipelines.catalogue import opened
from calltriage.pipelines.detecting import Detector, Verdict
from calltriage.pipelines.findings import Measure, Verification, verified
from calltriage.pipelines.hangs import Hangs, OwnHangs
from calltriage.pipelines.references import Reference
from calltriage.pipelines.spec import SpecError, parse_spec

CODE = """
import os, re, sys
from calltriage.pipelines import Call, Finding, Measure, Turn, detector
from calltriage.pipelines.detecting import Options

class Days(Options):
    days: int = 60

@detector(version=2, kind="window", options=Days)
def window(call: Call, options: Days):
    print("nothing of", call.turns[0].text, flush=True)
    sys.stdout.write("this is seen")
    for turn in call.agent_turns:
        if f"{options.days} days" in turn.text:
            yield Finding(turn, f"{options.days} days", key=call.metadata.get("line"))

@detector(version=1, kind="mood")
def moody(call: Call):
    mood = call.turns[0].text
    if mood == "hang":
        while True:
            pass
    if mood == "regex":
        re.match("(a+)+$", "a" * 64 + "b")
    if mood == "exit":
        os._exit(3)
    if mood == "raise":
        raise LookupError(mood)
    if mood == "many":
        return [Finding(0, "many")] * 10_000
    if mood == "foreign":
        return [Finding(Turn(0, "agent", "of another call"), "foreign")]
    if mood == "colour":
        return [Finding(0, "colour", severity="red")]
    if mood == "environment":
        return [Finding(0, "environment", ",".join(sorted(os.environ)))]
    if mood == "measure":
        return [Measure("turns", len(call.turns)), Finding(0, mood)]
    if mood == "long":
        return [Finding(0, "long", note="x" * (17 * 2**20))]
    return [Finding(0, mood)]
"""

Open = Callable[..., AbstractAsyncContextManager[Detector]]


@pytest.fixture
def users(tmp_path: Path) -> Open:
    """Opens a detector of the user's own module."""
    (tmp_path / "acme_checks.py").write_text(CODE)

    def opens(
        function: str, deadline_s: float = 30.0, hangs: Hangs | None = None, **options: object
    ) -> AbstractAsyncContextManager[Detector]:
        reference = Reference("acme_checks", function)
        return child.opened(
            reference, options, name="mine", folder=tmp_path, deadline_s=deadline_s, most=50, hangs=hangs
        )

    return opens


async def test_what_a_users_function_measures_is_kept_beside_what_it_finds(users: Open) -> None:
    async with users("moody") as detector:
        examined = await detector.examine(call_of([("agent", "measure")]))
    assert examined.measures == (Measure("turns", 1),)
    assert examined.ms is not None, "its own time, without that of calls that it looked at before"
    assert [one.quote for one in examined.findings] == ["measure"]


async def test_a_users_function_finds_with_its_options_and_what_it_prints_is_dropped(users: Open) -> None:
    call = call_of(
        [("agent", "You have 60 days \u2014 or 30 days \ud800."), ("caller", "ok")], metadata={"line": "refunds"}
    )

    async with users("window", days=30) as made:
        examined = await made.examine(call)
        again = await made.examine(call_of([("agent", "none")]))

    assert (made.name, made.kinds, made.version) == ("mine", ("window",), "2")
    assert (examined.verdict, again.verdict) == (Verdict.FOUND, Verdict.NOT_FOUND)
    found = verified(call, made, examined.findings[0])
    assert (found.quote, found.key, found.verification) == ("30 days", "refunds", Verification.EXACT)


async def test_an_answer_that_is_too_long_is_told_as_such(users: Open) -> None:
    async with users("moody") as made:
        with pytest.raises(DetectorFailed, match="answered with more than 16 MiB on this call"):
            await made.examine(call_of([("agent", "long")]))


async def test_a_function_that_raises_exits_or_yields_too_much_fails_or_is_cut_and_goes_on(
    users: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CALLTRIAGE_BLAND_API_KEY", "secret")
    monkeypatch.setenv("USERS_OWN", "kept")

    async def told(mood: str) -> str:
        with pytest.raises(DetectorFailed) as failed:
            await made.examine(call_of([("agent", mood)]))
        return str(failed.value)

    line = CODE.split("\n").index("        raise LookupError(mood)") + 1
    async with users("moody") as made:
        assert await told("raise") == f"Detector moody raised LookupError in acme_checks.py line {line}."
        assert "severity must be one of critical" in await told("colour")
        assert "ended on this call" in await told("exit")
        many = await made.examine(call_of([("agent", "many")]))
        foreign_call = call_of([("agent", "foreign")])
        foreign = await made.examine(foreign_call)
        environment = (await made.examine(call_of([("agent", "environment")]))).findings[0].note.split(",")

    assert (len(many.findings), many.left_out) == (50, 9_950)
    assert verified(foreign_call, made, foreign.findings[0]).verification is Verification.UNVERIFIED
    assert "USERS_OWN" in environment
    assert not any(name.startswith("CALLTRIAGE_") for name in environment)


@pytest.mark.slow
async def test_a_function_that_hangs_is_stopped_and_after_three_times_switched_off(users: Open) -> None:
    async with users("moody", deadline_s=2.0) as made:
        for mood, times in (("hang", "1 of 3"), ("regex", "2 of 3")):
            with pytest.raises(DetectorFailed, match=f"longer than 2 s on this call and was stopped .{times}"):
                await made.examine(call_of([("agent", mood)]))
            assert (await made.examine(call_of([("agent", "fine")]))).verdict is Verdict.FOUND
        with pytest.raises(DetectorFailed, match="3 of 3"):
            await made.examine(call_of([("agent", "hang")]))
        with pytest.raises(DetectorOff, match="switched off"):
            await made.examine(call_of([("agent", "fine")]))


async def test_a_version_that_is_off_is_tried_again_with_another_deadline_and_a_day_later(
    users: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "MOST_HANGS", 1)
    now = 0.0
    hangs = OwnHangs(lambda: now)
    async with users("moody", deadline_s=2.0, hangs=hangs) as made:
        with pytest.raises(DetectorFailed, match="1 of 1"):
            await made.examine(call_of([("agent", "hang")]))
        with pytest.raises(DetectorOff, match=r"raise limits\.seconds_per_call.*tried again a day later"):
            await made.examine(call_of([("agent", "fine")]))
        async with users("moody", deadline_s=30.0, hangs=hangs) as patient:
            raised = (await patient.examine(call_of([("agent", "fine")]))).verdict
        now = 86_400.0
        later = (await made.examine(call_of([("agent", "fine")]))).verdict

    assert (raised, later) == (Verdict.FOUND, Verdict.FOUND)


HANGS = "import threading\nthreading.Event().wait()\n"


async def test_a_module_that_hangs_while_it_is_imported_is_killed_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, opens = list[Process](), anyio.open_process

    async def remembered(*given: Any, **more: Any) -> Process:
        started.append(await opens(*given, **more))
        return started[-1]

    (tmp_path / "acme_hangs.py").write_text(HANGS)
    monkeypatch.setattr(anyio, "open_process", remembered)
    monkeypatch.setattr(child, "START_S", 1.0)
    held = child.Child(Reference("acme_hangs", "finds"), {}, tmp_path, 30.0)

    with pytest.raises(DetectorError, match=r"The module 'acme_hangs' is not imported within 1 s\."):
        await held.describe()

    assert [one.returncode is not None for one in started] == [True]


@pytest.mark.skipif(sys.platform == "win32", reason="timers of signals are not of Windows")
def test_a_process_whose_module_hangs_ends_by_itself_where_nobody_is_left_to_kill_it(tmp_path: Path) -> None:
    (tmp_path / "acme_hangs.py").write_text(HANGS)
    about = {
        "what": "detector", "module": "acme_hangs", "function": "finds", "options": {}, "folder": str(tmp_path), "most": 50,
    }  # fmt: skip

    program = [sys.executable, "-m", "calltriage.pipelines.child_process"]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(json.dumps({**about, "start_s": 0.5, "deadline_s": 0.5}).encode() + b"\n")
        process.stdin.flush()  # and stays open: a process that is being imported reads no end
        try:
            assert process.wait(timeout=120) == -signal.SIGALRM
        finally:
            process.kill()


@pytest.mark.slow
async def test_a_call_that_is_given_up_leaves_nothing_of_its_answer_to_the_next(users: Open) -> None:
    async with users("moody") as made:
        with anyio.move_on_after(0.2):
            await made.examine(call_of([("agent", "hang")]))
        examined = await made.examine(call_of([("agent", "fine")]))

    assert [one.quote for one in examined.findings] == ["fine"]


async def test_the_process_ends_with_the_pipeline(users: Open) -> None:
    held = child.Child(Reference("json", "dumps"), {}, Path.cwd(), 30.0)
    with pytest.raises(DetectorError, match="not declared with @detector"):
        await held.describe()
    async with users("moody") as made:
        pid = made.run.__self__._process.pid  # pyright: ignore[reportFunctionMemberAccess]  no other way to it
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.slow
async def test_a_file_opens_a_function_beside_it_and_tells_its_faults_with_their_lines(
    users: Open, tmp_path: Path
) -> None:
    good = 'name = "a"\n[[detect]]\nuse = "acme_checks:window"\ndays = 30\n'
    wrong = (
        good + '[[detect]]\nuse = "acme_checks:window"\nname = "b"\ndais = 3\n[[detect]]\nuse = "acme_checks:windw"\n'
    )

    async with opened(parse_spec(good, folder=tmp_path)) as (made,):
        assert (made.name, made.kinds) == ("window", ("window",))
    with pytest.raises(SpecError) as refused:
        async with opened(parse_spec(wrong, folder=tmp_path)):
            pass
    option, function = str(refused.value).splitlines()
    assert "line 8: detect 2, dais" in option
    assert "Did you mean days?" in option
    assert "line 10: detect 3, use" in function
    assert "Did you mean window?" in function
