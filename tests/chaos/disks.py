"""Disks that are full: a real one of a few MB, and a limit on the size of files as a quota would set."""

import contextlib
import errno
import os
import subprocess
from pathlib import Path

MEGABYTES = 8


class SmallDisk:
    """A file system in memory on a folder, seen by the processes of one namespace only, so that no privilege is needed."""

    def __init__(self, folder):
        folder.mkdir()
        mount = f"mount -t tmpfs -o size={MEGABYTES}m tmpfs '{folder}' && echo ready && exec sleep 3600"
        command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if self.process.stdout.readline() != "ready\n":
            raise OSError(errno.EPERM, f"no file system of one's own: {self.process.stderr.read().strip()}")
        pid = self.process.pid
        self.inside = ("nsenter", "--target", str(pid), "--user", "--mount", "--preserve-credentials")
        self.seen = Path(f"/proc/{pid}/root{folder}")
        self.ballast = self.seen / "ballast"

    def fill(self, room):
        """Leave ``room`` bytes."""
        self.ballast.unlink(missing_ok=True)
        state = os.statvfs(self.seen)
        self.ballast.write_bytes(bytes(max(0, state.f_bavail * state.f_frsize - room)))

    def close(self):
        self.process.kill()
        self.process.communicate()


def files_of(output):
    return {f.name: f.read_bytes() for f in output.iterdir() if f.is_file()}


def disk_full(chaos, seed):
    """No room on the disk, for candidates, for chunks, for results: earlier ones stay whole, nothing is computed twice."""
    folder = chaos.folder / f"disk-{seed}"
    try:
        disk = SmallDisk(folder)
    except OSError as error:
        print(f"        left out: a full disk ({error})", flush=True)
        return
    options = {"executor": "iterative", "inside": disk.inside}
    with contextlib.closing(disk):
        output, seen = folder / "r", disk.seen / "r"
        assert chaos.run(output, extra=("--methods", "chi2_as_published"), **options) == 0
        before = files_of(seen)
        rooms = (200_000, 100_000)  # enough for some chunks, not for all of them
        for room in rooms:
            disk.fill(room)
            assert chaos.run(output, **options) == 4
            assert before == files_of(seen)
            disk.ballast.unlink()
        known = chaos.done(seen)
        assert 0 < known < len(chaos.chunks)
        largest = max(f.stat().st_size for f in (seen / ".resume" / "candidates").iterdir())
        assert chaos.run(output, limit=2 * largest, **options) == 4  # every chunk is finished
        assert chaos.done(seen) == len(chaos.chunks)
        for room in (0, 8192):
            disk.fill(room)
            assert chaos.run(output, **options) == 4
            assert before == files_of(seen)
            assert (seen / "candidates").is_dir()
        disk.ballast.unlink()
        provenance = chaos.check(seen, chaos.run(output, **options))
        assert provenance["resumed_chunks"] == len(chaos.chunks)
    kinds = {"no space for candidates and chunks": len(rooms), "no space for results": 2, "results over a quota": 1}
    chaos.say(f"a full disk of {MEGABYTES} MB, seed {seed}", kinds)
