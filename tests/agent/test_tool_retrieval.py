"""What people say finds the tool they need: hosts that hold many tools search them by name and description, and so do models
that are shown only the best few.

The phrases are what somebody at a desk would type, not the descriptions' words; several for each tool of every toolset. The
search is BM25 over name and description, with stems, as hosts have it.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from functools import cache
from typing import Any, cast

import pytest

from calltriage.server.call.table import describe
from calltriage.server.toolsets import ALL, TOOLSETS, select

PHRASES: dict[str, tuple[str, ...]] = {
    "get_corrected_transcript": (
        "the live transcript misheard the name, what does the recording say",
        "read the corrected transcript with seconds",
        "how confident was the recogniser in that line",
        "is there a redone transcript from the recording",
    ),
    "get_pathway_call_events": (
        "which nodes of the pathway did the call run through",
        "trace the call node by node",
        "did a webhook fail in this call",
        "show the pathway events in order",
    ),
    "list_org_members": (
        "what is the user id of Ada",
        "who are the members of our organisation",
        "find a colleague by name to assign this to",
        "list my colleagues",
    ),
    "list_issues": (
        "which issues are still open",
        "search the tickets for billing problems",
        "issues of high severity from the last week",
        "what is on the board assigned to me, sorted by severity",
        "search the issues about dropped calls",
    ),
    "get_issue": (
        "read issue T-1042",
        "what is the state of this one issue",
        "read the description of issue T-2001",
        "who is the owner of this issue",
    ),
    "get_evidence": (
        "give me everything about this case in one go",
        "show the whole case with its flags and links",
        "what is the evidence behind this issue",
        "collect all that the issue rests on",
        "summarise the flagged moments and attached evidence of T-1042",
    ),
    "get_transcript": (
        "what did the caller say",
        "let me read that call word for word",
        "show the transcript around turn 14",
        "find where the customer says refund in the transcript",
        "read the words of the call from turn 20 to 40",
    ),
    "create_issue": (
        "file an issue for this fault",
        "file a new ticket, the agent hung up",
        "report that the voice bot went wrong",
        "create an issue unless there is one already",
        "is an issue about this open already? if not, file one",
    ),
    "update_issue": (
        "close this ticket, set it to closed",
        "set the severity to high",
        "assign the issue to somebody else",
        "change the title of the issue",
        "set the status to done and clear the owner",
    ),
    "attach_resource": (
        "attach this call to the issue",
        "add the recording's file to the ticket as evidence",
        "attach an SMS conversation to the issue",
        "attach this phone call to T-1042",
    ),
    "add_flag": (
        "mark the moment in the call that went wrong",
        "flag turn 12 as a missed handoff",
        "flag the point where it went wrong with a quote",
        "put a flag on the turn about the refund",
        "tag that moment of the call",
    ),
    "update_flag": (
        "that flag points at the wrong turn",
        "correct the type of this flag",
        "move the flag to turn 7",
        "change the note on an existing flag",
        "this flag marks a wrong place, correct it",
    ),
    "link_issue": (
        "this is a duplicate of T-1001",
        "link these two tickets",
        "T-5 blocks T-9",
        "relate this issue to another one",
        "mark one issue as duplicate of another",
    ),
    "create_attachment": (
        "upload this report",
        "store the log file with the issue",
        "save my report as a file",
        "upload a recording from disk",
        "attach a text report to the ticket",
    ),
    "list_recent_writes": (
        "what have I written so far",
        "my latest writes and what became of them",
        "did my last write go through",
        "list what I have done already",
        "I lost my context, which writes are done",
    ),
    "add_comment": (
        "leave a comment on the issue",
        "write a note for the team on T-1042",
        "comment that the fix is deployed",
        "put my comment on the ticket",
    ),
    "list_flag_types": (
        "which flag types are in use",
        "what kinds of flags are there",
        "how often is missed_handoff flagged",
        "show the catalogue of flag types",
    ),
    "list_resources": (
        "which calls are attached to this issue",
        "evidence attached so far, with files",
        "list the evidence that the ticket has",
        "get the link ids of the evidence",
    ),
    "list_flags": (
        "list the flags of this issue",
        "all flagged moments of the ticket",
        "which flags has the issue got",
        "list each flag on T-1042",
    ),
    "list_relations": (
        "which tickets is this one linked to",
        "list the links between issues",
        "what does this issue block",
        "show related and duplicate issues of this ticket",
    ),
    "list_activity": (
        "what happened to this issue since yesterday",
        "show the history of the ticket",
        "read the comments on the issue",
        "activity feed of T-1042",
    ),
    "get_affected_context": (
        "which pathways are affected",
        "what persona did the attached calls run on",
        "how many calls per pathway does the issue touch",
        "affected pathways and personas",
    ),
    "find_calls": (
        "show me yesterday's calls",
        "find inbound calls longer than ten minutes",
        "calls from the number +1 555 0100",
        "list the phone calls of this batch",
        "which calls came in last night",
        "find the call of 15 March about opening hours",
        "in which call did somebody say the words wire transfer",
        "search all calls for a phrase",
    ),
    "get_call": (
        "how long did this call last",
        "what is the status of the call, who called",
        "metadata and summary of this call",
        "read the call's variables and analysis",
    ),
    "get_call_recording": (
        "download the recording of the call",
        "I want to listen to the audio",
        "save the call's recording to my folder",
        "is there an audio recording",
    ),
    "get_call_event_stream": (
        "why did the platform end the call",
        "telephone platform events of this call",
        "was the call slow to connect or stuck in the queue",
        "platform errors during the call",
    ),
    "list_sms_conversations": (
        "list the text message conversations",
        "recent SMS threads",
        "which SMS conversations are there",
        "find an SMS conversation",
    ),
    "get_sms_conversation": (
        "read this SMS conversation",
        "what was written in that SMS",
        "show the messages of the SMS thread",
        "read the text messages word for word",
    ),
    "mark_issue_viewed": (
        "mark the issue as read",
        "I have seen this ticket",
        "clear the unread marker",
        "mark as seen",
    ),
    "list_attachments": (
        "list the stored files",
        "which attachments do we have",
        "find the file called report.pdf",
        "show uploaded attachments",
    ),
    "get_attachment": (
        "how big is this attachment",
        "read the attachment's size and type",
        "what is known about this stored file",
        "get the record of one attachment",
    ),
    "download_attachment": (
        "download the recording",
        "get the bytes of the attachment",
        "read what is in the attached file",
        "save the attachment to disk",
    ),
    "plan_triage": (
        "check thirty changes before any of them is made",
        "dry run of a list of writes",
        "plan the attaching and flagging of a whole batch of calls",
        "what would these fifty writes do",
    ),
    "apply_plan": (
        "carry out the plan",
        "apply what was planned",
        "go on with the batch that was cut off",
        "what would undo the batch",
    ),
    "list_categories": (
        "which categories can I file under",
        "list the issue categories",
        "what labels are there for issues",
        "show the category names",
    ),
    "create_category": (
        "add a category called Billing",
        "create a new label for issues",
        "make a category",
        "we need another category",
    ),
    "list_triage_agents": (
        "which triage agents are there",
        "list the vendor's agents",
        "which agents does the vendor have",
        "what agents can work on issues",
    ),
    "create_agent_session": (
        "start a session with Norm",
        "open an agent session on the issue",
        "begin a Norm session for this ticket",
        "new session with the triage agent",
    ),
    "prompt_norm": (
        "ask Norm what happened",
        "let Norm look at the issue",
        "have Bland's agent verify the fix",
        "ask the vendor's agent for a status",
    ),
    "wait_for_norm": (
        "wait until Norm is finished",
        "has Norm answered yet",
        "get Norm's answer",
        "wait for the agent's run to end",
    ),
    "remove_resource": (
        "detach the call from the issue",
        "take this evidence off the ticket",
        "remove the attached conversation",
        "unattach a resource",
    ),
    "remove_flag": (
        "delete this flag",
        "remove that flag again",
        "remove a wrong flag",
        "remove the flag from that moment",
    ),
    "remove_relation": (
        "unlink these two issues",
        "remove the link between the tickets",
        "it is not a duplicate after all, remove the relation",
        "remove the link that says blocks",
    ),
    "delete_issue": (
        "delete the issue for good",
        "delete this issue, it was a test",
        "delete T-1042 completely",
        "delete the issue with everything on it",
    ),
    "delete_attachment": (
        "delete the stored file",
        "remove an attachment for good",
        "erase the uploaded report",
        "get rid of this attachment",
    ),
}

K1, B = 1.2, 0.75


@cache
def _stemmer() -> Any:
    import snowballstemmer

    return cast("Any", snowballstemmer).stemmer("english")


STOP = frozenset(
    re.findall(
        r"\w+",
        """a about after again all already also an and any are as at be because been before but by can could did do does down
    each for from get give had has have how i if in into is it its let like me my no not now of off on one or other our out
    over s say so some t than that the their them then there these they this those to too up us was we were what when where
    which who why will with would yet you your""",
    )
)
"""Words that search engines leave out."""


def terms(text: str) -> list[str]:
    """The words of a text as a search engine keeps them: folded, stemmed, without those that say nothing."""
    words = re.findall(r"[a-z]+", text.lower().replace("_", " "))
    return [_stemmer().stemWord(word) for word in words if len(word) > 1 and word not in STOP]


def ranked(phrase: str, documents: dict[str, list[str]]) -> list[str]:
    """The documents' names, best first by BM25."""
    average = sum(map(len, documents.values())) / len(documents)
    holding = Counter(term for words in documents.values() for term in set(words))

    def score(words: list[str]) -> float:
        counts = Counter(words)
        total = 0.0
        for term in set(terms(phrase)) & set(counts):
            rarity = math.log(1 + (len(documents) - holding[term] + 0.5) / (holding[term] + 0.5))
            often = counts[term]
            total += rarity * often * (K1 + 1) / (often + K1 * (1 - B + B * len(words) / average))
        return total

    return sorted(documents, key=lambda name: -score(documents[name]))


DOCUMENTS = {tool.name: terms(f"{tool.name} {tool.description}") for tool in (describe(one) for one in select([ALL]))}


def test_every_tool_of_every_toolset_has_phrases_and_there_are_enough() -> None:
    assert {tool.tool_name() for tools in TOOLSETS.values() for tool in tools} == set(PHRASES)
    assert sum(map(len, PHRASES.values())) >= 150
    assert len({phrase for phrases in PHRASES.values() for phrase in phrases}) == sum(map(len, PHRASES.values()))


def test_no_phrase_is_copied_from_a_description() -> None:
    descriptions = " ".join((describe(tool).description or "").lower() for tool in select([ALL]))
    for phrases in PHRASES.values():
        assert not [phrase for phrase in phrases if phrase.lower() in descriptions]


@pytest.mark.parametrize("tool", PHRASES)
def test_what_people_say_finds_the_tool_among_the_first_three(tool: str) -> None:
    missed = {phrase: ranked(phrase, DOCUMENTS)[:3] for phrase in PHRASES[tool]}
    assert {phrase: found for phrase, found in missed.items() if tool not in found} == {}
