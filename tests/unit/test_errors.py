"""The tree of errors and what an agent sees of one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from calltriage import errors
from calltriage.client.answers import VENDOR_CODES
from calltriage.errors import CallError, CalltriageError, Outcome, RateLimited, Rejected, TryNext, Unreachable


def drawn_tree(docstring: str) -> dict[str, str]:
    """Each class of the drawing with the class it hangs on."""
    parents: dict[str, str] = {}
    branch: list[str] = []
    for line in docstring.splitlines():
        found = re.match(r"^ {4}([│├└─ ]*)([A-Z]\w+)\b", line)
        if found:
            depth = len(found[1]) // 4
            branch[depth:] = [found[2]]
            if depth:
                parents[found[2]] = branch[depth - 1]
    return parents


def real_tree() -> dict[str, str]:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, CalltriageError)]
    return {kind.__name__: kind.__bases__[0].__name__ for kind in kinds if kind is not CalltriageError}


def test_the_drawn_tree_is_the_real_tree() -> None:
    assert drawn_tree(errors.__doc__ or "") == real_tree()
    assert len(real_tree()) > 10


def test_every_kind_of_call_error_has_its_own_code() -> None:
    codes = [kind.default_code for kind in CallError.__subclasses__()]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", code) for code in codes)


def test_a_body_holds_what_is_known_and_nothing_else() -> None:
    assert Rejected("Mend it.").body() == {"code": "invalid_arguments", "message": "Mend it.", "retryable": False}


def test_a_body_holds_everything_that_was_given() -> None:
    error = RateLimited(
        "Wait.",
        code="busy",
        status=429,
        field="limit",
        allowed=["1"],
        retry_after_s=2.5,
        try_next=TryNext("get_issue", {"issue_id": "x"}),
        outcome="not_committed",
        request_id="r-1",
        details={"missing": 3},
    )
    assert error.body() == {
        "code": "busy",
        "message": "Wait.",
        "retryable": True,
        "status": 429,
        "field": "limit",
        "allowed": ["1"],
        "retry_after_s": 2.5,
        "try_next": {"tool": "get_issue", "arguments": {"issue_id": "x"}},
        "outcome": "not_committed",
        "request_id": "r-1",
        "request_id_of": "vendor",
        "missing": 3,
    }


def test_a_wait_of_no_seconds_is_known_too() -> None:
    assert RateLimited("Wait.", retry_after_s=0.0).body()["retry_after_s"] == 0


@pytest.mark.parametrize(
    ("outcome", "maybe"), [("unknown", True), ("not_committed", False), ("committed", False), (None, False)]
)
def test_only_an_unknown_outcome_may_have_been_applied(outcome: Outcome | None, maybe: bool) -> None:
    assert Unreachable("Gone.", outcome=outcome).maybe_applied is maybe


def test_only_errors_that_pass_by_themselves_are_retryable() -> None:
    assert {kind.__name__ for kind in CallError.__subclasses__() if kind.retryable} == {
        "RateLimited",
        "ServerFailure",
        "Unreachable",
    }


def test_every_code_that_an_agent_may_see_is_on_the_servers_page() -> None:
    root = Path(__file__).parents[2]
    patterns = (r'code="(\w+)"', r'default_code = "(\w+)"', r'code="\w+" if \w+ else "(\w+)"', r'_refusal\(\s*"(\w+)"')
    codes = set(VENDOR_CODES.values())
    for part in ("errors.py", "client", "journal", "server"):
        place = root / "src" / "calltriage" / part
        for file in [place] if place.is_file() else place.rglob("*.py"):
            source = file.read_text(encoding="utf-8")
            codes |= {found for pattern in patterns for found in re.findall(pattern, source)}
    page = root / "src" / "calltriage" / "server" / "README.md"
    written = set(re.findall(r"`(\w+)`", page.read_text(encoding="utf-8")))
    assert codes - written == set()
    assert len(codes) > 35
