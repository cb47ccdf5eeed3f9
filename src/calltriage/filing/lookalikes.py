"""Issues that a new one looks like, open or closed in the last 90 days: found by a few bounded searches, ranked here, each
score explained.

It works on any API that searches titles and descriptions for plain words. Nothing in it is learned or random: the same
issues and the same draft give the same answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any, cast, get_args

from calltriage.client.client import Client
from calltriage.client.pages import pages
from calltriage.client.side_by_side import at_once
from calltriage.errors import CallError
from calltriage.filing.closing import CLOSED
from calltriage.leaves.strict_json import JsonObject
from calltriage.matching.folding import folded, loose_line, unaccented
from calltriage.matching.opposites import negates
from calltriage.operations.fields import Status
from calltriage.operations.issues import Issue, ListIssues
from calltriage.operations.resource_links import ListResources

SEARCHES = 4
"""Words that are searched for."""
FOUND, NEWEST = 50, 50
"""Issues looked at per word, and of those with the newest activity."""
SHARED = 0.3
"""What evidence in common adds to a score."""
COMPARED = 8
"""Candidates whose evidence is read, when the draft brings evidence."""
SHOWN, CLOSED_SHOWN = 5, 2
"""Issues that the answer names at most, and how many of them may be closed."""
CLOSE, ALIKE = 0.77, 0.3
"""Scores from which an issue may be the same fault, and is worth a look. Held by the labelled phrasings in the tests."""
KNOWN = 1_000
"""Texts whose words are kept: a search finds the same issues for many drafts."""
OPEN: list[Status] = [status for status in get_args(Status) if status not in CLOSED]
PARTS = 5
"""Pages of the search for the whole title that are read. A search of very many issues answers in parts, and the equal one
may be in a later part."""
CLOSED_SEARCHES = 2
"""Texts that are searched for in issues that are closed: the title and the word that tells most."""

SAME_WORDS = (
    ("transfer", "handoff", "handover", "escalate", "escalation", "route", "reroute", "forward"),
    ("agent", "bot", "assistant", "robot", "ai"),
    ("caller", "customer", "user", "client"),
    ("hangup", "disconnect", "drop", "terminate"),
    ("refund", "reimburse", "reimbursement", "chargeback"),
    ("verify", "verification", "authenticate", "authentication", "identity"),
    ("slow", "latency", "delay", "lag"),
    ("mishear", "misheard", "misrecognize", "transcribe", "transcription", "asr"),
    ("repeat", "loop", "again"),
)
"""Words that people use for the same thing in this trade."""


def _listed(words: str) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", words))


STANCES = (
    ("not", r"\w+n['’]t|failing|failure|refusing"),
    ("before", "before"), ("after", "after"), ("again", "again|twice|repeat(s|ed|edly|ing)?|loops?"),
)  # fmt: skip
"""What turns one fault into another although the other words agree: a thing done, and the same thing not done. Of what
says "not" only English words that are no plain negation: see negates."""
WEAK = _listed(
    """call caller customer user client agent bot assistant robot ai issue problem wrong bug error fail fault line phone
    voice conversation say tell ask get make give"""
)
"""Words that say little about which fault it is, for most issues hold them."""
IDLE = _listed(
    """a about after all also an and any are as at be because been before being but by can cannot could did do does doing
    during each even every for from had has have having he her here him his how i if in into is it its just like may me
    might more most must my never no not of off on once one only or other our out over own she should so some such than
    that the their them then there these they this those through to too under until up us very was we were what when where
    which while who why will with without would you your t s don"""
)
"""Words that say nothing."""


@dataclass(frozen=True)
class Draft:
    """What is about to be filed."""

    title: str
    description: str = ""
    category: str = ""
    evidence: frozenset[tuple[str, str]] = frozenset()


@dataclass(frozen=True)
class Likeness:
    """How much an issue looks like the draft, and why."""

    issue: Issue
    by_words: float
    words: dict[str, list[str]]
    """Shared words by the issue's field that they stand in."""
    same_category: bool
    shared_evidence: list[str] = field(default_factory=list[str])
    differs: list[str] = field(default_factory=list[str])
    """Why it is another fault, however alike: words that only one of the two titles has, or one title says "not"."""

    @property
    def score(self) -> float:
        return round(min(1.0, self.by_words + SHARED * bool(self.shared_evidence)), 2)

    @property
    def is_open(self) -> bool:
        return self.issue.status not in CLOSED

    @property
    def is_close(self) -> bool:
        """Whether it should be used instead. One call may show two faults, so that shared evidence does not count here."""
        return self.is_open and self.by_words >= CLOSE and not self.differs

    def row(self) -> JsonObject:
        issue = self.issue
        why: JsonObject = {**self.words, "same_category": self.same_category}
        if self.shared_evidence:
            why["shared_evidence"] = self.shared_evidence
        if self.differs:
            why["differs"] = self.differs
        fields = {"id": issue.id, "triage_id": issue.triage_id, "title": issue.title, "status": issue.status}
        return {**fields, **({} if self.is_open else {"closed": True}), "score": self.score, "why": why}


