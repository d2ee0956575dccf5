"""The event record: what a collision looks like to every method, whatever file it came from.

``jets{pt eta phi mass btag flavor index}``  small-radius jets, b-tagged first, then by falling pT
``fatjets{pt eta phi mass … index}``         large-radius jets by falling pT
``leptons{pt eta phi mass charge flavor isolation index}``  electrons (flavor 0) and muons (1) by falling pT
``met{pt phi}``, ``sum_et``                  missing transverse momentum, scalar sum of transverse energy
``higgs{pt eta phi mass b1 b2}``             where truth exists, in the order of the generator record
``hard_higgs{pt eta phi mass}``              likewise: every Higgs boson before the shower, whatever it decays to
``tops{pt eta phi mass pid decay b w d1 d2 nu_sum}``  likewise: see :func:`hhh_coffea.events.tops.top_decays`
``coupling_weights``                         matrix-element weights at other couplings, see ``couplings`` of the metadata
``scale``                                    likewise where asked for: scale of the hard process (GeV), Delphes alone
``weight``                                   generator weight
``id``                                       entry number in the file
``cuts``, ``weights``, ``shifts``            of some formats, by name: see :func:`selected`

``index`` is the object's position in the file. A field that the format lacks is absent, and so is a collection that was
not asked for (:data:`COLLECTIONS`).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

import awkward as ak
import numpy as np
import numpy.typing as npt

from hhh_coffea.base.arrays import IntArray, counts_of, flat, position_in_event, records, taken, unflatten
from hhh_coffea.base.compiled import compiled
from hhh_coffea.base.kinematics import Cartesian, cartesian

Columns = dict[str, npt.NDArray[Any]]
LISTS = ("jets", "fatjets", "leptons", "higgs", "hard_higgs", "tops")
TRUTH = ("higgs", "hard_higgs", "tops")  # in signal alone
# What may be read beside the jets; ``met`` brings ``sum_et``
COUPLING_WEIGHTS = "coupling_weights"
SCALE = "scale"
COLLECTIONS = ("fatjets", "leptons", "met", *TRUTH, COUPLING_WEIGHTS, SCALE)
MULTI_HIGGS = ("fatjets", "higgs")
OF_JETS = "jets."  # before the name of a property of jets beyond their kinematics; without it, of large-radius jets


def shared_out(extra_features: Collection[str]) -> dict[str, list[str]]:
    """Extra features by collection: ``jets.n_charged`` is ``n_charged`` of ``jets``, ``tau21`` is one of ``fatjets``."""
    return {
        "jets": [name.removeprefix(OF_JETS) for name in extra_features if name.startswith(OF_JETS)],
        "fatjets": [name for name in extra_features if not name.startswith(OF_JETS)],
    }


class Reading(NamedTuple):
    """The event record of a chunk and how many objects were set aside, by reason."""

    record: ak.Array
    dropped: dict[str, int]


def accepted(columns: Columns, pt_min: float, abs_eta_max: float | None) -> npt.NDArray[np.bool_]:
    """Objects above a pT threshold (GeV), and within |η| if there is a limit."""
    result: npt.NDArray[np.bool_] = np.asarray(columns["pt"] >= pt_min)
    if abs_eta_max is not None:
        result &= np.abs(columns["eta"]) <= abs_eta_max
    return result


def finite_kinematics(columns: Columns) -> npt.NDArray[np.bool_]:
    """Objects whose pT, η, φ and mass are all numbers."""
    finite: npt.NDArray[np.bool_] = np.logical_and.reduce(
        [np.isfinite(columns[name]) for name in ("pt", "eta", "phi", "mass")]
    )
    return finite


def ordered_collection(
    columns: Columns, counts: IntArray, keep: npt.NDArray[np.bool_], first: npt.NDArray[Any] | None = None
) -> ak.Array:
    """Objects that pass ``keep``, sorted: b-tagged first where there is a ``btag``, then by falling pT.

    Another order than that of the tags is given by ``first``: objects with larger values stand before others. All arrays are
    flat, of the whole file order; ties keep that order. Adds ``index``.
    """
    pt = np.asarray(columns["pt"])
    if first is None:
        first = columns["btag"] != 0 if "btag" in columns else np.ones(len(pt), dtype=np.bool_)
    chosen, left, index = _ordered(counts, pt, np.asarray(first, dtype=np.int64), keep)
    return taken(unflatten({**columns, "index": index}, counts), chosen, left)


@compiled
def _ordered(counts, pt, first, keep):  # type: ignore[no-untyped-def]
    """Flat indices of the objects that are kept, in their order; how many each event has; the position of every object."""
    chosen, index = np.empty((2, len(pt)), dtype=np.int64)
    left, n, start = np.zeros(len(counts), dtype=np.int64), 0, 0
    for event in range(len(counts)):
        for i in range(start, start + counts[event]):
            index[i] = i - start
            if keep[i]:
                place = n  # files are written by falling pT almost always: few objects have to move
                for k in range(n - 1, n - 1 - left[event], -1):
                    if (first[chosen[k]], pt[chosen[k]]) >= (first[i], pt[i]):
                        break
                    chosen[k + 1], place = chosen[k], k
                chosen[place] = i
                n += 1
                left[event] += 1
        start += counts[event]
    return chosen[:n].copy(), left, index


def selected(record: ak.Array, mask: npt.NDArray[np.bool_]) -> ak.Array:
    """The events in ``mask``. As ``record[mask]``, without most of its cost.

    The format's ``cuts`` (named masks) have done their work and are left out, its ``weights`` (named factors) are
    multiplied into ``weight``. ``shifts`` stay: factors that vary ``weight``.
    """
    fields = {}
    for name in record.fields:
        if name in ("shifts", "met"):
            fields[name] = records({part: ak.to_numpy(record[name][part])[mask] for part in record[name].fields})
        elif name not in ("cuts", "weights"):
            if mask.all():
                fields[name] = record[name]
            else:
                values = record[name]
                fields[name] = _events(values, mask) if name in LISTS else ak.to_numpy(values)[mask]
    for factor in weights_of(record).values():
        fields["weight"] = ak.to_numpy(fields["weight"]) * factor[mask]
    return records(fields)


def cuts_of(record: ak.Array) -> dict[str, npt.NDArray[np.bool_]]:
    """Event cuts of the format by name, in their order."""
    return _named(record, "cuts")


def weights_of(record: ak.Array) -> dict[str, npt.NDArray[np.float64]]:
    """Event weights of the format by name, beyond the generator's."""
    return _named(record, "weights")


