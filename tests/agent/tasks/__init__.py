"""The tasks."""

from __future__ import annotations

from agent.task import Task
from agent.tasks.finding import FindByDay, FindByNumber, FindByWords
from agent.tasks.flagging import CorrectFlag, FlagByQuote

TASKS: tuple[Task, ...] = (FindByDay(), FindByNumber(), FindByWords(), FlagByQuote(), CorrectFlag())
