"""Methods: what one is, their options, and how they are run on the same events."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import awkward as ak
import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from hhh_coffea.base.arrays import counts_of
from hhh_coffea.base.errors import UserError, did_you_mean
from hhh_coffea.base.strict import Strict, in_plain_words
from hhh_coffea.methods import bdt, chi2, spanet
from hhh_coffea.methods.bdt_model import BdtModel, load_model
from hhh_coffea.methods.pdnn_options import PdnnOptions
from hhh_coffea.methods.spanet import SpanetError, SpanetModel
from hhh_coffea.methods.user_method import UserMethod, is_user_method, load_user_method
from hhh_coffea.reconstruction.analysis import Analysis
from hhh_coffea.reconstruction.candidates import checked
from hhh_coffea.topology.kinds import in_words, same_targets

if TYPE_CHECKING:
    from hhh_coffea.methods.pdnn import PdnnModel

DEFAULT_BDT = "hbb_bdt"
DEFAULT_WORKING_POINT = "loose"  # that of the published comparison: 2% misidentification


@dataclass(frozen=True)
class MethodOptions:
    """Settings of the methods; :func:`method_options` makes them from what the run command takes."""

    chi2_jets: int | None = None  # jets the pairing may choose from; as many as the targets need when None
    chi2_mass: float = chi2.MASS  # GeV
    bdt: BdtModel | None = None
    bdt_cut: float = 1.0  # score above which a large-radius jet is a candidate
    spanet: tuple[SpanetModel, ...] = ()  # each for other targets
    pdnn: tuple[PdnnModel, ...] = ()  # likewise
    methods: tuple[str, ...] = ()  # their names, as asked for
    own: Mapping[str, UserMethod] = field(default_factory=dict)  # the user's own among them
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # by method: options that it alone has
    accept_foreign_model: bool = False  # models of other formats too

    def method(self, name: str, analysis: Analysis) -> Method:
        """A method by its name, the user's own included; UserError if the analysis has none."""
        if name in self.own:
            return _of_user(self.own[name])
        if name not in analysis.methods:
            has = ", ".join(sorted({*analysis.methods, *self.own})) or "none: name your own file"
            raise UserError(f"no method {name!r} for analysis {analysis.name!r}; there are {has}")
        found: Method = analysis.methods[name]
        return found

    def needs(self, methods: Iterable[str], analysis: Analysis) -> set[str]:
        """The kinds of models that these methods need."""
        return {need for name in methods if (need := self.method(name, analysis).needs) is not None}

    def models(self) -> dict[str, dict[str, Any]]:
        """Weights in use and how, for the record of a run."""
        used: dict[str, dict[str, Any]] = {
            f"{kind} {m.name}": {"name": m.name, "sha256": m.sha256, "device": m.device, "trained_on": [*m.trained_on]}
            for kind, models in (("spanet", self.spanet), ("pdnn", self.pdnn))
            for m in models
        }
        used |= {f"method {m.name}": {"file": m.file, "sha256": m.sha256} for m in self.own.values()}
        if self.bdt is not None:
            used["bdt"] = {"name": self.bdt.name, "sha256": self.bdt.sha256, "cut": self.bdt_cut}
            used["bdt"]["trained_on"] = [*self.bdt.trained_on]
        return used

    def spanet_for(self, analysis: Analysis) -> SpanetModel:
        """The SPANet model that looks for the targets of an analysis; SpanetError if there is none."""
        advice = "Name one with --model, or leave such datasets out"
        return _model_for(analysis, self.spanet, "spanet", advice, SpanetError)

    def pdnn_for(self, analysis: Analysis) -> PdnnModel:
        """The permutation network for the targets of an analysis; UserError if there is none."""
        advice = "Name one with --set pdnn.model=FOLDER, or train one: hhh train pdnn"
        return _model_for(analysis, self.pdnn, "pdnn", advice, UserError)


