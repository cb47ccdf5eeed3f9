"""Speaker marks in plain text, as in `Agent: hello` or `[Speaker 1] hello`."""

from __future__ import annotations

import re
from collections import Counter

from calltriage.matching.folding import folded

SIGNS = "\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0900-\u0d7f\u0e30-\u0ece\u1000-\u17ff"
"""Signs that are parts of letters, and letters beside them: what `\\w` leaves out of names."""
MARK = re.compile(
    r"\s*(?:>>\s*|[-–]\s+)?"
    rf"(?:\[(?P<bracketed>[^\]\n]{{1,48}})\]:?\s"
    rf"|(?P<named>[^\W\d_][\w{SIGNS} .'’&-]{{0,47}}?)\s?(?:\([^)\n]{{0,48}}\))?(?::\s|：))"
    r"\s*(?P<text>\S.*)",
    re.DOTALL,
)
ROLES = {"agent", "ai", "assistant", "bot", "caller", "customer", "robot", "user", "agent-action"}
"""Names that vendors' APIs write."""
WORDS_FOR_ROLES = frozenset(
    map(
        folded,
        """
        advisor callee client interviewer moderator operator rep representative
        anrufer anruferin berater beraterin kunde kundin mitarbeiter mitarbeiterin klant medewerker
        kund kunden handläggare rådgivare medarbejder medarbeider asiakas klient konsultant
        agente asesor asesora cliente operador operadora atendente operatore operatrice
        appelant appelante conseiller conseillère opérateur opératrice müşteri temsilci
        агент клиент оператор клієнт πελάτης العميل عميل الموظف موظف المتصل לקוח לקוחה נציג נציגה ग्राहक एजेंट
        客户 客戶 顾客 客服 坐席 お客様 顧客 担当者 オペレーター 고객 상담원 ลูกค้า พนักงาน
        """.split(),  # noqa: SIM905  a list of them is three times as long
    )
)
"""Words for the same roles in many languages. One is a speaker even if it marks one text only."""
NUMBERED = re.compile(r"(?:speaker|sprecher|locuteur|hablante|话者|spk)[ _]?\d{1,3}")
"""Names of speakers whom a transcription only numbers."""
INLINE = re.compile(rf"(?<!\S)(?=(?:{'|'.join(sorted(ROLES))})\s?:\s+\S)", re.IGNORECASE)
"""The place before the mark of a role."""


def by_marks(texts: list[str]) -> list[tuple[str | None, str]]:
    """Each text with the speaker that it is marked with, or None.

    What stands before a colon is a speaker if it is a word for a role, if it marks several texts, or if every text is marked
    and it is one or two words long.
    """
    found = [MARK.fullmatch(text) for text in texts]
    names = Counter(_name(mark).casefold() for mark in found if mark)
    all_marked = len(texts) > 1 and None not in found
    told = list[tuple[str | None, str]]()
    for text, mark in zip(texts, found, strict=True):
        name = _name(mark) if mark else ""
        is_likely = names[name.casefold()] > 1 or _is_role(name)
        if mark and (is_likely or (all_marked and len(name.split()) <= 2)):
            told.append((name, mark["text"].strip()))
        else:
            told.append((None, text.strip()))
    return told


def by_lines(text: str) -> list[tuple[str | None, str]]:
    """The turns of a whole transcript, a line each; a line without a mark goes on with the turn before it. A transcript
    that is one line and begins with a role is split before each role."""
    turns = list[tuple[str | None, str]]()
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) == 1 and INLINE.match(lines[0].strip()):
        lines = [part for part in INLINE.split(lines[0].strip()) if part.strip()]
    for name, words in by_marks(lines):
        if name is None and turns:
            turns[-1] = (turns[-1][0], f"{turns[-1][1]}\n{words}")
        else:
            turns.append((name, words))
    return turns


def _is_role(name: str) -> bool:
    word = folded(name)
    return word in ROLES or word in WORDS_FOR_ROLES or NUMBERED.fullmatch(word) is not None


def _name(mark: re.Match[str]) -> str:
    return (mark["bracketed"] or mark["named"]).strip()
