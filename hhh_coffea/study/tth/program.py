"""The study, stage by stage: events → BDTs and fine-tuned head → ROC curves → Table 2 → page."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from hhh_coffea.base.errors import UserError
from hhh_coffea.datasets.fileset import load_fileset
from hhh_coffea.datasets.normalisation import event_scales
from hhh_coffea.inference.binning import TransformationD
from hhh_coffea.jobs.progress import progress_bar
from hhh_coffea.study.event_table import Columns, EventTable, cut
from hhh_coffea.study.events import Pass, read_events
from hhh_coffea.study.split import parts, refuse_trained_on
from hhh_coffea.study.stages import Done
from hhh_coffea.study.study import Study
from hhh_coffea.study.tth import (
    bdt,
    columns,
    discriminants,
    fine_tuning,
    learning_curve,
    measurement,
    unfrozen,
    variables,
)
from hhh_coffea.study.tth.columns import four_btags, study_columns, vector_columns
from hhh_coffea.study.tth.discriminants import FINE_TUNING, PRETRAINING, UNFROZEN, Discriminants
from hhh_coffea.study.tth.fine_tuning import HeadOptions
from hhh_coffea.study.tth.measurement import Expected
from hhh_coffea.study.tth.page import make_page
from hhh_coffea.study.tth.published import RUNS

FILESET = "study_tth"
HERE = sys.modules[__name__]  # stages depend on what this module does of them
METHODS = ("likelihood", "pdnn", "spanet")
QUICK_EVENTS = 4000  # of a dataset, before the selection
BOOTSTRAP, QUICK_BOOTSTRAP = 100, 20
SEED = 7


def run(study: Study) -> int:
    """Run all stages, draw, and write the page."""
    options = study.options
    methods = options.methods or METHODS
    with_network = "spanet" in methods
    asked = Pass(
        options.fileset or FILESET,
        partial(
            study_columns,
            lepton_pair=options.lepton_pair,
            model=options.model if with_network else "",
            device=options.device,
        ),
        methods,
        options.datasets,
        model=(options.model,) if with_network else (),
        device=options.device,
        change=four_btags,
        max_events=QUICK_EVENTS if options.quick else None,
        workers=options.workers,
    )
    events = study.stages.table(
        "events", asked.inputs(), lambda: read_events(asked, study.console), (columns, variables)
    )
    table = events.value
    _check(table, methods, options.model)
    expected = expected_events(asked.fileset, table)
    boosters = study.stages.directory(
        "bdt",
        {"events": events.fingerprint, "methods": list(methods)},
        lambda path: train_bdts(path, table, methods),
        (bdt, HERE),
    )
    head = fine_tuned(study, table) if with_network else None
    free = all_weights(study, asked) if with_network and options.unfreeze else None
    found = fit_sample(
        table, methods, boosters.value, None if head is None else head.value, None if free is None else free.value
    )
    used = {"bdt": boosters.fingerprint, "head": head and head.fingerprint, "unfrozen": free and free.fingerprint}
    bootstrap = options.bootstrap or (QUICK_BOOTSTRAP if options.quick else BOOTSTRAP)
    settings = {**used, "bootstrap": bootstrap, "seed": SEED}
    separations = study.stages.numbers(
        "separation", settings, lambda: discriminants.separation(found, bootstrap, SEED), (discriminants, bdt, HERE)
    )
    curves = study.stages.numbers(
        "learning_curve",
        {"events": events.fingerprint, "methods": list(methods), "bootstrap": bootstrap},
        lambda: learning_curve.learning_curve(table, methods, bootstrap, SEED),
        (learning_curve, bdt),
    )
    shares = TransformationD(z_signal=options.z_signal, z_background=options.z_background)
    settings |= {"shares": shares.model_dump(), "expected": vars(expected)}
    fitted = study.stages.numbers(
        "table_2",
        settings,
        lambda: _with_bar(
            study, found, bootstrap, partial(measurement.table_2, found, expected, shares, bootstrap, SEED)
        ),
        (measurement, discriminants, bdt, HERE),
    )
    best = FINE_TUNING if FINE_TUNING in found.scores else methods[-1]
    total = shares.z_signal + shares.z_background
    scan = measurement.scan_of_shares(found, best, expected, total)
    summary = {
        "events": _counts(table),
        "assignments": _assignments(table.together(True), methods),
        "expected_events_at_140_fb": vars(expected),
        "bdt": json.loads((boosters.value / "bdt.json").read_text(encoding="utf-8")),
        "separation": separations.value,
        "learning_curve": curves.value,
        "table_2": fitted.value,
        "growth": measurement.growth(found, expected, shares),
        "scan_of_shares": {"discriminant": best, "rows": scan},
    }
    return study.finish(make_page(study, found, summary), summary)


def _check(table: EventTable, methods: tuple[str, ...], model: str) -> None:
    """Signal and background, in files that no model of the methods has seen."""
    for is_signal, kind in ((True, "signal"), (False, "background")):
        if not table.names(is_signal) or not len(table.together(is_signal)["weight"]):
            raise UserError(
                f"the fileset has no selected events of {kind}: set is_signal in the metadata of its datasets"
            )
    needs = {"spanet": model, "pdnn": "pdnn_tth", "likelihood": "transfer_functions_delphes"}
    refuse_trained_on(table, [needs[name] for name in methods if name in needs])


def expected_events(fileset: str, table: EventTable) -> Expected:
    """Expected events of signal and background after the selection, at the luminosity of Run 2.

    Raises
    ------
    UserError
        naming the dataset that has no cross section.
    """
    luminosity, _ = RUNS["Run 2"]
    rates = {name: d.metadata.normalisation for name, d in load_fileset(fileset, list(table.columns)).items()}
    known = {name: rate for name, rate in rates.items() if rate is not None}
    scales = event_scales(known, {name: t.weight for name, t in table.totals.items()}, luminosity)
    totals = [
        sum(float(table[name]["weight"].sum()) * scales[name] for name in table.names(is_signal))
        for is_signal in (True, False)
    ]
    return Expected.of(*totals)


def train_bdts(folder: Path, table: EventTable, methods: tuple[str, ...]) -> None:
    """Train one BDT per method on the same events; write ``METHOD.ubj`` and ``bdt.json``."""
    described = {}
    for method in methods:
        names = bdt.input_names(method, table.together(True))
        training, validation = (
            bdt.sample(_part(table, True, part), _part(table, False, part), names) for part in ("train", "validation")
        )
        booster = bdt.train(training, validation, names)
        (folder / f"{method}.ubj").write_bytes(bytes(booster.save_raw("ubj")))
        gain = booster.get_score(importance_type="total_gain")
        described[method] = {
            "inputs": names,
            "trees": booster.num_boosted_rounds(),
            "training_events": len(training.signal),
            "validation_events": len(validation.signal),
            "importance": {name: gain.get(name, 0.0) / sum(gain.values()) for name in names} if gain else {},
        }
    (folder / "bdt.json").write_text(json.dumps(described, indent=1) + "\n", encoding="utf-8")


def fine_tuned(study: Study, table: EventTable) -> Done[Path]:
    """The new head: event vectors of the training events, then the training."""
    options = study.options
    asked = Pass(
        options.training_fileset,
        partial(vector_columns, model=options.model, device=options.device),
        max_events=QUICK_EVENTS if options.quick else None,
        workers=options.workers,
    )
    inputs = {**asked.inputs(), "model": _weights_of(options.model)}
    vectors = study.stages.table("vectors", inputs, lambda: read_events(asked, study.console), (columns,))
    seen = {uuid for totals in vectors.value.totals.values() for _, uuid in totals.files}
    for name, totals in table.totals.items():
        if both := [file for file, uuid in totals.files if uuid in seen]:
            raise UserError(f"dataset {name!r}: {both[0]} is also in the training fileset {options.training_fileset}")
    settings = HeadOptions()
    return study.stages.directory(
        "fine_tuning",
        {"vectors": vectors.fingerprint, **vars(settings)},
        lambda path: fine_tuning.train_head(path, vectors.value, settings, study.say),
        (fine_tuning,),
    )


def all_weights(study: Study, asked: Pass) -> Done[EventTable]:
    """Scores of the network whose weights were all trained again, in the events of the study."""
    options = study.options
    training = Pass(options.training_fileset, partial(vector_columns, model=options.model, device=options.device))
    inputs = {
        **training.inputs(),
        "model": _weights_of(options.model),
        "epochs": options.unfreeze,
        "quick": options.quick,
    }
    most = QUICK_EVENTS if options.quick else None
    trained = study.stages.directory(
        "unfrozen",
        inputs,
        lambda path: unfrozen.train(
            path, options.training_fileset, options.model, options.unfreeze, most, options.device, study.say
        ),
        (unfrozen,),
    )
    model = str(trained.value / unfrozen.MODEL)
    again = replace(asked, methods=(), columns=partial(unfrozen.signal_column, model=model, device=options.device))
    inputs = {**again.inputs(), "columns": "signal_column", "trained": trained.fingerprint}
    return study.stages.table("unfrozen_scores", inputs, lambda: read_events(again, study.console), (unfrozen, columns))


def _weights_of(model: str) -> str:
    from hhh_coffea.methods.spanet_model import load_model

    return load_model(model, "cpu").sha256


def fit_sample(
    table: EventTable, methods: tuple[str, ...], boosters: Path, head: Path | None, free: EventTable | None
) -> Discriminants:
    """Scores of every discriminant in the events that no BDT was trained or validated on."""
    import xgboost

    rows = [_part(table, is_signal, "fit") for is_signal in (True, False)]
    found: dict[str, Any] = {}
    for method in methods:
        booster = xgboost.Booster(model_file=str(boosters / f"{method}.ubj"))
        names = booster.feature_names
        found[method] = np.concatenate([bdt.scores(booster, bdt.inputs(part, names), names) for part in rows])
    if "spanet.signal" in rows[0]:
        found[PRETRAINING] = np.concatenate([part["spanet.signal"] for part in rows])
    if head is not None:
        found[FINE_TUNING] = np.concatenate([fine_tuning.scores(head, part) for part in rows])
    if free is not None:
        found[UNFROZEN] = np.concatenate([_part(free, is_signal, "fit")["signal"] for is_signal in (True, False)])
    signal = np.repeat([True, False], [len(part["weight"]) for part in rows])
    return Discriminants(found, signal, np.concatenate([part["weight"] for part in rows]))


def _part(table: EventTable, is_signal: bool, part: str) -> Columns:
    """Signal or background events of one part of the split."""
    whole = table.together(is_signal)
    return cut(whole, parts(whole["split"])[part])


def _counts(table: EventTable) -> dict[str, Any]:
    """Simulated events by dataset: read, selected, and in each part."""
    return {
        name: {
            "read": totals.events,
            "selected": len(table[name]["weight"]),
            **{part: int(mask.sum()) for part, mask in parts(table[name]["split"]).items()},
            "files": [file for file, _ in totals.files],
        }
        for name, totals in table.totals.items()
    }


def _assignments(signal: Columns, methods: tuple[str, ...]) -> dict[str, dict[str, list[float]]]:
    """By method: share of right assignments where the target exists, and of whole events where all do, with binomial errors."""
    kinds = [name.removesuffix(".exists") for name in signal if name.endswith(".exists")]
    found: dict[str, dict[str, list[float]]] = {}
    for method in methods:
        found[method] = {}
        for name, some in (("event", kinds), *((kind, [kind]) for kind in kinds)):
            exists = np.logical_and.reduce([signal[f"{kind}.exists"] for kind in some])
            right = np.logical_and.reduce([signal[f"{method}.{kind}.correct"] for kind in some])[exists]
            share, number = float(right.mean()), max(1, len(right))
            found[method][name] = [share, float(np.sqrt(share * (1 - share) / number))]
    return found


def _with_bar(study: Study, found: Discriminants, bootstrap: int, make: Callable[..., Any]) -> Any:
    """Call with a progress bar over bootstrap samples."""
    with progress_bar(study.console) as bar:
        task = bar.add_task("fits", total=len(found.scores) * (bootstrap + 1), note="")
        return make(advance=lambda: bar.advance(task))