Model = TypeVar("Model", "SpanetModel", "PdnnModel")


def _model_for(analysis: Analysis, models: Iterable[Model], method: str, advice: str, error: type[UserError]) -> Model:
    """The first of the models that looks for the targets of an analysis; ``error`` if there is none."""
    models = tuple(models)
    for model in models:
        if same_targets(model.kinds, analysis.kinds):
            return model
    has = ", ".join(f"{m.name} ({in_words(m.kinds)})" for m in models) or "none"
    raise error(
        f"method {method!r}: no model for analysis {analysis.name!r} ({in_words(analysis.kinds)}); given: {has}. {advice}"
    )


def _for_any(models: tuple[Model, ...], analyses: Iterable[Analysis]) -> tuple[Model, ...]:
    """The model of each of the analyses, as :func:`_model_for`; all where there is none, for the message that says so."""
    own = [next((m for m in models if same_targets(m.kinds, analysis.kinds)), None) for analysis in analyses]
    return tuple(m for m in models if any(m is one for one in own)) or models


Candidates = dict[str, ak.Array]  # by definition


class SharedWork:
    """Events to reconstruct, and what several methods share of them: made once, on first use.

    ``decoded``: SPANet's candidates by decoding, where the network has been run already.
    """

    def __init__(
        self,
        record: ak.Array,
        analysis: Analysis,
        options: MethodOptions,
        decodings: Iterable[str] = (),
        decoded: Mapping[str, ak.Array] | None = None,
    ) -> None:
        self.record, self.analysis, self.options = record, analysis, options
        self._decodings = sorted(set(decodings))
        self._made: dict[str, ak.Array] = {}
        if decoded is not None:
            self.decoded = decoded

    def once(self, name: str, make: Callable[[], ak.Array]) -> ak.Array:
        """What ``make`` returns, made on first use and kept under ``name`` for the other methods."""
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]

    @cached_property
    def decoded(self) -> Mapping[str, ak.Array]:
        """Candidates of the network by decoding; it runs once for all of them."""
        model = self.options.spanet_for(self.analysis)
        return spanet.reconstruct(self.record, model, self._decodings, self.analysis)

    @cached_property
    def scores(self) -> npt.NDArray[np.float32]:
        """The BDT's score of every large-radius jet, flat."""
        return bdt.score(self.record.fatjets, bdt_of(self.options))


Reconstruct = Callable[[SharedWork, Sequence[str]], Candidates]


def _no_features(_: MethodOptions, __: Analysis) -> tuple[str, ...]:
    return ()


@dataclass(frozen=True)
class Method:
    """A reconstruction method.

    ``reconstruct(shared, definitions)`` returns candidates for each definition: the same ones unless the published
    analysis ran the method differently. ``extra_features(options, analysis)``: what it reads of objects beyond their
    kinematics, as ``tau21`` of large-radius jets or ``jets.n_charged``. ``needs``: the kind of model it needs. ``decodings``:
    for SPANet, how its output is read in each definition. ``settings``: the model of the options that this method alone has.
    """

    reconstruct: Reconstruct
    extra_features: Callable[[MethodOptions, Analysis], tuple[str, ...]] = _no_features
    needs: Literal["bdt", "spanet", "pdnn"] | None = None
    decodings: Mapping[str, str] = field(default_factory=dict)
    settings: type[Strict] | None = None


def spanet_method(default: str, reference: str = "") -> Method:
    """The network, with the name of a decoding for each definition; the same one where none is named."""
    decodings = {"default": default, "reference": reference or default}

    def run(shared: SharedWork, definitions: Sequence[str]) -> Candidates:
        return {definition: shared.decoded[decodings[definition]] for definition in definitions}

    return Method(run, _spanet_features, "spanet", decodings)


