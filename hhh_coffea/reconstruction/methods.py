"""The methods by name, their options, and how they are run on the same events."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import awkward as ak
import numpy as np
import numpy.typing as npt

from hhh_coffea.base.errors import UserError
from hhh_coffea.reconstruction import bdt, chi2, spanet
from hhh_coffea.reconstruction.bdt_model import BdtModel, load_model
from hhh_coffea.reconstruction.spanet import SpanetError, SpanetModel
from hhh_coffea.reconstruction.user_method import UserMethod, is_user_method, load_user_method

DEFAULT_BDT = "hbb_bdt"
DEFAULT_WORKING_POINT = "loose"  # that of the published comparison: 2% misidentification


@dataclass(frozen=True)
class MethodOptions:
    """Settings of the methods; :func:`method_options` makes them from what the run command takes."""

    chi2_jets: int | None = None  # jets the pairing may choose from; 2·n_higgs when None
    chi2_mass: float = chi2.HIGGS_MASS  # GeV
    bdt: BdtModel | None = None
    bdt_cut: float = 1.0  # score above which a fat jet is a candidate
    spanet: tuple[SpanetModel, ...] = ()  # each for another number of Higgs bosons
    methods: tuple[str, ...] = ()  # their names, as asked for
    own: Mapping[str, UserMethod] = field(default_factory=dict)  # the user's own among them

    def method(self, name: str) -> Method:
        """A method by its name, the user's own included; ValueError if there is none."""
        if name in self.own:
            return _of_user(self.own[name])
        if name not in METHODS:
            raise ValueError(f"no method {name!r}; there are {sorted({*METHODS, *self.own})}")
        return METHODS[name]

    def needs(self, methods: Iterable[str]) -> set[str]:
        """The kinds of models that these methods need."""
        return {need for name in methods if (need := self.method(name).needs) is not None}

    def models(self) -> dict[str, dict[str, Any]]:
        """Weights in use and how, for the record of a run."""
        used: dict[str, dict[str, Any]] = {
            f"spanet_{m.n_higgs}_higgs": {"name": m.name, "sha256": m.sha256, "device": m.device} for m in self.spanet
        }
        used |= {f"method {m.name}": {"file": m.file, "sha256": m.sha256} for m in self.own.values()}
        if self.bdt is not None:
            used["bdt"] = {"name": self.bdt.name, "sha256": self.bdt.sha256, "cut": self.bdt_cut}
        return used

    def spanet_for(self, n_higgs: int) -> SpanetModel:
        """The SPANet model that looks for this many Higgs bosons; SpanetError if there is none."""
        for model in self.spanet:
            if model.n_higgs == n_higgs:
                return model
        has = ", ".join(f"{m.name} ({m.n_higgs})" for m in self.spanet) or "none"
        raise SpanetError(
            f"method 'spanet': no model for {n_higgs} Higgs bosons; given: {has}. "
            "Name one with --model, or leave such datasets out"
        )


Candidates = dict[str, ak.Array]  # by definition


class SharedWork:
    """Events to reconstruct, and what several methods share of them: made once, on first use.

    ``decoded``: SPANet's candidates by decoding, where the network has been run already.
    """

    def __init__(
        self,
        record: ak.Array,
        n_higgs: int,
        options: MethodOptions,
        decodings: Iterable[str] = (),
        decoded: Mapping[str, ak.Array] | None = None,
    ) -> None:
        self.record, self.n_higgs, self.options = record, n_higgs, options
        self._decodings = sorted(set(decodings))
        if decoded is not None:
            self.decoded = decoded

    @cached_property
    def decoded(self) -> Mapping[str, ak.Array]:
        """Candidates of the network by decoding; it runs once for all of them."""
        return spanet.reconstruct(self.record, self.options.spanet_for(self.n_higgs), self._decodings)

    @cached_property
    def scores(self) -> npt.NDArray[np.float32]:
        """The BDT's score of every large-radius jet, flat."""
        return bdt.score(self.record.fatjets, _bdt_of(self.options))

    @cached_property
    def pairs(self) -> ak.Array:
        """Candidates of the χ² pairing alone."""
        return chi2.reconstruct(self.record, self.n_higgs, self.options.chi2_jets, self.options.chi2_mass)


Reconstruct = Callable[[SharedWork, Sequence[str]], Candidates]


def _no_features(_: MethodOptions) -> tuple[str, ...]:
    return ()


