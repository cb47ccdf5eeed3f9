"""Calls of a file that a pipeline examines in the place of the API's: on a desk of their own, which is gone afterwards."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from calltriage.cli.importing import Wishes, check_paths, load
from calltriage.errors import ImportFileError
from calltriage.leaves.gate import one_line
from calltriage.pipelines.pipeline import Source
from calltriage.settings import Settings, load_settings


@contextmanager
def imported(file: Path) -> Generator[Settings]:
    """Settings of a desk that has the calls of a file, while the block runs. Raises ImportFileError for a bad line, which
    names the file, too."""
    with TemporaryDirectory(prefix="calltriage-calls-") as folder:
        own = load_settings(data_dir=Path(folder), bland_api_key=None, talkdesk_client_id=None, database_url=None)
        with check_paths([file], Wishes(skip_bad=True), own.max_file_mib * 2**20) as found:
            try:
                found.refuse_bad(leave_out=None)
            except ImportFileError as error:
                told = f"{one_line(str(file))} cannot be examined. {error}"
                raise ImportFileError(f"{told} `--calls` takes no file with bad lines: mend or remove them.") from None
            load(own, found)
        yield own


@asynccontextmanager
async def opened(own: Settings, file: Path) -> AsyncGenerator[Source]:
    """What reads those calls. Its name is that of the file's content, by which a run that was cut off is found again."""
    from calltriage.wiring import open_client  # noqa: PLC0415

    with file.open("rb") as content:
        name = hashlib.file_digest(content, "sha256").hexdigest()[:16]
    async with open_client(own) as client:
        yield Source(client, name)
