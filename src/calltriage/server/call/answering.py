"""An answer on its way out, and what waits until it has gone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

ANSWER = "calltriage.answer"
"""Where the HTTP side notes in a request's scope which answer is being made."""


@dataclass
class Answer:
    """The answer to one request. Its transport says when it has gone, or when nobody waits for it any more."""

    _acts: list[Callable[[], None]] = field(default_factory=list[Callable[[], None]])

    def when_gone(self, act: Callable[[], None]) -> None:
        self._acts.append(act)

    def gone(self) -> None:
        acts, self._acts = self._acts, []
        for act in acts:
            act()
