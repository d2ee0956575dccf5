"""Derive the transfer functions of models/transfer_functions_delphes: ``python benchmarks/transfer_functions.py FILES``.

FILES are the training files of semi-leptonic tt̄ (Delphes, as in the shared samples). Jets of fully matched events only.
"""

from __future__ import annotations

import argparse
import json
from itertools import pairwise
from pathlib import Path

import awkward as ak
import matplotlib

matplotlib.use("Agg")
import numpy as np
import uproot

from hhh_coffea.reconstruction.likelihood.derive import Pairs, fit_double_gaussians, fit_met, pulls
from hhh_coffea.reconstruction.likelihood.pull_figure import pull_figure
from hhh_coffea.reconstruction.likelihood.transfer_file import TaggingRates, TransferFunctions

JET_ETA, LEPTON_ETA = (0.0, 0.8, 1.5, 2.0, 2.5), (0.0, 1.5, 2.5)
TAG_PT = (25.0, 30.0, 40.0, 50.0, 70.0, 100.0, 150.0)
THRESHOLD = 25.0  # GeV, of jets and leptons
NAMES = ("PID", "Status", "M1", "PT", "Eta", "Phi", "Mass")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--output", type=Path, default=Path("models/transfer_functions_delphes"))
    arguments = parser.parse_args()
    parts = [events_of(file) for file in arguments.files]
    data = {k: np.concatenate([p[k] for p in parts], axis=-1) for k in parts[0]}
    arguments.output.mkdir(parents=True, exist_ok=True)

    content: dict[str, object] = {"schema_version": 1, "description": describe(arguments.files)}
    shown = {}
    for particle, edges, options in (
        ("light", JET_ETA, {}),
        ("bottom", JET_ETA, {}),
        ("electron", LEPTON_ETA, {"narrowest": 0.001}),
        ("muon", LEPTON_ETA, {"narrowest": 0.001, "shapes": ("pT",)}),
    ):
        generated, measured, threshold, eta = data[particle]
        bins = {}
        for low, high in pairwise(edges):
            here = (np.abs(eta) >= low) & (np.abs(eta) < high)
            bins[low, high] = Pairs(generated[here], measured[here], threshold[here])
        functions = fit_double_gaussians(bins, **options)
        for function in functions:
            name = f"{particle}, {function.eta[0]} ≤ |η| < {function.eta[1]}"
            shown[name] = pulls(function, bins[function.eta].within(*function.range))
            print(name, function.shape, function.n, f"χ²/ndf {function.chi2_ndf:.2f}", flush=True)
        content[particle] = [f.model_dump() for f in functions]
    dx, dy, sum_et = data["met"]
    content["met"] = fit_met(np.stack([dx, dy]), sum_et).model_dump()
    content["btag"] = tagging(*data["tag"]).model_dump()
    checked = TransferFunctions.model_validate_json(json.dumps(content))
    (arguments.output / "transfer_functions.json").write_text(
        checked.model_dump_json(indent=1) + "\n", encoding="utf-8"
    )
    pull_figure(shown).savefig(arguments.output / "pulls.png", dpi=100)
    print(checked.met, checked.btag)


def describe(files: list[Path]) -> str:
    return f"Delphes CMS card, anti-kT R = 0.5, 13 TeV, semi-leptonic tt̄: {', '.join(f.name for f in files)}"


