"""A command that is killed, resumed and robbed of its files, and the same command in a folder of its own that nobody disturbs."""

import itertools
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from .harness import HERE, REPOSITORY

COMPARED = ("histograms.json", "summary.json", "cutflow.json")
SLOW = "0.4"  # seconds a chunk, so that a kill comes between two


@dataclass
class Command:
    """``hhh run`` over the fileset ``content``, into ``folder/name``; modules of the user's are in ``imports``."""

    folder: Path
    name: str
    content: dict
    options: tuple[str, ...] = ("--executor", "iterative")
    processor: Path = HERE / "faulty.py"
    imports: Path | None = None
    numbers: itertools.count = field(default_factory=lambda: itertools.count(1))

    @property
    def output(self):
        return self.folder / self.name

    @property
    def options_of_all(self):
        """Options without those of the executor, which may not change a byte."""
        pairs = list(zip(self.options[::2], self.options[1::2], strict=True))
        return tuple(word for pair in pairs if pair[0] not in ("--executor", "--workers") for word in pair)

    def start(self, output=None, slow=SLOW, options=None):
        """The command as a process, what it says in ``NAME.log``."""
        fileset = self.folder / f"{self.name}.json"
        fileset.write_text(json.dumps(self.content))
        paths = os.pathsep.join(map(str, filter(None, (REPOSITORY, self.imports))))
        environment = {**os.environ, "PYTHONPATH": paths, "TERM": "dumb", "HHH_SLOW": slow}
        environment.pop("HHH_FAULTS", None)
        output = output or self.output
        command = [sys.executable, "-m", "hhh_coffea.run", "--fileset", fileset, "--output", output, "--no-plots"]
        command += ["--processor", self.processor, *(self.options if options is None else options)]
        command += ["--candidates"] * (self.processor.name == "faulty.py")
        with (self.folder / f"{output.name}.log").open("ab") as stream:
            return subprocess.Popen(command, stdout=stream, stderr=stream, env=environment, cwd="/")

    def run(self, **options):
        """Run to the end, undisturbed; returns the exit code."""
        return self.start(slow="0", **options).wait(timeout=900)

    def kept(self):
        """Names of the chunks that are kept."""
        return {path.name for path in (self.output / ".resume" / "chunks").glob("*/*.json.gz")}

    def wait_for(self, process, chunks, before=frozenset()):
        """Until so many chunks are kept beyond those ``before``."""
        while len(self.kept() - before) < chunks:
            assert process.poll() is None, f"ended with {process.returncode}: see {self.output}.log"
            time.sleep(0.02)

    def killed(self, chunks=2, wait=True):
        """Start it, and kill it after some chunks of its own; without ``wait`` its workers may still be there."""
        before = self.kept()
        process = self.start()
        self.wait_for(process, chunks, before)
        children = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait()
        if wait:
            _, alive = psutil.wait_procs(children, timeout=60)
            assert not alive, f"left behind: {alive}"

    def check(self, code=0):
        """Run it to the end: the same bytes as those of a run that was never disturbed. Returns the provenance."""
        assert (found := self.run()) == code, f"exit code {found}: see {self.output}.log"
        alone = self.folder / f"{self.name}-alone-{next(self.numbers)}"
        assert self.run(output=alone, options=("--executor", "iterative", *self.options_of_all)) == code
        one, other = contents(self.output), contents(alone)
        assert one.keys() == other.keys()
        assert not (differ := [name for name in one if one[name] != other[name]]), f"{differ} differ: {self.output}"
        assert not (self.output / ".lock").exists()
        return json.loads((self.output / "provenance.json").read_text())


def contents(output):
    """Bytes of the results that must be the same."""
    files = [output / name for name in COMPARED] + sorted((output / "candidates").glob("*"))
    return {str(path.relative_to(output)): path.read_bytes() for path in files}
