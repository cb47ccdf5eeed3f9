"""The estimate of tokens that every budget rests on, held against a real tokenizer."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokens import real_tokens

from calltriage.leaves.gate import compact, estimate_tokens, fits

SPOKEN = {
    "english": "I called twice about my invoice and nobody checked who I was before they changed the address.",
    "finnish": "Asiakaspalvelija ei tunnistanut soittajaa ja siirsi puhelun väärälle osastolle.",
    "turkish": "Müşteri temsilcisi kimlik doğrulaması yapmadan görüşmeyi faturalandırma bölümüne aktardı.",
    "hungarian": "Az ügyintéző ellenőrzés nélkül kapcsolta át a hívást a számlázási osztályra.",
    "polish": "Konsultant przełączył rozmowę bez sprawdzenia tożsamości rozmówcy.",
    "vietnamese": "Nhân viên không xác minh danh tính người gọi trước khi chuyển cuộc gọi.",
    "indonesian": "Agen tidak memverifikasi identitas penelepon sebelum mengalihkan panggilan.",
    "swahili": "Wakala hakuthibitisha utambulisho wa mpigaji simu kabla ya kuhamisha simu hiyo.",
    "zulu": "Umsebenzi akazange aqinisekise ubuyena bomuntu oshayile ngaphambi kokudlulisa ucingo.",
    "filipino": "Hindi bineripika ng ahente ang pagkakakilanlan ng tumatawag bago ilipat ang tawag.",
    "maori": "Kāore te kaimahi i whakaū i te tuakiri o te kaiwaea.",
    "hindi": "एजेंट ने कॉल करने वाले की पहचान जाँचे बिना कॉल बिलिंग विभाग को भेज दी।",
    "tamil": "முகவர் அழைப்பாளரின் அடையாளத்தைச் சரிபார்க்கவில்லை.",
    "korean": "상담원이 본인 확인 없이 전화를 청구 부서로 돌렸습니다.",
    "hebrew": "הנציג לא אימת את זהות המתקשר לפני העברת השיחה.",
    "greek": "Ο εκπρόσωπος δεν επαλήθευσε την ταυτότητα του καλούντος.",
    "amharic": "ወኪሉ የደዋዩን ማንነት አላረጋገጠም።",
    "a number read out": "My card is 4 1 1 1, 2 2 2 2, 0 0 9 7 and the code is 1 2 3. It ends in 7 4 or in 7 5?",
    "dates and sums": "On 12 May 2026 at 10 30 I paid 1 240 50 and 3, 7 or 9 more, ticket T-1023 of 4.",
    "names": "Xochitl Oluwaseun Wojciechowski Aoife Przybylski Siobhan Tchaikovsky Ngugi Adaeze Thandiwe",
    "names of places in chinese": "鄜州 盩厔 郿县 鄠县 蕲春 濉溪 涿鹿 衢州 亳州 婺源 歙县 黟县 嵊泗 睢宁 邳州",
}


@pytest.mark.parametrize("name", SPOKEN)
def test_no_language_costs_more_than_estimated(name: str) -> None:
    turns = [{"message_index": number, "user": "user", "text": SPOKEN[name]} for number in range(30)]
    for text in (SPOKEN[name], (SPOKEN[name] + " ") * 30, compact(turns)):
        assert real_tokens(text) <= estimate_tokens(text)


def test_english_json_is_estimated_at_no_more_than_three_times_its_cost() -> None:
    turns = compact([{"message_index": number, "user": "user", "text": SPOKEN["english"]} for number in range(30)])
    assert estimate_tokens(turns) <= 3 * real_tokens(turns)


ALPHABETS = {
    "ids in lower case and digits": "abcdefghijklmnopqrstuvwxyz0123456789",
    "digits and blanks": "0123456789 ",
    "digits, blanks and commas": "0123456789 ,.",
    "digits and capitals": "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 ",
    "hexadecimal": "0123456789abcdef",
    "punctuation": "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~",
    "blanks": " \t\n\r",
    "emoji": "😀😅🙏🏽👍❤🔥🇩🇪👩👧",
    "ideographs": "".join(map(chr, range(0x4E00, 0x9FA5))),
    "hangul": "".join(map(chr, range(0xAC00, 0xD7A4))),
    "rare ideographs": "".join(map(chr, range(0x20000, 0x20400))),
}


@pytest.mark.parametrize("name", ALPHABETS)
def test_no_jumble_costs_more_than_estimated(name: str) -> None:
    text = "".join(random.Random(7).choices(ALPHABETS[name], k=4000))
    assert real_tokens(text) <= estimate_tokens(text)


@given(st.text(st.characters(codec="utf-8"), max_size=400), st.integers(0, 400))
@settings(derandomize=True, deadline=None)
def test_what_surely_fits_fits(text: str, budget: int) -> None:
    """The short cut by bytes and the estimate agree that nothing above the budget passes."""
    if fits(text, budget) and estimate_tokens(text) > budget:
        assert real_tokens(text) <= budget
    assert fits(text, estimate_tokens(text))
    assert estimate_tokens(json.dumps(text)) > 0
