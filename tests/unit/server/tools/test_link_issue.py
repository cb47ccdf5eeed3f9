"""Linking an issue to one other or several."""

from __future__ import annotations

import pytest
from mcp.client import Client
from tool_calls import filed, ok, refused

from calltriage.client.client import Client as ApiClient
from calltriage.operations.relations import ListRelations

UNKNOWN = "00000000-0000-4000-8000-000000000000"


async def linked(client: ApiClient, issue_id: str) -> set[tuple[str, str]]:
    page = await client.send(ListRelations(issue_id=issue_id))
    return {(one.related_issue_id, one.relation_type) for one in page.items}


async def test_several_ends_are_linked_in_one_call_each_with_its_own_outcome(agent: Client, client: ApiClient) -> None:
    source, *others = [await filed(agent, title=f"T{n}", on_duplicate="create") for n in range(4)]
    await ok(agent, "link_issue", issue_id=source["id"], related_issue_id=others[0]["id"], relation_type="related_to")
    named = [others[0]["triage_id"], others[1]["id"], others[2]["id"].upper(), others[2]["triage_id"]]
    told = await ok(agent, "link_issue", issue_id=source["id"], related_issue_ids=named, relation_type="related_to")
    assert [one["outcome"] for one in told["links"]] == ["replayed", "committed", "committed"], "one issue, one link"
    assert [one["related_triage_id"] for one in told["links"]] == [one["triage_id"] for one in others]
    assert told["outcome"] == "committed"
    assert await linked(client, source["id"]) == {(one["id"], "related_to") for one in others}


async def test_an_end_that_is_gone_does_not_undo_the_others(agent: Client, client: ApiClient) -> None:
    one, two = await filed(agent), await filed(agent, title="Another")
    ends = [UNKNOWN, two["id"]]
    told = await ok(agent, "link_issue", issue_id=one["id"], related_issue_ids=ends, relation_type="blocks")
    assert [link["outcome"] for link in told["links"]] == ["not_committed", "committed"]
    assert told["links"][0]["error"]["code"] == "not_found"
    assert (told["outcome"], told["note"][:6]) == ("not_committed", "1 of 2")
    assert await linked(client, one["id"]) == {(two["id"], "blocks")}


@pytest.mark.parametrize(
    "ends",
    [
        {},
        {"related_issue_id": UNKNOWN, "related_issue_ids": [UNKNOWN]},
        {"related_issue_ids": []},
        {"related_issue_ids": [UNKNOWN] * 21},
        {"related_issue_ids": ["T-1", "T-999999"]},
        {"related_issue_ids": [UNKNOWN, "itself"]},
        {"related_issue_id": "itself"},
    ],
    ids=["none", "both", "an empty list", "too many", "an unknown ticket", "itself among others", "itself"],
)  # fmt: skip
async def test_ends_that_cannot_be_are_refused_before_the_first_is_linked(
    agent: Client, client: ApiClient, ends: dict[str, str | list[str]]
) -> None:
    issue = await filed(agent)
    given = {
        name: [issue["id"] if one == "itself" else one for one in end] if isinstance(end, list) else
        issue["id"] if end == "itself" else end for name, end in ends.items()
    }  # fmt: skip
    error = await refused(agent, "link_issue", issue_id=issue["id"], relation_type="blocks", **given)
    assert error["outcome"] == "not_committed"
    assert error["field"] in {"related_issue_id", "related_issue_ids"}
    assert await linked(client, issue["id"]) == set()


async def test_related_to_from_the_other_end_makes_no_second_link(agent: Client, client: ApiClient) -> None:
    one, two, three = [await filed(agent, title=f"T{n}", on_duplicate="create") for n in range(3)]
    ends = {"issue_id": one["id"], "related_issue_id": two["id"], "relation_type": "related_to"}
    first = await ok(agent, "link_issue", **ends)
    turned = await ok(
        agent, "link_issue", issue_id=two["id"], related_issue_id=one["triage_id"], relation_type="related_to"
    )
    assert (turned["outcome"], turned["id"]) == ("replayed", first["id"])
    several = await ok(agent, "link_issue", issue_id=two["id"], relation_type="related_to",
                       related_issue_ids=[one["id"], three["id"]])  # fmt: skip
    assert [link["outcome"] for link in several["links"]] == ["replayed", "committed"]
    other_way = await ok(agent, "link_issue", issue_id=two["id"], related_issue_id=one["id"], relation_type="blocks")
    assert other_way["outcome"] == "committed", "what is read one way has two"
    assert len((await client.send(ListRelations(issue_id=one["id"]))).items) == 2


async def test_a_circle_of_duplicates_is_refused(agent: Client, client: ApiClient) -> None:
    one, two, three = [await filed(agent, title=f"T{n}", on_duplicate="create") for n in range(3)]
    for source, target in ((one, two), (two, three)):
        await ok(
            agent, "link_issue", issue_id=source["id"], related_issue_id=target["id"], relation_type="duplicate_of"
        )
    for source, target in ((two, one), (three, two), (three, one)):
        ends = {"issue_id": source["id"], "related_issue_id": target["id"], "relation_type": "duplicate_of"}
        error = await refused(agent, "link_issue", **ends)
        assert (error["code"], error["field"], error["outcome"]) == (
            "circle_of_duplicates",
            "related_issue_id",
            "not_committed",
        )
    ends = {"issue_id": three["id"], "related_issue_ids": [one["id"]], "relation_type": "duplicate_of"}
    assert (await refused(agent, "link_issue", **ends))["field"] == "related_issue_ids"
    again = await ok(agent, "link_issue", issue_id=one["id"], related_issue_id=two["id"], relation_type="duplicate_of")
    assert again["outcome"] == "replayed"
    assert len(await linked(client, three["id"])) == 1


async def test_an_issue_that_is_named_twice_is_told_once(agent: Client) -> None:
    one, two = [await filed(agent, title=f"T{n}", on_duplicate="create") for n in range(2)]
    ends = [two["id"], two["triage_id"], two["id"].upper()]
    told = await ok(agent, "link_issue", issue_id=one["triage_id"], related_issue_ids=ends, relation_type="blocks")
    assert [issue["triage_id"] for issue in told["issues"]] == [one["triage_id"], two["triage_id"]]


async def test_one_of_several_that_has_no_issue_is_named_by_its_place(agent: Client) -> None:
    one, two = [await filed(agent, title=f"T{n}", on_duplicate="create") for n in range(2)]
    ends = {"issue_id": one["id"], "related_issue_ids": [two["triage_id"], "T-999999"], "relation_type": "blocks"}
    error = await refused(agent, "link_issue", **ends)
    assert (error["field"], error["outcome"]) == ("related_issue_ids", "not_committed")
    assert error["place"] == 1
