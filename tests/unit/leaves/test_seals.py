"""Signatures, and handles that only a holder of the secret can make."""

from __future__ import annotations

import hmac

import pytest

from calltriage.leaves.seals import Seals, is_signature, signature

NOW = 1_700_000_000.0


def sealing(secret: bytes = b"k" * 32, at: float = NOW) -> Seals:
    return Seals(lambda: secret, clock=lambda: at)


def test_a_signature_is_that_of_the_standard() -> None:
    # RFC 4231, test case 2.
    assert signature(b"Jefe", b"what do ya want for nothing?") == (
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    )
    assert signature(b"s", b"m") == hmac.new(b"s", b"m", "sha256").hexdigest()


def test_a_signature_is_taken_in_digits_of_either_case() -> None:
    assert is_signature(signature(b"s", b"m"), b"s", b"m")
    assert is_signature(signature(b"s", b"m").upper(), b"s", b"m")


@pytest.mark.parametrize(
    "given",
    [
        "",
        "0" * 64,
        signature(b"other", b"m"),
        signature(b"s", b"other"),
        "é\udc80",
        signature(b"s", b"m") + "\n",
        "é" * 64,
    ],
)
def test_what_is_not_the_signature_of_a_message_is_refused(given: str) -> None:
    assert not is_signature(given, b"s", b"m")


def test_a_handle_gives_back_its_values_until_it_ends() -> None:
    handle = sealing().sealed("upload", 60, "a", 1, None)
    assert sealing(at=NOW + 59).opened("upload", handle) == ["a", 1, None]
    assert sealing(at=NOW + 59).good_for("upload", handle) == 1
    assert sealing(at=NOW + 60).opened("upload", handle) is None
    assert sealing(at=NOW + 60).good_for("upload", handle) == 0


def test_a_handle_of_another_kind_or_secret_or_with_another_byte_is_refused() -> None:
    handle = sealing().sealed("upload", 60, "a")
    assert sealing().opened("download", handle) is None
    assert sealing(b"x" * 32).opened("upload", handle) is None
    for place in range(len(handle) - 1):  # the last digit may hold spare bits
        other = "A" if handle[place] != "A" else "B"
        assert sealing().opened("upload", handle[:place] + other + handle[place + 1 :]) is None
    for broken in ("", "!", handle[:-1], "é"):
        assert sealing().opened("upload", broken) is None


def test_a_mark_shows_for_good_who_wrote_a_text() -> None:
    mark = sealing().mark("fingerprint", "text")
    assert sealing(at=NOW * 2).is_marked("fingerprint", "text", mark)
    assert not sealing().is_marked("fingerprint", "texts", mark)
    assert not sealing().is_marked("other", "text", mark)
    assert not sealing(b"x" * 32).is_marked("fingerprint", "text", mark)