@dataclass(frozen=True)
class Method:
    """A reconstruction method.

    ``reconstruct(shared, definitions)`` returns candidates for each definition: the same ones unless the published
    analysis ran the method differently. ``fatjet_features(options)``: what it reads of the fat jets beyond
    their kinematics. ``needs``: the kind of model it needs. ``decodings``: for SPANet, how its output is read in each
    definition.
    """

    reconstruct: Reconstruct
    fatjet_features: Callable[[MethodOptions], tuple[str, ...]] = _no_features
    needs: Literal["bdt", "spanet"] | None = None
    decodings: Mapping[str, str] = field(default_factory=dict)


def _chi2(shared: SharedWork, definitions: Sequence[str]) -> Candidates:
    return dict.fromkeys(definitions, shared.pairs)


def _chi2_as_published(shared: SharedWork, definitions: Sequence[str]) -> Candidates:
    return dict.fromkeys(definitions, _pairs_as_published(shared))


def _chi2_bdt(shared: SharedWork, definitions: Sequence[str]) -> Candidates:
    record, n_higgs, options = shared.record, shared.n_higgs, shared.options
    found = {}
    for definition in definitions:
        if definition == "reference":
            found[definition] = bdt.reconstruct_reference(record, shared.scores, options.bdt_cut, n_higgs, shared.pairs)
        else:
            found[definition] = bdt.reconstruct(
                record, shared.scores, options.bdt_cut, n_higgs, options.chi2_jets, options.chi2_mass
            )
    return found


def _chi2_bdt_as_published(shared: SharedWork, definitions: Sequence[str]) -> Candidates:
    cut, pairs = shared.options.bdt_cut, _pairs_as_published(shared)
    found = bdt.reconstruct_reference(shared.record, shared.scores, cut, shared.n_higgs, pairs)
    return dict.fromkeys(definitions, found)


def _pairs_as_published(shared: SharedWork) -> ak.Array:
    return chi2.reconstruct_as_published(shared.record, shared.n_higgs, shared.options.chi2_mass)


def _spanet(default: str, reference: str) -> Method:
    """The network with a decoding for each definition."""
    decodings = {"default": default, "reference": reference}

    def run(shared: SharedWork, definitions: Sequence[str]) -> Candidates:
        return {definition: shared.decoded[decodings[definition]] for definition in definitions}

    return Method(run, _spanet_features, "spanet", decodings)


def _of_user(method: UserMethod) -> Method:
    def run(shared: SharedWork, definitions: Sequence[str]) -> Candidates:
        return dict.fromkeys(definitions, method.reconstruct(shared.record, shared.n_higgs))

    return Method(run, lambda _: tuple(getattr(method.instance, "fatjet_features", ())))


def _bdt_of(options: MethodOptions) -> BdtModel:
    if options.bdt is None:
        raise ValueError("method 'chi2+bdt' needs a BDT: make its options with method_options()")
    return options.bdt


def _bdt_features(options: MethodOptions) -> tuple[str, ...]:
    return _bdt_of(options).substructure


def _spanet_features(options: MethodOptions) -> tuple[str, ...]:
    return tuple(feature for model in options.spanet for feature in model.substructure)


METHODS: dict[str, Method] = {
    "chi2": Method(_chi2),
    "chi2_as_published": Method(_chi2_as_published),
    "chi2+bdt": Method(_chi2_bdt, _bdt_features, "bdt"),
    "chi2+bdt_as_published": Method(_chi2_bdt_as_published, _bdt_features, "bdt"),
    # the published post-processing in the published definitions, ours in ours
    "spanet": _spanet(default="joint", reference="reference"),
    **{f"spanet:{name}": _spanet(name, name) for name in ("joint", "reference", "greedy")},
}


def method_options(
    methods: Iterable[str],
    chi2_jets: int | None = None,
    chi2_mass: float = chi2.HIGGS_MASS,
    bdt: str | Path = DEFAULT_BDT,
    bdt_wp: str | float = DEFAULT_WORKING_POINT,
    model: str | Path | Sequence[str | Path] = (),
    device: str = "auto",
) -> MethodOptions:
    """Settings for these methods: loads the models they need, and no others. ``model`` is one, or several.

    Of ``methods`` some may be files of the user's own, ``PATH.py`` or ``PATH.py:Class``, which are executed; they are
    called by the name of their class from there on (``MethodOptions.methods``).

    Raises
    ------
    BdtError, SpanetError, UserError
        if a model, its working point, the device or a method's file cannot be used.
    """
    names, own = _with_own(methods)
    needs = {METHODS[name].needs for name in names if name in METHODS}
    settings: dict[str, Any] = {"chi2_jets": chi2_jets, "chi2_mass": chi2_mass, "methods": names, "own": own}
    if "bdt" in needs:
        settings["bdt"] = load_model(bdt)
        settings["bdt_cut"] = settings["bdt"].cut(bdt_wp)
    if "spanet" in needs:
        settings["spanet"] = spanet.load_models([model] if isinstance(model, str | Path) else model, device)
    return MethodOptions(**settings)


