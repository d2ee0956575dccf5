"""``make chaos``: at least eighty injected faults, seeds fixed. ``python -m tests.chaos [--folder DIR] [--file ROOT …]``."""

import argparse
import os
import signal
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import changes, disks, opens, owners, scenarios
from .harness import REPOSITORY, Chaos

LEAST = 80


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--file", type=Path, action="append", help="Delphes file (default: the demo sample)")
    parser.add_argument("--chunksize", type=int, default=200)
    parser.add_argument("--folder", type=Path, help="keep runs and logs here")
    parser.add_argument("--lanes", type=int, default=1, help="scenarios at a time: many of them wait (default: 1)")
    parser.add_argument("--only", help="scenarios whose name and seed contain this, as in mixed-3")
    options = parser.parse_args()
    # started in the background it would ignore interrupts, and so would all that it starts
    signal.signal(signal.SIGINT, signal.default_int_handler)
    files = options.file or [REPOSITORY / "fileset" / "demo" / "hhh.root"]
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        chaos = Chaos(options.folder or Path(temporary), [f.resolve() for f in files], options.chunksize)
        print(f"{len(chaos.chunks)} chunks of {', '.join(f.name for f in files)}; {os.cpu_count()} cores", flush=True)
        plan = [
            (scenarios.local_processes, 14, 9),
            (changes.auxiliary, 15),
            (changes.modules, 16),
            (changes.input_files, 17),
            (changes.kept_files, 18),
            (owners.two_at_once, 19),
            (owners.parents, 20),
            (owners.trainings, 21),
            (opens.hanging_opens, 22),
            *((scenarios.mixed, seed, 9) for seed in (1, 2, 3)),
            *((scenarios.driver_killed, seed, 4) for seed in (4, 5)),
            *((scenarios.workers_killed, seed, 3) for seed in (6, 7)),
            *((scenarios.scheduler_killed, seed) for seed in (8, 9)),
            (disks.disk_full, 10),
            (scenarios.bad_files, 11),
            *((scenarios.changed, seed) for seed in (12, 13)),
        ]
        failed = []

        def play(scenario, seed, *how_many):
            name = f"{scenario.__name__}-{seed}"
            if options.only is not None and options.only not in name:
                return
            print(f"{time.monotonic() - begin:5.0f} s  {name} …", flush=True)
            try:
                scenario(chaos, seed, *how_many)
            except Exception:  # the others have things to tell too
                failed.append(name)
                traceback.print_exc()

        with ThreadPoolExecutor(options.lanes) as lanes:
            for _ in lanes.map(lambda entry: play(*entry), plan):
                pass
    print(chaos.table())
    if failed:
        raise SystemExit(f"{chaos.faults} faults injected; what must hold did not in {', '.join(failed)}")
    if options.only is None and chaos.faults < LEAST:
        raise SystemExit(f"only {chaos.faults} faults were injected")
    print(
        f"{chaos.faults} faults injected; every run ended with identical physics or with its loss named and counted; "
        f"{time.monotonic() - begin:.0f} s"
    )


if __name__ == "__main__":
    main()