def method_of(reconstruct: Callable[[ak.Array, Analysis], ak.Array], extra_features: Sequence[str] = ()) -> Method:
    """A method from a function ``(record, analysis) → candidates``, the same in all definitions."""

    code = getattr(reconstruct, "__code__", None)
    at = f"{reconstruct.__name__}()" + (f" ({Path(code.co_filename).name}:{code.co_firstlineno})" if code else "")

    def run(shared: SharedWork, definitions: Sequence[str]) -> Candidates:
        found = reconstruct(shared.record, shared.analysis)
        return dict.fromkeys(definitions, checked(found, len(shared.record), at))

    return Method(run, lambda *_: tuple(extra_features))


def _of_user(method: UserMethod) -> Method:
    return method_of(method.reconstruct, getattr(method.instance, "extra_features", ()))


def bdt_of(options: MethodOptions) -> BdtModel:
    """The BDT among the options; ValueError if there is none."""
    if options.bdt is None:
        raise ValueError("method 'chi2+bdt' needs a BDT: make its options with method_options()")
    return options.bdt


def bdt_features(options: MethodOptions, _: Analysis) -> tuple[str, ...]:
    """Large-radius-jet features that the BDT reads."""
    return bdt_of(options).substructure


def _spanet_features(options: MethodOptions, analysis: Analysis) -> tuple[str, ...]:
    # networks of other analyses may read what is not there
    return tuple(feature for model in _for_any(options.spanet, [analysis]) for feature in model.extra_features)


SPANET = {
    # the published definitions count pairs and large-radius jets separately
    **dict.fromkeys(("spanet", "spanet:expected"), spanet_method(default="expected", reference="expected_by_kind")),
    **{f"spanet:{name}": spanet_method(name) for name in ("joint", "reference", "greedy", "all")},
}
# models, by name
NEEDS = {"chi2+bdt": "bdt", "chi2+bdt_as_published": "bdt", "pdnn": "pdnn", **dict.fromkeys(SPANET, "spanet")}


def method_options(
    methods: Iterable[str],
    chi2_jets: int | None = None,
    chi2_mass: float = chi2.MASS,
    bdt: str | Path = DEFAULT_BDT,
    bdt_wp: str | float = DEFAULT_WORKING_POINT,
    model: str | Path | Sequence[str | Path] = (),
    device: str = "auto",
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    accept_foreign_model: bool = False,
    analyses: Iterable[Analysis] = (),
) -> MethodOptions:
    """Settings for these methods: loads the models they need, and no others. ``model`` is one, or several.

    Where no model is named, the bundled ones are meant: of them only those for one of the ``analyses``, if there are any.

    Of ``methods`` some may be files of the user's own, ``PATH.py`` or ``PATH.py:Class``, which are executed; they are
    called by the name of their class from there on (``MethodOptions.methods``).

    Raises
    ------
    BdtError, SpanetError, UserError
        if a model, its working point, the device or a method's file cannot be used.
    """
    if not isinstance(settings or {}, Mapping):
        raise UserError(
            f"option 'settings': {settings!r} is no mapping of methods to their options: {{chi2: {{btag: veto}}}}"
        )
    names, own = _with_own(methods)
    needs = {NEEDS[name] for name in names if name in NEEDS}
    loaded: dict[str, Any] = {"chi2_jets": chi2_jets, "chi2_mass": chi2_mass, "methods": names, "own": own}
    loaded |= {"settings": dict(settings or {}), "accept_foreign_model": accept_foreign_model}
    if "bdt" in needs:
        loaded["bdt"] = load_model(bdt)
        loaded["bdt_cut"] = loaded["bdt"].cut(bdt_wp)
    if "spanet" in needs:
        loaded["spanet"] = spanet.load_models([model] if isinstance(model, str | Path) else model, device)
        if not model:
            loaded["spanet"] = _for_any(loaded["spanet"], analyses)
    if "pdnn" in needs:
        from hhh_coffea.methods.pdnn import load_models

        named = settings_of("pdnn", PdnnOptions, loaded["settings"]).models
        loaded["pdnn"] = load_models(named, device)
        if not named:
            loaded["pdnn"] = _for_any(loaded["pdnn"], analyses)
    return MethodOptions(**loaded)


