"""Writes spoken times of day and prices as people write them: "half past 3" and "3 Uhr 30" as "330", "5 dollars and 50
cents" as "5.50 dollars". Pure. Takes lines whose numbers are digits already (matching/numbers.py)."""

from __future__ import annotations

import re
from collections.abc import Callable

HOUR = r"(?P<hour>1[0-2]|[1-9])(?:00)?(?!\S)"
"""An hour as clocks show it; whole hours with am and pm have their minutes already."""
ANY_HOUR = r"(?<!\S)0?(?P<hour>2[0-4]|1?[0-9])"
MINUTES = r"(?P<minutes>[0-5]?[0-9])(?!\S)"
HALF, QUARTER, TO_QUARTER = 30, 15, -15
"""Minutes after the hour."""
_FOURTH = r"(?:cuarto|quarto|quart|4\S?)"
"""A quarter in a line whose numbers are digits. "cuarto" also means fourth, so it may have become a 4."""

_Spoken = tuple[tuple[str, int | None], ...]
CLOCK: dict[str, _Spoken] = {
    "en": (
        (rf"(?<!\S)half past {HOUR}", HALF),
        (rf"(?<!\S)(?:a )?quarter (?:past|after) {HOUR}", QUARTER),
        (rf"(?<!\S)(?:a )?quarter (?:to|till) {HOUR}", TO_QUARTER),
        (rf"(?<!\S)(?<![0-9] ){MINUTES}(?: minutes)? past {HOUR}", None),
    ),
    "de": (
        (rf"(?<!\S)halb {HOUR}", HALF - 60),
        (rf"(?<!\S)viertel nach {HOUR}", QUARTER),
        (rf"(?<!\S)(?:viertel vor|dreiviertel) {HOUR}", TO_QUARTER),
        (rf"{ANY_HOUR} uhr (?:und )?{MINUTES}", None),
    ),
    "fr": (
        (rf"{ANY_HOUR} ?h(?:eures?)? et demie?(?!\S)", HALF),
        (rf"{ANY_HOUR} ?h(?:eures?)? et {_FOURTH}(?!\S)", QUARTER),
        (rf"{ANY_HOUR} ?h(?:eures?)? moins (?:le )?{_FOURTH}(?!\S)", TO_QUARTER),
        (rf"{ANY_HOUR} ?h(?:eures?)? ?{MINUTES}", None),
    ),
    "es": (
        (rf"(?<=\blas ){ANY_HOUR} y media(?!\S)", HALF),
        (rf"(?<=\blas ){ANY_HOUR} y {_FOURTH}(?!\S)", QUARTER),
        (rf"(?<=\blas ){ANY_HOUR} menos {_FOURTH}(?!\S)", TO_QUARTER),
        (rf"(?<=\blas ){ANY_HOUR} y {MINUTES}", None),
    ),
    "it": (
        (rf"(?<=\ble ){ANY_HOUR} e mezz[ao](?!\S)", HALF),
        (rf"(?<=\ble ){ANY_HOUR} e (?:un |1 )?{_FOURTH}(?!\S)", QUARTER),
        (rf"(?<=\ble ){ANY_HOUR} meno (?:un |1 )?{_FOURTH}(?!\S)", TO_QUARTER),
        (rf"(?<=\ble ){ANY_HOUR} e {MINUTES}", None),
    ),
    "pt": (
        (rf"(?<=\bas ){ANY_HOUR}(?: horas)? e meia(?!\S)", HALF),
        (rf"(?<=\bas ){ANY_HOUR}(?: horas)? e {MINUTES}", None),
    ),
    "nl": (
        (rf"(?<!\S)half {HOUR}", HALF - 60),
        (rf"(?<!\S)kwart over {HOUR}", QUARTER),
        (rf"(?<!\S)kwart voor {HOUR}", TO_QUARTER),
        (rf"{ANY_HOUR} uur {MINUTES}", None),
    ),
    "da": (
        (rf"(?<!\S)halv {HOUR}", HALF - 60),
        (rf"(?<!\S)kvart over {HOUR}", QUARTER),
        (rf"(?<!\S)kvart i {HOUR}", TO_QUARTER),
    ),
}
"""How each language says a time of day, and how many minutes after the hour it is; None where the minutes are said."""
_HINTS = {
    "en": "past|after|to|till", "de": "halb|viertel|dreiviertel|uhr|[0-9]00", "fr": "[0-9]*h|h[0-9]*|heures?", "es": "las",
    "it": "le", "pt": "as", "nl": "half|kwart|uur", "da": "halv|kvart",
}  # fmt: skip
"""Words by language. Each time of day in CLOCK has one of them; a line without any is left as it is."""
_MAY_CHANGE = {
    language: re.compile(rf"(?<!\S)(?:{words}|dollars?|euros?|pounds?)(?!\S)|[0-9]h[0-9]")
    for language, words in _HINTS.items()
}
_CLOCK = {language: [(re.compile(said), past) for said, past in forms] for language, forms in CLOCK.items()}
_TO = re.compile(rf"(?<!\S)(?<![0-9] )(?P<minutes>[1-5]?[0-9])(?: minutes)? (?:to|till) {HOUR}")
"""Minutes before an hour: "20 to 4". A time only if the minutes are more than the hour: "5 to 10" is a range."""
_BESIDE = {
    "de": (re.compile(r"(?<!\S)([0-9]{1,2})(?:00( uhr)|([0-9]{2}) uhr)(?!\S)"), r"\1\2\3"),
    "fr": (re.compile(r"(?<=[0-9])h(?!\S)"), " heures"),
}
"""Pattern and replacement by language for times in digits: "1500 uhr" as "15 uhr", "1530 uhr" as "1530", "15h" as
"15 heures"."""
_UNIT = r"(?P<unit>dollar|euro|pound)s?(?!\S)"
_CENTS = r"cents?|pence|centimes?|centimos?|centesimi|centavos?"
_WITH_CENTS = re.compile(
    rf"(?<!\S)(?P<whole>[0-9]+) {_UNIT} (?:(?P<more>[0-9]{{2}})(?!\S)(?! (?:{{counted}}))"
    rf"|(?:(?:and|und|et|y|con|e|en|og) )?(?P<cents>[0-9]{{1,2}}) (?:{_CENTS})(?!\S)"
    rf"|(?:con|e) (?P<rest>[0-9]{{2}})(?!\S)(?! (?:{{counted}})))".replace(
        "{counted}",
        r"\S*(?:dollar|euro|pound|percent|bill|note|second|minut|hour|day|week|month|year|time|people|[0-9])",
    )
)
_AMOUNT = re.compile(rf"(?<!\S)(?P<number>[0-9]+(?:\.[0-9]+)?) {_UNIT}")


