"""Train the BDT of large-radius jets: tables from filesets, a small recorded search, early stopping, working points, model card.

Training and validation events are told apart by a hash of (file uuid, entry), see :mod:`hhh_coffea.base.hashing`. The table
of test events is not looked into before everything is decided.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml
from coffea.processor import accumulate
from rich.console import Console

from hhh_coffea import __version__
from hhh_coffea.base.errors import UserError, listed
from hhh_coffea.base.lock import LOCK
from hhh_coffea.base.terminal import contents, say
from hhh_coffea.config import RunConfig
from hhh_coffea.datasets.fileset import Dataset, load_fileset
from hhh_coffea.engine.chunks import Executor, FileInfo, Job, RunStopped
from hhh_coffea.engine.dask_executor import DaskExecutor
from hhh_coffea.engine.executors import make_executor
from hhh_coffea.engine.processors import ProcessorSource, load_processor
from hhh_coffea.jobs.main import process
from hhh_coffea.jobs.planning import make_plan
from hhh_coffea.methods.bdt_model import CARD, FEATURES, SCHEMA_VERSION, BdtModel, load_model
from hhh_coffea.results import directory as results
from hhh_coffea.results.console.ending import where_of
from hhh_coffea.results.console.tables import print_warnings
from hhh_coffea.training import bdt_card, bdt_evaluation
from hhh_coffea.training.bdt_boosting import ROUNDS, STOP_AFTER, Trained, fit_here, fit_on_cluster
from hhh_coffea.training.bdt_evaluation import at_working_points, measure, working_points
from hhh_coffea.training.bdt_table import DEFAULT_FEATURES, Rows, concatenate, count_classes, parts, read_parts

# The published hyper-parameters (§3), and the neighbourhood searched. Of those whose validation AUC is within TOLERANCE
# of the best (a fraction of its statistical error) the one with the fewest trees is taken: it scores fastest.
TOLERANCE = 3e-4
PUBLISHED: dict[str, Any] = {"eta": 0.1, "max_depth": 5}
SEARCH: tuple[dict[str, Any], ...] = (
    PUBLISHED,
    {"eta": 0.05, "max_depth": 5},
    {"eta": 0.05, "max_depth": 4},
    {"eta": 0.05, "max_depth": 6, "min_child_weight": 50},
    {"eta": 0.05, "max_depth": 5, "min_child_weight": 50, "subsample": 0.8, "colsample_bytree": 0.8},
    {"eta": 0.05, "max_depth": 4, "min_child_weight": 50, "subsample": 0.7, "reg_lambda": 10},
    {"eta": 0.02, "max_depth": 5, "min_child_weight": 50, "subsample": 0.8, "colsample_bytree": 0.8},
)
LARGE_TABLE = 5_000_000  # rows above which training moves to the cluster, if there is one


class TrainingError(UserError):
    """Training cannot be done; the message says why."""


@dataclass(frozen=True)
class TrainingOptions:
    """Settings of ``hhh train bdt`` beyond those of any run."""

    test: str | None = None  # fileset of events never trained on
    compare: str | None = None  # a model to measure on the same test events
    features: tuple[str, ...] = DEFAULT_FEATURES
    validation_fraction: float = 0.2
    seed: int = 42
    search: bool = True
    keep_table: bool = False
    threads: int = 1
    large_table: int = LARGE_TABLE


@dataclass(frozen=True)
class Sample:
    """A table on disk and the files behind it."""

    folder: Path
    datasets: dict[str, Dataset]
    files: tuple[FileInfo, ...]

    def provenance(self) -> list[dict[str, Any]]:
        """Files by name and content; no paths, which mean nothing elsewhere."""
        return [
            {"dataset": f.source.dataset, "file": Path(f.source.path).name, "uuid": f.uuid, "events": f.entries}
            for f in self.files
        ]


def train_bdt(config: RunConfig, options: TrainingOptions) -> None:
    """Train, measure, and write a model directory to ``config.output``.

    Raises
    ------
    TrainingError
        if the options cannot be used, a file cannot be read, or a test file was trained on.
    """
    if unknown := [name for name in options.features if name not in FEATURES]:
        raise TrainingError(f"option features: no {unknown}; there are {listed(FEATURES)}")
    console = Console()
    output = Path(config.output)
    present = {path.name for path in output.iterdir()} if output.is_dir() else set()
    if present - {"table", LOCK} and CARD not in present:
        raise TrainingError(f"{output}: is not empty and contains no earlier model; choose another --output")
    compared = load_model(options.compare) if options.compare else None
    if compared is not None and (missing := set(compared.features) - set(options.features)):
        raise TrainingError(
            f"option compare: {compared.name} needs {listed(missing)}, which are not among the features"
        )
    table = output / "table"
    shutil.rmtree(table, ignore_errors=True)  # of a training that was broken off
    with make_executor(config.executor, config.workers, config.scheduler) as executor:
        sample = make_table(config, options, table / "training", executor, console)
        test = None
        if options.test is not None:
            of_test = config.model_copy(update={"fileset": options.test, "datasets": None})
            test = make_table(of_test, options, table / "test", executor, console)
            _no_file_in_both(sample, test)
        trained, searched, on_cluster = search(sample.folder, options, executor, console)
    weights = bytes(trained.booster.save_raw("ubj"))
    digest = hashlib.sha256(weights).hexdigest()
    model = BdtModel(output.resolve().name, tuple(options.features), {}, digest, weights)
    histograms = bdt_evaluation.book(options.features)
    bdt_evaluation.fill_importance(histograms, trained.booster)

    jets = []
    for rows in read_parts(sample.folder, options.features):
        part = rows.where(~rows.validation)
        jets.append(part.by_class())
        bdt_evaluation.fill_scores(histograms, model.name, "training", part, model.predict(part.features))
    validation = read_validation(sample.folder, options.features)
    scores = model.predict(validation.features)
    bdt_evaluation.fill_scores(histograms, model.name, "validation", validation, scores)
    cuts = working_points(scores, validation.signal)
    card: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "architecture": "xgboost",
        "weights": f"{model.name}.ubj",
        "sha256": digest,
        "features": list(options.features),
        "working_points": cuts,
        "training": {
            "package_version": __version__,
            "xgboost_version": version("xgboost"),
            "on_cluster": on_cluster,
            "files": sample.provenance(),
            "selection": {name: d.metadata.model_dump(mode="json") for name, d in sample.datasets.items()},
            "fat_jets": accumulate(jets),
            "validation_fraction": options.validation_fraction,
            "seed": options.seed,
            "parameters": trained.parameters,
            "trees": trained.trees,
            "early_stopping": {"rounds": STOP_AFTER, "at_most": ROUNDS, "metric": "logloss, classes balanced"},
            "search": searched,
            "search_tolerance": TOLERANCE,
        },
    }
    models = [(model, cuts)] + ([(compared, {})] if compared is not None else [])
    card["validation"] = {one.name: by_group(one, validation, sample, points, options) for one, points in models}
    if test is not None:
        rows = concatenate(list(read_parts(test.folder, options.features)))
        bdt_evaluation.fill_features(histograms, options.features, rows)
        for one, _ in models:
            bdt_evaluation.fill_scores(histograms, one.name, "test", rows, scores_of(one, rows, options))
        card["test"] = {
            "files": test.provenance(),
            "fat_jets": rows.by_class(),
            "models": {one.name: by_group(one, rows, test, points, options) for one, points in models},
        }
    else:
        bdt_evaluation.fill_features(histograms, options.features, validation)
    write_model(output, card, weights, histograms, {**sample.datasets, **(test.datasets if test else {})})
    if not options.keep_table:
        shutil.rmtree(table)
    say(bdt_card.summary(card), console)
    say(f"model written to {contents(output.resolve())}", console)


def make_table(
    config: RunConfig, options: TrainingOptions, folder: Path, executor: Executor, console: Console
) -> Sample:
    """Run ``processors/bdt_table.py`` over a fileset; a file that cannot be read ends the training."""
    datasets = load_fileset(config.fileset, list(config.datasets) if config.datasets else None)
    settings = {
        "table": str(folder.resolve()),
        "features": options.features,
        "validation_fraction": options.validation_fraction,
    }
    source = ProcessorSource.of(load_processor("bdt_table", settings))
    plan = make_plan(config, datasets, source, executor, console)
    print_warnings(console, plan.warnings)
    if plan.failures:
        raise TrainingError(f"{where_of(plan.failures[0])}: {plan.failures[0].reason}")
    job = Job.of(source, datasets)
    try:
        process(config.model_copy(update={"on_error": "stop"}), job, plan, executor, console)
    except RunStopped as stop:
        raise TrainingError(f"{where_of(stop.args[0])}: {stop.args[0].reason}") from None
    return Sample(folder, datasets, plan.files)


def search(
    folder: Path, options: TrainingOptions, executor: Executor, console: Console
) -> tuple[Trained, list[dict[str, Any]], bool]:
    """Fit every candidate of :data:`SEARCH`; returns the choice, the record of all, and whether they ran on the cluster."""
    tried = SEARCH if options.search else SEARCH[:1]
    counts = np.sum([count_classes(path) for path in parts(folder)], axis=0)
    for part, (background, signal) in zip(("training", "validation"), counts, strict=True):
        if not (background and signal):
            raise TrainingError(
                f"the {part} events hold {signal} signal and {background} background large-radius jets: both are needed"
            )
    on_cluster = isinstance(executor, DaskExecutor) and int(counts.sum()) > options.large_table
    rows = None if on_cluster else concatenate(list(read_parts(folder, options.features)))
    validation = read_validation(folder, options.features)
    fits, record = [], []
    for changes in tried:
        parameters = {"objective": "binary:logistic", "seed": options.seed, **changes}
        with console.status(f"training with {changes}"):
            if rows is None:
                assert isinstance(executor, DaskExecutor)
                with executor.client.as_current():  # xgboost looks for it there
                    trained = fit_on_cluster(executor.client, folder, options.features, parameters)
            else:
                trained = fit_here(rows, options.features, {**parameters, "nthread": options.threads})
        scores = trained.booster.inplace_predict(validation.features, validate_features=False)
        auc = bdt_evaluation.area(*bdt_evaluation.roc(scores, validation.signal))
        fits.append(trained)
        record.append({**changes, "trees": trained.trees, "logloss": round(trained.loss, 5), "auc": round(auc, 5)})
        said = ", ".join(f"{name} {value}" for name, value in record[-1].items())
        say(f"  {said}", console)
    least = max(row["auc"] for row in record) - TOLERANCE
    chosen = min((k for k, row in enumerate(record) if row["auc"] >= least), key=lambda k: record[k]["trees"])
    return fits[chosen], record, on_cluster


def read_validation(folder: Path, features: Sequence[str]) -> Rows:
    """Read the validation part of a table."""
    return concatenate([rows.where(rows.validation) for rows in read_parts(folder, features)])


def write_model(
    output: Path, card: dict[str, Any], weights: bytes, histograms: dict[str, Any], datasets: dict[str, Dataset]
) -> None:
    """Write weights, ``model.yaml``, model card, and ``evaluation/`` with its histograms and figures."""
    from hhh_coffea.figures import results_figures as figures

    content = yaml.safe_dump(card, sort_keys=False, allow_unicode=True, width=120)
    output.mkdir(parents=True, exist_ok=True)
    (output / card["weights"]).write_bytes(weights)
    evaluation = output / "evaluation"
    evaluation.mkdir(exist_ok=True)
    results.write_json(evaluation / "histograms.json", results.histogram_file(histograms, datasets))
    figures.draw_all(evaluation, formats=("png",))
    (output / "README.md").write_text(bdt_card.text(output.resolve().name, card), encoding="utf-8")
    (output / CARD).write_text(content, encoding="utf-8")


def scores_of(model: BdtModel, rows: Rows, options: TrainingOptions) -> npt.NDArray[np.float32]:
    """Scores of any model whose features are among those of the table."""
    return model.predict(rows.features[:, [options.features.index(name) for name in model.features]])


def by_group(
    model: BdtModel, rows: Rows, sample: Sample, cuts: dict[str, float], options: TrainingOptions
) -> dict[str, dict[str, Any]]:
    """Numbers of each signal dataset together with all backgrounds, and in the end of everything."""
    scores = scores_of(model, rows, options)
    backgrounds = [name for name, d in sample.datasets.items() if not d.metadata.is_signal]
    signals = [name for name in sample.datasets if name not in backgrounds]
    measured = {}
    for group in (*([name] for name in signals), *([signals] if len(signals) > 1 else [])):
        use = np.isin(rows.dataset, [*group, *backgrounds])
        measured[" + ".join([*group, *backgrounds])] = {
            **measure(scores[use], rows.where(use), options.seed),
            "working_points": at_working_points(scores[use], rows.where(use), cuts),
        }
    return measured


def _no_file_in_both(training: Sample, test: Sample) -> None:
    known = {file.uuid: file.source.path for file in training.files}
    for file in test.files:
        if file.uuid in known:
            raise TrainingError(
                f"{file.source.path}: is a test file, but {known[file.uuid]} with the same content is a training file"
            )
