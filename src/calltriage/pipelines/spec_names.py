"""Checks the names within a pipeline's file: those used twice, and those that refer to nothing."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from calltriage.leaves.nearest import nearest

if TYPE_CHECKING:
    from calltriage.pipelines.spec import Detect, Spec


def contradictions(spec: Spec) -> list[str]:
    """Faults between values: names used twice, and names that refer to nothing."""
    found, names = list[str](), set[str]()
    if not spec.detect:
        found.append(spec.fault(("detect",), "has no detector. Add a [[detect]] table."))
    for index, detect in enumerate(spec.detect):
        if detect.known_as in names:
            what = f"is the second {detect.known_as}. Give it a `name` of its own."
            found.append(spec.fault(("detect", index, "use"), what))
        names.add(detect.known_as)
    had = Counter(name for one in spec.detect for name in set(one.names))
    for index, detect in enumerate(spec.detect):
        found += _lost_names(spec, index, detect, names - {detect.known_as})
        for name in (name for name in dict.fromkeys(detect.was) if had[name] > 1):
            what = f"names {name!r}, which another detector of this file has or had. One of them needs another name."
            found.append(spec.fault(("detect", index, "was"), what))
    return found


def _lost_names(spec: Spec, index: int, detect: Detect, others: set[str]) -> list[str]:
    found, endpoint = list[str](), detect.options.get("endpoint")
    if isinstance(endpoint, str) and not endpoint.startswith("replay:") and endpoint not in spec.endpoint:
        what = f"names no [endpoint.…] of this file. {nearest(endpoint, set(spec.endpoint))}"
        found.append(spec.fault(("detect", index, "endpoint"), what))
    for key, named in (("suppressed_by", detect.suppressed_by), ("sample", detect.sample.always_if)):
        for other in set(named) - others:
            what = f"names {other!r}, which is no other detector of this file. {nearest(other, others)}"
            found.append(spec.fault(("detect", index, key), what))
    return found
