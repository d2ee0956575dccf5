"""What a result depends on changes between a kill and the run that goes on, or under its feet: nothing of the old is used."""

import json
import os
import random
import sys

from .commands import SLOW, Command
from .harness import HHH, REPOSITORY

sys.path.insert(0, str(REPOSITORY / "tests"))
from correction_files import write_btag_corrections
from nanoaod_writer import write_nanoaod

EVENTS = 1500
TEN_CHUNKS = ("--executor", "iterative", "--chunksize", "150", "--metrics", "default")
DEMO = REPOSITORY / "fileset" / "demo"


def golden(folder, last):
    """Luminosity sections have 100 events."""
    (folder / "golden.json").write_text(json.dumps({"370000": [[1, last]]}))


def scale_factors(folder, value):
    path = write_btag_corrections(folder / "btag.json")
    path.write_text(path.read_text().replace("0.95", str(value)))


def auxiliary(chaos, seed):
    """A golden JSON and scale factors change after each kill, and once during a run."""
    folder = chaos.folder / f"auxiliary-{seed}"
    folder.mkdir()
    data = write_nanoaod(DEMO / "hhh.root", folder / "data.root", 15, stop=EVENTS, data=True)
    simulated = write_nanoaod(DEMO / "hhh.root", folder / "simulated.root", 12, stop=EVENTS)
    btag = {"file": "btag.json", "efficiency_file": "btag.json", "heavy": "heavy", "light": "light"}
    section = {"corrections": {"btag": {**btag, "efficiency": "efficiency"}}}
    nanoaod = {"format": "nanoaod", "n_higgs": 3}
    content = {
        "DATA": {
            "files": [str(data)],
            "metadata": {**nanoaod, "is_signal": False, "nanoaod": {"golden_json": "golden.json"}},
        },
        "HHH": {"files": [str(simulated)], "metadata": {**nanoaod, "nanoaod": section}},
    }
    golden(folder, 9)
    scale_factors(folder, 0.9)
    command = Command(folder, "r", content, TEN_CHUNKS)
    for last, value, chunks in ((11, 0.9, 4), (11, 0.8, 13), (7, 0.7, 4)):
        command.killed(chunks)
        golden(folder, last)
        scale_factors(folder, value)
    command.check()

    golden(folder, 10)
    process = command.start(slow=SLOW)
    command.wait_for(process, 3, command.kept())
    golden(folder, 5)
    assert process.wait(timeout=300) == 3  # what was read before and what after would not belong together
    provenance = json.loads((command.output / "provenance.json").read_text())
    assert {f["dataset"] for f in provenance["failures"]} == {"DATA"}
    assert all("golden.json has changed since the run was planned" in f["reason"] for f in provenance["failures"])
    assert command.check()["resumed_chunks"] == 10  # those of HHH
    chaos.say(
        f"auxiliary files changed, seed {seed}",
        ["killed, then another golden JSON", *["killed, then other scale factors"] * 2],
        ["another golden JSON during a run"],
    )


MINE = """
import hist
import numpy as np
import os
import time
from coffea.processor import ProcessorABC
from only_cuts import CUT
from only_package import inner

class Mine(ProcessorABC):
    def process(self, events):
        from only_late import SCALE
        time.sleep(float(os.environ.get("HHH_SLOW", "0")))
        pt = np.asarray(events.Jet.PT[:, 0])
        h = hist.Hist.new.Reg(50, 0, 1000, name="pt").Weight()
        return {"h": h.fill(pt[pt > CUT] * SCALE, weight=inner.weight(1.0)), "n": int((pt > (lambda x: x + 1)(CUT)).sum())}
    def postprocess(self, accumulator):
        return accumulator
"""


