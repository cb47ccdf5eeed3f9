"""The rule `metadata`: a call's record fulfils an expression."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import AfterValidator, StringConstraints

from calltriage.pipelines.calls import Call
from calltriage.pipelines.detecting import Options, detector
from calltriage.pipelines.detectors.wording import first_words, last_spoken
from calltriage.pipelines.expressions import checked, holds
from calltriage.pipelines.findings import Finding

Expression = Annotated[str, StringConstraints(min_length=1, max_length=500), AfterValidator(checked)]


class FactOptions(Options):
    """Options of metadata."""

    when: Expression
    note: Annotated[str, StringConstraints(max_length=300)] = ""
    """Why it matters; the default names the expression."""


@detector(version=1, kind="metadata", options=FactOptions, states_facts=True)
def metadata(call: Call, options: FactOptions) -> Iterator[Finding]:
    """The call's record fulfils an expression, such as `disposition == missing` or `transferred_to != missing and
    agent_turns < 2`.

    Names are fields of the metadata and of the vendor's record, or paths into them with dots, and the counted facts `turns`,
    `agent_turns`, `caller_turns`, `agent_words`, `caller_words`, `duration_s` and `seconds_after_agent`. The finding is as
    reliable as the fields. One finding for a call, on its last words, or on the record alone if nobody spoke.
    Times: none are needed; `seconds_after_agent` is missing without them.
    """
    if not holds(options.when, call):
        return
    note = options.note or f"The call's record fulfils: {options.when}"
    last = last_spoken(call.turns)
    yield Finding(None, "", note, key=options.when) if last is None else Finding(last, first_words(last), note)
