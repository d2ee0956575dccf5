"""Cut the demo samples: the first events of each test file, as ROOT writes them.

Needs ROOT (``pip install ROOT``), which the package itself does not:
    python fileset/make_demo.py FOLDER_OF_THE_DELPHES_FILES            # hhh, hh, qcd
    python fileset/make_demo.py FOLDER_OF_THE_TOP_FILES --tops         # ttbar, tth, ttbb
"""

from __future__ import annotations

import sys
from pathlib import Path

import ROOT

HIGGS = {"hhh": ("hhh_test", 5000), "hh": ("hh_test", 4000), "qcd": ("qcd_test", 5000)}
TOPS = {"ttbar": ("tt_test", 1000), "tth": ("tth_test", 600), "ttbb": ("ttbb_test", 200)}
UNUSED = ("Event.Number", "Event.ProcessID", "Event.Scale", "Particle.Status", "Particle.D2")  # not read by the package
ZSTD = 5

if __name__ == "__main__":
    source, target = Path(sys.argv[1]), Path(__file__).parent / "demo"
    tops = "--tops" in sys.argv
    target.mkdir(exist_ok=True)
    for name, (file, events) in (TOPS if tops else HIGGS).items():
        old = ROOT.TFile.Open(str(source / f"{file}.root"))
        new = ROOT.TFile(str(target / f"{name}.root"), "RECREATE", "", 100 * ZSTD + 9)
        tree = old.Get("Delphes")
        for branch in UNUSED if tops else ():
            tree.SetBranchStatus(branch, False)
        tree.CloneTree(events).Write()
        new.Close()
        old.Close()
