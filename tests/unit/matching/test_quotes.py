"""Where in a call words were said: the same, nearly, over several turns, or nowhere."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calltriage.matching.quotes import across, around, mentions, nearest, part, place, quoted
from calltriage.operations.calls import Turn

PAD = "The hold music went on and on. "


def turns(*texts: str) -> list[Turn]:
    return [Turn(user=("assistant", "user")[n % 2], text=text) for n, text in enumerate(texts)]


HELD = [
    ("No, I never signed, that contract.", "No I never signed that contract"),
    ("That's what they're for", "thats what theyre for"),
    ("Pedí la cancelación en Málaga.", "cancelacion en malaga"),
    ("it's five five five zero one four two", "it's 555 0142"),
    ("my number is 555-0142", "five five five oh one four two"),
    ("double five one two three four", "55 1234"),
    ("that is one thousand five hundred and six", "that is 1,506"),
    ("the setup fee is fifty dollars", "the setup fee is $50"),
    ("it was nineteen ninety nine", "it was 1999"),
    ("at twelve thirty", "at 12:30"),
    ("come at three thirty please", "at 3:30"),
    ("come at 3:30 pm", "at three thirty p.m."),
    ("at three o'clock", "3:00"),
    ("we open at 9 am", "9:00 am"),
    ("one point five percent", "1.5%"),
    ("take 50mg daily", "take 50 mg daily"),
    ("ich habe fünfhundertzwanzig Euro und es ist nicht viel", "520 Euro"),
    ("je vous ai dit quatre-vingt-dix-neuf euros et c'est tout", "99 euros"),
    ("come at half past three please", "come at 3:30"), ("come at 3:30", "half past three"),
    ("it is a quarter to four", "3:45"), ("call me at ten past five", "at 5:10"), ("at 5:40 sharp", "twenty to six"),
    ("quarter past three pm", "3:15 p.m."), ("they close at quarter to one", "12:45"),
    ("um 15 Uhr 30 und nicht das andere", "um 15:30"), ("es ist halb vier und nicht das", "es ist 3:30"),
    ("es ist 15:30 Uhr und nicht das", "fünfzehn Uhr dreißig"), ("das ist um Viertel vor vier und nicht", "3:45"),
    ("je suis là à quinze heures trente et pas vous", "15h30"), ("il est trois heures et demie et pas le", "3h30"),
    ("que no es a las cuatro menos cuarto", "las 3:45"), ("ik ben er om half vier en niet", "om 3:30"),
    ("non sono le tre e mezza di la", "le 3:30"), ("que não é às três e meia para", "às 3:30"),
    ("it is five dollars and fifty cents", "$5.50"), ("that is $5.50", "five dollars fifty"),
    ("it costs five fifty each week", "$5.50 each week"), ("twelve ninety nine plus tax", "$12.99 plus tax"),
    ("that is $5.50", "five fifty"), ("the fee is $50.00", "fifty dollars"), ("the fee is $50", "$50.00"),
    ("das ist fünf Euro fünfzig und nicht mehr", "5,50 €"), ("die Gebühr ist 5 € und nicht", "fünf Euro"),
    ("pas cinq euros cinquante pour vous et le", "5,50 euros"), ("two pounds and five pence", "£2.05"),
    ("no hay cita a las quince treinta", "15:30"), ("no quiero ir a las cinco y media", "5:30"),
    ("quiero pagar cincuenta a la semana, no mas", "50"), ("só a taxa de cinquenta e a conta", "50"),
    ("It is zero two one three nine, in Boston.", "02139"), ("It is 02139, in Boston.", "zero two one three nine"),
    ("the code is 0441", "zero four four one"), ("zero zero one two three", "00123"),
    ("00123 it is", "double zero one two three"),
    ("que no es el cero cuatro cuatro uno", "0441"), ("das ist die 0176 und nicht", "null eins sieben sechs"),
    ("room zero forty one", "room 041"), ("double oh seven", "007"), ("five five oh oh one", "55001"),
    ("at 09:30", "9:30"), ("at 09:30", "nine thirty"), ("at 9:00 am", "09 am"), ("it opens at 00:30", "0:30"),
    ("um 15 Uhr 05 und nicht das", "15:05"), ("je suis là à 09h30 et pas vous", "9h30"),
    ("We have zero. Two people left", "Two people left"), ("it was ten oh nine", "ten zero nine"),
    ("das sind 1.000 Euro und nicht mehr", "1000 Euro"), ("das sind tausend Euro und nicht mehr", "1.000 Euro"),
    ("das sind 1000 Euro und nicht mehr", "1.000 Euro"), ("ich habe 2.500,00 Euro und nicht mehr", "2.500 Euro"),
    ("no es la de 1.000 euros", "mil euros"), ("it came to 1.234,50 in all", "1234.50"), ("id 1.234.567", "1234567"),
    ("je vous ai dit 2\u202f500 euros et pas plus", "2500 euros"), ("je vous ai dit 2500 euros et pas plus", "2 500 euros"),
    ("je vous dois 1 250 000 € et pas plus", "1250000 €"), ("ich habe 1’000 Franken und nicht mehr", "1000 Franken"),
    ("ich habe zweitausendfünfhundert Franken, nicht mehr", "2’500 Franken"),
    ("l'appel est fini", "appel"),
    ("the customer's card", "customer"),
]  # fmt: skip
NOT_HELD = [
    ("The setup fee is $50 with the router.", "The setup fee is $5"), ("No, I can't waive it.", "I can"),
    ("Take 150 mg twice a day.", "50 mg twice a day"), ("The slot is unconfirmed, sorry.", "confirmed, sorry"),
    ("The fee is five hundred dollars", "the fee is five"), ("The fee is 5 thousand", "the fee is 5"),
    ("3 20 dollar bills", "320 dollar bills"), ("five five five zero", "555"), ("Hello", "?!"), ("It is 12:30", "is 12"),
    ("The fee is $550", "$5.50"), ("It is at 5:50", "$5.50"), ("The fee is $15.50", "five fifty"), ("€5.50", "$5.50"),
    ("twenty five fifty", "$5.50"), ("from 5 to 10 days", "9:55"), ("half past three", "4:30"),
    ("from nine thirty to five", "4:30"),
    ("It is 02139, in Boston.", "2139, in Boston"), ("the code is 0441", "441"), ("It is 00123.", "123"),
    ("it is 2139", "02139"), ("zero two one three nine", "2139"), ("el cinco o seis, que no", "506"), ("room 12 041", "41"),
    ("wait 1.500 seconds", "1500 seconds"), ("das ist am 12.10.2026 und nicht", "12102026"), ("version 1.234", "1234"),
    ("je vous dois 2, 500 à lui et pas plus", "2500"), ("das ist 0.125 und nicht", "0125"),
    ("it is 12:05:30", "12530"),
    ("It is 3:30", "is 3"), ("three thirty dollar bills", "$330"), ("It is 3", "3:00"),
]  # fmt: skip


@pytest.mark.parametrize(("said", "quote"), HELD)
def test_words_that_were_said_are_found(said: str, quote: str) -> None:
    call = turns("Hello there.", said, "Bye")
    assert (quoted(call, quote), mentions(call, quote)) == ([1], [1])
    where = place(call, 1, quote)
    assert where is not None
    assert said[slice(*where)] == said or quoted([*turns(said), *turns(said[slice(*where)])], quote) == [0, 1]


@pytest.mark.parametrize(("said", "quote"), NOT_HELD)
def test_what_was_not_said_is_not_found(said: str, quote: str) -> None:
    assert (quoted(turns(said), quote), mentions(turns(said), quote)) == ([], [])


def test_the_strictest_form_that_is_found_decides_for_a_quote() -> None:
    call = turns("your resume", "we resume", "the résumé", "fee is $5", "the 5 of us")
    assert quoted(call, "résumé") == [2]
    assert mentions(call, "resume") == [0, 1, 2]
    assert mentions(call, "$5") == [3]


TEXTS = st.lists(
    st.text(max_size=40)
    | st.lists(
        st.sampled_from(["I", "can't", "$50", "no,", "退款", "ไม่ได้", "five", "hundred", "12:30", "«oui»", "né", "—", "५५"]),
        min_size=1, max_size=9,
    ).map(" ".join),
    min_size=1, max_size=6,
)  # fmt: skip


@given(TEXTS)
@settings(derandomize=True, deadline=None, max_examples=300)
def test_a_turn_quoted_word_for_word_is_always_found(texts: list[str]) -> None:
    call = turns(*texts)
    for n, turn in enumerate(call):
        hits = quoted(call, turn.text)
        assert n in hits or (hits == [] and not any(not one.isspace() for one in turn.text if one.isprintable()))
        assert (place(call, n, turn.text) is not None) == (n in hits)


def test_words_over_two_turns_are_found_in_both() -> None:
    call = [
        Turn(user="assistant", text="How can I help?"),
        Turn(user="user", text="I would like to speak to"),
        Turn(user="assistant", text="mhm"),
        Turn(user="user", text="somebody who is in charge"),
    ]
    assert across(call, "speak to somebody who is in charge") == [1, 3]
    assert across(call[:2] + call[3:], "speak to, somebody") == [1, 2]
    assert across(call, "How can I help") == []
    assert across(call, "in charge of the moon") == []


@pytest.mark.parametrize(
    ("said", "quote"),
    [
        ("Cancel, order.", "cancel the order"), ("Refund!", "refnd"), ("Goodbye!", "goodby."), ("OK.", "okk!"),
        ("ขอยกเลิกคำสั่งซื้อของฉันวันนี้", "ขอยกเลิกคำสั่งซื้อของฉันวันนั้"),
    ],
)  # fmt: skip
def test_a_turn_that_is_nearly_the_quote_is_the_nearest(said: str, quote: str) -> None:
    near = nearest(turns("Hello.", said, "Bye"), quote)
    assert (near[0].index, near[0].likeness > 0.5, near[0].contrary) == (1, True, False)


@pytest.mark.parametrize(
    ("said", "quote"),
    [
        ("I will refund you tomorrow", "I will not refund you tomorrow"),
        ("I won't refund you", "I will refund you"),
        ("we never agreed to that price", "we agreed to that price"),
        ("take 150 mg twice a day", "take 50 mg twice a day"),
        ("that is fifty dollars a month", "that is fifteen dollars a month"),
        ("it comes on Tuesday", "it comes on Thursday"),
        ("your claim is approved", "your claim is disapproved"),
        ("das erstatten wir nicht", "das erstatten wir heute"),
        ("no lo vamos a pagar", "si lo vamos a pagar"),
        ("我不会给您退款的", "我会给您退款的"),
        ("Je ne suis pas d'accord", "Je suis d'accord"),
        ("we accept your claim now", "we reject your claim now"),
        ("me lo pagan sin recargo", "me lo pagan con recargo"),
    ],
)
def test_the_opposite_and_other_numbers_are_told_from_what_is_meant(said: str, quote: str) -> None:
    assert quoted(turns(said), quote) == []
    assert nearest(turns("Hello.", said), quote)[0].contrary


def test_a_quote_without_words_is_near_to_nothing() -> None:
    assert nearest(turns("Hello", ""), "?!") == []
    assert nearest([], "hello") == []


def test_what_is_shown_of_a_long_turn_holds_the_words() -> None:
    text = "and so on " * 100 + "please refund me" + " and so on" * 100
    where = place(turns(text), 0, "refund")
    assert where is not None
    assert "refund" in str(around(text, where[0])["text"])


SENTENCES = [
    ("Then your colleague swore at me.", "colleague SWORE"),
    ("Who was it, Mr. Okafor?", "Mr Okafor"),
    ("请给我退款。", "退款"),
]


@pytest.mark.parametrize(("sentence", "words"), SENTENCES)
def test_the_part_around_words_is_their_sentence(sentence: str, words: str) -> None:
    text = PAD * 400 + sentence + " " + PAD * 400
    where = place(turns(text), 0, words)
    assert where is not None
    assert part(text, *where) == sentence


@pytest.mark.parametrize("unit", [" and so on ", "等等"])
def test_of_a_text_without_sentences_the_part_is_bounded(unit: str) -> None:
    text = unit * 2000 + "swore at me" + unit * 2000
    where = place(turns(text), 0, "swore at me")
    assert where is not None
    found = part(text, *where)
    assert "swore at me" in found
    assert len(found) < 500
