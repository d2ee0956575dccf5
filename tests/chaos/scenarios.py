"""Runs with faults, each with a fixed seed, and what must hold at their ends: identical physics, or a named, counted loss.

Every run is the real command in a process of its own, on a real LocalCluster, over real Delphes files.
"""

import contextlib
import json
import random
import time

import psutil

from hhh_coffea.engine.chunks import SourceFile, inspect_file, plan_chunks
from hhh_coffea.engine.dask_executor import POISONED

from .clusters import cluster
from .harness import ALWAYS, LASTING, PASSING, Chaos, expected_physics, physics

__all__ = [
    "ALWAYS",
    "Chaos",
    "bad_files",
    "changed",
    "driver_killed",
    "local_processes",
    "mixed",
    "scheduler_killed",
    "workers_killed",
]

KINDS = {
    "oserror": "read error",
    "nospace": "no space at a worker",
    "bug": "mistake in the processor",
    "systemexit": "processor exits",
    "memoryerror": "MemoryError",
    "kill": "worker killed by a chunk",
    "exit": "worker exits",
    "segfault": "segmentation fault",
    "hang": "chunk hangs",
    "memory": "memory limit exceeded",
}


def mixed(chaos, seed, n_faults):
    """Faults of every kind in one run: struck once they cost nothing, struck each time the chunk is lost and named."""
    draw = random.Random(seed)
    names = draw.sample(chaos.names(), n_faults)
    n_lasting = n_faults // 3
    kinds = [
        LASTING[(seed * n_lasting + i) % len(LASTING)] for i in range(n_lasting)
    ]  # over the seeds every one of them
    kinds += [PASSING[i % len(PASSING)] for i in range(n_faults - n_lasting)]
    faults = {n: (k, ALWAYS if i < n_lasting else 1) for i, (n, k) in enumerate(zip(names, kinds, strict=True))}
    output = chaos.folder / f"mixed-{seed}"
    chaos.check(output, chaos.run(output, faults), lost=names[:n_lasting])
    # without the faults: what was lost is tried again, the rest is known, whatever the executor
    assert chaos.run(output, executor="iterative") == 0
    provenance = chaos.check(output, 0)
    assert provenance["resumed_chunks"] == len(chaos.chunks) - n_lasting
    once, always = (
        [KINDS[k] for k, times in faults.values() if (times == ALWAYS) is forever] for forever in (False, True)
    )
    chaos.say(f"mixed, seed {seed}: once {', '.join(once)}; always {', '.join(always)}", once, always)


def local_processes(chaos, seed, n_faults):
    """Faults of every kind in a run of local processes, which have no limit on memory."""
    draw = random.Random(seed)
    names = draw.sample(chaos.names(), n_faults)
    passing, lasting = ("oserror", "kill", "exit", "segfault", "kill"), ("bug", "systemexit", "memoryerror", "kill")
    kinds = [*lasting, *(passing[i % len(passing)] for i in range(n_faults - len(lasting)))]
    faults = {
        name: (kind, ALWAYS if i < len(lasting) else 1) for i, (name, kind) in enumerate(zip(names, kinds, strict=True))
    }
    output = chaos.folder / f"local-{seed}"
    lost = names[: len(lasting)]
    chaos.check(output, chaos.run(output, faults, executor="futures", extra=("--workers", "2")), lost=lost)
    provenance = chaos.check(output, chaos.run(output, executor="iterative"))
    assert provenance["resumed_chunks"] == len(chaos.chunks) - len(lasting)
    once, always = ([KINDS[kind] for kind in part] for part in (kinds[len(lasting) :], lasting))
    chaos.say(f"local processes, seed {seed}", once, always)