@dataclass(frozen=True)
class Similar:
    """The issues that look like the draft, best first, and how many were looked at."""

    likenesses: list[Likeness]
    looked_at: int
    searched: list[str]

    def closest(self, *, besides: str | None = None) -> Issue | None:
        """The issue that is so close that it should be used instead; not this one."""
        close = (likeness.issue for likeness in self.likenesses if likeness.is_close)
        return next((issue for issue in close if issue.id != besides), None)

    def body(self) -> JsonObject:
        """The best of them, the one that is close first, few of them closed; the words in it are the issues' authors'."""
        closed = [one for one in self.likenesses if not one.is_open][CLOSED_SHOWN:]
        kept = [one for one in self.likenesses if one not in closed]
        best = sorted(kept, key=lambda one: not one.is_close)[:SHOWN]
        rows = [likeness.row() for likeness in best]
        how_many = {"returned": len(best), "total": len(self.likenesses), "complete": len(best) == len(self.likenesses)}
        return {"items": rows, **how_many, "looked_at": self.looked_at, "searched_for": self.searched}


async def similar_to(draft: Draft, client: Client) -> Similar:
    """Look for issues like the draft that are open, or were still worked on in the last 90 days. Raises CallError when the
    issues cannot be read."""
    words = telling(draft)
    # The same title may stand behind hundreds that share its words, so it is looked for whole too.
    texts = list(dict.fromkeys([draft.title, *words]))
    whole, *asked = [ListIssues(search=text, status=OPEN, limit=FOUND) for text in texts]
    asked += [
        ListIssues(search=text, status=[*CLOSED], date_range="90d", limit=FOUND) for text in texts[:CLOSED_SEARCHES]
    ]
    asked.append(ListIssues(status=OPEN, limit=NEWEST))
    found_in = await at_once(_found(client, whole, PARTS), *(_found(client, one, 1) for one in asked))
    candidates = {issue.id: issue for issues in found_in for issue in issues}
    found = ranked(draft, candidates.values(), {})
    if draft.evidence:
        near = found[:COMPARED]
        links = await at_once(*(_evidence(client, likeness.issue.id) for likeness in near))
        shared = {likeness.issue.id: held for likeness, held in zip(near, links, strict=True)}
        rest = (likeness.issue for likeness in found[COMPARED:])
        found = ranked(draft, (likeness.issue for likeness in near), shared) + ranked(draft, rest, {})
    return Similar([one for one in found if one.score >= ALIKE], len(candidates), words)


async def _found(client: Client, asked: ListIssues, most: int) -> list[Issue]:
    """The issues of a list, of at most so many pages; one that is full is the last."""
    issues = list[Issue]()
    async for page in pages(client.send_shared, asked, most):
        issues += page.items
        if len(issues) >= FOUND:
            break
    return issues


async def _evidence(client: Client, issue_id: str) -> set[tuple[str, str]]:
    """An issue's evidence; of one that cannot be read, none."""
    try:
        page = await client.send_shared(ListResources(issue_id=issue_id, limit=100))
    except (CallError, ValueError):
        return set()
    return {(link.resource_type, link.resource_id) for link in page.items}


def ranked(draft: Draft, issues: Iterable[Issue], evidence: Mapping[str, set[tuple[str, str]]]) -> list[Likeness]:
    """Every issue with its likeness to the draft, most alike first."""
    found = [_likeness(draft, issue, evidence.get(issue.id, set())) for issue in issues]
    return sorted(found, key=lambda one: (-one.score, one.issue.id))


