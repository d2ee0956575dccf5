"""The Z′ study, stage by stage."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from hhh_coffea.base.errors import UserError
from hhh_coffea.base.kinematics import FloatArray
from hhh_coffea.datasets.fileset import load_fileset
from hhh_coffea.inference.asimov import significance
from hhh_coffea.study.event_table import Columns, EventTable
from hhh_coffea.study.events import Pass, read_events
from hhh_coffea.study.study import Study
from hhh_coffea.study.zprime import analysis, events, published
from hhh_coffea.study.zprime.analysis import SCENARIOS, Rows
from hhh_coffea.study.zprime.events import BACKGROUND, METHODS, REGRESSED, UNCUT
from hhh_coffea.study.zprime.published import CUTS, TABLE_3

FILESET = "study_zprime"
REFERENCE = "spanet"  # its published significance at 140 fb⁻¹ sets the cross section of each mass
SEED = 20230901
# what numbers of stages depend on
CODE: tuple[ModuleType, ...] = (analysis, events, published, sys.modules[__name__])


def run(study: Study) -> int:
    """Run all stages and write the page; returns the exit code."""
    from hhh_coffea.study.zprime import page  # draws

    options = study.options
    methods = _methods(options.methods)
    replicas = 40 if options.quick else 200
    asked = Pass(
        fileset=options.fileset or FILESET,
        columns=events.columns,
        methods=methods,
        datasets=options.datasets,
        device=options.device,
        max_events=2000 if options.quick else None,
        workers=options.workers,
    )
    samples = Samples.of(asked)
    read = study.stages.table("events", asked.inputs(), lambda: read_events(asked, study.console), (events,))
    inputs = Inputs(read.value, events.all_methods(methods), samples, read.fingerprint)
    given = {"events": inputs.fingerprint, "methods": list(inputs.methods), "replicas": replicas}
    cuts = study.stages.numbers("cuts", given, lambda: _cuts(inputs), CODE)
    given |= {"cuts": cuts.fingerprint}
    result = study.stages.numbers("significance", given, lambda: _significance(inputs, cuts.value, replicas), CODE)
    theirs = {m: {"cut": CUTS.get(m)} for m in inputs.methods}
    other = study.stages.numbers(
        "significance_published_cuts",
        {**given, "with": theirs},
        lambda: _significance(inputs, theirs, replicas),
        CODE,
    )
    shapes = study.stages.numbers("sculpting", given, lambda: _sculpting(inputs, cuts.value, replicas), CODE)
    neutrino = study.stages.numbers("neutrino", given, lambda: _neutrino(inputs), CODE)
    summary = {
        "cuts": cuts.value,
        "significance": result.value,
        "significance_published_cuts": other.value,
        "sculpting": shapes.value,
        "neutrino": neutrino.value,
    }
    return page.write(study, inputs, summary)


def _methods(asked: tuple[str, ...] | None) -> tuple[str, ...]:
    if unknown := sorted(set(asked or ()) - set(METHODS)):
        raise UserError(f"option 'methods': no method {unknown[0]!r} in this study; there are {', '.join(METHODS)}")
    return tuple(method for method in METHODS if asked is None or method in asked)


@dataclass(frozen=True)
class Samples:
    """Which datasets are signal of which mass (GeV), which are background, and the rate of these."""

    signals: Mapping[float, str]
    backgrounds: tuple[str, ...]
    rate: float  # pb, of the events in the background's files

    @classmethod
    def of(cls, asked: Pass) -> Samples:
        """From the metadata of the fileset, before events are read.

        Raises
        ------
        UserError
            if there is no signal, no dataset ``ttbar``, or no cross section for it.
        """
        datasets = load_fileset(asked.fileset, list(asked.datasets) if asked.datasets else None)
        masses = {name: d.metadata.user["mass"] for name, d in datasets.items() if "mass" in d.metadata.user}
        for name, mass in masses.items():
            if not isinstance(mass, int | float) or isinstance(mass, bool):
                raise UserError(f"dataset {name!r}: metadata 'user', 'mass' is {mass!r}; it must be a number (GeV)")
        if not masses:
            raise UserError(f"{asked.fileset}: no dataset is signal: set 'user': {{'mass': 500}} in its metadata")
        if BACKGROUND not in datasets:
            raise UserError(f"{asked.fileset}: no dataset {BACKGROUND!r}")
        normalisation = datasets[BACKGROUND].metadata.normalisation
        if normalisation is None:
            raise UserError(f"dataset {BACKGROUND!r}: set 'cross_section' (pb)")
        signals = {float(masses[name]): name for name in sorted(masses, key=lambda name: float(masses[name]))}
        return cls(signals, tuple(name for name in datasets if name not in masses), normalisation.rate)


@dataclass(frozen=True)
class Inputs:
    """The table of events, by which methods, and what its datasets are."""

    table: EventTable
    methods: tuple[str, ...]
    samples: Samples
    fingerprint: str

    def rows(self, dataset: str, method: str, role: str) -> Rows:
        """Events of one role with a finite m(tt̄); the others have NaN, so that rows stay those of the table."""
        found: Columns = self.table[dataset]
        keep = events.roles(found["split"], dataset)[role]
        mass, quality = found[f"{method}.mtt"][keep], found[f"{method}.quality"][keep]
        lost = ~(np.isfinite(mass) & np.isfinite(quality))
        return Rows(np.where(lost, -1.0, mass), np.where(lost, -np.inf, quality))

    def background(self, method: str, role: str) -> Rows:
        """All backgrounds, one dataset after the other."""
        parts = [self.rows(name, method, role) for name in self.samples.backgrounds]
        return Rows(*(np.concatenate(columns) for columns in zip(*((p.mass, p.quality) for p in parts), strict=True)))

    def read(self, dataset: str, role: str) -> float:
        """How many events of a dataset's files were read for a role."""
        total = self.table.totals[dataset].events
        selected = events.roles(self.table[dataset]["split"], dataset)[role]
        return float(total * selected.mean()) if len(selected) else 0.0


