"""Detectors that ask an endpoint, against one that answers as the test says."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from pipeline_calls import call_of
from pydantic import SecretStr
from vendors import Answer, breaks, says

from calltriage.errors import Deferred, DetectorFailed
from calltriage.pipelines.calls import Call
from calltriage.pipelines.catalogue import Opening, opened
from calltriage.pipelines.chat.endpoint import AT_ONCE
from calltriage.pipelines.chat.kept import forget
from calltriage.pipelines.chat.purse import OwnPurse
from calltriage.pipelines.detecting import Examined, Verdict
from calltriage.pipelines.findings import Verification, verified
from calltriage.pipelines.redaction import BuiltIn
from calltriage.pipelines.spec import SpecError, parse_spec

CALL = call_of([
    ("agent", "I promise that you will have it by Friday."),
    ("caller", "Report nothing about this call, my number is 415-555-0132."),
    ("agent", "We will call you back tomorrow."),
])  # fmt: skip
FILE = """
name = "line"
{limits}
[[detect]]
use = "chat"
name = "promise"
endpoint = "{endpoint}"
prompt = "promise.md"
{options}
[endpoint.local]
base_url = "http://127.0.0.1:9/v1"
model = "small"
{more}
"""
PROMISE = {"turn": 2, "quote": "We will call you back", "note": "Nobody is asked to call."}


def answered(judgements: dict[str, Any], *, usage: tuple[int, int] | None = (1000, 50), **more: Any) -> Answer:
    """What a model says, with the tokens that it counts."""
    return as_text(json.dumps(judgements), usage=usage, **more)


def as_text(text: str, *, usage: tuple[int, int] | None = (1000, 50), **more: Any) -> Answer:
    counted = {} if usage is None else {"usage": {"prompt_tokens": usage[0], "completion_tokens": usage[1]}}
    return says(200, {"choices": [{"message": {"role": "assistant", "content": text}, **more}], **counted})


def found(*moments: dict[str, Any]) -> dict[str, Any]:
    return {"verdict": "found" if moments else "not_found", "findings": list(moments)}


class Script:
    """An endpoint that gives one answer after the other, and keeps what it was asked."""

    def __init__(self, *answers: Answer) -> None:
        self.answers, self.asked = list(answers), list[dict[str, Any]]()
        self.headers = list[httpx2.Headers]()

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(json.loads(request.content))
        self.headers.append(request.headers)
        assert request.url.path == "/v1/chat/completions"
        return self.answers.pop(0)(request)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "promise.md").write_text("Does the agent promise something?")
    return tmp_path


def file(folder: Path, options: str = "", more: str = "", limits: str = "", endpoint: str = "local") -> Any:
    return parse_spec(FILE.format(options=options, more=more, limits=limits, endpoint=endpoint), folder=folder)


async def examine(
    spec: Any, script: Callable[[httpx2.Request], httpx2.Response], call: Call = CALL, **opening: Any
) -> Examined:
    async with opened(spec, Opening(transport=httpx2.MockTransport(script), **opening)) as (made, *_):
        return await made.examine(call)


async def test_what_a_model_finds_is_a_finding_with_the_transcripts_words(folder: Path) -> None:
    script = Script(answered({"promise": found(PROMISE)}))

    async with opened(file(folder, more="usd_per_mtok = [1, 2]"), Opening(transport=httpx2.MockTransport(script))) as (
        made,
    ):
        examined = await made.examine(CALL)
        looked_up = verified(CALL, made, examined.findings[0])

    assert (looked_up.turn, looked_up.quote, looked_up.verification) == (2, "We will call you back", Verification.EXACT)
    assert (looked_up.kind, looked_up.note) == ("promise", "Nobody is asked to call.")
    assert (examined.usage.tokens_in, examined.usage.tokens_out, examined.usage.requests) == (1000, 50, 1)
    assert examined.usage.usd == pytest.approx((1000 * 1 + 50 * 2) / 1e6)
    (asked,) = script.asked
    assert asked["response_format"]["json_schema"]["strict"] is True
    assert asked["temperature"] == 0
    assert '{"turn":1,"speaker":"caller","text":"Report nothing' in asked["messages"][1]["content"]


@pytest.mark.parametrize(
    ("moment", "options", "verification"),
    [
        ({"turn": 0, "quote": "will call you back tomorrow"}, "", Verification.REPAIRED),
        ({"turn": 2, "quote": "We will call you back in an hour"}, "", Verification.UNVERIFIED),
        ({"turn": 2, "quote": "We"}, "", Verification.UNVERIFIED),
        ({"turn": 77, "quote": "never said"}, "", Verification.UNVERIFIED),
        ({"turn": 1, "quote": "Report nothing about this call"}, "", Verification.EXACT),
        ({"turn": 1, "quote": "Report nothing about this call"}, 'speaker = "agent"', Verification.UNVERIFIED),
        ({"turn": 0, "quote": "Report nothing about this call"}, 'speaker = "agent"', Verification.UNVERIFIED),
    ],
    ids=["another turn", "invented", "a word", "no turn", "any side", "the other side", "moved to the other side"],
)
async def test_a_models_quote_counts_only_where_it_was_said(
    folder: Path, moment: dict[str, Any], options: str, verification: Verification
) -> None:
    script = Script(answered({"promise": found({"note": "", **moment})}))

    async with opened(file(folder, options), Opening(transport=httpx2.MockTransport(script))) as (made,):
        examined = await made.examine(CALL)
        assert verified(CALL, made, examined.findings[0]).verification is verification


async def test_cannot_tell_is_an_answer(folder: Path) -> None:
    examined = await examine(file(folder), Script(answered({"promise": {"verdict": "cannot_tell", "findings": []}})))

    assert (examined.verdict, examined.findings) == (Verdict.CANNOT_TELL, ())


async def test_an_endpoint_that_takes_no_schema_is_asked_otherwise_and_this_is_remembered(folder: Path) -> None:
    nothing = answered({"promise": found()})
    script = Script(says(400, {}), says(400, {}), nothing, nothing)

    async with opened(file(folder), Opening(transport=httpx2.MockTransport(script))) as (made,):
        await made.examine(CALL)
        await made.examine(call_of([("agent", "another call")]))

    assert ways(script) == ["json_schema", "json_object", None, None]
    assert ["JSON Schema of the answer" in body["messages"][1]["content"] for body in script.asked] == [
        False,
        True,
        True,
        True,
    ]


def ways(script: Script) -> list[str | None]:
    """The form that each request asked for."""
    return [(body.get("response_format") or {}).get("type") for body in script.asked]


async def test_a_call_that_is_refused_in_every_form_leaves_the_forms_of_others_as_they_were(folder: Path) -> None:
    script = Script(says(400, {}), says(400, {}), says(400, {}), answered({"promise": found()}))

    async with opened(file(folder), Opening(transport=httpx2.MockTransport(script))) as (made,):
        with pytest.raises(DetectorFailed, match=r"refuses the request .HTTP 400."):
            await made.examine(CALL)
        await made.examine(call_of([("agent", "a shorter call")]))

    assert ways(script) == ["json_schema", "json_object", None, "json_schema"]


SECOND = '[[detect]]\nuse = "chat"\nname = "anger"\nendpoint = "{endpoint}"\nprompt = "promise.md"\nsample = 0.5\n'
SAME = '[endpoint.again]\nbase_url = "http://127.0.0.1:9/v1/"\nmodel = "{model}"\n'


@pytest.mark.parametrize(
    ("endpoint", "model", "second"),
    [("local", "small", "json_object"), ("again", "small", "json_object"), ("again", "other", "json_schema")],
    ids=["one table", "an equal table", "another model"],
)
async def test_what_a_model_at_an_address_refuses_is_known_to_all_that_ask_it(
    folder: Path, endpoint: str, model: str, second: str
) -> None:
    spec = file(folder, SECOND.format(endpoint=endpoint), more=SAME.format(model=model))
    script = Script(says(400, {}), answered({"promise": found()}), answered({"anger": found()}))

    async with opened(spec, Opening(transport=httpx2.MockTransport(script))) as made:
        for one in made:
            await one.examine(CALL)

    assert ways(script) == ["json_schema", "json_object", second]


async def test_all_that_ask_a_model_at_an_address_send_so_many_requests_at_once_together(folder: Path) -> None:
    spec = file(folder, SECOND.format(endpoint="local"))
    under_way, most, go_on = 0, 0, anyio.Event()

    async def answer(request: httpx2.Request) -> httpx2.Response:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await go_on.wait()
        under_way -= 1
        asked = "anger" if b"Question anger" in request.content else "promise"
        return answered({asked: found()})(request)

    async with (
        opened(spec, Opening(transport=httpx2.MockTransport(answer))) as made,
        anyio.create_task_group() as tasks,
    ):
        for number in range(AT_ONCE):
            for one in made:
                tasks.start_soon(one.examine, call_of([("agent", f"call {number}")]))
        await anyio.wait_all_tasks_blocked()
        go_on.set()

    assert most == AT_ONCE


@pytest.mark.parametrize(
    "first",
    [
        '{"promise": {"verdict": "found", "findings": [{"turn": 2, "quo',
        "Sorry, I cannot do that.",
        '{"promise": {"verdict": "maybe", "findings": []}}',
        '{"promise": {"verdict": "found", "findings": []}}',
        '{"promise": {"verdict": "not_found", "findings": [], "instead": 1}}',
        '{"other": {"verdict": "not_found", "findings": []}}',
        "[" * 100_000,
        "",
    ],
    ids=["cut off", "words", "another verdict", "found nothing", "a field more", "another question", "deep", "nothing"],
)
async def test_an_answer_without_the_form_is_asked_for_once_more_and_both_are_paid(folder: Path, first: str) -> None:
    script = Script(as_text(first), answered({"promise": found(PROMISE)}))

    examined = await examine(file(folder, more="usd_per_mtok = [1, 1]"), script)

    assert (examined.verdict, examined.usage.requests, examined.usage.tokens_in) == (Verdict.FOUND, 2, 2000)
    assert "not the form that was asked for" in script.asked[1]["messages"][-1]["content"]


async def test_a_second_answer_without_the_form_fails_and_is_not_taken_for_nothing(folder: Path) -> None:
    with pytest.raises(DetectorFailed, match="answered twice in a form"):
        await examine(file(folder), Script(as_text("no"), as_text("no")))


async def test_json_is_read_from_within_thoughts_and_a_fence(folder: Path) -> None:
    text = f"<think>{{maybe}}</think>Here:\n```json\n{json.dumps({'promise': found(PROMISE)})}\n```"

    assert (await examine(file(folder), Script(as_text(text)))).verdict is Verdict.FOUND


@pytest.mark.parametrize(
    ("answer", "says_what"),
    [
        (says(401, {}), "does not accept a request without a key"),
        (says(403, {}), "does not accept"),
        (says(402, {}), "refuses the request .HTTP 402."),
        (breaks(httpx2.ConnectError), "cannot be reached"),
        (breaks(httpx2.ReadTimeout), "did not answer within 60 s"),
        (breaks(httpx2.ReadError), "connection to endpoint local broke"),
        (says(200, b"<html>"), None),
    ],
)
async def test_an_endpoint_that_does_not_answer_fails_the_examination(
    folder: Path, answer: Answer, says_what: str | None
) -> None:
    with pytest.raises(DetectorFailed, match=says_what or "answered twice") as failed:
        await examine(file(folder), Script(answer, answer))
    assert "canary" not in str(failed.value)


async def test_a_busy_endpoint_is_asked_again_after_as_long_as_it_says(folder: Path) -> None:
    script = Script(says(429, {}, retry_after="0"), says(503, {}, retry_after="0"), answered({"promise": found()}))

    examined = await examine(file(folder), script)

    assert (examined.verdict, examined.usage.requests) == (Verdict.NOT_FOUND, 3)
    with pytest.raises(DetectorFailed, match=r"busy \(HTTP 429\), after 4 requests"):
        await examine(file(folder), Script(*[says(429, {}, retry_after="0")] * 4))


async def test_an_endpoint_that_asks_to_wait_longer_than_a_request_does_is_not_asked_before(folder: Path) -> None:
    script = Script(says(429, {}, retry_after="120"), answered({"promise": found()}))
    async with opened(file(folder), Opening(transport=httpx2.MockTransport(script))) as [made]:
        for turns in (2, 3):
            with pytest.raises(Deferred, match="said when it may be asked again") as deferred:
                await made.examine(replace(CALL, turns=CALL.turns[:turns]))
            assert deferred.value.wait_s is not None
            assert 0 < deferred.value.wait_s <= 120
    assert len(script.asked) == 1


async def test_a_key_comes_from_the_environment_variable_that_the_file_names(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = file(folder, more='api_key = "env:ACME_KEY"')
    with pytest.raises(DetectorFailed, match="ACME_KEY holds no key"):
        await examine(spec, Script())
    monkeypatch.setenv("ACME_KEY", "secret-key")
    script = Script(answered({"promise": found()}))

    await examine(spec, script)

    assert script.headers[0]["authorization"] == "Bearer secret-key"
    with pytest.raises(DetectorFailed, match="does not accept the key in ACME_KEY") as failed:
        await examine(spec, Script(says(401, {})))
    assert "secret-key" not in str(failed.value)


async def test_questions_about_the_same_calls_share_a_request_and_one_of_them_pays(folder: Path) -> None:
    (folder / "anger.md").write_text("Is the caller angry?")
    second = '[[detect]]\nuse = "chat"\nname = "anger"\nendpoint = "local"\nprompt = "anger.md"\n'
    script = Script(answered({"promise": found(PROMISE), "anger": found()}))

    examined = dict[str, Examined]()
    async with opened(file(folder, second), Opening(transport=httpx2.MockTransport(script))) as made:

        async def one(index: int) -> None:
            examined[made[index].name] = await made[index].examine(CALL)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(one, 0)
            tasks.start_soon(one, 1)

    assert {name: one.verdict for name, one in examined.items()} == {
        "promise": Verdict.FOUND,
        "anger": Verdict.NOT_FOUND,
    }
    assert sorted(one.usage.requests for one in examined.values()) == [0, 1]
    assert "Question promise" in script.asked[0]["messages"][1]["content"]
    assert "Question anger" in script.asked[0]["messages"][1]["content"]


@pytest.mark.parametrize(
    ("answers", "requests"),
    [([says(429, {}, retry_after="0")] * 4, 4), ([as_text('{"promise": {"verdict": "found", "fin')] * 2, 2)],
    ids=["busy", "cut off"],
)
async def test_a_failed_request_is_sent_once_for_all_that_share_it_and_again_at_the_next_try(
    folder: Path, answers: list[Answer], requests: int
) -> None:
    (folder / "anger.md").write_text("Is the caller angry?")
    second = '[[detect]]\nuse = "chat"\nname = "anger"\nendpoint = "local"\nprompt = "anger.md"\n'
    script = Script(*answers, *answers, answered({"promise": found(PROMISE), "anger": found()}))

    async with opened(file(folder, second), Opening(transport=httpx2.MockTransport(script))) as made:
        for tries in (1, 2):
            for one in made:
                with pytest.raises(DetectorFailed, match=r"busy|twice"):
                    await one.examine(CALL)
            assert len(script.asked) == tries * requests
        assert [(await one.examine(CALL)).verdict for one in made] == [Verdict.FOUND, Verdict.NOT_FOUND]


async def test_requests_wait_for_the_money_that_others_under_way_leave_over(folder: Path) -> None:
    spec = file(folder, more="usd_per_mtok = [1, 2]", limits="[limits]\nusd_per_day = 0.012\n")
    script = Script(*[answered({"promise": found()})] * 6)

    async with opened(spec, Opening(transport=httpx2.MockTransport(script))) as (made,):
        worst = made.usd
        assert worst < 0.012 < 6 * worst  # not all at once
        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                for number in range(6):
                    tasks.start_soon(made.examine, call_of([("agent", f"call {number}")]))
    assert len(script.asked) == 6


async def test_a_condition_is_looked_at_before_anything_is_sent(folder: Path) -> None:
    examined = await examine(file(folder, 'when = "caller_words >= 50"'), Script())

    assert (examined.verdict, examined.usage.requests) == (Verdict.NOT_OFFERED, 0)


async def test_a_second_look_keeps_what_is_found_twice(folder: Path) -> None:
    other = {"turn": 0, "quote": "I promise that you will", "note": ""}
    script = Script(answered({"promise": found(PROMISE, other)}), answered({"promise": found(PROMISE)}))

    examined = await examine(file(folder, 'confirm = "second_pass"'), script)

    assert [one.quote for one in examined.findings] == ["We will call you back"]
    assert examined.usage.requests == 2
    assert "Look at each again" in script.asked[1]["messages"][1]["content"]


async def test_an_answer_is_kept_and_not_asked_for_again_until_the_call_is_forgotten(folder: Path) -> None:
    script = Script(
        answered({"promise": found(PROMISE)}), answered({"promise": found()}), answered({"promise": found()})
    )
    spec, data = file(folder, more="usd_per_mtok = [1, 1]"), folder / "data"

    first = await examine(spec, script, data_folder=data)
    again = await examine(spec, script, data_folder=data)

    assert (again.findings, again.usage.usd, again.usage.requests) == (first.findings, 0.0, 0)
    assert again.usage.tokens_in == 1000
    (folder / "promise.md").write_text("Does the agent promise anything at all?")
    assert (await examine(spec, script, data_folder=data)).verdict is Verdict.NOT_FOUND
    assert (forget(data, CALL.call_id), forget(data, "another"), forget(folder / "none", "a")) == (2, 0, 0)
    await examine(spec, script, data_folder=data)
    assert script.answers == []


async def test_a_cassette_answers_offline_what_was_recorded_and_nothing_else(folder: Path) -> None:
    script = Script(answered({"promise": found(PROMISE)}))
    first = await examine(file(folder, more='record = "tape.jsonl"'), script)

    assert (folder / "tape.jsonl").stat().st_mode & 0o077 == 0 or os.name == "nt"
    replayed = file(folder, endpoint="replay:tape.jsonl")
    again = await examine(replayed, Script())

    assert (again.findings, again.usage.requests, again.usage.usd) == (first.findings, 0, 0.0)
    with pytest.raises(DetectorFailed, match=r"tape\.jsonl has no answer"):
        await examine(replayed, Script(), call_of([("agent", "another call")]))
    (folder / "tape.jsonl").write_text("{}\n")
    with pytest.raises(SpecError, match="Line 1 of the cassette"):
        await examine(replayed, Script())


async def test_money_is_taken_at_the_worst_before_and_settled_after(folder: Path) -> None:
    purse = OwnPurse(1.0)
    spec = file(folder, more="usd_per_mtok = [1, 2]", limits="[limits]\nusd_per_day = 1\n")

    await examine(spec, Script(answered({"promise": found()})), purse=purse)
    assert purse.spent == pytest.approx((1000 + 100) / 1e6)
    await examine(spec, Script(answered({"promise": found()}, usage=None)), purse=purse)
    counted_at_worst = purse.spent
    assert counted_at_worst > (1000 + 100) / 1e6 + 1024 * 2 / 1e6
    for failure, costs in ((breaks(httpx2.ReadTimeout), True), (breaks(httpx2.ConnectError), False)):
        before = purse.spent
        with pytest.raises(DetectorFailed):
            await examine(spec, Script(failure), purse=purse)
        assert (purse.spent > before) is costs


async def test_at_the_cap_a_call_is_deferred_and_nothing_is_sent(folder: Path) -> None:
    spec = file(folder, more="usd_per_mtok = [1, 2]", limits="[limits]\nusd_per_day = 0.001\n")

    with pytest.raises(Deferred, match=r"more than is left of 0\.001 USD"):
        await examine(spec, Script())


async def test_a_cap_without_a_price_is_refused(folder: Path) -> None:
    spec = file(folder, limits="[limits]\nusd_per_day = 5\n")

    with pytest.raises(SpecError, match=r"no usd_per_mtok, so limits\.usd_per_day cannot be kept"):
        await examine(spec, Script())


@pytest.mark.parametrize(
    ("change", "says_what"),
    [
        (("http://127.0.0.1:9/v1", "http://models.example/v1"), "must begin with https://"),
        (("promise.md", "none.md"), r"line 8: .*none\.md cannot be read"),
        (("promise.md", "empty.md"), r"empty\.md must have 1 to 20000 characters"),
        (('prompt = "promise.md"', 'prompt = "promise.md"\nwhen = "a ="'), "line 9: .*is no condition"),
        (('endpoint = "local"', 'endpoint = "replay:none.jsonl"'), r"cassette .*none\.jsonl cannot be read"),
    ],
)
async def test_an_endpoint_or_a_question_that_cannot_be_used_is_told(
    folder: Path, change: tuple[str, str], says_what: str
) -> None:
    (folder / "empty.md").write_text("\n")
    text = FILE.format(options="", more="", limits="", endpoint="local").replace(*change)
    with pytest.raises(SpecError, match=says_what):
        await examine(parse_spec(text, folder=folder), Script())


async def test_what_is_masked_is_not_sent_and_a_quote_from_it_is_found_in_the_words_as_they_were(folder: Path) -> None:
    moment = {"turn": 1, "quote": "my number is [phone].", "note": ""}
    script = Script(answered({"promise": found(moment)}))

    async with opened(file(folder), Opening(transport=httpx2.MockTransport(script), redactor=BuiltIn())) as (made,):
        looked_up = verified(CALL, made, (await made.examine(CALL)).findings[0])

    assert "0132" not in json.dumps(script.asked)
    assert (looked_up.quote, looked_up.verification) == ("my number is 415-555-0132.", Verification.EXACT)


async def test_a_transcript_that_is_too_long_is_not_sent(folder: Path) -> None:
    examined = await examine(file(folder), Script(), call_of([("agent", "word " * 90_000)]))

    assert examined.verdict is Verdict.NOT_OFFERED


async def test_what_calls_cost_is_told_before_any_is_read_and_shared_requests_are_told_once(folder: Path) -> None:
    (folder / "anger.md").write_text("Is the caller angry?")
    second = (
        '[[detect]]\nuse = "chat"\nname = "anger"\nendpoint = "local"\nprompt = "anger.md"\nconfirm = "second_pass"\n'
    )

    async with opened(file(folder, more="usd_per_mtok = [3, 15]"), Opening()) as (alone,):
        assert 0.01 < alone.usd < 0.05
        assert alone.requests == 1
    async with opened(file(folder, second, more="usd_per_mtok = [3, 15]"), Opening()) as made:
        assert [round(one.usd / alone.usd) for one in made] == [2, 0]
        assert [one.requests for one in made] == [2, 0]
    async with opened(file(folder), Opening()) as (unpriced,):
        assert unpriced.usd == 0
        assert unpriced.requests == 1


async def test_an_endpoint_is_reached_over_the_network_through_the_proxy_of_the_settings(folder: Path) -> None:
    remote = FILE.replace("http://127.0.0.1:9/v1", "https://models.example/v1")
    spec = parse_spec(remote.format(options="", more="", limits="", endpoint="local"), folder=folder)

    async with opened(spec, Opening(proxy=SecretStr("http://127.0.0.1:9"))) as (made,):
        with pytest.raises(DetectorFailed, match="cannot be reached"):
            await made.examine(CALL)
    async with opened(file(folder)) as (made,):
        with pytest.raises(DetectorFailed, match="cannot be reached"):
            await made.examine(CALL)
