"""The calls of a run: those made in a time, or one by its id."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from calltriage.errors import SettingsError
from calltriage.leaves.instants import A_TIME, instant_of, written
from calltriage.leaves.strict_json import JsonObject

LONGEST_CALL = timedelta(hours=24)
"""A call that has not ended so long after its begin is not waited for any longer."""


@dataclass(frozen=True)
class Window:
    """Calls made from `since` to `until` (instants as `written`), or the one `call`; at most `limit` of them.

    Attributes:
        asked: the arguments as text. An interrupted run is resumed if its text is equal.
        calls: name of the calls' source; None: the API.
        after: None: all these calls. Else only calls that no run of the pipeline has examined: those made from this instant
            on, and those made in the LONGEST_CALL before it that had not settled by then.
        refile: other words of a moment that another version of a detector filed are a new moment; see
            `ledger.findings.FILED_BEFORE`.
    """

    since: str | None
    until: str | None
    call: str | None
    limit: int | None
    asked: str
    calls: str | None = None
    after: str | None = None
    refile: bool = False

    def stored(self) -> JsonObject:
        return vars(self).copy()

    def expected(self, sample: float, made: int | None, listed: int = 0, *, is_listed: bool = False) -> int | None:
        """How many calls a run over the window has: an estimate until all are listed; None if it is not known.

        Args:
            sample: the share of the calls that the file asks for.
            made: calls made in the time, by the API; None if it does not say.
            listed: calls of the run that are listed so far. With `is_listed` these are all.
        """
        if self.call is not None:
            return 1
        if is_listed:
            return listed
        if made is None:
            return None
        chosen = max(listed, round(made * sample))
        return chosen if self.limit is None else min(chosen, self.limit)

    @classmethod
    def of(cls, stored: JsonObject) -> Window:
        """What a run stores as its window. It may have further members; see `ledger.tables.runs`."""
        return cls(**{name: stored[name] for name in cls.__dataclass_fields__ if name in stored})

    @staticmethod
    def arguments(asked: str) -> list[tuple[str, str]]:
        """The arguments in a text `asked`, by name."""
        parts = re.split(r"(?:^| )(since|until|call|limit|calls|refile)=", asked)[1:]
        return list(zip(parts[::2], parts[1::2], strict=True))


def window(
    now: datetime,
    *,
    since: str | None = None,
    until: str | None = None,
    call: str | None = None,
    limit: int | None = None,
    calls: str | None = None,
    settle: timedelta = timedelta(),
    is_next: bool = False,
    refile: bool = False,
) -> Window:
    """The window for a command's arguments.

    `since` and `until`: a span before now (`7d`), a day, or an instant (UTC unless it says otherwise). Without `until` the
    window ends `settle` before now. With `is_next`, calls were examined until `since`; see `Window.after`. Raises
    SettingsError for any other text, and for an empty window.
    """
    given = _given(since=since, until=until, call=call, limit=limit, calls=calls, refile="yes" if refile else None)
    asked = " ".join(f"{name}={value}" for name, value in given)
    made = partial(Window, call=call, limit=limit, asked=asked, calls=calls, refile=refile)
    if call is not None:
        return made(None, None)
    first, last = _instant(since, now, "since"), _instant(until, now, "until") or now - settle
    if first is not None and first >= last:
        raise SettingsError("There is no time between `since` and `until`. Give an earlier `since`.")
    if is_next and first is not None:
        return made(written(first - LONGEST_CALL), written(last), after=written(first))
    return made(None if first is None else written(first), written(last))


def _given(**given: object) -> list[tuple[str, object]]:
    """The arguments that are not None."""
    return [(name, value) for name, value in given.items() if value is not None]


def _instant(text: str | None, now: datetime, name: str) -> datetime | None:
    if text is None:
        return None
    try:
        return instant_of(text, now)
    except ValueError:
        raise SettingsError(f"`{name}` must be {A_TIME}, not {text[:64]!r}.") from None
