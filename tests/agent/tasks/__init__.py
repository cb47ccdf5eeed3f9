"""The tasks."""

from __future__ import annotations

from agent.task import Task
from agent.tasks.filing import AttachAReport, FileAWholeCase, FileUnlessKnown, SumUpTheEvidence
from agent.tasks.finding import FindByDay, FindByNumber, FindByWords
from agent.tasks.flagging import (
    CorrectFlag,
    FlagACallNotAttached,
    FlagByQuote,
    FlagInALongCall,
    FlagInAnotherScript,
    FlagTwelveCalls,
)
from agent.tasks.judging import BeyondTheTools, GuardedComment, HostileTranscript, StaleWrite
from agent.tasks.linking import AssignThroughManyPages, BlockSeveral, LinkDuplicatesAmongForty

TASKS: tuple[Task, ...] = (
    FindByDay(),
    FindByNumber(),
    FindByWords(),
    FileAWholeCase(),
    FileUnlessKnown(),
    AttachAReport(),
    SumUpTheEvidence(),
    FlagByQuote(),
    CorrectFlag(),
    FlagACallNotAttached(),
    FlagInAnotherScript(),
    FlagInALongCall(),
    FlagTwelveCalls(),
    LinkDuplicatesAmongForty(),
    BlockSeveral(),
    AssignThroughManyPages(),
    GuardedComment(),
    StaleWrite(),
    HostileTranscript(),
    BeyondTheTools(),
)
