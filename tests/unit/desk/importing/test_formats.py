"""Formats of import files. The samples are invented; their shapes are those that each vendor documents."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest

from calltriage.desk.importing.checking import checked
from calltriage.desk.importing.entries import Entry
from calltriage.desk.importing.formats import FORMATS, NAMES, TEXT_FORMATS
from calltriage.desk.importing.sources import Source, find_sources
from calltriage.errors import ImportFileError

CHANGED = datetime(2026, 5, 2, 12, tzinfo=UTC)
BEGAN_MS = 1777629600000  # 2026-05-01T10:00:00Z

Spoken = tuple[str | None, str, int | None, int | None]
"""Speaker, words, and the times of a turn: when it begins and how long it takes, in milliseconds."""

TWO: list[Spoken] = [("assistant", "Good morning, how can I help?", 0, 2000), ("user", "My card is lost.", 2500, 1500)]


def untimed(turns: list[Spoken]) -> list[Spoken]:
    return [(speaker, words, None, None) for speaker, words, _, _ in turns]


BLAND: dict[str, Any] = {
    "call_id": "b-1", "created_at": "2026-05-01T10:00:00.025251+00:00", "call_length": 0.75, "to": "+15550001111",
    "from": "+15552223333", "completed": True, "inbound": False, "queue_status": "completed", "answered_by": "human",
    "summary": "Card lost.", "corrected_duration": "45", "variables": {"now": "today"}, "recording_url": None,
    "transcripts": [
        {"id": 7, "created_at": "2026-05-01T10:00:01.5+00:00", "text": TWO[0][1], "user": "assistant"},
        {"id": 9, "created_at": "2026-05-01T10:00:04+00:00", "text": TWO[1][1], "user": "user"},
    ],
}  # fmt: skip
BLAND_JOINED: dict[str, Any] = {
    **{name: value for name, value in BLAND.items() if name != "transcripts"},
    "concatenated_transcript": f"assistant: {TWO[0][1]} \n user: {TWO[1][1]} ",
}
CHAT = [
    {"role": "system", "content": "You are an agent of a bank."},
    {"role": "assistant", "content": TWO[0][1]},
    {"role": "user", "content": [{"type": "text", "text": TWO[1][1]}]},
    {"role": "assistant", "content": None, "tool_calls": []},
]
VAPI: dict[str, Any] = {
    "id": "v-1", "orgId": "o-1", "assistantId": "a-1", "type": "inboundPhoneCall", "status": "ended",
    "createdAt": "2026-05-01T09:59:58.000Z", "startedAt": "2026-05-01T10:00:00.000Z",
    "endedAt": "2026-05-01T10:01:00.000Z", "endedReason": "customer-ended-call", "customer": {"number": "+15550001111"},
    "analysis": {"summary": "Card lost."},
    "artifact": {
        "transcript": "AI: Good morning", "recordingUrl": None,
        "messages": [
            {"role": "system", "message": "You are an agent.", "time": BEGAN_MS, "secondsFromStart": 0},
            {"role": "bot", "message": TWO[0][1], "time": BEGAN_MS, "endTime": BEGAN_MS + 2000, "secondsFromStart": 0,
             "duration": 2000},
            {"role": "tool_calls", "message": "", "time": BEGAN_MS, "secondsFromStart": 2.1, "toolCalls": []},
            {"role": "user", "message": TWO[1][1], "time": BEGAN_MS + 2500, "endTime": BEGAN_MS + 4000,
             "secondsFromStart": 2.5},
        ],
    },
}  # fmt: skip
BOT = [("bot", *TWO[0][1:]), TWO[1]]
RETELL: dict[str, Any] = {
    "call_id": "r-1", "call_type": "phone_call", "agent_id": "a-1", "call_status": "ended",
    "start_timestamp": BEGAN_MS, "end_timestamp": BEGAN_MS + 60_000, "duration_ms": 60_000,
    "from_number": "+15550001111", "to_number": "+15552223333", "direction": "inbound",
    "transcript": f"Agent: {TWO[0][1]}\nUser: {TWO[1][1]}\n",
    "transcript_object": [
        {"role": "agent", "content": TWO[0][1], "words": [{"word": "Good", "start": 0.0, "end": 0.4},
                                                          {"word": "help?", "start": 1.6, "end": 2.0}]},
        {"role": "user", "content": TWO[1][1], "words": [{"word": "My", "start": 2.5, "end": 4.0}]},
    ],
    "call_analysis": {"call_summary": "Card lost.", "user_sentiment": "Neutral", "call_successful": True},
}  # fmt: skip
ELEVENLABS: dict[str, Any] = {
    "agent_id": "a-1", "conversation_id": "conv_1", "status": "done",
    "transcript": [
        {"role": "agent", "message": TWO[0][1], "time_in_call_secs": 0, "tool_calls": [], "tool_results": []},
        {"role": "agent", "message": None, "time_in_call_secs": 2, "tool_calls": [{"tool_name": "look_up"}]},
        {"role": "user", "message": TWO[1][1], "time_in_call_secs": 3},
    ],
    "metadata": {"start_time_unix_secs": BEGAN_MS // 1000, "call_duration_secs": 60, "cost": 10},
    "analysis": {"call_successful": "success", "transcript_summary": "Card lost."}, "has_audio": False,
}  # fmt: skip
TWILIO: dict[str, Any] = {
    "sentences": [
        {"media_channel": 2, "sentence_index": 1, "start_time": "2.5", "end_time": "4.0", "transcript": TWO[1][1],
         "sid": "GX" + "b" * 32, "confidence": "0.9"},
        {"media_channel": 1, "sentence_index": 0, "start_time": "0.0", "end_time": "2.0", "transcript": TWO[0][1],
         "sid": "GX" + "a" * 32, "confidence": "0.9"},
    ],
    "meta": {
        "key": "sentences", "page": 0, "page_size": 50, "next_page_url": None, "previous_page_url": None,
        "url": f"https://intelligence.twilio.com/v2/Transcripts/GT{'c' * 32}/Sentences?PageSize=50&Page=0",
    },
}  # fmt: skip
DEEPGRAM: dict[str, Any] = {
    "metadata": {"request_id": "d-1", "created": "2026-05-01T10:00:00.000Z", "duration": 60.0, "channels": 1},
    "results": {
        "channels": [{"alternatives": [{"transcript": "good morning", "confidence": 0.9, "words": [
            {"word": "good", "punctuated_word": "Good", "start": 0.0, "end": 1.0, "speaker": 0},
            {"word": "morning", "punctuated_word": "morning.", "start": 1.0, "end": 2.0, "speaker": 0},
            {"word": "hi", "punctuated_word": "Hi.", "start": 2.5, "end": 4.0, "speaker": 1},
        ]}]}],
        "utterances": [
            {"start": 0.0, "end": 2.0, "confidence": 0.9, "channel": 0, "transcript": TWO[0][1], "speaker": 0, "id": "x"},
            {"start": 2.5, "end": 4.0, "confidence": 0.9, "channel": 0, "transcript": TWO[1][1], "speaker": 1, "id": "y"},
        ],
    },
}  # fmt: skip
DEEPGRAM_WORDS = {**DEEPGRAM, "results": {"channels": DEEPGRAM["results"]["channels"]}}
ASSEMBLYAI: dict[str, Any] = {
    "id": "as-1", "status": "completed", "audio_url": "https://example.com/a.wav", "audio_duration": 60,
    "text": f"{TWO[0][1]} {TWO[1][1]}", "words": [], "speech_model": "universal", "language_code": "en",
    "utterances": [
        {"speaker": "A", "text": TWO[0][1], "start": 0, "end": 2000, "confidence": 0.9, "words": []},
        {"speaker": "B", "text": TWO[1][1], "start": 2500, "end": 4000, "confidence": 0.9, "words": []},
    ],
}  # fmt: skip
WHISPER: dict[str, Any] = {
    "text": " Good morning", "language": "en",
    "segments": [
        {"id": 0, "seek": 0, "start": 0.0, "end": 2.0, "text": f" {TWO[0][1]}", "tokens": [1], "no_speech_prob": 0.1},
        {"id": 1, "seek": 0, "start": 2.5, "end": 4.0, "text": f" {TWO[1][1]}", "tokens": [2], "no_speech_prob": 0.1},
    ],
}  # fmt: skip
WHISPER_CPP = {
    "result": {"language": "en"}, "model": {"type": "base"},
    "transcription": [
        {"timestamps": {"from": "00:00:00,000", "to": "00:00:02,000"}, "offsets": {"from": 0, "to": 2000},
         "text": TWO[0][1]},
        {"timestamps": {"from": "00:00:02,500", "to": "00:00:04,000"}, "offsets": {"from": 2500, "to": 4000},
         "text": TWO[1][1]},
    ],
}  # fmt: skip
VTT = f"""\
WEBVTT - a call