def modules(chaos, seed):
    """Modules of the user's change after each kill: a constant, a package, one that only a function imports, the processor."""
    folder = chaos.folder / f"modules-{seed}"
    (folder / "only_package").mkdir(parents=True)
    (folder / "mine.py").write_text(MINE)
    (folder / "only_cuts.py").write_text("from only_numbers import PT\nCUT = PT + 1\n")
    (folder / "only_numbers.py").write_text("PT = 40\n")
    (folder / "only_late.py").write_text("SCALE = 1.0\n")
    (folder / "only_package" / "__init__.py").write_text("")
    (folder / "only_package" / "inner.py").write_text("def weight(x):\n    return 2 * x\n")
    content = {"HHH": {"files": [str(chaos.files[0])], "metadata": HHH}}
    options = ("--executor", "iterative", "--chunksize", "500")
    command = Command(folder, "r", content, options, folder / "mine.py", folder)
    changes = [
        ("only_numbers.py", "PT = 60\n"),
        ("only_package/inner.py", "def weight(x):\n    return 3 * x\n"),
        ("only_late.py", "SCALE = 1.5\n"),
        ("mine.py", MINE.replace("x + 1", "x + 20")),
    ]
    random.Random(seed).shuffle(changes)
    for chunks, (name, text) in enumerate(changes, start=2):
        command.killed(chunks)
        (folder / name).write_text(text)
    assert command.check()["resumed_chunks"] == 0
    chaos.say(f"modules of the user changed, seed {seed}", ["killed, then another module of the user's"] * len(changes))


def input_files(chaos, seed):
    """An input file is updated in place, replaced by another, and touched, each after a kill."""
    folder = chaos.folder / f"input-{seed}"
    folder.mkdir()
    file, other = folder / "a.root", DEMO / "qcd.root"
    whole = chaos.files[0].read_bytes()
    file.write_bytes(whole)
    content = {"HHH": {"files": [str(file)], "metadata": HHH}}
    command = Command(folder, "r", content, ("--executor", "iterative", "--chunksize", "500", "--metrics", "default"))
    command.killed(3)
    os.utime(file, ns=(0, 0))  # what was updated in place keeps its uuid, here even its size
    command.killed(2)
    file.write_bytes(other.read_bytes())
    command.killed(2)
    file.write_bytes(whole)
    assert command.check()["resumed_chunks"] == 0
    chaos.say(f"input files changed, seed {seed}", ["killed, then another input file"] * 3)


def kept_files(chaos, seed):
    """What is kept for the next run is damaged in every way after a kill: as if it were not there, and never believed."""
    draw = random.Random(seed)
    content = {"HHH": {"files": [str(f) for f in chaos.files], "metadata": HHH}}
    options = ("--executor", "iterative", "--chunksize", "200", "--metrics", "default")
    command = Command(chaos.folder, f"kept-{seed}", content, options)
    resume = command.output / ".resume"

    def chunk():
        return draw.choice(sorted((resume / "chunks").glob("*/*.json.gz")))

    def flipped():
        path = chunk()
        raw = bytearray(path.read_bytes())
        for _ in range(20):
            raw[draw.randrange(20, len(raw))] ^= 0xFF
        path.write_bytes(raw)

    damages = {
        "kept chunk with other bytes": flipped,
        "kept chunk cut off": lambda: os.truncate(chunk(), 100),
        "kept chunk empty": lambda: chunk().write_bytes(b""),
        "candidates of a kept chunk missing": lambda: draw.choice(sorted((resume / "candidates").iterdir())).unlink(),
        "candidates of a kept chunk cut off": lambda: os.truncate(sorted((resume / "candidates").iterdir())[0], 9),
        "list of files of another kind": lambda: (resume / "files.json").write_text("[[1]]"),
        "list of files nested deeply": lambda: (resume / "files.json").write_text("[" * 100_000),
        "leftovers of writers": lambda: (resume / "candidates" / "x.parquet.1.partial").write_bytes(b"x"),
        "lock of a run that is gone": lambda: (command.output / ".lock").write_text("process 1 on nowhere\n"),
    }
    for first in range(0, len(damages), 3):
        command.killed(3)
        for damage in list(damages.values())[first : first + 3]:
            damage()
    assert 0 < command.check()["resumed_chunks"] <= len(chaos.chunks)
    command = Command(chaos.folder, f"kept-run-{seed}", content, options)
    command.killed(2)
    (command.output / ".resume" / "run.json").write_text("{" * 100_000)
    assert command.check()["resumed_chunks"] == 0
    chaos.say(f"kept files damaged, seed {seed}", [*damages, "description of the kept chunks damaged"])