def events_of(file: Path) -> dict[str, np.ndarray]:
    """Pairs of one file: rows generated, measured, least measured, η; met: differences and ΣE_T; tag: pT, tag, is b."""
    with uproot.open(file) as opened:
        tree = opened["Delphes"]
        particle = ak.zip({n: tree[f"Particle.{n}"].array() for n in NAMES})
        jet = ak.zip({n: tree[f"Jet.{n}"].array() for n in ("PT", "Eta", "Phi", "Mass", "BTag", "Flavor")})
        leptons = {
            name: ak.zip({n: tree[f"{name}.{n}"].array() for n in ("PT", "Eta", "Phi")})
            for name in ("Electron", "Muon")
        }
        met = ak.zip({n: tree[f"MissingET.{n}"].array() for n in ("MET", "Phi")})[:, 0]
        sum_et = ak.to_numpy(tree["ScalarHT.HT"].array()[:, 0]).astype(float)
    jet = jet[(jet.PT > THRESHOLD) & (abs(jet.Eta) < 2.5)]
    pairs: dict[str, list[list[float]]] = {k: [] for k in ("light", "bottom", "electron", "muon")}
    missing, tags = [], []
    columns = {n: ak.to_list(particle[n]) for n in NAMES}
    jets = {n: ak.to_list(jet[n]) for n in jet.fields}
    lepton_lists = {k: ak.to_list(v) for k, v in leptons.items()}
    met_x = ak.to_numpy(met.MET * np.cos(met.Phi)).astype(float)
    met_y = ak.to_numpy(met.MET * np.sin(met.Phi)).astype(float)
    for e in range(len(met_x)):  # a script run once; the package's truth does this on arrays
        p = {n: columns[n][e] for n in NAMES}
        j = {n: jets[n][e] for n in jets}
        tags += [(pt, bool(t & 1), f == 5) for pt, t, f in zip(j["PT"], j["BTag"], j["Flavor"], strict=True)]
        quarks, lepton = decay(p)
        if lepton is not None:
            name = "Electron" if abs(p["PID"][lepton]) == 11 else "Muon"
            near = [
                m
                for m in lepton_lists[name][e]
                if m["PT"] > THRESHOLD
                and abs(m["Eta"]) < 2.5
                and distance(m["Eta"], m["Phi"], p["Eta"][lepton], p["Phi"][lepton]) < 0.1
            ]
            if near:
                m = near[0]
                grow_gen, grow = (1.0, 1.0) if name == "Muon" else (np.cosh(p["Eta"][lepton]), np.cosh(m["Eta"]))
                row = [p["PT"][lepton] * grow_gen, m["PT"] * grow, THRESHOLD * grow, m["Eta"]]
                pairs[name.lower()].append(row)
                nu = next(
                    i
                    for i in range(len(p["PID"]))
                    if abs(p["PID"][i]) == abs(p["PID"][lepton]) + 1 and p["M1"][i] == p["M1"][lepton]
                )
                pt, phi = p["PT"][nu], p["Phi"][nu]
                missing.append((met_x[e] - pt * np.cos(phi), met_y[e] - pt * np.sin(phi), sum_et[e]))
        if len(quarks) != 4:
            continue
        table = sorted(
            (distance(p["Eta"][q], p["Phi"][q], j["Eta"][k], j["Phi"][k]), q, k)
            for q in quarks
            for k in range(len(j["PT"]))
        )
        found: dict[int, int] = {}
        for d, q, k in table:
            if d < 0.4 and q not in found and k not in found.values():
                found[q] = k
        if len(found) < 4:
            continue
        for q, k in found.items():
            growth = np.cosh(j["Eta"][k])
            generated = np.hypot(p["PT"][q] * np.cosh(p["Eta"][q]), max(p["Mass"][q], 0))
            measured = np.hypot(j["PT"][k] * growth, max(j["Mass"][k], 0))
            least = THRESHOLD * growth * measured / (j["PT"][k] * growth)
            pairs["bottom" if abs(p["PID"][q]) == 5 else "light"].append([generated, measured, least, j["Eta"][k]])
    arrays = {k: np.array(v).T for k, v in pairs.items()}
    return {**arrays, "met": np.array(missing).T, "tag": np.array(tags, dtype=float).T}


def decay(p: dict[str, list[float]]) -> tuple[list[int], int | None]:
    """Positions of the b quarks and the quarks of the W, and of the e or μ."""
    quarks, lepton = [], None
    for i, pid in enumerate(p["PID"]):
        if p["M1"][i] < 0 or abs(p["Status"][i]) != 23:
            continue
        mother = abs(p["PID"][int(p["M1"][i])])
        if (mother == 6 and abs(pid) == 5) or (mother == 24 and abs(pid) <= 5):
            quarks.append(i)
        elif mother == 24 and abs(pid) in (11, 13):
            lepton = i
    return quarks, lepton


def distance(eta1: float, phi1: float, eta2: float, phi2: float) -> float:
    delta = abs(phi1 - phi2)
    return float(np.hypot(eta1 - eta2, min(delta, 2 * np.pi - delta)))


def tagging(pt: np.ndarray, tag: np.ndarray, bottom: np.ndarray) -> TaggingRates:
    at = np.digitize(pt, TAG_PT[1:])
    rates = [tuple(float(tag[(at == k) & (bottom == flavor)].mean()) for k in range(len(TAG_PT))) for flavor in (1, 0)]
    return TaggingRates(pt=TAG_PT, efficiency=rates[0], mistag=rates[1])


if __name__ == "__main__":
    main()
