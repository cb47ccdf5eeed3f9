"""Files to start from: `calltriage pipeline init --preset NAME`."""

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

TAIL = """
[issues]
file_after = { calls = 3, within = "24h" }   # of severity high and critical: at once
max_evidence = 20

[limits]
new_issues = 20       # of one run
usd_per_day = 5       # for detectors that ask a model
"""

PRESETS = {"voice-support": HEAD + SILENCE + TAIL}


def preset(name: str, pipeline: str, file: str) -> str:
    """The text of a file to start from."""
    head, rest = HEAD.format(name=pipeline, file=file), PRESETS[name].removeprefix(HEAD)
    return head + rest