def as_written(line: str, language: str) -> str:
    """The line with its times of day and prices as people write them. Its numbers are digits already."""
    if _MAY_CHANGE[language].search(line) is None:
        return line
    if language == "en":
        line = _TO.sub(_before, line)
    for said, past in _CLOCK[language]:
        line = said.sub(_at(past), line)
    if language in _BESIDE:
        beside, put = _BESIDE[language]
        line = beside.sub(put, line)
    return _AMOUNT.sub(_amount, _WITH_CENTS.sub(_price, line))


def _at(past: int | None) -> Callable[[re.Match[str]], str]:
    return lambda found: _time(int(found["hour"]), int(found["minutes"]) if past is None else past)


def _time(hour: int, past: int) -> str:
    """Digits of a time, the minutes as two of them. `past` is minutes after the hour; before it if negative."""
    at = hour if past >= 0 else hour - 1 or 12
    return f"{at}{past % 60:02}"


def _before(found: re.Match[str]) -> str:
    hour, minutes = int(found["hour"]), int(found["minutes"])
    return _time(hour, -minutes) if minutes > hour else found[0]


def _price(found: re.Match[str]) -> str:
    cents = found["more"] or found["cents"] or found["rest"]
    return f"{found['whole']}.{int(cents):02} {found['unit']}s"


def _amount(found: re.Match[str]) -> str:
    return f"{found['number'].removesuffix('.00')} {found['unit']}s"
