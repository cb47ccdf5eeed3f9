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

from run import Server

MIB = 2**20
OURS = [sys.executable, "-m", "calltriage"]


def memory(process: subprocess.Popen[bytes], field: str) -> float:
    """MiB of a process: VmRSS now, VmHWM at most so far."""
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise LookupError(field)


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


class DeskOnAPort:
    """`calltriage desk serve` in a process of its own, and a token for it."""

    def __init__(self, environment: dict[str, str]) -> None:
        command = [*OURS, "desk", "serve", "--port", "0"]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, env=environment)
        assert self.process.stderr is not None
        self.url = self.process.stderr.readline().decode().split()[2]
        pair = base64.b64encode(f"desk:{environment['CALLTRIAGE_DESK_API_KEY']}".encode()).decode()
        form = urllib.parse.urlencode({"grant_type": "client_credentials"}).encode()
        token = answer(f"{self.url}/oauth/token", {"authorization": f"Basic {pair}"}, form)["access_token"]
        self.headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return answer(f"{self.url}/attachments/2023-03{path}", self.headers, json.dumps(body).encode())

    def delete(self, attachment_id: str) -> None:
        url = f"{self.url}/attachments/2023-03/{attachment_id}"
        urllib.request.urlopen(urllib.request.Request(url, headers=self.headers, method="DELETE")).close()

    def link(self, attachment_id: str) -> str:
        return answer(f"{self.url}/attachments/2023-03/{attachment_id}/download-link", self.headers)["url"]


def curl(*arguments: str) -> None:
    subprocess.run(["curl", "--silent", "--show-error", "--fail", *arguments], check=True, stdout=subprocess.DEVNULL)


def by_curl(folder: Path, file: Path, desk: DeskOnAPort) -> dict[str, float]:
    idle = memory(desk.process, "VmRSS")
    link = desk.post("/upload-link", {})
    put = timed(lambda: curl("-T", str(file), link["url"]))
    made = desk.post("", {"name": "by-curl.bin", "request_id": link["request_id"]})
    got = folder / "by-curl.bin"
    url = desk.link(made["id"])
    get = timed(lambda: curl("-o", str(got), url))
    got.unlink()
    desk.delete(made["id"])  # equal bytes would be compared when they come again
    os.sync()
    return {"in": put, "out": get, "memory of the desk": memory(desk.process, "VmHWM") - idle}


def by_tool(folder: Path, file: Path, sha256: str, environment: dict[str, str]) -> dict[str, float]:
    server, out = Server(OURS, str(folder), environment), folder / "out"
    try:
        server.call("create_attachment", name="small.txt", text="warm")
        idle = memory(server.process, "VmRSS")
        made: list[dict[str, Any]] = []
        put = timed(lambda: made.append(server.call("create_attachment", path=str(file))))
        assert made[0]["sha256"] == sha256
        out.mkdir()
        get = timed(lambda: made.append(server.call("download_attachment", attachment_id=made[0]["id"], save_to="out")))
        assert made[1]["sha256"] == sha256
        return {"in": put, "out": get, "memory of the server": memory(server.process, "VmHWM") - idle}
    finally:
        server.stop()
        shutil.rmtree(out, ignore_errors=True)
        shutil.rmtree(environment["CALLTRIAGE_DATA_DIR"], ignore_errors=True)


def on_a_port(folder: Path, file: Path, sha256: str, environment: dict[str, str]) -> dict[str, dict[str, float]]:
    """`curl` and the tools to one and the same desk."""
    data = folder / "desk-on-a-port"
    desk = DeskOnAPort({**environment, "CALLTRIAGE_DATA_DIR": str(data)})
    vendor = {
        "CALLTRIAGE_TALKDESK_CLIENT_ID": "desk",
        "CALLTRIAGE_TALKDESK_CLIENT_SECRET": environment["CALLTRIAGE_DESK_API_KEY"],
        "CALLTRIAGE_TALKDESK_BASE_URL": desk.url,
        "CALLTRIAGE_TALKDESK_TOKEN_URL": f"{desk.url}/oauth/token",
        "CALLTRIAGE_DATA_DIR": str(folder / "server"),
    }
    try:
        return {
            "curl to a desk on a port": by_curl(folder, file, desk),
            "tool, client, that desk on its port": by_tool(folder, file, sha256, {**environment, **vendor}),
        }
    finally:
        desk.process.terminate()
        desk.process.wait(30)
        shutil.rmtree(data, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--folder", type=Path, default=None)
    given = parser.parse_args()
    with TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        file = folder / "large.bin"
        sha256 = filled(file, given.mib)
        environment = {
            "PATH": os.environ["PATH"],
            "CALLTRIAGE_MAX_FILE_MIB": str(given.mib),
            "CALLTRIAGE_DESK_API_KEY": "benchmark-key-0123456789",
            "CALLTRIAGE_TOOLSETS": "all",
            "CALLTRIAGE_ALLOWED_ROOTS": str(folder),
            "CALLTRIAGE_DEADLINE_S": "600",
        }
        copied = timed(lambda: subprocess.run(["cp", str(file), str(folder / "copy.bin")], check=True))
        (folder / "copy.bin").unlink()
        ways = {
            "cp": {"in": copied, "out": copied},
            **on_a_port(folder, file, sha256, environment),
            "tool, client, desk inside": by_tool(
                folder, file, sha256, {**environment, "CALLTRIAGE_DATA_DIR": str(folder / "inside")}
            ),
        }
    print(f"{given.mib} MiB, each with its bytes on the disk")
    for way, figures in ways.items():
        rates = ", ".join(f"{place} {given.mib / figures[place]:.0f} MiB/s" for place in ("in", "out"))
        extra = "".join(f", peak {name} over idle {figures[name]:.0f} MiB" for name in figures if "memory" in name)
        print(f"  {way}: {rates}{extra}")


if __name__ == "__main__":
    main()
