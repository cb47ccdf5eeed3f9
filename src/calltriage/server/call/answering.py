"""An answer on its way out, and what waits until it has gone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

ANSWER = "calltriage.answer"
"""Where the HTTP side notes in a request's scope which answer is being made."""


@dataclass
class Answer:
    """The answer to one request. Its transport says when it has gone, or when nobody waits for it any more.

    Attributes:
        came: when the request came at the earliest, if it may have waited for the server.
    """

    came: datetime | None = None
    _acts: list[Callable[[], None]] = field(default_factory=list[Callable[[], None]], init=False)
    _is_gone: bool = field(default=False, init=False)

    def when_gone(self, act: Callable[[], None]) -> None:
        """Do this once the answer has gone; never if nobody waits for it any more: it does not go then."""
        if not self._is_gone:
            self._acts.append(act)

    def gone(self) -> None:
        acts, self._acts, self._is_gone = self._acts, [], True
        for act in acts:
            act()