def _cuts(inputs: Inputs) -> dict[str, Any]:
    """The quality cut of each method, from events of the tuning role."""
    found: dict[str, Any] = {}
    for method in inputs.methods:
        signals = {mass: inputs.rows(name, method, "tuning") for mass, name in inputs.samples.signals.items()}
        background = inputs.background(method, "tuning")
        real = Rows(background.mass[background.mass > 0], background.quality[background.mass > 0])
        found[method] = analysis.tune(signals, real)
        if method in UNCUT:
            found[method]["cut"] = None
    return found


def _significance(inputs: Inputs, cuts: Mapping[str, Any], replicas: int) -> dict[str, Any]:
    """Expected significance of each mass, method and scenario, with bootstrap errors; and the spectra.

    The cross section of each mass is chosen for the reference method, in every bootstrap sample again: errors are those of the
    comparison with it.
    """
    signals = {
        mass: {m: inputs.rows(name, m, "fit") for m in inputs.methods} for mass, name in inputs.samples.signals.items()
    }
    background = {m: inputs.background(m, "fit") for m in inputs.methods}
    edges = {m: analysis.merged_edges(rows.mass[rows.passing(cuts[m]["cut"])]) for m, rows in background.items()}
    generated = sum(inputs.read(name, "fit") for name in inputs.samples.backgrounds)
    per_event = inputs.samples.rate * 1000.0 / generated  # expected events in 1 fb⁻¹
    reference = REFERENCE if REFERENCE in inputs.methods else inputs.methods[0]

    def spectra(weights: list[FloatArray] | None) -> tuple[dict[str, FloatArray], dict[float, dict[str, FloatArray]]]:
        own = None if weights is None else weights[0]
        b = {m: analysis.spectrum(rows, cuts[m]["cut"], edges[m], own) for m, rows in background.items()}
        s = {
            mass: {
                m: analysis.spectrum(rows, cuts[m]["cut"], edges[m], None if weights is None else weights[1 + i])
                for m, rows in found.items()
            }
            for i, (mass, found) in enumerate(signals.items())
        }
        return b, s

    def all_z(b: dict[str, FloatArray], s: dict[float, dict[str, FloatArray]]) -> dict[float, Any]:
        found: dict[float, Any] = {}
        for mass, by_method in s.items():
            luminosity, uncertainty = SCENARIOS["140"]
            target = TABLE_3.get(mass, {}).get(reference, (2.0, 0.0))[0]
            usable = {m: np.maximum(b[m], 1.0) * per_event for m in b}  # no bin of a bootstrap sample is empty
            unit = analysis.cross_section(
                luminosity * by_method[reference], luminosity * usable[reference], target, uncertainty
            )
            z = {
                m: [
                    float(significance(unit * lumi * by_method[m], lumi * usable[m], u))
                    for lumi, u in SCENARIOS.values()
                ]
                for m in inputs.methods
            }
            found[mass] = {"z": z, "signal_per_event": unit}
        return found

    nominal = spectra(None)
    best = all_z(*nominal)
    sizes = [len(next(iter(background.values())).mass), *(len(next(iter(s.values())).mass) for s in signals.values())]
    replicated = [all_z(*spectra(analysis.poisson_weights(sizes, SEED, r))) for r in range(replicas)]
    table: dict[str, Any] = {}
    for mass, name in inputs.samples.signals.items():
        rows = {}
        for m in inputs.methods:
            spread = np.std([r[mass]["z"][m] for r in replicated], axis=0, ddof=1)
            rows[m] = {k: [best[mass]["z"][m][i], float(spread[i])] for i, k in enumerate(SCENARIOS)}
        visible = best[mass]["signal_per_event"] * inputs.read(name, "fit")  # events in 1 fb⁻¹
        table[f"{mass:g}"] = {"z": rows, "cross_section_in_acceptance_fb": float(visible)}
    described = {
        m: {
            "edges": [float(e) if np.isfinite(e) else None for e in edges[m]],
            "background": (nominal[0][m] * per_event * SCENARIOS["140"][0]).tolist(),
            "simulated_background": nominal[0][m].tolist(),
            "signals": {
                f"{mass:g}": (s[m] * best[mass]["signal_per_event"] * SCENARIOS["140"][0]).tolist()
                for mass, s in nominal[1].items()
            },
        }
        for m in inputs.methods
    }
    return {"masses": table, "spectra": described, "reference": reference, "background_events_read": generated}


