"""The gate before everything that leaves, and the estimate of what it costs."""

from __future__ import annotations

import base64
import json
import random
import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokens import real_tokens

from calltriage.leaves.gate import compact, estimate_tokens, gate


@pytest.mark.parametrize(
    ("hidden", "shown"),
    [
        ("\ud800", "\\ud800"),
        ("\x00", "\\u0000"),
        ("\x1b[31m", "\\u001b[31m"),
        ("\x9b", "\\u009b"),
        ("\u202e", "\\u202e"),
        ("\u2066", "\\u2066"),
        ("\u200b", "\\u200b"),
        ("\ufeff", "\\ufeff"),
        ("\U000e0041", "\\U000e0041"),
        ("\ufe0f", "\\ufe0f"),
        ("\ufffc", "\\ufffc"),
        ("\u2800", "\\u2800"),
        ("\U00013438", "\\U00013438"),
        ("\U0001bca0", "\\U0001bca0"),
        ("\U0001d159", "\\U0001d159"),
    ],
)
def test_what_hides_or_turns_text_is_shown_and_counted(hidden: str, shown: str) -> None:
    assert gate({f"k{hidden}": [f"a{hidden}b"]}) == ({f"k{shown}": [f"a{shown}b"]}, 2)


@pytest.mark.parametrize("text", ["tab\tand\nline\r\n", "Größe", "通話", "مكالمة", "звонок", "โทร", "😀", "e\u0301"])
def test_ordinary_text_passes_as_it_is(text: str) -> None:
    assert gate(text) == (text, 0)


def test_a_number_that_is_not_finite_becomes_null() -> None:
    assert gate([float("nan"), float("inf"), 1.5]) == ([None, None, 1.5], 0)


@given(st.recursive(st.text(st.characters(codec=None)) | st.floats() | st.none(), st.lists))
@settings(derandomize=True, deadline=None)
def test_whatever_passed_the_gate_can_be_written_and_passes_again(value: object) -> None:
    once, _ = gate(value)
    compact(once).encode("utf-8")
    assert gate(once) == (once, 0)


NATURAL = {
    "turns": json.dumps([{"message_index": n, "user": "user", "text": "i lost my debit card"} for n in range(80)]),
    "english": "The caller asked for billing after account verification had failed twice. " * 40,
    "german": "Der Anrufer bat um Weiterleitung an die Rechnungsabteilung, die Prüfung schlug fehl. " * 40,
    "spanish": "El cliente pidió que lo transfirieran sin verificar su correo electrónico. " * 40,
    "russian": "Клиент попросил перевести звонок в отдел расчётов. " * 40,
    "chinese": "客户要求转接到账单部门，但座席没有核实身份。" * 40,
    "japanese": "通話中に顧客が請求書について質問しました。" * 40,
    "arabic": "طلب المتصل تحويل المكالمة إلى قسم الفواتير. " * 40,
    "thai": "ลูกค้าขอโอนสายไปยังแผนกเรียกเก็บเงิน" * 40,
    "emoji": "😀🔥👍🏽" * 100,
    "uuids": json.dumps([str(uuid.UUID(int=random.Random(n).getrandbits(128))) for n in range(100)]),
    "instants": json.dumps(["2026-05-06T21:09:57.081Z"] * 50),
    "base64": base64.b64encode(random.Random(1).randbytes(3000)).decode(),
    "escapes": "\\u202e\\u0000" * 300,
    "code": 'def f(x):\n    return {"a": [x, x ** 2], "b": None}\n' * 60,
}  # fmt: skip


@pytest.mark.parametrize("name", NATURAL)
def test_the_estimate_is_never_below_the_real_count_and_not_far_above(name: str) -> None:
    text = NATURAL[name]
    assert real_tokens(text) <= estimate_tokens(text) <= 5 * real_tokens(text)