def driver_killed(chaos, seed, kills):
    """SIGKILL of the command itself, again and again; at most the chunks in flight are done twice."""
    draw = random.Random(seed)
    output = chaos.folder / f"driver-{seed}"
    for kill in range(kills):
        process = chaos.start(output)
        goal = (
            draw.randrange(kill * len(chaos.chunks) // (kills + 1), (kill + 1) * len(chaos.chunks) // (kills + 1)) + 1
        )
        chaos.wait_for(output, goal, process)
        time.sleep(draw.random() / 5)
        children = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait()
        psutil.wait_procs(children, timeout=60)  # workers end by themselves when the driver is gone
    finished = chaos.done(output)
    provenance = chaos.check(output, chaos.run(output), lost=())
    assert provenance["resumed_chunks"] >= finished > 0
    known = provenance["resumed_chunks"]
    chaos.say(f"the command killed {kills} times, seed {seed}: {known} chunks known", {"command killed": kills})


def workers_killed(chaos, seed, kills):
    """SIGKILL of workers at random moments."""
    draw = random.Random(seed)
    output = chaos.folder / f"workers-{seed}"
    process = chaos.start(output)
    struck = 0
    for kill in range(kills):
        chaos.wait_for(output, 1 + kill * len(chaos.chunks) // (kills + 1), process)
        children = [c for c in psutil.Process(process.pid).children(recursive=True) if _is_worker(c)]
        if children and process.poll() is None:
            with contextlib.suppress(psutil.NoSuchProcess):
                draw.choice(children).kill()
                struck += 1
        time.sleep(1 + draw.random())
    chaos.check(output, process.wait(timeout=900))
    chaos.say(f"workers killed {struck} times, seed {seed}", {"worker killed from outside": struck})


def _is_worker(process):
    with contextlib.suppress(psutil.Error):
        return "spawn_main" in " ".join(process.cmdline())
    return False


def scheduler_killed(chaos, seed):
    """SIGKILL of a scheduler of its own: the run ends with code 4, and goes on with a new one."""
    output = chaos.folder / f"scheduler-{seed}"
    with cluster(chaos.folder) as (scheduler, address):
        process = chaos.start(output, extra=("--scheduler", address))
        chaos.wait_for(output, 2 + random.Random(seed).randrange(4), process)
        scheduler.kill()
        assert process.wait(timeout=300) == 4, f"see {output}.log"
    finished = chaos.done(output)
    assert not (output / "provenance.json").exists()
    provenance = chaos.check(output, chaos.run(output, executor="iterative"))
    assert provenance["resumed_chunks"] == finished > 0
    chaos.say(f"scheduler killed, seed {seed}", ["scheduler killed"])


def bad_files(chaos, seed):
    """Files that are truncated, missing, empty, or that kill every worker that reads them."""
    draw = random.Random(seed)
    folder = chaos.folder / f"files-{seed}"
    folder.mkdir()
    whole = chaos.files[0].read_bytes()
    bad = [folder / name for name in ("truncated.root", "missing.root", "empty.root", "poisoned.root")]
    bad[0].write_bytes(whole[: draw.randrange(len(whole) // 10, len(whole) * 6 // 10)])
    bad[2].touch()
    bad[3].write_bytes(whole)
    poisoned = plan_chunks([inspect_file(SourceFile("HHH", str(bad[3]), "Delphes"))], chaos.chunksize).chunks
    faults = {f"poisoned.root:{c.start}": ("kill", ALWAYS) for c in poisoned}
    output = chaos.folder / f"bad-{seed}"
    code = chaos.run(output, faults, files=[*chaos.files, *bad])
    provenance = json.loads((output / "provenance.json").read_text())
    assert code == 3
    assert {f["file"] for f in provenance["failures"]} == {str(b) for b in bad}
    ledger = provenance["ledger"]
    assert ledger["chunks"]["processed"] == len(chaos.chunks)
    assert ledger["chunks"]["failed"] == len(poisoned)
    assert ledger["chunks"]["planned"] == len(chaos.chunks) + len(poisoned)
    assert ledger["events"]["planned"] == ledger["events"]["processed"] + ledger["events"]["failed"]
    assert physics(output) == expected_physics(list(chaos.expected.values()))
    kinds = {f"{bad_file.stem} file": 1 for bad_file in bad[:3]}
    kinds["worker killed by a poisoned file"] = POISONED
    chaos.say(f"bad files, one of them killing every worker, seed {seed}", named=kinds)


def changed(chaos, seed):
    """A run that was killed and comes back with other options takes nothing of the old one."""
    output = chaos.folder / f"changed-{seed}"
    process = chaos.start(output, executor="iterative", extra=("--metrics", "default"))
    chaos.wait_for(output, 2, process)
    process.kill()
    process.wait()
    assert chaos.done(output) >= 2
    provenance = chaos.check(output, chaos.run(output, executor="iterative"))
    assert provenance["resumed_chunks"] == 0
    chaos.say(f"killed, then other options, seed {seed}", ["command killed, other options"])
