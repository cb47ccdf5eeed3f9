"""Print how fast a large file goes in and out through tool, client, desk and folder, beside `cp` and `curl`, and what
memory that takes.

uv run --group dev python tests/benchmarks/files.py [--mib 1024] [--folder DIR]

Four ways, in turn, on one disk: `cp`; `curl` to a desk on a port; the tools `create_attachment` and `download_attachment`
of a server over stdio, to the same desk on its port, and to a desk of its own inside. Memory is the process's peak (VmHWM)
over what it had before the file.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from contenders import Contender, DeskAddress, inside
from contenders import on_a_port as to_a_desk
from processes import DeskOnAPort, OverStdio, desk_on_a_port

MIB = 2**20


def timed(work: Callable[[], object]) -> float:
    """Seconds that the work took, its bytes on the disk."""
    begun = perf_counter()
    work()
    os.sync()
    return perf_counter() - begun


def filled(path: Path, mib: int) -> str:
    """Make a file of random bytes; its SHA-256."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for _ in range(mib):
            piece = os.urandom(MIB)
            digest.update(piece)
            file.write(piece)
    os.sync()
    return digest.hexdigest()


def answer(url: str, headers: dict[str, str], body: bytes | None = None) -> Any:
    request = urllib.request.Request(url, body, headers)
    with urllib.request.urlopen(request) as response:
        return json.loads(response.read())


class Attachments:
    """The attachments side of a desk on a port, and a token for it."""

    def __init__(self, desk: DeskAddress) -> None:
        self._url = f"{desk.url}/attachments/2023-03"
        pair = base64.b64encode(f"{desk.client_id}:{desk.key}".encode()).decode()
        form = urllib.parse.urlencode({"grant_type": "client_credentials"}).encode()
        token = answer(f"{desk.url}/oauth/token", {"authorization": f"Basic {pair}"}, form)["access_token"]
        self._headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}

    def get(self, path: str = "") -> Any:
        return answer(f"{self._url}{path}", self._headers)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return answer(f"{self._url}{path}", self._headers, json.dumps(body).encode())

    def delete(self, attachment_id: str) -> None:
        request = urllib.request.Request(f"{self._url}/{attachment_id}", headers=self._headers, method="DELETE")
        urllib.request.urlopen(request).close()

    def link(self, attachment_id: str) -> str:
        return self.get(f"/{attachment_id}/download-link")["url"]


def curl(*arguments: str) -> None:
    subprocess.run(["curl", "--silent", "--show-error", "--fail", *arguments], check=True, stdout=subprocess.DEVNULL)


def by_curl(folder: Path, file: Path, desk: DeskOnAPort) -> dict[str, float]:
    attachments = Attachments(desk)
    idle = desk.memory()  # what the first request costs is not counted
    link = attachments.post("/upload-link", {})
    put = timed(lambda: curl("-T", str(file), link["url"]))
    made = attachments.post("", {"name": "by-curl.bin", "request_id": link["request_id"]})
    got = folder / "by-curl.bin"
    url = attachments.link(made["id"])
    get = timed(lambda: curl("-o", str(got), url))
    got.unlink()
    attachments.delete(made["id"])  # equal bytes would be compared when they come again
    os.sync()
    return {"in": put, "out": get, "memory of the desk": desk.memory("VmHWM") - idle}


def by_tool(folder: Path, file: Path, sha256: str, contender: Contender) -> dict[str, float]:
    home, out = folder / "server", folder / "out"
    server = OverStdio(contender, home)
    try:
        server.call("create_attachment", name="small.txt", text="warm")
        idle = server.memory()
        made: list[dict[str, Any]] = []
        put = timed(lambda: made.append(server.call("create_attachment", path=str(file))))
        assert made[0]["sha256"] == sha256
        out.mkdir()
        fetch = {"attachment_id": made[0]["id"], "save_to": str(out)}
        get = timed(lambda: made.append(server.call("download_attachment", **fetch)))
        assert made[1]["sha256"] == sha256
        return {"in": put, "out": get, "memory of the server": server.memory("VmHWM") - idle}
    finally:
        server.stop()
        shutil.rmtree(out, ignore_errors=True)
        shutil.rmtree(home, ignore_errors=True)


def on_a_port(folder: Path, file: Path, sha256: str, settings: dict[str, str]) -> dict[str, dict[str, float]]:
    """`curl` and the tools to one and the same desk."""
    place = folder / "desk-on-a-port"
    place.mkdir()
    try:
        with desk_on_a_port(place, **settings) as desk:
            return {
                "curl to a desk on a port": by_curl(folder, file, desk),
                "tool, client, that desk on its port": by_tool(
                    folder, file, sha256, to_a_desk(desk).with_settings(**settings)
                ),
            }
    finally:
        shutil.rmtree(place, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--folder", type=Path, default=None)
    given = parser.parse_args()
    with TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        file = folder / "large.bin"
        sha256 = filled(file, given.mib)
        settings = {
            "CALLTRIAGE_MAX_FILE_MIB": str(given.mib),
            "CALLTRIAGE_TOOLSETS": "all",
            "CALLTRIAGE_ALLOWED_ROOTS": str(folder),
            "CALLTRIAGE_DEADLINE_S": "600",
        }
        copied = timed(lambda: subprocess.run(["cp", str(file), str(folder / "copy.bin")], check=True))
        (folder / "copy.bin").unlink()
        ways = {
            "cp": {"in": copied, "out": copied},
            **on_a_port(folder, file, sha256, settings),
            "tool, client, desk inside": by_tool(folder, file, sha256, inside().with_settings(**settings)),
        }
    print(f"{given.mib} MiB, each with its bytes on the disk")
    for way, figures in ways.items():
        rates = ", ".join(f"{place} {given.mib / figures[place]:.0f} MiB/s" for place in ("in", "out"))
        extra = "".join(f", peak {name} over idle {figures[name]:.0f} MiB" for name in figures if "memory" in name)
        print(f"  {way}: {rates}{extra}")


if __name__ == "__main__":
    main()
