"""Whether words that are nearly the same say the opposite, or name other numbers."""

from __future__ import annotations

import re
from functools import cache

from calltriage.matching.folding import exact_line, loose_line
from calltriage.matching.numbers import in_digits, numbers

NEGATIONS = """
    not no never none nobody nothing neither nor without cannot hardly barely unable refuse refused
    refuses fail failed fails deny denied denies decline declined declines dont doesnt didnt wont
    wouldnt cant couldnt shouldnt isnt arent wasnt werent hasnt havent hadnt aint mustnt neednt nicht
    kein keine keinen keinem keiner nie niemals niemand nichts ohne nein ne n pas jamais aucun aucune
    rien personne sans non nunca jamas nada nadie ningun ninguna sin tampoco nao ninguem nenhum nenhuma
    sem mai niente nulla nessuno senza niet geen nooit niemand niets zonder nee ikke inte ingen aldrig
    uden utan nigdy bez не нет ни никогда никто ничего без ні değil hayır yok asla لا لم لن ليس ما بدون
    לא אין בלי नहीं मत tidak bukan jangan không chưa 不 没 沒 无 無 未 别 別 勿 ない ません なかっ ず ไม่ 안 못 않 없
"""
"""Words that turn a sentence into its opposite, in the languages that calls are often held in."""
APART = """
    monday tuesday wednesday thursday friday saturday sunday
    january february march april may june july august september october november december
    today tomorrow yesterday | morning afternoon evening night | seconds minutes hours days weeks months years
    dollars cents euros pounds | yes no | accept reject decline refuse | approve reject deny | approved rejected denied
    before after | on off | in out | up down | left right | open closed | always never sometimes | all some none | buy sell
    increase decrease | increased decreased | more less | higher lower | with without | credit debit | inbound outbound
    enable disable | start stop | am pm | he she | can cannot
"""
"""Groups of words that exclude each other, a group in each line or between bars. Whoever quotes one of them where another
was said has misheard."""
OPPOSING = "un|dis|in|im|il|ir|non|mis"
"""Prefixes that turn a word into its opposite."""


def contrary(quote: str, near: str, around: str, language: str) -> bool:
    """Whether a quote contradicts the words `near` it: it has more or fewer negations than they or than the words `around`
    them, other numbers, or a word that excludes one of theirs."""
    wanted, said = loose_line(quote), loose_line(near)
    if not _negations(wanted) == _negations(said) == _negations(loose_line(around)):
        return True
    if numbers(in_digits(exact_line(quote), language)) != numbers(in_digits(exact_line(near), language)):
        return True
    only_here, only_there = set(wanted.split()) - set(said.split()), set(said.split()) - set(wanted.split())
    return any(_apart(one, other) for one in only_here for other in only_there)


def negates(text: str) -> bool:
    """Whether a text says that something is not so."""
    return _negations(loose_line(text)) > 0


def _negations(line: str) -> int:
    return len(_negation().findall(line))


@cache
def _negation() -> re.Pattern[str]:
    words = "|".join(re.escape(loose_line(word).strip()) for word in NEGATIONS.split())
    return re.compile(f"(?= (?:{words}) )")


def _apart(one: str, other: str) -> bool:
    groups = (group.split() for group in re.split(r"\n|\|", APART))
    if any(one in group and other in group for group in groups):
        return True
    return any(re.fullmatch(f"(?:{OPPOSING}){re.escape(short)}", long) for long, short in ((one, other), (other, one)))
