"""Everything a run can be told, validated: command line over ``run.yaml`` over the defaults."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from hhh_coffea.analyses import Analysis, all_methods
from hhh_coffea.base.errors import UserError, did_you_mean, listed, why_unreadable
from hhh_coffea.base.strict import Positive, Strict, comma_separated, in_plain_words, pairs
from hhh_coffea.base.user_files import expanded, load_yaml
from hhh_coffea.engine.dask_cluster import ClusterOptions
from hhh_coffea.engine.store import CANDIDATES, EVENTS, SKIM
from hhh_coffea.methods import DEFAULT_BDT, DEFAULT_WORKING_POINT
from hhh_coffea.methods.chi2 import MASS
from hhh_coffea.methods.user_method import is_user_method
from hhh_coffea.reconstruction.metrics import DEFINITIONS, Definition
from hhh_coffea.reconstruction.observables import EventObservable, ExpressionText, Name, RegionName, read_observable

Count = Annotated[int, Field(ge=1)]
Options = TypeVar("Options", bound=Strict)


class ConfigError(UserError):
    """The configuration cannot be used; the message names the option."""


class RunConfig(Strict):
    """Options of ``hhh run``; field names are those of the command line with underscores."""

    RENAMED: ClassVar[dict[str, str]] = {"metrics": "definitions"}  # earlier name → name

    fileset: str
    output: str = "results"
    processor: str = "assignment"
    options: dict[str, Any] = Field(default_factory=dict)  # the processor's own, by the names of its __init__
    methods: tuple[str, ...] = ("chi2",)
    definitions: Literal["default", "reference", "both"] = "both"
    datasets: tuple[str, ...] | None = None
    chi2_jets: Annotated[int, Field(ge=2, le=10)] | None = None
    chi2_mass: float = Field(MASS, gt=0, lt=1000)
    bdt: str = DEFAULT_BDT
    bdt_wp: str | float = DEFAULT_WORKING_POINT
    model: tuple[str, ...] = ()
    device: str = "auto"
    btagging: Literal["upart", "csv"] | None = None
    executor: Literal["iterative", "futures", "dask"] = "iterative"
    workers: Count | None = None
    scheduler: str | None = None
    chunksize: Count | None = None
    max_chunks: Count | None = None
    max_files: Count | None = None
    cluster: Literal["slurm", "htcondor"] | None = None
    cluster_config: str | None = None
    ship_package: bool = False
    dashboard_address: str | None = None
    tls_ca_file: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    chunk_timeout: Positive | None = None
    resume: bool = True
    on_error: Literal["stop", "skip"] = "skip"
    overwrite: bool = False
    candidates: bool = False
    skim: bool = False
    events: bool = False
    plots: bool = True
    regions: dict[RegionName, ExpressionText] = Field(default_factory=dict)
    observables: dict[Name, EventObservable] = Field(default_factory=dict)
    couplings: bool = False
    luminosity: Positive | None = None  # fb⁻¹
    sqrt_s: Positive | None = None  # TeV
    label: str | None = None
    label_text: str | None = None
    overlay_published: bool = False
    accept_foreign_model: bool = False
    performance_report: bool = False
    root: bool = False
    dry_run: bool = False
    verbose: bool = False
    debug: bool = False

    @field_validator("output", "cluster_config", "tls_ca_file", "tls_cert", "tls_key")
    @classmethod
    def _path(cls, value: str | None) -> str | None:
        return None if value is None else str(expanded(value))

    @field_validator("methods", "datasets", "model", mode="before")
    @classmethod
    def _comma_separated(cls, value: Any) -> Any:
        return comma_separated(value)

    @field_validator("regions", "observables", mode="before")
    @classmethod
    def _declared(cls, value: Any, info: Any) -> Any:
        """``NAME=EXPRESSION`` of the command line; an observable with its bins, ``NAME=EXPRESSION@BINS,LOW,HIGH``."""
        if not isinstance(value, list):
            return value
        found = pairs(value, "NAME=EXPRESSION")
        return found if info.field_name == "regions" else {name: read_observable(text) for name, text in found.items()}

    @field_validator("methods")
    @classmethod
    def _each_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) != len(value) or not value:
            raise ValueError("name at least one method, and each once")
        return value

    @field_validator("bdt_wp")
    @classmethod
    def _name_or_score(cls, value: str | float) -> str | float:
        try:
            score = float(value)
        except ValueError:
            return value  # a working point of the model, which is asked when it is loaded
        if not 0 <= score <= 1:
            raise ValueError("a working point is a name or a score between 0 and 1")
        return score

    @field_validator("options", mode="before")
    @classmethod
    def _named_values(cls, value: Any) -> Any:
        """``NAME=VALUE`` of the command line; a value is read as YAML: 3, 0.5, true, [a, b], or a text.

        ``METHOD.NAME=VALUE`` sets an option of one method: ``chi2.btag=veto`` is ``settings={chi2: {btag: veto}}``.
        """
        if not isinstance(value, list):
            return value
        found: dict[str, Any] = {}
        of_methods: dict[str, Any] = {}
        for name, text in pairs(value).items():
            *method, option = name.split(".", 1)
            if not all(part.isidentifier() for part in (*method, option)):
                raise ValueError(f"'{name}={text}' is not NAME=VALUE")
            place = of_methods.setdefault(method[0], {}) if method else found
            try:
                place[option] = load_yaml(text)
            except yaml.constructor.ConstructorError as error:  # a key twice, say: YAML, but not one that can be used
                raise ValueError(f"'{name}={text}': {why_unreadable(error)}") from None
            except yaml.YAMLError:
                place[option] = text
        if of_methods and "settings" in found:
            raise ValueError("options of methods are given twice: as settings=… and as METHOD.NAME=VALUE")
        return {**found, "settings": of_methods} if of_methods else found

    @field_validator("options")
    @classmethod
    def _not_of_the_run(cls, value: dict[str, Any]) -> dict[str, Any]:
        if taken := sorted(set(value) & set(cls.model_fields)):
            raise ValueError(f"{taken[0]!r} is an option of the run itself: --{taken[0].replace('_', '-')}")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> RunConfig:
        if self.scheduler is not None and self.executor != "dask":
            raise ValueError("scheduler needs executor 'dask'")
        if self.scheduler is not None and self.workers is not None:
            raise ValueError("workers belong to the scheduler's cluster: give one of workers and scheduler, not both")
        for option in ("performance_report", "cluster", "ship_package", "dashboard_address", "tls_ca_file"):
            if getattr(self, option) and self.executor != "dask":
                raise ValueError(f"{option} needs executor 'dask'")
        self._consistent_cluster()
        if self.workers is not None and self.executor == "iterative":
            raise ValueError("workers need executor 'futures' or 'dask': the executor 'iterative' has no workers")
        if self.label_text is not None and self.label is None:
            raise ValueError("label_text is shown after the label: give label too")
        if self.processor == "assignment":  # of other processors only their authors know
            self._used_by_methods()
        return self

    def check_formats(self, formats: Collection[str]) -> None:
        """Refuse what has no effect on datasets of these formats; ConfigError names it."""
        if self.btagging is not None and "delphes" not in formats:
            raise ConfigError(
                f"option 'btagging' has no effect on {listed(formats)} datasets: only b tags of Delphes are re-sampled"
            )

    def check_methods(self, analyses: Iterable[Analysis]) -> None:
        """ConfigError if a method is neither of these analyses nor of a declared one, nor a file."""
        analyses = list(analyses)
        if "methods" not in self.model_fields_set and (
            lacking := [a for a in analyses if not {*self.methods} & {*a.methods}]
        ):
            raise ConfigError(
                f"option 'methods': analysis {lacking[0].name!r} has no {self.methods[0]!r}, the default; set --methods "
                f"{','.join(lacking[0].methods) or 'my_method.py:MyMethod'}"
            )
        known = {*all_methods(), *(name for analysis in analyses for name in analysis.methods)}
        for name in self.methods:
            if name not in known and not is_user_method(name):
                raise ConfigError(
                    f"option 'methods': no method {name!r}{did_you_mean(name, known)}; there are "
                    f"{', '.join(sorted(known))}, and your own files: my_method.py:MyMethod"
                )

    def _used_by_methods(self) -> None:
        """Refuse options given for methods that will not run: the user would take their effect for granted."""
        kinds = self._kinds
        network = ("spanet", "pdnn")
        for option, needs in (("bdt", ("bdt",)), ("bdt_wp", ("bdt",)), ("model", ("spanet",)), ("device", network)):
            if option in self.model_fields_set and not kinds.intersection(needs):
                users = ", ".join(name for name, method in all_methods().items() if method.needs in needs)
                raise ValueError(
                    f"option {option!r} has no effect on the methods {', '.join(self.methods)}: it is for {users}"
                )
        for option in ("chi2_jets", "chi2_mass"):
            if option in self.model_fields_set and kinds == {"spanet"}:
                raise ValueError(f"option {option!r} has no effect on the method spanet")

    def _consistent_cluster(self) -> None:
        if self.cluster is not None and self.scheduler is not None:
            raise ValueError("give one of cluster (to start one) and scheduler (to join one), not both")
        if self.cluster is not None and self.workers is not None:
            raise ValueError("leave 'workers' out: the 'jobs' in cluster_config are the workers of a batch system")
        if (self.cluster is None) != (self.cluster_config is None):
            raise ValueError("cluster and cluster_config belong together")
        if self.ship_package and self.scheduler is None and self.cluster is None:
            raise ValueError("ship_package is for scheduler or cluster: local workers have the package")
        if self.dashboard_address and self.scheduler is not None:
            raise ValueError(
                "dashboard_address is for a cluster that is started; the scheduler already has a dashboard"
            )
        if len({option is None for option in (self.tls_ca_file, self.tls_cert, self.tls_key)}) > 1:
            raise ValueError("tls_ca_file, tls_cert and tls_key belong together")

    @property
    def _kinds(self) -> set[str | None]:
        """The kinds of models that the methods need; None stands for methods without one."""
        known = all_methods()
        return {known[name].needs if name in known else None for name in self.methods}

    @property
    def cluster_options(self) -> ClusterOptions:
        """How to reach or start a dask cluster."""
        tls = (self.tls_ca_file, self.tls_cert, self.tls_key)
        kinds = self._kinds
        return ClusterOptions(
            self.cluster,
            self.cluster_config,
            self.dashboard_address,
            self.ship_package,
            None if None in tls else tls,  # type: ignore[arg-type]
            ("xgboost",) * ("bdt" in kinds) + ("torch",) * bool({"spanet", "pdnn"} & kinds),
        )

    @property
    def every_definition(self) -> tuple[Definition, ...]:
        """The sets of definitions to evaluate, by name."""
        return DEFINITIONS if self.definitions == "both" else (self.definitions,)

    def processor_options(self, folder: Path) -> dict[str, Any]:
        """What a processor's ``__init__`` may ask for by name; chunks write into ``folder``."""
        return {
            **self.options,
            "methods": self.methods,
            "metrics": self.every_definition,
            "chi2_jets": self.chi2_jets,
            "chi2_mass": self.chi2_mass,
            "bdt": self.bdt,
            "bdt_wp": self.bdt_wp,
            "model": self.model,
            "device": self.device,
            "btagging": self.btagging,
            "candidates": str(folder / CANDIDATES) if self.candidates else None,
            "skim": str(folder / SKIM) if self.skim else None,
            "events": str(folder / EVENTS) if self.events else None,
            **({"accept_foreign_model": True} if self.accept_foreign_model else {}),
            **self._observed,
        }

    @property
    def parts(self) -> tuple[str, ...]:
        """Folders of the results that chunks write into."""
        wanted = ((CANDIDATES, self.candidates), (SKIM, self.skim), (EVENTS, self.events))
        return tuple(name for name, asked_for in wanted if asked_for)

    @property
    def _observed(self) -> dict[str, Any]:
        """Left out where nothing is asked for: a processor of one's own need not know them."""
        observables = {name: one.model_dump() for name, one in self.observables.items()}
        found = {"regions": self.regions, "observables": observables, "couplings": self.couplings}
        return {name: value for name, value in found.items() if value}


