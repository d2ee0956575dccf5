"""Files that never open, or stop answering while they are read: pipes, and servers of every bad habit."""

import contextlib
import json
import os
import socketserver
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from .commands import Command
from .harness import HHH, expected_physics, physics

TIMEOUT = 10


class _Handler(BaseHTTPRequestHandler):
    """``/silent`` never answers, ``/stalls`` sends half of what it promised, ``/resets`` hangs up, ``/forgets`` dies of reads
    beyond the head of the file: it opens, and its chunks never come."""

    content = b""

    def do_HEAD(self):
        self._answer(body=False)

    def do_GET(self):
        self._answer(body=True)

    def _answer(self, body):
        kind = self.path.strip("/").removesuffix(".root")
        if kind == "silent":
            time.sleep(3600)
        if kind == "resets":
            self.connection.close()
            return
        first, last = 0, len(self.content) - 1
        if (asked := self.headers.get("Range")) is not None:
            low, _, high = asked.removeprefix("bytes=").partition("-")
            first, last = int(low), min(last, int(high or last))
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(last + 1 - first))
        self.send_header("Accept-Ranges", "bytes")
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(self.content)}")
        self.end_headers()
        if not body:
            return
        part = self.content[first : last + 1]
        if kind == "stalls":
            self.wfile.write(part[: len(part) // 2])
            self.wfile.flush()
            time.sleep(3600)
        self.wfile.write(part)

    def log_message(self, *_):
        pass


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_):
        pass


@contextlib.contextmanager
def server(content):
    """An HTTP server of bad habits: its address."""
    handler = type("Handler", (_Handler,), {"content": content})
    with _Quiet(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()


def closed_port():
    """An address that nobody listens at."""
    with socketserver.TCPServer(("127.0.0.1", 0), socketserver.BaseRequestHandler) as gone:
        return f"http://127.0.0.1:{gone.server_address[1]}"


def hanging_opens(chaos, seed):
    """Pipes and servers that do not answer, among files that do: each is named, the rest is as if they were not listed."""
    folder = chaos.folder / f"opens-{seed}"
    folder.mkdir()
    os.mkfifo(folder / "pipe.root")
    injected = 0
    with server(chaos.files[0].read_bytes()) as address:
        urls = [f"{address}/{kind}.root" for kind in ("silent", "stalls", "resets")] + [f"{closed_port()}/x.root"]
        bad = [str(folder / "pipe.root"), *urls]
        content = {"HHH": {"files": [*bad, *map(str, chaos.files)], "metadata": HHH}}
        for executor in (["iterative"], ["futures", "--workers", "2"], ["dask", "--workers", "2"]):
            options = ("--executor", *executor, "--chunksize", str(chaos.chunksize), "--chunk-timeout", str(TIMEOUT))
            command = Command(folder, executor[0], content, options)
            assert command.run() == 3, f"see {command.output}.log"
            provenance = json.loads((command.output / "provenance.json").read_text())
            reasons = {f["file"]: f["reason"] for f in provenance["failures"]}
            assert set(reasons) == set(bad), reasons
            assert all(reasons.values())
            assert f"not done after {TIMEOUT} s" in reasons[urls[0]]
            assert physics(command.output) == expected_physics(list(chaos.expected.values()))
            injected += len(bad)
    chaos.say(f"files that never open, seed {seed}", named={"opening hangs or fails": injected})
