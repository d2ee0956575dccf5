"""The network inside anybody's processor: awkward arrays of jets in, indices and probabilities out.

    assign = Assigner("spanet_hh")            # once, or in every chunk: a process keeps one network of a model
    found = assign(jets, fatjets)             # jets: the selected ones of each event, in any order
    h1 = jets[found.objects[:, 0]]            # positions of the first target's jets

It needs no fileset, no processor and no event record of this package (docs/assigner.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import numpy.typing as npt

from hhh_coffea.base.errors import UserError, nearest
from hhh_coffea.methods.spanet import SpanetError, decoding, evaluate, load_model
from hhh_coffea.methods.spanet_inputs import FEATURES, collection_of, padded_length
from hhh_coffea.topology.topology import Input, Topology

DECODINGS = ("all", "joint", "greedy")


class Assigner:
    """A SPANet model as a function of jets.

    Parameters
    ----------
    model
        model directory, or the name of a bundled model; read once, and one network of it is kept in a process
    decoding
        ``all``: every target gets jets, exactly n candidates where there are jets enough. ``joint``: the most probable
        interpretation, targets that are absent get none. ``greedy``: one after the other, present ones only
    device
        ``auto`` (a GPU where there is one), ``cpu``, ``cuda``, ``cuda:i``
    names
        your field → ours where they differ, say ``{"btagPNetB": "btag_score"}``

    Raises
    ------
    SpanetError
        if the model or the device cannot be used.
    """

    def __init__(
        self, model: str | Path, decoding: str = "all", device: str = "auto", names: Mapping[str, str] | None = None
    ) -> None:
        if decoding.partition(":")[0] not in DECODINGS:
            raise SpanetError(f"no decoding {decoding!r}; there are {', '.join(DECODINGS)}")
        self.model = load_model(model, device)
        self.decoding = decoding
        self.names = {ours: theirs for theirs, ours in (names or {}).items()}

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the targets, in the order of the result's columns."""
        return self.model.topology.target_names

    def __call__(
        self,
        jets: ak.Array,
        fatjets: ak.Array | None = None,
        leptons: ak.Array | None = None,
        met: ak.Array | None = None,
    ) -> ak.Array:
        """Assign the jets of N events.

        Parameters
        ----------
        jets, fatjets, leptons
            jagged records with the fields that the model takes: ``pt eta phi mass`` in GeV and radians, a b tag, …
        met
            one record of each event: ``pt phi``

        Returns
        -------
        N records: ``objects``, for each of the T targets a list of positions in ``jets`` (of boosted targets in ``fatjets``),
        empty where a target gets none; ``assignment_probability`` and ``detection_probability`` ``(N, T)``; ``margin``
        ``(N,)``, by how much the probabilities of the best complete choice exceed those of the second best
        (:func:`.complete.margin`); and for each class of events ``class_HEAD`` ``(N, C)``.

        Raises
        ------
        UserError
            naming the model and the field that the jets lack.
        """
        every = {"jets": jets, "fatjets": fatjets, "leptons": leptons, "met": met}
        given = {name: objects for name, objects in every.items() if objects is not None}
        record = {}
        for event_input in self.model.topology.inputs:
            name = collection_of(event_input, self.model.name)
            if name == "event":  # made of the jets
                continue
            if name not in given:
                raise UserError(f"model {self.model.name!r} takes {name}: call it with {name}=…")
            record[name] = self._renamed(given[name], event_input, name)
        events = ak.zip(record, depth_limit=1)
        objects, ap, dp, margins, *scores = evaluate(events, self.model, {"": self._way()})[""]
        columns: dict[str, Any] = {
            "objects": _lists(objects, self._starts(events, objects.shape[2])),
            "assignment_probability": ap,
            "detection_probability": dp,
            "margin": margins,
        }
        heads = self.model.topology.classifications
        columns |= {f"class_{key.replace('/', '_')}": s for key, s in zip(heads, scores, strict=True)}
        return ak.zip(columns, depth_limit=1)

    def _renamed(self, objects: ak.Array, event_input: Input, collection: str) -> ak.Array:
        """The fields of the event record that the model takes, out of the user's."""
        known = FEATURES[collection]
        wanted = {known.get(feature, "phi") for feature in event_input.feature_names} | {"pt", "phi"}
        wanted |= {"eta"} if event_input.kind == "sequential" else set()
        columns = {}
        for ours in sorted(wanted):
            theirs = self.names.get(ours, ours)
            if theirs not in objects.fields:
                raise UserError(
                    f"model {self.model.name!r} takes {ours!r} of {collection}, and they have no field {theirs!r}; name "
                    f"yours with names={{...: {ours!r}}}; {_like(theirs, objects.fields)}"
                )
            columns[ours] = objects[theirs]
        return ak.zip(columns, depth_limit=2 if event_input.kind == "sequential" else 1)

    def _way(self) -> Any:
        """What is made of a batch of outputs: assignments, their margin, and classes."""
        from hhh_coffea.spanet.decoding.complete import complete, margin

        chosen = decoding(self.decoding)
        heads = self.model.topology.classifications

        def way(outputs: Any, topology: Topology, lengths: list[int], *more: Any) -> list[Any]:
            found, best = chosen(outputs, topology, lengths, *more), complete(outputs, topology, lengths)
            objects = found.objects.masked_fill(~found.selected[..., None], -1)
            margins = margin(outputs, topology, lengths, best)
            scores = [outputs.classification[key].softmax(dim=-1) for key in heads]
            return [objects, found.assignment_probability, found.detection_probability, margins, *scores]

        return way

    def _starts(self, events: ak.Array, width: int) -> npt.NDArray[np.int64]:
        """``(T, k)``: where the list of each daughter begins in the list of all objects."""
        topology = self.model.topology
        lengths = [padded_length(events, collection_of(i, self.model.name)) for i in topology.sequential]
        first = dict(zip((i.name for i in topology.sequential), np.cumsum([0, *lengths]), strict=False))
        rows = [[int(first[str(s)]) for s in target.sources] for target in topology.targets]
        return np.array([row + [0] * (width - len(row)) for row in rows])


def _like(name: str, there: Sequence[str]) -> str:
    """Fields that a user may have meant, and how many others there are: NanoAOD has eighty of a jet."""
    near = nearest(name, there, cutoff=0.4)
    others = len(there) - len(near)
    if not near:
        return f"none of the {others} fields has a name like it"
    return f"there are {', '.join(near)}{f' and {others} others' if others else ''}"


def _lists(objects: npt.NDArray[np.int64], starts: npt.NDArray[np.int64]) -> ak.Array:
    """``(N, T, k)`` positions in the list of all objects, −1 where none → N × T lists of positions in their own lists."""
    there = objects >= 0
    flat = ak.unflatten((objects - starts)[there], there.sum(axis=2).ravel())
    return ak.unflatten(flat, objects.shape[1]) if len(objects) else ak.Array(np.zeros((0, objects.shape[1], 0), int))
