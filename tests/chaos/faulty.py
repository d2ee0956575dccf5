"""The main job with faults injected where ``$HHH_FAULTS`` says: JSON, ``{"folder", "faults": {"file:start": [kind, times]}}``.

A fault strikes the first ``times`` tries of a chunk, whatever process makes them; tries are counted by files in ``folder``.
The environment is no part of the processor, so that a run with faults and one without share their finished chunks.
``$HHH_SLOW``: seconds that every chunk takes longer, so that there is time to do it harm.
"""

import errno
import json
import os
import signal
import time
from pathlib import Path

from coffea.processor import ProcessorABC

from hhh_coffea.engine.processors import load_processor

ALWAYS = 1_000_000


class Faulty(ProcessorABC):
    def __init__(self, methods, metrics, candidates):
        self.inner = load_processor("assignment", {"methods": methods, "metrics": metrics, "candidates": candidates})
        self.models = self.inner.models

    def branches(self, metadata):
        return self.inner.branches(metadata)

    def process(self, events):
        metadata = events.metadata
        time.sleep(float(os.environ.get("HHH_SLOW", "0")))
        if "HHH_FAULTS" in os.environ:
            plan = json.loads(Path(os.environ["HHH_FAULTS"]).read_text())
            name = f"{Path(metadata['filename']).name}:{metadata['entrystart']}"
            kind, times = plan["faults"].get(name, (None, 0))
            if kind is not None and _try_number(Path(plan["folder"]), name) < times:
                strike(kind)
        return self.inner.process(events)

    def postprocess(self, accumulator):
        return accumulator


def _try_number(folder, name):
    for number in range(ALWAYS):
        try:
            os.close(os.open(folder / f"{name}.{number}", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            continue
        return number
    raise AssertionError("unreachable")


def strike(kind):
    if kind == "oserror":
        raise OSError("injected: connection reset by peer")
    if kind == "nospace":
        raise OSError(errno.ENOSPC, "injected: no space left on device")
    if kind == "bug":
        raise RuntimeError("injected: a mistake in the processor")
    if kind == "systemexit":
        raise SystemExit("injected")
    if kind == "memoryerror":
        raise MemoryError("injected")
    if kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "exit":
        os._exit(1)
    if kind == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if kind == "hang":
        time.sleep(3600)
    if kind == "spin":
        while True:
            time.monotonic()
    if kind == "memory":
        hoard = []
        while True:  # until the worker's memory limit ends it
            hoard.append(b"x" * 50_000_000)
            time.sleep(0.1)  # slowly enough to be noticed before the machine's own memory ends