def _sculpting(inputs: Inputs, cuts: Mapping[str, Any], replicas: int) -> dict[str, Any]:
    """Distance of reconstructed and true m(tt̄) of the same tt̄ events, before and after each method's cut."""
    true = inputs.table[BACKGROUND]["true_mtt"]
    found: dict[str, Any] = {}
    for method in inputs.methods:
        rows = inputs.rows(BACKGROUND, method, "fit")
        real = (rows.mass > 0) & np.isfinite(true)
        own: dict[str, Any] = {}
        for stage, keep in (("before", real), ("after", real & rows.passing(cuts[method]["cut"]))):
            own[stage] = {
                "emd": analysis.emd_with_error(rows.mass[keep], true[keep], replicas, SEED),
                "median": float(np.median(rows.mass[keep] - true[keep])),
                "half_width": analysis.width_of(rows.mass[keep] - true[keep])["half_width"],
                "events": int(keep.sum()),
            }
        found[method] = own
    return found


def _neutrino(inputs: Inputs) -> dict[str, Any]:
    """Residual of the neutrino's η in tt̄ events without τ, from the W-mass constraint and from the regression."""
    rows = inputs.table[BACKGROUND]
    true, real = rows["true_eta"], rows["constraint.real"]
    known = np.isfinite(true)
    found: dict[str, Any] = {
        "events": int(known.sum()),
        "real_solutions": float(real.mean()),
        "constraint": analysis.width_of((rows["constraint.eta"] - true)[known & np.isfinite(rows["constraint.eta"])]),
        "constraint, real solutions": analysis.width_of((rows["constraint.eta"] - true)[known & real]),
    }
    if REGRESSED in inputs.methods:
        found["regression"] = analysis.width_of((rows["regressed.eta"] - true)[known])
    return found