NOTE
Agent: this is a note, nobody said it --
over two lines

STYLE
::cue(v[voice="Agent"]) {{ color: lime }}

1
00:00.000 --> 00:02.000 align:start
<v.loud Agent>{TWO[0][1].replace("help", "<i>help</i>")}</v>

00:00:02.500 --> 00:00:04.000
<v Mary Ann>My card is lost.
"""
SRT = f"""\
1
00:00:00,000 --> 00:00:02,000
Agent: {TWO[0][1]}

2
00:00:02,500 --> 00:00:04,000
Caller: <b>{TWO[1][1]}</b>
"""
CSV = f"""\
Call ID,Time,Speaker,Text,Mood
c-1,2026-05-01T10:00:00Z,agent,"{TWO[0][1]}",calm
c-2,2026-05-01T11:00:00Z,agent,Hello,
c-1,2026-05-01T10:00:02.500Z,caller,{TWO[1][1]},cross
"""


def speakers(first: str | None, second: str | None) -> list[Spoken]:
    return [(first, *TWO[0][1:]), (second, *TWO[1][1:])]


JSON: dict[str, tuple[str, Any, str, list[Spoken]]] = {
    "ours": ("calltriage", {"call_id": "o-1", "created_at": "2026-05-01T10:00:00Z", "turns": [
        {"speaker": "agent", "text": TWO[0][1], "start_ms": 0, "duration_ms": 2000},
        {"speaker": "caller", "text": TWO[1][1], "start_ms": 2500, "duration_ms": 1500}]}, "o-1", TWO),
    "our conversation": ("calltriage", {"kind": "sms_conversation", "conversation_id": "s-1",
        "created_at": "2026-05-01T10:00:00Z", "messages": [{"sender": "user", "text": "Hi"}]}, "s-1", []),
    "bland": ("bland", BLAND, "b-1", untimed(TWO)),
    "bland joined": ("bland", BLAND_JOINED, "b-1", untimed(TWO)),
    "bland unanswered": ("bland", {**BLAND, "transcripts": [], "concatenated_transcript": ""}, "b-1", []),
    "chat": ("chat", {"id": "ch-1", "created": BEGAN_MS // 1000, "messages": CHAT}, "ch-1", untimed(TWO)),
    "vapi": ("vapi", VAPI, "v-1", cast("list[Spoken]", BOT)),
    "vapi report": ("vapi", {"message": {"type": "end-of-call-report", "endedReason": "x", "artifact": VAPI["artifact"],
        "call": {name: VAPI[name] for name in ("id", "orgId", "createdAt")}}}, "v-1", cast("list[Spoken]", BOT)),
    "retell": ("retell", RETELL, "r-1", TWO),
    "retell webhook": ("retell", {"event": "call_ended", "call": RETELL}, "r-1", TWO),
    "retell text": ("retell", {name: RETELL[name] for name in RETELL if name != "transcript_object"}, "r-1",
        untimed(TWO)),
    "elevenlabs": ("elevenlabs", ELEVENLABS, "conv_1",
        [("assistant", TWO[0][1], 0, None), ("user", TWO[1][1], 3000, None)]),
    "elevenlabs webhook": ("elevenlabs", {"type": "post_call_transcription", "event_timestamp": 1777629700,
        "data": ELEVENLABS}, "conv_1", [("assistant", TWO[0][1], 0, None), ("user", TWO[1][1], 3000, None)]),
    "twilio": ("twilio", TWILIO, "GT" + "c" * 32, speakers("1", "2")),
    "twilio with its transcript": ("twilio", {**TWILIO, "sid": "GT" + "d" * 32, "date_created": "2026-05-01T10:00:00Z",
        "channel": {"participants": [{"channel_participant": 1, "role": "Agent"},
                                     {"channel_participant": 2, "role": "Customer"}]}},
        "GT" + "d" * 32, TWO),
    "deepgram": ("deepgram", DEEPGRAM, "d-1", speakers("0", "1")),
    "deepgram words": ("deepgram", DEEPGRAM_WORDS, "d-1",
        [("0", "Good morning.", 0, 2000), ("1", "Hi.", 2500, 1500)]),
    "assemblyai": ("assemblyai", ASSEMBLYAI, "as-1", speakers("A", "B")),
    "whisper": ("whisper", WHISPER, "named", speakers(None, None)),
    "whisper diarized": ("whisper", {"text": "x", "duration": 4.0, "segments": [
        {"type": "transcript.text.segment", "id": f"seg_{n}", "speaker": "AB"[n], "text": TWO[n][1], "start": start,
         "end": end} for n, (start, end) in enumerate(((0.0, 2.0), (2.5, 4.0)))]}, "named", speakers("A", "B")),
    "whisper.cpp": ("whisper", WHISPER_CPP, "named", speakers(None, None)),
    "whisper text alone": ("whisper", {"text": f" {TWO[0][1]}"}, "named", [(None, TWO[0][1], None, None)]),
    "whisper text with usage": ("whisper", {"text": TWO[0][1], "usage": {"type": "tokens", "input_tokens": 14,
        "input_token_details": {"text_tokens": 0, "audio_tokens": 14}, "output_tokens": 45, "total_tokens": 59}},
        "named", [(None, TWO[0][1], None, None)]),
    "whisper of groq": ("whisper", {"text": TWO[0][1], "x_groq": {"id": "req_1"}}, "named",
        [(None, TWO[0][1], None, None)]),
    "whisper words": ("whisper", {"task": "transcribe", "language": "english", "duration": 2.0, "text": TWO[0][1],
        "words": [{"word": "Good", "start": 0.0, "end": 0.5}, {"word": "help", "start": 1.5, "end": 2.0}],
        "usage": {"type": "duration", "seconds": 2}}, "named", [(None, *TWO[0][1:])]),
}  # fmt: skip
TEXTS: dict[str, tuple[str, str, str, list[Spoken]]] = {
    "vtt": ("vtt", VTT, "named", speakers("assistant", "Mary Ann")),
    "srt": ("srt", SRT, "named", TWO),
    "csv": ("csv", CSV, "c-1", [("assistant", TWO[0][1], 0, None), ("user", TWO[1][1], 2500, None)]),
    "csv, semicolons": ("csv", CSV.replace("help, ", "help ").replace(",", ";").replace("morning;", "morning,"), "c-1",
        [("assistant", TWO[0][1], 0, None), ("user", TWO[1][1], 2500, None)]),
}  # fmt: skip
SAMPLES = {name: (form, json.dumps(value), call, turns) for name, (form, value, call, turns) in JSON.items()} | TEXTS


def read(data: str | bytes, **how: Any) -> tuple[list[Entry], list[str], list[str]]:
    raw = data.encode() if isinstance(data, str) else data
    source = Source("", lambda: cast("BinaryIO", BytesIO(raw)), stem="named", changed=CHANGED)
    with checked([source], **how) as found:
        return list(found.entries), found.complaints, found.notes


def spoken(entry: Entry) -> list[Spoken]:
    rows = entry.values["record"].get("transcripts", [])
    return [(row["user"], row["text"], row.get("start_ms"), row.get("duration_ms")) for row in rows]


@pytest.mark.parametrize("name", SAMPLES)
def test_a_call_is_read_from_each_format_by_its_content(name: str) -> None:
    _, text, call_id, turns = SAMPLES[name]
    entries, complaints, _ = read(text)
    assert complaints == []
    assert (entries[0].id, spoken(entries[0])) == (call_id, turns)


@pytest.mark.parametrize("name", SAMPLES)
def test_no_reader_takes_the_sample_of_another_for_its_own(name: str) -> None:
    form, text, call_id, turns = SAMPLES[name]
    assert [one.name for one in TEXT_FORMATS if one.matches(text)] == ([form] if name in TEXTS else [])
    if name in JSON:
        assert [one.name for one in FORMATS if one.matches(JSON[name][1])] == [form]
    for other in NAMES:
        entries, complaints, _ = read(text, format_name=other)
        if other == form:
            assert [(entries[0].id, spoken(entries[0]))] == [(call_id, turns)]
        else:
            assert entries == [], f"{other} read {name}"
            assert complaints, f"{other} says nothing of {name}"


@pytest.mark.parametrize("name", JSON)
def test_json_is_read_alone_in_lists_and_a_line_each(name: str) -> None:
    _, value, call_id, turns = JSON[name]
    for text in (
        json.dumps(value, indent=2),
        json.dumps([value]),
        json.dumps([value], indent=2),
        json.dumps({"calls": [value]}),
        json.dumps({"count": 1, "calls": [value]}, indent=2),
        "\n" + json.dumps(value) + "\n\n",
    ):
        entries, complaints, _ = read(text)
        assert (complaints, [(one.id, spoken(one)) for one in entries]) == ([], [(call_id, turns)])


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("form", ["list", "lines", "pretty lines"])
def test_turns_of_a_chat_are_one_call_however_they_stand(form: str, indent: int | None) -> None:
    parts = [json.dumps(one, indent=2 if form == "pretty lines" else None) for one in CHAT]
    text = json.dumps(CHAT, indent=indent) if form == "list" else "\n".join(parts)
    (entry,), complaints, notes = read(text)
    assert (entry.id, spoken(entry), complaints) == ("named", untimed(TWO), [])
    assert entry.values["record"]["metadata"]["instructions"] == "You are an agent of a bank."
    assert len(notes) == 2


def test_each_line_that_is_a_list_of_turns_is_a_call() -> None:
    entries, _, _ = read("\n".join([json.dumps(CHAT), json.dumps(CHAT[1:2])]))
    assert [(one.id, len(spoken(one))) for one in entries] == [("named", 2), ("named-2", 1)]


FACTS: dict[str, dict[str, Any]] = {
    "bland": {"created_at": BLAND["created_at"], "call_length": 0.75, "summary": "Card lost.", "answered_by": "human"},
    "vapi": {"created_at": "2026-05-01T10:00:00.000Z", "call_length": 1.0, "summary": "Card lost.", "inbound": True},
    "retell": {"created_at": "2026-05-01T10:00:00.000Z", "call_length": 1.0, "from": "+15550001111", "completed": True},
    "elevenlabs": {"created_at": "2026-05-01T10:00:00.000Z", "call_length": 1.0, "summary": "Card lost."},
    "deepgram": {"created_at": "2026-05-01T10:00:00.000Z", "call_length": 1.0},
    "chat": {"created_at": "2026-05-01T10:00:00.000Z"},
    "assemblyai": {"created_at": "2026-05-02T12:00:00.000Z", "call_length": 1.0},
    "csv": {"created_at": "2026-05-01T10:00:00+00:00"},
    "vtt": {"created_at": "2026-05-02T12:00:00.000Z"},
}


@pytest.mark.parametrize("name", FACTS)
def test_what_a_format_says_of_a_call_is_kept(name: str) -> None:
    (entry, *_), _, notes = read(SAMPLES[name][1])
    record = entry.values["record"]
    assert {key: record.get(key, record["metadata"].get(key)) for key in FACTS[name]} == FACTS[name]
    assert any("dated by the file's" in note for note in notes) == (FACTS[name]["created_at"][:10] == "2026-05-02")


def words(text: str) -> list[tuple[Any, Any, Any]]:
    (entry,), complaints, _ = read(text)
    assert complaints == []
    return [(user, said, start) for user, said, start, _ in spoken(entry)]


AS_PROGRAMS_WRITE = {
    "a blank line below the times": (
        "WEBVTT\n\n00:01.000 --> 00:02.000\n\nAgent: Hello\n\nand welcome\n\n00:03.000 --> 00:04.000\nUser: 4417\n",
        [("assistant", "Hello\nand welcome", 1000), ("user", "4417", 3000)],
    ),
    "a comma before milliseconds": (
        "WEBVTT\n\n00:00:01,000 --> 00:00:02,000\n<v Ann>Yes, 1,000\n\n00:03.000-->00:04.000align:start\n<v Bob>No\n",
        [("Ann", "Yes, 1,000", 1000), ("Bob", "No", 3000)],
    ),
    "an arrow in a note": (
        "WEBVTT\n\nNOTE cut\nhere --> there\n\nSTYLE\n::cue { color: red }\n\n00:01.000 --> 00:02.000\n<v Ann>\nYes\n",
        [("Ann", "Yes", 1000)],
    ),
    "a subtitle without its number": (
        "1\n00:00:01,000 --> 00:00:02,000\nAgent: Hi\\Nthere\n\n00:00:03,000 --> 00:00:04,000\nUser: Yes\n\n4417\n\n7\n\n"
        "00:00:05,000 --> 00:00:06,000\nAgent: Bye\n",
        [("assistant", "Hi\nthere", 1000), ("user", "Yes\n4417", 3000), ("assistant", "Bye", 5000)],
    ),
    "a separator above the header": (
        "\ufeffsep=;\r\ncall_id;time;speaker;text\r\nc-1;2026-05-01T10:00:00Z;Ann;Yes; no\r\n".replace("; no", ", no"),
        [("Ann", "Yes, no", 0)],
    ),
    "a day with points": (
        "call_id;time;speaker;text\nc-1;01.05.2026 10:00;Ann;Yes\nc-1;1.5.2026, 10:00:05;Bob;No\n",
        [("Ann", "Yes", 0), ("Bob", "No", 5000)],
    ),
    "seconds by their name": (
        "call_id,offset_seconds,speaker,text\nc-1,1.5,Ann,Yes\nc-1,3,Bob,No\n",
        [("Ann", "Yes", 1500), ("Bob", "No", 3000)],
    ),
    "a call of Vapi with its text alone": (
        json.dumps({"id": "v-2", "orgId": "o", "createdAt": "2026-05-01T10:00:00Z", "type": "webCall", "messages": None,
                    "artifact": {"messages": None, "transcript": "AI: Hello\nUser: Hi\n"}}),
        [("AI", "Hello", None), ("user", "Hi", None)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", AS_PROGRAMS_WRITE)
def test_what_programs_write_beside_the_standard_is_read_whole(name: str) -> None:
    text, said = AS_PROGRAMS_WRITE[name]
    assert words(text) == said


@pytest.mark.parametrize("cell", ["32.05.2026 10:00", "01.05.2026 25:00", "05/01/2026 10:00"])
def test_a_day_that_is_none_or_may_be_two_is_refused(cell: str) -> None:
    entries, complaints, _ = read(f"call_id;time;speaker;text\nc-1;{cell};Ann;Yes\n")
    assert entries == []
    assert "line 2: time: expected ISO 8601" in complaints[0]


def test_rows_below_a_separator_are_counted_from_the_first_line() -> None:
    _, complaints, _ = read("sep=,\ncall_id,time,speaker,text\nc-1,,Ann\n")
    assert complaints == ["line 3: expected 4 cells as in the header, found 3"]


def test_a_call_without_a_time_is_no_other_one_when_its_file_changes() -> None:
    def entry(changed: datetime) -> Entry:
        source = Source("", lambda: cast("BinaryIO", BytesIO(VTT.encode())), stem="named", changed=changed)
        with checked([source]) as found:
            return next(iter(found.entries))

    assert entry(CHANGED).digest == entry(datetime(2026, 6, 1, tzinfo=UTC)).digest


def test_a_joined_transcript_is_told_as_one() -> None:
    (entry,), _, _ = read(json.dumps(BLAND_JOINED))
    assert entry.values["record"]["metadata"]["transcript_source"] == "concatenated_transcript"
    (unmarked,), _, _ = read(json.dumps({**BLAND_JOINED, "concatenated_transcript": "hello how are you"}))
    assert spoken(unmarked) == [(None, "hello how are you", None, None)]


def test_a_colon_in_what_is_said_makes_no_speaker() -> None:
    said = ["Agent: Here you are.", "Agent: Two things: first the card.", "The truth is: I lost it.", "Agent: I see."]
    cues = "\n\n".join(f"00:0{n}.000 --> 00:0{n}.900\n{text}" for n, text in enumerate(said))
    (entry,), _, _ = read(f"WEBVTT\n\n{cues}\n")
    assert [(speaker, text) for speaker, text, _, _ in spoken(entry)] == [
        ("assistant", "Here you are."),
        ("assistant", "Two things: first the card."),
        (None, "The truth is: I lost it."),
        ("assistant", "I see."),
    ]


@pytest.mark.parametrize(
    ("speaker", "shown"),
    [
        ("Kund", "Kund"), ("Kunde", "Kunde"), ("Mitarbeiterin", "Mitarbeiterin"), ("Cliente", "Cliente"),
        ("Client", "Client"), ("Müşteri", "Müşteri"), ("MÜŞTERİ", "MÜŞTERİ"), ("العميل", "العميل"), ("לקוח", "לקוח"),
        ("客户", "客户"), ("お客様", "お客様"), ("ลูกค้า", "ลูกค้า"), ("Operator", "Operator"), ("Speaker 2", "Speaker 2"),
        ("Caller", "user"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("said", ["{}: tack", "{}： tack", ">> {} : tack", "[{}] tack", "{}：tack"])
def test_one_speaker_mark_alone_is_read_where_it_names_a_role(speaker: str, shown: str, said: str) -> None:
    cues = ["Good morning.", said.format(speaker), "Bye."]
    for some in (cues, cues[1:2]):
        text = "\n\n".join(f"00:0{n}.000 --> 00:0{n}.900\n{one}" for n, one in enumerate(some))
        (entry,), _, _ = read(f"WEBVTT\n\n{text}\n")
        assert (shown, "tack") in [turn[:2] for turn in spoken(entry)]


@pytest.mark.parametrize("said", ["Note: nothing", "Two things: first", "Notice:nothing", "12:30 is fine", "At 12：30"])
def test_one_colon_alone_makes_no_speaker(said: str) -> None:
    (entry,), _, _ = read(f"WEBVTT\n\n00:00.000 --> 00:00.900\n{said}\n\n00:01.000 --> 00:01.900\nAgent: Yes.\n\n"
                          "00:02.000 --> 00:02.900\nGood.\n")  # fmt: skip
    assert spoken(entry)[0][:2] == (None, said)


def test_voices_of_one_caption_are_turns_of_their_own() -> None:
    (entry,), _, _ = read("WEBVTT\n\n00:01.000 --> 00:02.000\n<v A>Hello</v> <v B>Hi &amp; bye</v>\n")
    assert spoken(entry) == [("A", "Hello", 1000, 1000), ("B", "Hi & bye", 1000, 1000)]


def captions(form: str, *cues: str) -> str:
    texts = [f"00:00:0{n}.000 --> 00:00:0{n}.900\n{cue}" for n, cue in enumerate(cues, 1)]
    if form == "vtt":
        return "\n\n".join(["WEBVTT", *texts]) + "\n"
    return "\n\n".join(f"{n}\n{text.replace('.', ',', 2)}" for n, text in enumerate(texts, 1)) + "\n"


SHARED: dict[str, tuple[list[str], list[tuple[str | None, str]]]] = {
    "names": (["Agent: I will refund you.\nCaller: You are lying."],
              [("assistant", "I will refund you."), ("user", "You are lying.")]),
    "names behind dashes": (["- Agent: One moment.\n- Caller: No!"], [("assistant", "One moment."), ("user", "No!")]),
    "names close behind dashes, words below": (["-Agent: One moment.\n-Caller: No,\nI won't."],
                                               [("assistant", "One moment."), ("user", "No,\nI won't.")]),
    "names in brackets": (["[Agent] Yes?\n[Caller] No."], [("assistant", "Yes?"), ("user", "No.")]),
    "names above the words": (["Agent:\nYes?\nCaller:\nNo."], [("assistant", "Yes?"), ("user", "No.")]),
    "names that come again": (["Dana: Yes?\nLee: No.", "Lee: Why?\nDana: So."],
                              [("Dana", "Yes?"), ("Lee", "No."), ("Lee", "Why?"), ("Dana", "So.")]),
    "one name on the second line": (["I will.\nCaller: You lie."], [(None, "I will."), ("user", "You lie.")]),
    "dashes alone": (["- Where is it?\n- I sent it."], [(None, "Where is it?"), (None, "I sent it.")]),
    "long dashes": (["–Where is it?\n— I sent it."], [(None, "Where is it?"), (None, "I sent it.")]),
}  # fmt: skip


@pytest.mark.parametrize("form", ["vtt", "srt"])
@pytest.mark.parametrize("name", SHARED)
def test_speakers_that_share_a_caption_have_its_start_and_no_length(name: str, form: str) -> None:
    cues, said = SHARED[name]
    (entry,), complaints, _ = read(captions(form, *cues, "Good."))
    assert complaints == []
    assert [turn[:2] for turn in spoken(entry)] == [*said, (None, "Good.")]
    assert [turn[2:] for turn in spoken(entry)[:2]] == [(1000, None)] * 2
    assert spoken(entry)[-1][2:] == (1000 * len(cues) + 1000, 900)


def test_names_of_which_none_comes_again_are_speakers_where_every_line_of_a_file_has_one() -> None:
    (entry,), _, _ = read(captions("srt", "Dana: Yes?\nLee: No."))
    assert [turn[:2] for turn in spoken(entry)] == [("Dana", "Yes?"), ("Lee", "No.")]


@pytest.mark.parametrize(
    ("cue", "speaker", "said"),
    [
        ("Agent: I will.\nNote: call back at 5:30", "assistant", "I will.\nNote: call back at 5:30"),
        ("Agent: Tea or coffee:\n- Tea\n- Coffee", "assistant", "Tea or coffee:\n- Tea\n- Coffee"),
        ("Agent: Well.\n[laughs] Yes.\n[laughs] No.", "assistant", "Well.\n[laughs] Yes.\n[laughs] No."),
        ("Agent: Yes.\nAgent: No.", "assistant", "Yes.\nNo."),
        ("<v Agent>- Tea\n- Coffee", "assistant", "- Tea\n- Coffee"),
        ("- I was going to\nsay that", None, "- I was going to\nsay that"),
        ("- I was going to say that", None, "- I was going to say that"),
        ("-- I was\n-- going", None, "-- I was\n-- going"),
        ("-5 today\n-3 tomorrow", None, "-5 today\n-3 tomorrow"),
    ],
)
@pytest.mark.parametrize("form", ["vtt", "srt"])
def test_a_caption_of_one_speaker_stays_one_turn(form: str, cue: str, speaker: str | None, said: str) -> None:
    for cues in ([cue], [cue, "Caller: Fine."]):
        (entry,), _, _ = read(captions(form, *cues))
        assert spoken(entry)[0] == (speaker, said, 1000, 900)
        assert len(spoken(entry)) == len(cues)


@pytest.mark.parametrize(
    ("times", "offsets"),
    [
        (("1777629600", "1777629602.5"), [0, 2500]),
        (("1777629600000", "1777629602500"), [0, 2500]),
        (("0", "2.5"), [0, 2500]),
        (("00:00", "00:02.5"), [0, 2500]),
        (("0:00:00", "0:00:02,5"), [0, 2500]),
        (("2026-05-01 10:00:00", "2026-05-01 10:00:02.500"), [0, 2500]),
        (("", ""), [None, None]),
    ],
)
def test_times_of_a_table_are_told_apart(times: tuple[str, str], offsets: list[int | None]) -> None:
    rows = "\n".join(f'c-1\t"{time}"\tagent\thi' for time in times)
    (entry,), complaints, _ = read(f"call\ttime\tspeaker\ttext\n{rows}\n")
    assert complaints == []
    assert [turn[2] for turn in spoken(entry)] == offsets
    assert entry.values["created_at"][:10] == ("2026-05-01" if len(times[0]) > 7 else "2026-05-02")


@pytest.mark.parametrize(
    ("times", "offsets"),
    [
        (["2026-05-01T10:00:08Z", "2026-05-01T12:00:04+02:00", "2026-05-01T10:00:00Z"], [0, 4000, 8000]),
        (["01.05.2026 10:00:08", "01.05.2026 10:00:04", "01.05.2026 10:00"], [0, 4000, 8000]),
        (["1777629608000", "1777629604000", "1777629600000"], [0, 4000, 8000]),
        (["8", "00:04", "0"], [0, 4000, 8000]),
    ],
)
def test_rows_of_a_call_are_in_the_order_of_their_times(times: list[str], offsets: list[int]) -> None:
    rows = "".join(f"c-1,{time},agent,{said}\n" for time, said in zip(times, ("third", "second", "first"), strict=True))
    (entry,), complaints, _ = read(f"call,time,speaker,text\n{rows}c-1,{times[0]},agent,last\n")
    assert complaints == []
    assert [turn[1] for turn in spoken(entry)] == ["first", "second", "third", "last"]
    assert [turn[2] for turn in spoken(entry)] == [*offsets, offsets[-1]]
    assert entry.values["created_at"] == (
        "2026-05-01T10:00:00.000Z" if len(times[0]) > 2 else "2026-05-02T12:00:00.000Z"
    )


@pytest.mark.parametrize("times", [("8", "", "4"), ("2026-05-01T10:00:08Z", "2", "2026-05-01T10:00:00Z"),
                                   ("2026-05-01T10:00:08Z", "2026-05-01T10:00:04", "2026-05-01T10:00:00Z")])  # fmt: skip
def test_rows_whose_times_are_not_all_known_alike_stay_as_they_are(times: tuple[str, ...]) -> None:
    rows = "".join(f"c-1,{time},agent,{said}\n" for time, said in zip(times, "abc", strict=True))
    (entry,), complaints, _ = read(f"call,time,speaker,text\n{rows}")
    assert (complaints, [turn[1] for turn in spoken(entry)]) == ([], ["a", "b", "c"])


BY_CHANNEL: dict[str, Any] = {
    "ours": {"call_id": "o-1", "created_at": "2026-05-01T10:00:00Z", "turns": [
        {"speaker": "agent", "text": one[1], "start_ms": one[2]} for one in (TWO[1], TWO[0])]},
    "deepgram": {**DEEPGRAM, "results": {**DEEPGRAM["results"],
                                         "utterances": DEEPGRAM["results"]["utterances"][::-1]}},
    "assemblyai": {**ASSEMBLYAI, "utterances": ASSEMBLYAI["utterances"][::-1]},
    "whisper": {**WHISPER, "segments": WHISPER["segments"][::-1]},
    "retell": {**RETELL, "transcript_object": RETELL["transcript_object"][::-1]},
}  # fmt: skip


@pytest.mark.parametrize("name", BY_CHANNEL)
def test_turns_are_in_the_order_of_their_times(name: str) -> None:
    (entry,), _, _ = read(json.dumps(BY_CHANNEL[name]))
    assert [turn[1:3] for turn in spoken(entry)] == [one[1:3] for one in TWO]
    assert [row["id"] for row in entry.values["record"]["transcripts"]] == [0, 1]


def test_turns_of_which_one_has_no_time_stay_as_they_are() -> None:
    for start in ({}, {"start_ms": None}, {"start_ms": "4"}, {"start_ms": True}):
        turns = [{"speaker": "agent", "text": "a", "start_ms": 8}, {"speaker": "agent", "text": "b", **start}]
        (entry,), _, _ = read(json.dumps({"call_id": "o-1", "created_at": "2026-05-01T10:00:00Z", "turns": turns}))
        assert [turn[1] for turn in spoken(entry)] == ["a", "b"]


BROKEN: dict[str, tuple[str, str]] = {
    "a row without its cells": (CSV + "c-3,x\n", "line 5: expected 5 cells as in the header, found 2"),
    "a time that is none": (CSV + "c-3,noon,agent,hi,\n", "line 5: time: expected ISO 8601"),
    "a quote without end": (CSV + 'c-3,,agent,"hi,\n', "line 5: expected cells, quoted"),
    "a cue without its times": (VTT + "\n00:05 -> x\n\nx --> y\nhm\n", "line 19 is no line of times: expected 00:00:01"),
    "captions without words": ("WEBVTT\n\nNOTE nothing\n", "holds no words: expected cues"),
    "a transcript under way": (json.dumps({**ASSEMBLYAI, "status": "queued"}), "line 1: is a transcript that is not"),
    "a page of several": (
        json.dumps({**TWILIO, "meta": {**TWILIO["meta"], "next_page_url": "https://x"}}), "line 1: is the first page"),
    "an object of no format": ('{"hello": "world"}', "line 1: is a call in no format that is known here (calltriage, bland"),
    "a member of another type": (
        json.dumps({**RETELL, "transcript_object": [{"role": "agent", "content": 5}]}), "line 1: turns.0.text: "),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_read_is_named_with_its_place_and_what_was_expected(name: str) -> None:
    text, complaint = BROKEN[name]
    _, complaints, _ = read(text)
    assert len(complaints) == 1
    assert complaints[0].startswith(complaint)


def test_a_file_of_no_format_is_named_and_a_table_is_told_the_names_of_columns(tmp_path: Path) -> None:
    columns = "names speaker (or role, participant, party, user, who, sender), text (or content, message, transcript, "
    texts = {"table.csv": "Anruf;Zeit;Sprecher;Text\na;1;b;c\n", "letter.txt": "Dear all, see the calls attached.\n"}
    for name, text in texts.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
        with checked(find_sources([tmp_path / name])) as found:
            (complaint,) = found.complaints
        assert complaint.startswith(
            f"{tmp_path / name}: is in no format that is known here: expected JSON, WebVTT, SRT"
        )
        assert (columns in complaint) == (name == "table.csv")
    _, complaints, _ = read(texts["table.csv"], format_name="csv")
    assert columns in complaints[0]


def test_what_is_no_file_is_not_dated_by_one() -> None:
    source = Source("", lambda: cast("BinaryIO", BytesIO(VTT.encode())), changed=CHANGED, title="standard input")
    with checked([source]) as found:
        assert "calls without a time of their own: 1, dated by when they arrived" in found.notes


def test_a_file_is_not_in_the_format_that_is_insisted_on() -> None:
    _, complaints, _ = read(json.dumps(RETELL), format_name="vapi")
    assert complaints == [
        "line 1: is not in the format vapi: expected an object with `id` and `messages` or `artifact.messages`"
    ]


def test_a_folder_gives_its_files_in_order_packed_or_not(tmp_path: Path) -> None:
    (tmp_path / "may" / "deep").mkdir(parents=True)
    (tmp_path / "may" / "1 first.vtt").write_text(VTT, encoding="utf-8")
    (tmp_path / "may" / "2.json.gz").write_bytes(gzip.compress(json.dumps(RETELL).encode()))
    (tmp_path / "may" / "deep" / "3.csv").write_text(CSV, encoding="cp1252")
    (tmp_path / "may" / ".hidden").write_text("no import file", encoding="utf-8")
    (tmp_path / "may" / "link.vtt").symlink_to(tmp_path / "may" / "1 first.vtt")
    (tmp_path / "one.srt").write_text(SRT, encoding="utf-16")
    with checked(find_sources([tmp_path / "may", tmp_path / "one.srt"])) as found:
        assert found.complaints == []
        assert [entry.id for entry in found.entries] == ["1-first", "r-1", "c-1", "c-2", "one"]
        assert "one.srt, read as UTF-16" in found.notes
    with pytest.raises(ImportFileError, match="no file to import"):
        find_sources([(tmp_path / "empty").mkdir() or tmp_path / "empty"])


@pytest.mark.parametrize("names", [("a/call.vtt", "b/call.vtt"), ("call.vtt", "call.txt")])
def test_two_calls_whose_files_give_them_one_id_are_refused_with_what_to_do(
    tmp_path: Path, names: tuple[str, str]
) -> None:
    files = [tmp_path / name for name in names]
    for file, text in zip(files, (VTT, VTT.replace("lost", "found")), strict=True):
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
    with checked(find_sources(files)) as found:
        (complaint,) = found.complaints
        assert [entry.id for entry in found.entries] == ["call"]
    shown = files[1].name if files[0].name != files[1].name else files[1]
    assert complaint.startswith(f"{shown}: an earlier call with other content has the id call, too")
    assert "rename one file, or import the folder above both" in complaint


def test_a_fault_in_one_of_several_files_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("{}\n", encoding="utf-8")
    (tmp_path / "b.vtt").write_text(VTT, encoding="utf-8")
    (tmp_path / "c.gz").write_bytes(gzip.compress(b"x" * 1000)[:-9])
    with checked(find_sources([tmp_path])) as found:
        assert [entry.id for entry in found.entries] == ["b"]
        assert [text.split(": ")[0] for text in found.complaints] == ["a.jsonl, line 1", "c.gz"]
