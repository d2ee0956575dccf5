"""Speed of the kinematic likelihood fit on one core: ``python benchmarks/likelihood.py FOLDER`` of the samples of tops.

Prints events per CPU second of tt̄ and ttH with fixed and free top mass, of the fit in blocks and of its naive forms:

- *permutations*: the same compiled fits, but those of every permutation are done again for it, as without the
  factorisation;
- *scipy*: one fit of all parameters per permutation by L-BFGS-B from the measured values, ln L as a Python function: one
  start, so a local maximum (``--scipy`` events; 0 leaves it out).

The first selected events of tt_test and tth_test are fitted with the shipped transfer functions. Compilation is not in the
times (some 10 s once, then it is kept on disk).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY / "tests" / "methods" / "likelihood"))
import numpy as np
from likelihood_events import SlowLikelihood, delphes_events
from scipy.optimize import minimize

from hhh_coffea.methods.likelihood import LeptonJets, LikelihoodOptions, fit, read_transfer_functions
from hhh_coffea.methods.likelihood.blocks import Blocks
from hhh_coffea.methods.likelihood.maximum import maximise

TARGETS = {("tt", False): 2000, ("tth", False): 200, ("tt", True): 500}  # events/s


def rate(f: Callable[[], object], events: int, repetitions: int = 3) -> float:
    """Events per CPU second, best of the repetitions."""
    times = []
    for _ in range(repetitions):
        start = time.process_time()
        f()
        times.append(time.process_time() - start)
    return events / min(times)


def every_permutation(events: LeptonJets, functions: object, options: LikelihoodOptions) -> None:
    """Fit the blocks of each permutation as if no other permutation had them."""
    for flavor in (0, 1):
        chosen, _ = events.rows(events.lepton_flavor == flavor).offered(options.max_jets)
        blocks = Blocks(chosen, flavor, functions, options)  # type: ignore[arg-type]
        for group in blocks.groups:
            event, row = (
                i.flatten()
                for i in torch.meshgrid(
                    torch.arange(len(group.rows)), torch.arange(len(group.table.permutations)), indexing="ij"
                )
            )
            fits = group.fits(event, row)
            for problem, numbers in zip((blocks.hadronic, blocks.leptonic), fits, strict=False):
                again = problem.only(numbers)
                maximise(
                    again,
                    again.starts(),
                    starts=again.n_starts,
                    tolerance=options.tolerance,
                    max_iterations=options.max_iterations,
                )
            if blocks.higgs is not None:
                blocks.higgs.only(fits[2]).maximise()


def scipy_fits(events: LeptonJets, functions: object, options: LikelihoodOptions) -> None:
    """One L-BFGS-B fit per permutation."""
    result = fit(events, functions, options, permutations=True)  # type: ignore[arg-type]
    for part in result.permutations:
        for event, offered in zip(part.events.tolist(), part.offered, strict=True):
            slow = SlowLikelihood(events, event, functions, options)  # type: ignore[arg-type]
            s = slow.scalars
            for jets in part.jets.tolist():
                permutation = offered[jets].tolist()
                start = np.array(
                    [
                        *(slow.measured_energy(j) for j in permutation),
                        s["lepton_pt"] * np.cosh(s["lepton_eta"]),
                        s["met"] * np.cos(s["met_phi"]),
                        s["met"] * np.sin(s["met_phi"]),
                        0.0,
                    ]
                )
                n = len(permutation) + 1
                bounds = [(max(e - 7 * e**0.5, 5.0), e + 7 * e**0.5) for e in start[:n]] + [(None, None)] * 3
                minimize(
                    lambda x, p=permutation, f=slow: -f(p, np.append(x, options.top_mass)),
                    start,
                    method="L-BFGS-B",
                    bounds=bounds,
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--events", type=int, default=2000)
    parser.add_argument("--scipy", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    functions = read_transfer_functions(
        REPOSITORY / "models" / "transfer_functions_delphes" / "transfer_functions.json"
    )
    print(f"{'':4} {'top mass':8} {'events':>7} {'blocks':>9} {'permutations':>13} {'scipy':>9}  target  (events/s)")
    for name in ("tt", "tth"):
        events = delphes_events(arguments.folder / f"{name}_test.root", arguments.events)
        if name == "tth":
            events = events.rows(events.mask.sum(1) >= 6)
        for free in (False, True):
            options = LikelihoodOptions(higgs=name == "tth", free_top_mass=free)
            fit(events.rows(slice(0, 20)), functions, options)  # compiles
            blocks = rate(lambda e=events, o=options: fit(e, functions, o), len(events), 2 if free else 3)
            naive = scipy = ""
            if not free:
                few = events.rows(slice(0, 200 if name == "tt" else 30))
                naive = f"{rate(lambda e=few, o=options: every_permutation(e, functions, o), len(few), 1):.0f}"
                if arguments.scipy and name == "tt":
                    some = events.rows(slice(0, arguments.scipy))
                    scipy = f"{rate(lambda e=some, o=options: scipy_fits(e, functions, o), len(some), 1):.2f}"
            target = TARGETS.get((name, free), "")
            print(
                f"{name:4} {'free' if free else 'fixed':8} {len(events):7} {blocks:9.0f} {naive:>13} {scipy:>9}  {target}",
                flush=True,
            )


if __name__ == "__main__":
    main()
