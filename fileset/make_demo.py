"""Cut the demo sample: the first events of each test file, as ROOT writes them.

Needs ROOT (``pip install ROOT``), which the package itself does not:
    python fileset/make_demo.py FOLDER_OF_THE_DELPHES_FILES
"""

from __future__ import annotations

import sys
from pathlib import Path

import ROOT

EVENTS = {"hhh_test": 5000, "hh_test": 4000, "qcd_test": 5000}
ZSTD = 5

if __name__ == "__main__":
    source, target = Path(sys.argv[1]), Path(__file__).parent / "demo"
    target.mkdir(exist_ok=True)
    for name, events in EVENTS.items():
        old = ROOT.TFile.Open(str(source / f"{name}.root"))
        new = ROOT.TFile(str(target / f"{name.removesuffix('_test')}.root"), "RECREATE", "", 100 * ZSTD + 9)
        tree = old.Get("Delphes").CloneTree(events)
        tree.Write()
        new.Close()
        old.Close()
