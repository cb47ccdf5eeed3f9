"""The pipeline's file: what it means, and what is said of one that is wrong."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from calltriage.errors import SpecError
from calltriage.pipelines.spec import parse_spec, read_spec, spec_hash
from calltriage.pipelines.toml_lines import lines_of

SMALL = """name = "refund-line"
[[detect]]
use = "agent_silence"
"""

WHOLE = """
name = "refund-line"
redact = "builtin"
[calls]
completed = true
settle = "2m"
[[detect]]
use = "agent_silence"
at_least = "8s"
file = "auto"
min_precision = 0.8
[[detect]]
use = "acme.checks:wrong_refund_window"
group_by = "pathway_id"
[[detect]]
use = "chat"
name = "promise"
endpoint = "local"
prompt = "promise.md"
sample = { rate = 0.2, always_if = ["agent_silence"] }
[endpoint.local]
base_url = "http://127.0.0.1:8000/v1"
model = "qwen3-8b"
usd_per_mtok = [0, 0]
[issues]
file_after = { calls = 3, within = "24h" }
[limits]
usd_per_day = 5
[alert]
webhook = "env:ALERT_URL"
"""


def fault(text: str) -> str:
    with pytest.raises(SpecError) as caught:
        parse_spec(text)
    return str(caught.value)


def test_a_whole_file_is_read() -> None:
    spec = parse_spec(WHOLE)
    silence, refund, promise = spec.detect
    assert spec.calls.settle == timedelta(minutes=2)
    assert (silence.known_as, silence.file, silence.options) == ("agent_silence", "auto", {"at_least": "8s"})
    assert (refund.known_as, refund.file, refund.group_by) == ("wrong_refund_window", "review", ("pathway_id",))
    assert (promise.known_as, promise.sample.rate, promise.sample.always_if) == ("promise", 0.2, ("agent_silence",))
    assert spec.issues.file_after.within == timedelta(days=1)
    assert spec.calls.listing().completed is True


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            SMALL + "fille = 'auto'\n[calls]\ncompletd = true\n",
            "line 6: calls, completd is no key. Did you mean completed?",
        ),
        (SMALL + "[limts]\nusd_per_day = 5\n", "line 4: limts is no key. Did you mean limits?"),
        (SMALL + "file = 'atuo'\n", "line 4: detect 1, file must be 'auto', 'review' or 'count'."),
        (SMALL + "severity = 'red'\n", "line 4: detect 1, severity must be 'critical', 'high', 'medium' or 'low'."),
        (SMALL + "sample = 2\n", "line 4: detect 1 sample, rate must be less than or equal to 1."),
        (SMALL + "[calls]\nsettle = -2\n", "line 5: calls, settle must be from 0 seconds to ten years"),
        (SMALL + "[calls]\nsettle = '2 minutes'\n", "line 5: calls, settle must be a length of time, such as"),
        ("name = 'a'\n", "line 1: detect is missing."),
        (SMALL + "[[detect]]\nuse = 'agent_silence'\n", "line 5: detect 2, use is the second agent_silence."),
        (
            SMALL + "name = 'now'\nwas = ['before']\n[[detect]]\nuse = 'talk_over'\nwas = ['before']\n",
            "line 8: detect 2, was names 'before', which another detector of this file has or had.",
        ),
        (
            SMALL + "name = 'now'\nwas = ['talk_over']\n[[detect]]\nuse = 'talk_over'\n",
            "line 5: detect 1, was names 'talk_over', which another detector of this file has or had.",
        ),
        (SMALL + "suppressed_by = ['agent_silense']\n", "line 4: detect 1, suppressed_by names 'agent_silense'"),
        (
            SMALL + "endpoint = 'locl'\n[endpoint.local]\nbase_url = 'http://127.0.0.1'\nmodel = 'm'\n",
            "line 4: detect 1, endpoint names no [endpoint.…] of this file. Did you mean local?",
        ),
        ("name = 'a\n", "is no TOML"),
        (
            SMALL.replace("refund", "-"),
            "line 1: name must be 1 to 64 of the letters A to Z, digits",
        ),
        (
            SMALL + "[alert]\nwebhook = 'https://hooks.example/secret'\n",
            "line 5: alert, webhook must be env:NAME, with the name of",
        ),
    ],
)
def test_a_fault_is_told_with_its_line_its_key_and_what_would_be_right(text: str, told: str) -> None:
    assert told in fault(text)


def test_every_fault_of_a_file_is_told_at_once() -> None:
    told = fault(SMALL + "file = 'atuo'\n[calls]\ncompletd = true\n").split("\n")
    assert len(told) == 2


def test_a_value_that_may_be_a_secret_is_not_repeated() -> None:
    assert "s3cret" not in fault(SMALL + "[alert]\nwebhook = 'https://hooks.example/s3cret'\n")


def test_the_hash_changes_with_the_meaning_and_not_with_comments_or_order() -> None:
    same = "# a comment\n[[detect]]\nuse = 'agent_silence'\n[calls]\ncompleted = true\n"
    with_name = 'name = "refund-line"\n' + same
    assert spec_hash(parse_spec(with_name)) == spec_hash(parse_spec(SMALL))
    assert spec_hash(parse_spec(SMALL + "at_least = '9s'\n")) != spec_hash(parse_spec(SMALL))


def test_lines_are_those_of_keys_and_not_of_text_that_looks_like_them() -> None:
    lines = lines_of('a = """\n[table]\nb = 1\n"""\n[[t]]\nc = 1\n[[t]]\nc = 2\n[x.y]\nz.q = 1\n')
    assert lines == {("a",): 1, ("t", 0): 5, ("t", 0, "c"): 6, ("t", 1): 7, ("t", 1, "c"): 8, ("x", "y"): 9,
                     ("x", "y", "z", "q"): 10}  # fmt: skip


def test_a_file_that_is_not_there_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="calltriage pipeline init"):
        read_spec(tmp_path / "none.toml")


def test_a_file_knows_its_folder_and_its_text(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text(SMALL)
    spec = read_spec(tmp_path / "p.toml")
    assert (spec.folder, spec.text) == (tmp_path, SMALL)
