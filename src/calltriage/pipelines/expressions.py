"""Conditions on a call's facts in a pipeline's file, such as `caller_words >= 15 and answered_by == "human"`.

Expressions are parsed with Python's grammar. A small part of it is allowed, and none is run as Python code. A fact that a
call does not have equals `missing`. `<`, `<=`, `>` and `>=` are false for `missing`, and between a text and a number.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from typing import Any, TypeGuard

from calltriage.pipelines.calls import Call
from calltriage.pipelines.turns import AGENT, Turn, line_of

MOST_CHARACTERS = 500
Term = Callable[[Call], Any]
WORDS: dict[str, object] = {"missing": None, "true": True, "false": False}
_SIZES: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
SIDES = ("agent", "caller", "any")
NO_CONDITION = (
    "is no condition. Write comparisons (== != < <= > >=, in, not in) of facts, numbers, texts in quotes and `missing`, "
    'joined by and, or, not; and said("agent", "a phrase").'
)


def checked(text: str) -> str:
    """The expression, if it is valid. Raises ValueError, which says what is wrong."""
    _built(text)
    return text


def holds(text: str, call: Call) -> bool:
    """Whether a call fulfils an expression. Raises ValueError for an invalid one."""
    return bool(_built(text)(call))


@lru_cache(maxsize=500)
def _built(text: str) -> Term:
    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"is longer than {MOST_CHARACTERS} characters")
    try:
        return _term(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, RecursionError, MemoryError):
        raise ValueError(NO_CONDITION) from None


def _term(node: ast.expr) -> Term:
    make = _MAKERS.get(type(node))
    if make is None:
        raise ValueError(NO_CONDITION)
    return make(node)


def _of_bool(node: ast.BoolOp) -> Term:
    parts = [_term(part) for part in node.values]
    if isinstance(node.op, ast.And):
        return lambda call: all(part(call) for part in parts)
    return lambda call: any(part(call) for part in parts)


def _of_sign(node: ast.UnaryOp) -> Term:
    inner = _term(node.operand)
    if isinstance(node.op, ast.Not):
        return lambda call: not inner(call)
    if isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant) and _is_number(node.operand.value):
        number = -node.operand.value
        return lambda _: number
    raise ValueError(NO_CONDITION)


def _of_list(node: ast.Tuple | ast.List) -> Term:
    parts = [_term(part) for part in node.elts]
    return lambda call: [part(call) for part in parts]


def _of_constant(node: ast.Constant) -> Term:
    if not isinstance(node.value, str | int | float):
        raise ValueError(NO_CONDITION)
    return lambda _: node.value


def _of_comparison(node: ast.Compare) -> Term:
    if any(isinstance(op, ast.Is | ast.IsNot) for op in node.ops):
        raise ValueError("compares with `is`; write ==")
    parts = [_term(part) for part in (node.left, *node.comparators)]

    def compare(call: Call) -> bool:
        values = [part(call) for part in parts]
        return all(_pair(op, *pair) for op, pair in zip(node.ops, pairwise(values), strict=True))

    return compare


def _of_said(node: ast.Call) -> Term:
    texts = [part.value for part in node.args if isinstance(part, ast.Constant) and isinstance(part.value, str)]
    is_said = isinstance(node.func, ast.Name) and node.func.id == "said" and not node.keywords
    if not is_said or len(texts) != len(node.args) or len(texts) < 2 or texts[0] not in SIDES:
        raise ValueError('knows one function: said("agent", "a phrase"), or "caller" or "any" for "agent"')
    side, wanted = texts[0], [line_of(phrase) for phrase in texts[1:]]
    if " " in wanted:
        raise ValueError("looks for a phrase without a word")

    def said(call: Call) -> bool:
        turns = {"agent": call.agent_turns, "caller": call.caller_turns}.get(side, call.turns)
        return any(phrase in line for turn in turns if (line := line_of(turn.text)) for phrase in wanted)

    return said


def _of_name(node: ast.Name | ast.Attribute) -> Term:
    name = _dotted(node)
    if name in WORDS:
        return lambda _: WORDS[name]
    return COUNTED.get(name) or (lambda call: call.value(name))


def _dotted(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=inner, attr=name):
            return f"{_dotted(inner)}.{name}"
        case _:
            raise ValueError(NO_CONDITION)


_MAKERS: dict[type[ast.expr], Callable[[Any], Term]] = {
    ast.BoolOp: _of_bool,
    ast.UnaryOp: _of_sign,
    ast.Tuple: _of_list,
    ast.List: _of_list,
    ast.Constant: _of_constant,
    ast.Compare: _of_comparison,
    ast.Call: _of_said,
    ast.Name: _of_name,
    ast.Attribute: _of_name,
}
"""The allowed parts of the grammar, and what makes a term of each."""


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _pair(op: ast.cmpop, one: Any, other: Any) -> bool:
    if isinstance(op, ast.Eq | ast.NotEq):
        return (one == other) is isinstance(op, ast.Eq)
    if isinstance(op, ast.In | ast.NotIn):
        within = isinstance(other, list | str | dict) and (not isinstance(other, str) or isinstance(one, str))
        return (within and one in other) is isinstance(op, ast.In)
    both_numbers = all(isinstance(value, int | float) for value in (one, other))
    both_texts = isinstance(one, str) and isinstance(other, str)
    return (both_numbers or both_texts) and _SIZES[type(op)](one, other)


def _duration(call: Call) -> float | None:
    if call.began is not None and call.ended is not None:
        return (call.ended - call.began).total_seconds()
    return _last_end(call.turns)


def _after_agent(call: Call) -> float | None:
    """Seconds from the agent's last words to the call's end."""
    spoken = [turn for turn in call.turns if turn.speaker == AGENT and turn.has_words]
    last, whole = _last_end(spoken), _duration(call)
    return None if last is None or whole is None else whole - last


def _last_end(turns: tuple[Turn, ...] | list[Turn]) -> float | None:
    return max((turn.end_s for turn in turns if turn.end_s is not None), default=None)


COUNTED: dict[str, Callable[[Call], object]] = {
    "turns": lambda call: sum(1 for turn in call.turns if turn.has_words),
    "agent_turns": lambda call: sum(1 for turn in call.agent_turns if turn.has_words),
    "caller_turns": lambda call: sum(1 for turn in call.caller_turns if turn.has_words),
    "agent_words": lambda call: sum(turn.words for turn in call.agent_turns),
    "caller_words": lambda call: sum(turn.words for turn in call.caller_turns),
    "duration_s": _duration,
    "seconds_after_agent": _after_agent,
}
"""Facts that are computed from the call. They hide the vendor's fields of the same names."""