def _with_own(methods: Iterable[str]) -> tuple[tuple[str, ...], dict[str, UserMethod]]:
    """(names, the user's own methods by name); UserError if two have the same name."""
    names: list[str] = []
    own: dict[str, UserMethod] = {}
    for given in methods:
        name = given
        if is_user_method(given):
            loaded = load_user_method(given)
            name, own[loaded.name] = loaded.name, loaded
        if name in names:
            raise UserError(f"option 'methods': two methods are called {name!r}; rename your class")
        names.append(name)
    return tuple(names), own


Settings = TypeVar("Settings", bound=Strict)


def settings_of(name: str, model: type[Settings], given: Mapping[str, Any]) -> Settings:
    """Options of one method, validated; UserError names the wrong one."""
    try:
        return model.model_validate(given.get(name, {}))
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(map(str, problem["loc"]))
        unknown = f"there is no such option{did_you_mean(place, model.model_fields)}"
        said = unknown if problem["type"] == "extra_forbidden" else in_plain_words(problem)
        raise UserError(
            f"settings of method {name!r}, {place!r}: {said}; there are {', '.join(model.model_fields)}"
        ) from None


def methods_for(methods: Iterable[str], definition: str, analysis: Analysis) -> list[str]:
    """Methods to evaluate in a definition: those asked for, and beside them what the analysis publishes there."""
    names = list(methods)
    beside = analysis.published.get(definition, {})
    return names + [beside[name] for name in names if name in beside and beside[name] not in names]


def jets_paired(method: str, analysis: Analysis, max_jets: int, options: MethodOptions) -> int:
    """How many of an event's jets, in the record's order, a method may pair: χ² the first few, others all kept."""
    takes_all = method in options.own or options.method(method, analysis).needs == "spanet"
    return max_jets if takes_all else max(options.chi2_jets or 0, analysis.jets_needed)


def extra_features(methods: Iterable[str], options: MethodOptions, analysis: Analysis) -> list[str]:
    """What these methods read of objects beyond their kinematics, in one analysis."""
    each = (options.method(name, analysis).extra_features(options, analysis) for name in methods)
    return sorted({feature for features in each for feature in features})


def reconstruct(
    wanted: Mapping[str, Iterable[str]],
    record: ak.Array,
    analysis: Analysis,
    options: MethodOptions,
    decoded: Mapping[str, ak.Array] | None = None,
) -> dict[str, dict[str, ak.Array]]:
    """``{definition: methods}`` → ``{definition: {method: candidates}}``, all on the same events, none run twice.

    ``decoded``: SPANet's candidates by decoding, where the network has been run already.

    Raises
    ------
    UserError
        for a method that does not exist.
    """
    methods = {name: options.method(name, analysis) for names in wanted.values() for name in names}
    decodings = {methods[name].decodings.get(d) for d, names in wanted.items() for name in names}
    shared = SharedWork(record, analysis, options, filter(None, decodings), decoded)
    found: dict[str, dict[str, ak.Array]] = {definition: {} for definition in wanted}
    for name, method in methods.items():
        definitions = [definition for definition, names in wanted.items() if name in names]
        for definition, candidates in method.reconstruct(shared, definitions).items():
            found[definition][name] = _with_outputs(candidates, analysis)
    return found


def _with_outputs(candidates: ak.Array, analysis: Analysis) -> ak.Array:
    """Candidates with every output that the analysis declares, NaN where the method does not fill it."""
    for name in analysis.outputs:
        if name not in candidates.fields:
            counts = counts_of(candidates.kind)
            candidates = ak.with_field(candidates, ak.unflatten(np.full(counts.sum(), np.nan), counts), name)
    return candidates