def _likeness(draft: Draft, issue: Issue, held: set[tuple[str, str]]) -> Likeness:
    """Two thirds of the score are the titles' shared words, one third how much of the draft's title the issue's whole text
    holds; a common category adds to it."""
    title, theirs = _stems(draft.title), _stems(issue.title)
    text = theirs | _stems(issue.description)
    own = title | _stems(draft.description)
    in_titles = 2 * _weight(title & theirs) / (_weight(title) + _weight(theirs) or 1)
    in_text = max(_weight(title & text) / (_weight(title) or 1), _weight(theirs & own) / (_weight(theirs) or 1))
    equal = _plain(draft.title) == _plain(issue.title)
    same_category = folded(draft.category) == folded(issue.category)
    shared = sorted(f"{kind} {name}" for kind, name in draft.evidence & held)
    words = 1.0 if equal else 2 / 3 * in_titles + 1 / 3 * in_text
    by_words = 0.9 * words + 0.1 * same_category * bool(words)
    where = {"title_words": title & theirs, "description_words": (own & text) - (title & theirs)}
    return Likeness(
        issue, round(by_words, 2), {name: sorted(found)[:12] for name, found in where.items() if found},
        same_category, shared[:SHOWN], [] if equal else _differences(draft, issue, own, text),
    )  # fmt: skip


def _differences(draft: Draft, issue: Issue, own: frozenset[str], text: frozenset[str]) -> list[str]:
    """What makes two titles speak of different faults: telling words on both sides that the other's text does not have, or
    one says that a thing is not done, is done again, before or after, and the other does not."""
    only_here, only_there = (
        {word for word in _stems(title) - other if word not in _weak()}
        for title, other in ((draft.title, text), (issue.title, own))
    )
    stances = _stances(draft.title) ^ _stances(issue.title)
    return sorted(only_here | only_there if only_here and only_there else ()) + sorted(stances)


@lru_cache(maxsize=KNOWN)
def _stances(title: str) -> frozenset[str]:
    words, negated = re.findall(r"[\w']+", folded(title)), {"not"} if negates(title) else set[str]()
    return frozenset(negated) | {
        name for name, pattern in STANCES if any(re.fullmatch(pattern, word) for word in words)
    }


def telling(draft: Draft) -> list[str]:
    """The words of a draft that tell most about it, each as it is written there: a search may know whole words alone."""
    best: dict[str, tuple[float, int, str]] = {}
    for place, text in enumerate((draft.title, draft.description)):
        for word in _words(text):
            stem = _stem(word)
            best.setdefault(stem, (-_weight(frozenset({_meaning(stem)})), place, word))
    order = sorted(best.values(), key=lambda one: (one[0], one[1], -len(one[2]), one[2]))
    return [word for _, _, word in order[:SEARCHES]]


@lru_cache(maxsize=KNOWN)
def _plain(text: str) -> str:
    """A title as it is compared whole: its words, or itself when it has none."""
    return loose_line(text).strip() or text.strip()


@cache
def _stemmer() -> Any:
    import Stemmer  # noqa: PLC0415  native code, needed by the first issue that is filed

    return cast("Any", Stemmer).Stemmer("english")


@cache
def _meanings() -> dict[str, str]:
    """The first word of its group for each word that has others of the same meaning, by stem."""
    return {_stem(word): _stem(group[0]) for group in SAME_WORDS for word in group}


@cache
def _weak() -> frozenset[str]:
    return frozenset(_meaning(_stem(word)) for word in WEAK)


@lru_cache(maxsize=50_000)
def _stem(word: str) -> str:
    stem: str = _stemmer().stemWord(word)
    return stem


def _meaning(stem: str) -> str:
    return _meanings().get(stem, stem)


def _words(text: str) -> list[str]:
    """The words of a text that say something, in order. Scripts without spaces give pairs of their characters."""
    joined = re.sub(r"(?<=[a-z])-(?=[a-z])|'", "", folded(text[:10_000]))
    joined = re.sub(r"\bhang(s|ing)? up\b|\bhung up\b", "hangup", joined)
    joined = re.sub(r"\bhand(s|ed|ing)? (off|over)\b", "handoff", joined)
    found = list[str]()
    for word in re.findall(r"[^\W_]+", joined):
        if re.search(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]", word):
            found += [word[n : n + 2] for n in range(max(1, len(word) - 1))]
        elif word not in IDLE and (len(word) > 1 or word.isdigit()):
            found.append(word[:40])
    return list(dict.fromkeys(found))


@lru_cache(maxsize=KNOWN)
def _stems(text: str) -> frozenset[str]:
    return frozenset(_meaning(_stem(unaccented(word))) for word in _words(text))


def _weight(stems: frozenset[str]) -> float:
    weak = len(stems & _weak())
    return len(stems) - weak + 0.4 * weak
