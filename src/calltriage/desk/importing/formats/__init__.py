"""The formats that an import understands: one module each, told apart by what a file holds."""

from __future__ import annotations

from calltriage.desk.importing.formats.assemblyai import ASSEMBLYAI
from calltriage.desk.importing.formats.bland import BLAND
from calltriage.desk.importing.formats.captions import SRT, VTT
from calltriage.desk.importing.formats.chat import CHAT
from calltriage.desk.importing.formats.deepgram import DEEPGRAM
from calltriage.desk.importing.formats.elevenlabs import ELEVENLABS
from calltriage.desk.importing.formats.format import Format, TextFormat
from calltriage.desk.importing.formats.ours import OURS
from calltriage.desk.importing.formats.retell import RETELL
from calltriage.desk.importing.formats.tables import CSV
from calltriage.desk.importing.formats.twilio import TWILIO
from calltriage.desk.importing.formats.vapi import VAPI
from calltriage.desk.importing.formats.whisper import WHISPER

FORMATS: tuple[Format, ...] = (
    OURS, BLAND, CHAT, VAPI, RETELL, ELEVENLABS, TWILIO, DEEPGRAM, ASSEMBLYAI, WHISPER,
)  # fmt: skip
TEXT_FORMATS: tuple[TextFormat, ...] = (VTT, SRT, CSV)
NAMES = tuple(one.name for one in (*FORMATS, *TEXT_FORMATS))
"""What `--format` takes."""