def _with_own(methods: Iterable[str]) -> tuple[tuple[str, ...], dict[str, UserMethod]]:
    """(names, the user's own methods by name); UserError if two have the same name."""
    names: list[str] = []
    own: dict[str, UserMethod] = {}
    for given in methods:
        name = given
        if is_user_method(given):
            loaded = load_user_method(given)
            name, own[loaded.name] = loaded.name, loaded
        if name in names or (name in own and name in METHODS):
            raise UserError(f"option 'methods': two methods are called {name!r}; rename your class")
        names.append(name)
    return tuple(names), own


def check_models(methods: Iterable[str], n_higgs: int, options: MethodOptions) -> None:
    """Check the options of the methods against the number of Higgs bosons of a dataset.

    Raises
    ------
    SpanetError
        if a method has no model for events with this many Higgs bosons.
    UserError
        if the χ² pairing may choose from too few jets.
    """
    if "spanet" in options.needs(methods):
        options.spanet_for(n_higgs)
    if options.chi2_jets is not None and options.chi2_jets < 2 * n_higgs:
        raise UserError(f"option 'chi2_jets': {options.chi2_jets} jets cannot hold 2·n_higgs = {2 * n_higgs}")


class ForeignEventsError(UserError):
    """A model was trained on events of another format; the message names the model, its features and both formats."""


def check_trained_on(methods: Iterable[str], options: MethodOptions, data_format: str) -> None:
    """Refuse a model for events of a format that it was not trained on.

    A feature of the same name is not the same thing there: the b tag of a Delphes card is no score of DeepJet.

    Raises
    ------
    ForeignEventsError
        naming the model and its features.
    """
    needs = options.needs(methods)
    models: list[tuple[str, BdtModel | SpanetModel, Sequence[str]]] = []
    if "bdt" in needs and options.bdt is not None:
        models.append(("BDT", options.bdt, options.bdt.features))
    if "spanet" in needs:
        models += [("SPANet", m, [f for i in m.topology.inputs for f in i.feature_names]) for m in options.spanet]
    for kind, model, features in models:
        if model.trained_on and data_format not in model.trained_on:
            raise ForeignEventsError(
                f"{kind} model {model.name!r} was trained on {', '.join(model.trained_on)}: it cannot take "
                f"{', '.join(features)} from {data_format} events, where they are made of other things. "
                f"Train one on {data_format} (docs/nanoaod.md)"
            )


def methods_for(methods: Iterable[str], definition: str, n_higgs: int) -> list[str]:
    """Methods to evaluate in a definition: ``reference`` adds the published HH pairing beside the correct one."""
    names = list(methods)
    if definition == "reference" and n_higgs == 2:
        for name in list(names):
            published = f"{name}_as_published"
            if published in METHODS and published not in names:
                names.append(published)
    return names


def jets_paired(method: str, n_higgs: int, max_jets: int, options: MethodOptions) -> int:
    """How many of an event's jets, in the record's order, a method may pair: χ² the first few, others all kept."""
    takes_all = method in options.own or options.method(method).needs == "spanet"
    return max_jets if takes_all else max(options.chi2_jets or 0, 2 * n_higgs)


def fatjet_features(methods: Iterable[str], options: MethodOptions) -> list[str]:
    """Fat-jet features beyond the kinematics that these methods read."""
    return sorted({feature for name in methods for feature in options.method(name).fatjet_features(options)})


def reconstruct(
    wanted: Mapping[str, Iterable[str]],
    record: ak.Array,
    n_higgs: int,
    options: MethodOptions,
    decoded: Mapping[str, ak.Array] | None = None,
) -> dict[str, dict[str, ak.Array]]:
    """``{definition: methods}`` → ``{definition: {method: candidates}}``, all on the same events, none run twice.

    ``decoded``: SPANet's candidates by decoding, where the network has been run already.

    Raises
    ------
    ValueError
        for a method that does not exist.
    """
    methods = {name: options.method(name) for names in wanted.values() for name in names}
    decodings = {methods[name].decodings.get(d) for d, names in wanted.items() for name in names}
    shared = SharedWork(record, n_higgs, options, filter(None, decodings), decoded)
    found: dict[str, dict[str, ak.Array]] = {definition: {} for definition in wanted}
    for name, method in methods.items():
        definitions = [definition for definition, names in wanted.items() if name in names]
        for definition, candidates in method.reconstruct(shared, definitions).items():
            found[definition][name] = candidates
    return found
