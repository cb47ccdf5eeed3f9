"""Flags point at the words that were quoted, say no more than was said, and are shown with their moment."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import call_line, load_lines
from mcp.client import Client
from tool_calls import filed, ok, read_on, refused, with_call

from calltriage.client.client import Client as ApiClient
from calltriage.desk.app import Desk
from calltriage.operations.flags import AddFlag, ListFlags

PAD = "The hold music went on and on. "
DEEP = PAD * 400 + "Then your colleague swore at me. " + PAD * 400


async def test_of_a_long_turn_the_sentence_with_the_words_is_stored_and_shown(agent: Client, the_desk: Desk) -> None:
    await load_lines(the_desk, call_line("long", "Hello.", DEEP, "Bye."))
    ticket = await with_call(agent, "long")
    flag = await ok(agent, "add_flag", issue_id=ticket, call_id="long", type="x", quote="colleague swore at me")
    assert (flag["message_index"], flag["message_text"]) == (1, "Then your colleague swore at me.")
    for budget in (2000, 6000):
        bundle = await ok(agent, "get_evidence", issue_id=ticket, max_tokens=budget)
        (shown,) = bundle["flags"]["items"]
        turn = next(turn for turn in shown["turns"] if turn["message_index"] == 1)
        assert "colleague swore at me" in turn["text"]
        assert DEEP[turn["offset"] :].startswith(turn["text"])
    bodies = await read_on(agent, issue_id=ticket)
    said = "".join(turn["text"] for body in bodies[1:] for turn in body.get("transcript", {}).get("turns", ()))
    assert said == DEEP, "what stands before the moment is read, too"


@pytest.mark.parametrize(
    "turn",
    [PAD * 20 + "First you lost my parcel. " + PAD * 20 + "Then you charged me twice.",
     "First you lost my parcel. Then you charged me twice."],
)  # fmt: skip
async def test_two_parts_of_a_turn_are_two_flags_and_the_same_part_is_one(
    agent: Client, client: ApiClient, the_desk: Desk, turn: str
) -> None:
    await load_lines(the_desk, call_line("two", "Hello.", turn))
    issue = await filed(agent, resource_links=[{"resource_type": "call", "resource_id": "two"}])
    quotes = ["First you lost my parcel", "you charged me twice", "you lost my parcel", "charged me twice"]
    flags = [
        await ok(agent, "add_flag", issue_id=issue["id"], call_id="two", type="x", quote=quote) for quote in quotes
    ]
    parts = ["First you lost my parcel.", "Then you charged me twice."]
    assert [flag["message_text"] for flag in flags] == parts * 2, "what is asked for twice is equal, what is not is not"
    stored = await client.send(ListFlags(issue_id=issue["id"]))
    assert {flag.message_text for flag in stored.items} == set(parts)


@pytest.mark.parametrize("text", [DEEP[:10_000], "words that the call does not have any more", None])
async def test_flags_that_were_made_otherwise_are_shown_as_before(
    agent: Client, client: ApiClient, the_desk: Desk, text: str | None
) -> None:
    await load_lines(the_desk, call_line("long", "Hello.", DEEP))
    issue = await filed(agent, resource_links=[{"resource_type": "call", "resource_id": "long"}])
    await client.send(AddFlag(issue_id=issue["id"], call_id="long", type="x", message_index=1, message_text=text))
    (shown,) = (await ok(agent, "get_evidence", issue_id=issue["id"]))["flags"]["items"]
    assert shown["turns"][1]["text"] == DEEP[: len(shown["turns"][1]["text"])]
    assert shown.get("message_text") == (text if text and text not in DEEP else None)


async def test_every_part_of_a_long_flag_shows_its_moment(agent: Client, the_desk: Desk) -> None:
    await load_lines(the_desk, call_line("long", PAD * 60, DEEP, PAD * 60))
    issue = await filed(agent, resource_links=[{"resource_type": "call", "resource_id": "long"}])
    note = "because it was rude " * 199
    await ok(agent, "add_flag", issue_id=issue["id"], call_id="long", type="x", quote="swore at me", note=note.strip())
    bodies = await read_on(agent, issue_id=issue["id"], section="flags", max_tokens=1000)
    entries: list[dict[str, Any]] = [entry for body in bodies for entry in body.get("flags", {}).get("items", ())]
    assert len(entries) > 1
    assert all("swore at me" in str(entry) for entry in entries)


async def test_a_quote_of_many_turns_is_flagged_where_message_index_says(agent: Client, the_desk: Desk) -> None:
    await load_lines(the_desk, call_line("often", "I lost my card.", "No. I lost my card!", "I lost my cart. Bye."))
    ticket = await with_call(agent, "often")
    flag: dict[str, Any] = {"issue_id": ticket, "call_id": "often", "type": "x"}
    error = await refused(agent, "add_flag", **flag, quote="i lost my card")
    assert "message_index" in error["message"]
    made = await ok(agent, "add_flag", **flag, quote="i lost my card", message_index=1)
    assert (made["message_index"], made["message_text"]) == (1, "I lost my card!")
    near = await ok(agent, "add_flag", **flag, quote="i lost my card", message_index=2)
    assert (near["message_index"], near["message_text"]) == (2, "I lost my cart.")
    assert "turn 0" in (await refused(agent, "add_flag", **flag, quote="refund me", message_index=0))["message"]


async def test_words_over_two_turns_name_both(agent: Client, the_desk: Desk) -> None:
    await load_lines(the_desk, call_line("split", "I want to speak to", "somebody in charge", "Sure."))
    ticket = await with_call(agent, "split")
    quote = "speak to somebody in charge"
    error = await refused(agent, "add_flag", issue_id=ticket, call_id="split", type="x", quote=quote)
    assert [turn["message_index"] for turn in error["candidates"]["turns"]] == [0, 1]
    assert "try_next" not in error
    found = await ok(agent, "get_transcript", call_id="split", query=quote)
    assert (found["matches"], found["found"]) == (0, "across_turns")
    assert [turn["message_index"] for turn in found["transcript"]["turns"]] == [0, 1]


async def test_a_query_that_no_turn_holds_shows_the_nearest(agent: Client, the_desk: Desk) -> None:
    await load_lines(the_desk, call_line("near", "Hello.", "We will cancel your plan today.", "Bye."))
    found = await ok(agent, "get_transcript", call_id="near", query="cancelled your plan")
    assert (found["matches"], found["found"], found["complete"]) == (0, "nearest", False)
    assert [turn["message_index"] for turn in found["transcript"]["turns"]] == [1]
    assert found["omitted"][0]["try_next"] == {"tool": "get_transcript", "arguments": {"call_id": "near"}}
    nothing = await ok(agent, "get_transcript", call_id="near", query="zebra")
    assert (nothing["matches"], nothing["returned"], nothing["complete"]) == (0, 0, False)


@pytest.mark.parametrize(
    ("said", "quote"),
    [
        ("I will refund you tomorrow morning without any further question.",
         "I will not refund you tomorrow morning without any further question."),
        ("We cannot waive the late fee on your account.", "We can waive the late fee on your account."),
        ("Your new price is fifty dollars a month from May.", "Your new price is fifteen dollars a month from May."),
        ("Take 150 mg of it twice a day after a meal.", "Take 50 mg of it twice a day after a meal."),
    ],
)  # fmt: skip
async def test_an_opposite_or_another_number_is_no_ready_write(
    agent: Client, the_desk: Desk, said: str, quote: str
) -> None:
    await load_lines(the_desk, call_line("opposite", said, "Good."))
    ticket = await with_call(agent, "opposite")
    error = await refused(agent, "add_flag", issue_id=ticket, call_id="opposite", type="x", quote=quote)
    assert error["candidates"]["turns"][0]["message_index"] == 0
    assert "try_next" not in error
    flag = {"issue_id": ticket, "call_id": "opposite", "type": "x", "quote": quote, "message_index": 0}
    assert (await refused(agent, "add_flag", **flag))["code"] == "quote_not_found"


async def test_a_near_quote_of_a_long_turn_is_flagged_in_its_part_by_following_the_hint(
    agent: Client, the_desk: Desk
) -> None:
    await load_lines(the_desk, call_line("long", "Hello.", DEEP, "Bye."))
    ticket = await with_call(agent, "long")
    error = await refused(
        agent, "add_flag", issue_id=ticket, call_id="long", type="x", quote="then your colleagues swore at me"
    )
    hint = error["try_next"]
    assert hint["arguments"]["message_index"] == 1
    assert hint["arguments"]["quote"] == "Then your colleague swore at me."
    assert (hint["trust"], hint["origin"]) == ("untrusted", "call parties"), "the words were said by strangers"
    flag = await ok(agent, hint["tool"], **hint["arguments"])
    assert (flag["message_index"], flag["message_text"]) == (1, "Then your colleague swore at me.")
    assert "unverified" not in flag


async def test_words_of_no_turn_are_stored_as_they_are_and_marked(agent: Client, the_desk: Desk) -> None:
    ticket = await with_call(agent, "call-card")
    given = {"issue_id": ticket, "call_id": "call-card", "type": "silence"}
    flag = await ok(agent, "add_flag", **given, message_text="[eleven seconds of silence]")
    assert (flag.get("message_index"), flag["message_text"]) == (None, "[eleven seconds of silence]")
    assert flag["unverified"] == ["message_text"]
    beyond = await ok(agent, "add_flag", **given, message_index=12, message_text="OK, transferring you now.")
    assert (beyond["message_index"], beyond["message_text"]) == (12, "OK, transferring you now.")
    assert beyond["unverified"] == ["message_index", "message_text"]
    within = await ok(agent, "add_flag", **given, message_index=2, message_text="[a dog barks]")
    assert (within["message_index"], within["unverified"]) == (2, ["message_text"])
    bundle = await ok(agent, "get_evidence", issue_id=ticket)
    shown = {one["message_text"]: one for one in bundle["flags"]["items"]}
    assert [shown[one["message_text"]]["unverified"] for one in (flag, beyond, within)] == [
        one["unverified"] for one in (flag, beyond, within)
    ]
    assert "turns" not in shown["OK, transferring you now."]


async def test_words_that_a_turn_has_after_all_are_stored_as_the_turn_has_them(agent: Client) -> None:
    ticket = await with_call(agent, "call-card")
    given = {"issue_id": ticket, "call_id": "call-card", "type": "x"}
    flag = await ok(agent, "add_flag", **given, message_text="Which card would you like to REPLACE?")
    assert (flag["message_index"], flag["message_text"]) == (4, "which card would you like to replace")
    assert "unverified" not in flag
    (shown,) = (await ok(agent, "get_evidence", issue_id=ticket))["flags"]["items"]
    assert "unverified" not in shown
    many = await refused(agent, "add_flag", **given, message_text="card")
    assert (many["code"], many["field"]) == ("quote_ambiguous", "message_text")
    both = await refused(agent, "add_flag", **given, message_text="[noise]", quote="my debit card")
    assert (both["code"], both["field"]) == ("invalid_arguments", "message_text")
    alone = await refused(agent, "add_flag", **given, message_index=12)
    assert alone["field"] == "message_index"
    assert "message_text" in alone["message"]


async def test_a_call_without_a_transcript_is_flagged_by_words_that_are_marked(agent: Client, the_desk: Desk) -> None:
    await load_lines(the_desk, call_line("mute"))
    ticket = await with_call(agent, "mute")
    flag = await ok(
        agent, "add_flag", issue_id=ticket, call_id="mute", type="x", message_index=0, message_text="Heard on the tape."
    )
    assert flag["unverified"] == ["message_index", "message_text"]


async def test_words_that_are_stored_with_escapes_count_as_those_of_their_turn(agent: Client, the_desk: Desk) -> None:
    await load_lines(the_desk, call_line("odd", "Hello.", "The line went \x07 and then \ud83d dead."))
    ticket = await with_call(agent, "odd")
    flag = await ok(agent, "add_flag", issue_id=ticket, call_id="odd", type="x", message_index=1)
    (shown,) = (await ok(agent, "get_evidence", issue_id=ticket))["flags"]["items"]
    assert "u0007" in flag["message_text"], "a flag cannot hold the character itself"
    assert "unverified" not in flag
    assert "unverified" not in shown


SPOKEN = ("Hello.", "Where is my parcel?", "I do not know.", "That is not good enough.")


async def flags_of(client: ApiClient, issue_id: str) -> list[tuple[Any, ...]]:
    stored = await client.send(ListFlags(issue_id=issue_id))
    return [(flag.call_id, flag.type, flag.message_index, flag.message_text, flag.note) for flag in stored.items]


async def test_several_moments_are_flagged_in_one_call(agent: Client, client: ApiClient, the_desk: Desk) -> None:
    await load_lines(the_desk, call_line("one", *SPOKEN), call_line("two", *SPOKEN))
    evidence = [{"resource_type": "call", "resource_id": name} for name in ("one", "two")]
    issue = await filed(agent, resource_links=evidence)
    also = [{"quote": "not good enough", "note": "angry"}, {"call_id": "two", "message_index": 2}, {"call_id": "two"}]
    flag = {
        "issue_id": issue["id"],
        "call_id": "one",
        "type": "lost_parcel",
        "quote": "where is my parcel",
        "also": also,
    }
    made = await ok(agent, "add_flag", **flag)
    assert (made["outcome"], [one["outcome"] for one in made["also"]]) == ("committed", ["committed"] * 3)
    assert await flags_of(client, issue["id"]) == [
        ("one", "lost_parcel", 1, SPOKEN[1], ""),
        ("one", "lost_parcel", 3, SPOKEN[3], "angry"),
        ("two", "lost_parcel", 2, SPOKEN[2], ""),
        ("two", "lost_parcel", None, None, ""),
    ]
    [touched] = made["issues"]
    guard = {"issue_id": issue["id"], "expect_updated_at": touched["updated_at"]}
    assert (await ok(agent, "update_issue", severity="low", **guard))["outcome"] == "committed"


@pytest.mark.parametrize(
    ("wrong", "place"),
    [
        ([{"message_index": 2}, {"quote": "zebra"}], 1),
        ([{"message_index": 99}], 0),
        ([{"call_id": "absent", "quote": "x"}], 0),
    ],
    ids=["no_turn", "beyond", "no_call"],
)
async def test_one_moment_that_is_none_and_no_flag_is_written(
    agent: Client, client: ApiClient, the_desk: Desk, wrong: list[dict[str, Any]], place: int
) -> None:
    await load_lines(the_desk, call_line("one", *SPOKEN))
    issue = await filed(agent, resource_links=[{"resource_type": "call", "resource_id": "one"}])
    error = await refused(agent, "add_flag", issue_id=issue["id"], call_id="one", type="x", message_index=1, also=wrong)
    assert (error["field"], error["place"], error["outcome"]) == ("also", place, "not_committed")
    assert await flags_of(client, issue["id"]) == []
    bad = await refused(agent, "add_flag", issue_id=issue["id"], call_id="one", type="x", quote="zebra", also=wrong)
    assert bad["field"] == "quote"


async def test_of_several_those_on_calls_that_are_not_attached_say_so(
    agent: Client, client: ApiClient, the_desk: Desk
) -> None:
    await load_lines(the_desk, call_line("one", *SPOKEN), call_line("two", *SPOKEN))
    issue = await filed(agent, resource_links=[{"resource_type": "call", "resource_id": "one"}])
    also = [{"call_id": "two", "message_index": 1}, {"message_index": 2}]
    flag = {"issue_id": issue["id"], "call_id": "one", "type": "x", "message_index": 1, "also": also}
    made = await ok(agent, "add_flag", **flag)
    assert (made["outcome"], "1 of 3" in made["explanation"]) == ("not_committed", True)
    first, second = made["also"]
    assert (first["call_id"], first["error"]["code"], second["outcome"]) == ("two", "call_not_attached", "committed")
    again = first["error"]["try_next"]
    assert again == {"tool": "add_flag", "arguments": flag | {"issue_id": issue["id"], "attach_if_missing": True}}
    made = await ok(agent, again["tool"], **again["arguments"])
    assert made["outcome"] == "committed"
    assert ("two", "x", 1, SPOKEN[1], "") in await flags_of(client, issue["id"])


async def test_a_call_that_is_not_attached_offers_the_same_call_or_where_that_has_free_text_the_attaching(
    agent: Client,
) -> None:
    ticket = (await filed(agent))["triage_id"]
    flag = {"issue_id": ticket, "call_id": "call-card", "type": "x", "message_index": 1}
    again = (await refused(agent, "add_flag", **flag))["try_next"]
    assert again == {"tool": "add_flag", "arguments": flag | {"attach_if_missing": True}}
    assert (await ok(agent, again["tool"], **again["arguments"]))["outcome"] == "committed"
    other = (await filed(agent))["triage_id"]
    alone = (await refused(agent, "add_flag", **flag | {"issue_id": other, "note": "said so twice"}))["try_next"]
    assert alone["tool"] == "attach_resource"


async def test_a_call_that_is_not_attached_is_refused_with_the_argument_that_attaches_it(agent: Client) -> None:
    ticket = (await filed(agent))["triage_id"]
    flag = {"issue_id": ticket, "call_id": "call-card", "type": "x", "quote": "lost my debit card"}
    error = await refused(agent, "add_flag", **flag)
    assert (error["code"], error["try_next"]["tool"]) == ("call_not_attached", "attach_resource")
    assert "attach_if_missing true" in error["message"]
    assert (await ok(agent, "add_flag", **flag, attach_if_missing=True))["outcome"] == "committed"
