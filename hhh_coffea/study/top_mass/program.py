"""The study of the top-quark mass, stage by stage."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any

import numpy as np

from hhh_coffea.base.errors import UserError
from hhh_coffea.base.kinematics import FloatArray
from hhh_coffea.datasets.fileset import Dataset, load_fileset
from hhh_coffea.datasets.normalisation import expected_events
from hhh_coffea.study.event_table import Columns, EventTable
from hhh_coffea.study.events import Pass, read_events
from hhh_coffea.study.reconstructed import PERFECT
from hhh_coffea.study.stages import Done
from hhh_coffea.study.study import Study
from hhh_coffea.study.top_mass import events, measurement, templates, tuning
from hhh_coffea.study.top_mass.events import CLOSURE, DATA, JSF, METHODS, ROLES, TEMPLATES, Selected
from hhh_coffea.study.top_mass.templates import MassSteps, rows_at

FILESET = "study_top_mass"
SEED = 20230904
# what numbers of stages depend on
CODE: tuple[ModuleType, ...] = (events, measurement, templates, tuning, sys.modules[__name__])


@dataclass(frozen=True)
class Size:
    """How much is done: everything, or what ``--quick`` does."""

    max_events: int | None
    quantiles: int
    experiments: int
    blocks: int  # that are left out one after the other, for the errors of templates

    @classmethod
    def of(cls, options: Any) -> Size:
        """From the options of the command."""
        size = cls(6000, 8, 100, 4) if options.quick else cls(None, tuning.QUANTILES, 500, 10)
        wanted = options.pseudo_experiments
        return size if wanted is None else replace(size, experiments=wanted)


def run(study: Study) -> int:
    """Run all stages and write the page; returns the exit code."""
    from hhh_coffea.study.top_mass import page  # draws

    if study.options.datasets:
        raise UserError(f"option 'datasets': this study needs all of {TEMPLATES}, {CLOSURE} and {DATA}")
    methods = _methods(study.options.methods)
    datasets = _datasets(study)
    size = Size.of(study.options)
    tables = {jsf: _read(study, jsf, methods, size) for jsf in JSF}
    inputs = Inputs.of(study, datasets, tables)
    found = {method: _method(study, inputs, method, size) for method in (*methods, PERFECT)}
    data = {method: _data(study, inputs, method, result, size) for method, result in found.items()}
    return page.write(study, inputs, found, data)


def _methods(asked: tuple[str, ...] | None) -> tuple[str, ...]:
    if unknown := sorted(set(asked or ()) - set(METHODS)):
        raise UserError(f"option 'methods': no method {unknown[0]!r} in this study; there are {', '.join(METHODS)}")
    return tuple(method for method in METHODS if asked is None or method in asked)


def _datasets(study: Study) -> dict[str, Dataset]:
    """Those of the fileset; a mistake in their metadata is told before events are read."""
    datasets = load_fileset(study.options.fileset or FILESET, [TEMPLATES, CLOSURE, DATA])
    for name, dataset in datasets.items():
        events.told_mass(dataset.metadata, name)
    if study.options.events is None and datasets[CLOSURE].metadata.normalisation is None:
        raise UserError(f"dataset {CLOSURE!r}: set 'cross_section' (pb), or give option --events")
    return datasets


def _read(study: Study, jsf: float, methods: tuple[str, ...], size: Size) -> Done[EventTable]:
    """All events at one JSF; those of ``data`` at 1 alone."""
    options = study.options
    asked = Pass(
        fileset=options.fileset or FILESET,
        columns=events.columns,
        methods=methods,
        datasets=(TEMPLATES, CLOSURE, *((DATA,) if jsf == 1 else ())),
        settings={"likelihood": {"free_top_mass": True}} if "likelihood" in methods else {},
        change=events.change_at(jsf),
        device=options.device,
        max_events=size.max_events,
        workers=options.workers,
    )
    return study.stages.table(f"events_jsf_{jsf}", asked.inputs(), lambda: read_events(asked, study.console), (events,))


@dataclass(frozen=True)
class Inputs:
    """Tables of events by dataset and JSF, generated masses, and what is expected of them."""

    tables: Mapping[str, Mapping[float, Columns]]
    masses: Mapping[str, Mapping[float, FloatArray]]
    steps: MassSteps
    events: float  # expected to pass the selection at 173 GeV and a JSF of 1
    fingerprints: tuple[str, ...]
    made: dict[str, measurement.Templates] = field(default_factory=dict)  # by method

    @classmethod
    def of(cls, study: Study, datasets: Mapping[str, Dataset], done: Mapping[float, Done[EventTable]]) -> Inputs:
        """From the tables of all JSF."""
        options = study.options
        tables: dict[str, dict[float, Columns]] = {
            name: {jsf: d.value[name] for jsf, d in done.items() if name in d.value.columns} for name in datasets
        }
        masses = {
            name: {jsf: events.top_mass(datasets[name].metadata, name, rows) for jsf, rows in found.items()}
            for name, found in tables.items()
        }
        expected = options.events
        if expected is None:
            normalisation = datasets[CLOSURE].metadata.normalisation
            assert normalisation is not None  # checked before events were read
            passing = len(tables[CLOSURE][1.0]["entry"]) / done[1.0].value.totals[CLOSURE].events
            expected = expected_events(normalisation, options.luminosity) * passing
        steps = MassSteps.of(masses[TEMPLATES][1.0])
        return cls(tables, masses, steps, float(expected), tuple(d.fingerprint for d in done.values()))

    def selected(self, dataset: str, method: str, role: str | None = None) -> Selected:
        """Events of a dataset in the mass window, of one role where there are roles."""
        found = events.in_window(self.tables[dataset], self.masses[dataset], method)
        return found if role is None else found[events.roles(found.split)[role]]


def _method(study: Study, inputs: Inputs, method: str, size: Size) -> dict[str, Any]:
    """Cut, templates, expected errors, calibration and closure of one method."""

    def tune() -> dict[str, Any]:
        own = inputs.selected(TEMPLATES, method, "tuning")
        flipped = templates.mirrored(own, inputs.steps)
        if method == PERFECT:
            return {"cut": None, "mirrored": list(flipped)}
        found = tuning.tune(own, inputs.steps, ROLES["tuning"], flipped, size.quantiles)
        return {**found, "mirrored": list(flipped)}

    given = {"method": method, "events": list(inputs.fingerprints)}
    chosen = study.stages.numbers(f"cut_{method}", {**given, "quantiles": size.quantiles}, tune, CODE)

    def measure() -> dict[str, Any]:
        cut = chosen.value["cut"]
        own = _templates(inputs, method, chosen.value, size)
        pools = _pools(inputs, method, cut)
        data_like = len(inputs.tables[DATA][1.0]["entry"]) * float(own.model.acceptance(173.0, 1.0))
        line = measurement.calibration(own.model, pools, data_like, size.experiments, SEED)
        closure = tuning.passing(inputs.selected(CLOSURE, method), cut)
        at_one = closure[rows_at(closure, 1.0)]
        return {
            **own.described(),
            "expected": measurement.expected(own, inputs.events),
            "calibration": line,
            "closure": measurement.measured(own, line, pools, at_one),
            "closure_shares": measurement.shares_of(at_one),
            "closure_jsf": {
                str(jsf): measurement.measured(own, line, pools, closure[rows_at(closure, jsf)]) for jsf in JSF
            },
        }

    asked = {**given, "cut": chosen.fingerprint, "expected": inputs.events}
    asked |= {"experiments": size.experiments, "blocks": size.blocks}
    done = study.stages.numbers(f"measurement_{method}", asked, measure, CODE)
    return {**done.value, "tuning": chosen.value, "fingerprint": done.fingerprint}


def _templates(inputs: Inputs, method: str, chosen: Mapping[str, Any], size: Size) -> measurement.Templates:
    """Those of a method with its cut; the stage of the data finds what the stage before it made."""
    if method not in inputs.made:
        own = tuning.passing(inputs.selected(TEMPLATES, method, "templates"), chosen["cut"])
        made = measurement.Templates(own, inputs.steps, ROLES["templates"], chosen["mirrored"], size.blocks)
        inputs.made[method] = made
    return inputs.made[method]


def _pools(inputs: Inputs, method: str, cut: float | None) -> list[Selected]:
    return measurement.pools(tuning.passing(inputs.selected(TEMPLATES, method, "pseudo"), cut), inputs.steps)


def _data(study: Study, inputs: Inputs, method: str, result: Mapping[str, Any], size: Size) -> dict[str, Any]:
    """The data, fitted once: the last stage, after every choice."""

    def fit() -> dict[str, Any]:
        cut = result["tuning"]["cut"]
        own = _templates(inputs, method, result["tuning"], size)
        data = tuning.passing(inputs.selected(DATA, method), cut)
        found = measurement.measured(own, result["calibration"], _pools(inputs, method, cut), data)
        return {**found, "generated": float(np.mean(inputs.masses[DATA][1.0]))}

    given = {"method": method, "measurement": result["fingerprint"]}
    value: dict[str, Any] = study.stages.numbers(f"data_{method}", given, fit, CODE).value
    return value
