"""Example files that `calltriage pipeline init --preset NAME` writes."""

from __future__ import annotations

HEAD = """# An investigation that runs by itself. Try it on calls of the past, which files nothing:
#   calltriage pipeline check {file}
#   calltriage pipeline run {file} --since 30d --dry-run
name = "{name}"

[calls]
completed = true
settle = "2m"         # a call's record may still change for so long after its end
"""

SILENCE = """
# The agent says nothing for 8 seconds though it is its turn.
[[detect]]
use = "agent_silence"
at_least = "8s"
file = "review"       # auto | review (a person accepts first) | count
"""

LOOP = """
# The agent says the same again and again.
[[detect]]
use = "agent_loop"
"""

REPEATS = """
# The caller has to say the same again.
[[detect]]
use = "caller_repeats"
"""

DIGITS = """
# The live transcript has other numbers than the one redone from the recording: one request more a call.
[[detect]]
use = "digits_differ"
"""

LATENCY = """
# The agent's answers come late: a finding when one in twenty takes 5 seconds or more.
[[detect]]
use = "answer_latency"
"""

OPENING = """
# What an agent has to say at the beginning. Write your own words here.
[[detect]]
use = "required"
name = "disclosure"
phrases = ["this call is recorded", "recorded line"]
within = "30s"
severity = "high"
"""

NEVER = """
# What an agent must never say. Write your own words here.
[[detect]]
use = "forbidden"
name = "threats"
phrases = ["we will sue", "send the police", "garnish your wages"]
severity = "critical"
"""

TAIL = """
[issues]
file_after = { calls = 3, within = "24h" }   # of severity high and critical: at once
max_evidence = 20

[limits]
new_issues = 20       # of one run
usd_per_day = 5       # for detectors that ask a model
"""

PRESETS = {
    "voice-support": HEAD + SILENCE + LATENCY + LOOP + REPEATS + TAIL,
    "outbound": HEAD + OPENING + SILENCE + LATENCY + LOOP + TAIL,
    "collections": HEAD + OPENING + NEVER + SILENCE + DIGITS + TAIL,
}


def preset(name: str, pipeline: str, file: str) -> str:
    """The text of an example. `pipeline`: its name in the file. `file`: the file's path, shown in its comments."""
    head, rest = HEAD.format(name=pipeline, file=file), PRESETS[name].removeprefix(HEAD)
    return head + rest
