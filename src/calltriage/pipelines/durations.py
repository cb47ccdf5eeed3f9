"""Lengths of time in a pipeline's file: "8s", "2m", "24h", "7d"."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import BeforeValidator

from calltriage.leaves.durations import length

Span = Annotated[timedelta, BeforeValidator(length)]
"""A length of time, such as "8s"."""
