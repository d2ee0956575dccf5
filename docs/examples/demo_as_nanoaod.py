"""Write bundled Delphes events in the layout of NanoAOD v15: nano/HH.root and nano/QCD.root, for docs/nanoaod_training.md."""

import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests"))  # the writer belongs to the tests of the NanoAOD reader
from nanoaod_writer import write_nanoaod  # noqa: E402

Path("nano").mkdir(exist_ok=True)
for name, signal in (("HH", True), ("QCD", False)):
    target = Path("nano", f"{name}.root")
    write_nanoaod(REPOSITORY / "fileset" / "demo" / f"{name.lower()}.root", target, 15, signal=signal)
    sys.stdout.write(f"wrote {target}\n")