def _named(record: ak.Array, name: str) -> dict[str, npt.NDArray[Any]]:
    if name not in record.fields:
        return {}
    return {key: ak.to_numpy(record[name][key]) for key in record[name].fields}


def truncated(record: ak.Array, max_jets: int, max_fatjets: int) -> ak.Array:
    """Keep the first ``max_jets`` jets and ``max_fatjets`` large-radius jets of each event (§1 of the published analysis).

    The kept jets get their Cartesian momentum as well (``energy px py pz``, GeV): methods need it again and again.
    """
    fields = {name: record[name] for name in record.fields}
    jets = _first(record.jets, max_jets)
    columns = {name: flat(jets[name]) for name in jets.fields}
    columns |= cartesian(*(columns[name] for name in ("pt", "eta", "phi", "mass")))._asdict()
    fields["jets"] = unflatten(columns, counts_of(jets))
    if "fatjets" in fields:
        fields["fatjets"] = _first(record.fatjets, max_fatjets)
    return records(fields)


def momentum(objects: ak.Array, index: IntArray | slice = slice(None)) -> Cartesian:
    """Flat Cartesian four-momenta of jets or large-radius jets, or of those at ``index``, from the record where it holds them."""
    if "energy" in objects.fields:
        return Cartesian(*(flat(objects[name])[index] for name in Cartesian._fields))
    return cartesian(*(flat(objects[name])[index] for name in ("pt", "eta", "phi", "mass")))


def _first(objects: ak.Array, length: int) -> ak.Array:
    counts = counts_of(objects)
    if (counts <= length).all():
        return objects
    return taken(objects, np.flatnonzero(position_in_event(counts) < length), np.minimum(counts, length))


def _events(objects: ak.Array, mask: npt.NDArray[np.bool_]) -> ak.Array:
    counts = counts_of(objects)
    return taken(objects, np.flatnonzero(np.repeat(mask, counts)), counts[mask])


def field(collection: ak.Array, name: str, wanted_by: str) -> ak.Array:
    """A field of the record, or an error that names it and who needs it.

    Raises
    ------
    KeyError
        if this file's format does not provide the field.
    """
    if name not in collection.fields:
        raise KeyError(
            f"{wanted_by} needs {name!r}, which this file's format does not provide (has {collection.fields})"
        )
    return collection[name]
