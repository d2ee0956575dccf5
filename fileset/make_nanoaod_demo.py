"""Cut the NanoAOD demo: a small public test file of coffea (simulated tt̄), the branches of jets and generated particles.

python fileset/make_nanoaod_demo.py tt_v15.root
"""

from __future__ import annotations

import sys
from pathlib import Path

import awkward as ak
import uproot

COLLECTIONS = {
    "Jet": "pt eta phi mass btagDeepFlavB btagPNetB btagUParTAK4B hadronFlavour chEmEF chHEF chMultiplicity muEF neEmEF "
    "neHEF neMultiplicity",
    "GenPart": "pt eta phi mass pdgId genPartIdxMother statusFlags",
}
FLAT = ("run", "luminosityBlock", "event", "genWeight")

if __name__ == "__main__":
    tree = uproot.open(sys.argv[1])["Events"]
    content = {name: tree[name].array() for name in FLAT}
    for collection, leaves in COLLECTIONS.items():
        content[collection] = ak.zip({leaf: tree[f"{collection}_{leaf}"].array() for leaf in leaves.split()})
    target = Path(__file__).parent / "demo" / "tt_nanoaod.root"
    with uproot.recreate(target, compression=uproot.ZSTD(9)) as file:
        file.mktree(
            "Events", {name: array.type for name, array in content.items()}, counter_name=lambda name: f"n{name}"
        )
        file["Events"].extend(content)