def make_config(given: dict[str, Any], config_file: str | None = None) -> RunConfig:
    """Options of a run: those ``given`` on the command line over those of a YAML file."""
    return validated(RunConfig, given, config_file)


def validated(model: type[Options], given: dict[str, Any], config_file: str | None = None) -> Options:
    """Validate the options of a command: those ``given`` on the command line over those of a YAML file.

    Raises
    ------
    ConfigError
        naming the file and every option at fault.
    """
    renamed = getattr(model, "RENAMED", {})
    options, given = (
        {renamed.get(name, name): value for name, value in some.items()}
        for some in (_read_yaml(config_file) if config_file else {}, given)
    )
    source = f"{config_file}: " if config_file else ""
    options.update(given)
    try:
        return model.model_validate(options)
    except ValidationError as error:
        raise ConfigError(
            "\n".join(
                source * (p["loc"][:1] != () and p["loc"][0] not in given) + _explain(p, model) for p in error.errors()
            )
        ) from None


def _read_yaml(path: str) -> dict[str, Any]:
    try:
        content = load_yaml(expanded(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read as YAML: {why_unreadable(error)}") from error
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ConfigError(f"{path}: must be a mapping of options to values")
    # on the command line it is --no-plots and --chi2-jets; both spellings are understood here
    options = {key.replace("-", "_"): value for key, value in content.items()}
    if len(options) < len(content):
        twice = sorted(key for key in content if "-" in key and key.replace("-", "_") in content)
        raise ConfigError(f"{path}: option {twice[0]!r} is listed twice, with - and with _")
    return options


def _explain(problem: Any, model: type[Strict]) -> str:
    name = str(problem["loc"][0]) if problem["loc"] else ""
    if problem["type"] == "extra_forbidden":
        positive = name.removeprefix("no_")
        if positive != name and positive in model.model_fields:
            return f"option {name!r}: write '{positive}: false' instead"
        return f"option {name!r}: there is no such option{did_you_mean(name, model.model_fields)}"
    if problem["type"] == "missing":
        example = ", for example --fileset demo" if name == "fileset" else ""
        return f"option {name!r} is missing{example}"
    return f"option {name!r}: {in_plain_words(problem)}" if name else problem["msg"].removeprefix("Value error, ")
