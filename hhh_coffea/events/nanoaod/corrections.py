"""Jet energy scale and resolution of NanoAOD jets, from correctionlib files.

correctionlib is called directly, not through coffea's ``CorrectedJetsFactory``: the random numbers of its smearing depend
on the first and last jet of a chunk, and here nothing may depend on the chunk.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import correctionlib
import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from hhh_coffea.base.arrays import IntArray
from hhh_coffea.base.contents import sha256_of
from hhh_coffea.base.kinematics import FloatArray, delta_r_squared
from hhh_coffea.datasets.fileset import FilesetError
from hhh_coffea.datasets.nanoaod_options import DIRECTIONS, JER, JetCorrections
from hhh_coffea.events.btagging import uniform
from hhh_coffea.events.record import Columns

# What a correction may ask of a jet, by the names CMS gives the inputs; the systematic is chosen by us
INPUTS = ("JetPt", "JetEta", "JetPhi", "JetA", "Rho", "run")
MIN_SMEARED = 1e-2  # a smeared jet keeps at least this fraction of its momentum


class Generated(NamedTuple):
    """Flat: the generated jet that NanoAOD points to, pt −1 where there is none."""

    pt: FloatArray
    eta: FloatArray
    phi: FloatArray


class RandomSeed(NamedTuple):
    """What a jet's random number is a function of: file uuid, and flat entries and numbers of the jets."""

    uuid: str
    entry: IntArray
    jet: IntArray


def correction_set(path: str) -> Any:
    """Open a correctionlib file, once a process for each of its contents: workers outlive a run."""
    try:
        return _correction_set(path, sha256_of(path))
    except (OSError, EOFError, zlib.error, RuntimeError, ValueError) as error:  # a .json.gz that is cut off or damaged
        raise FilesetError(f"{path}: not a file of corrections: {error}") from error


@lru_cache(maxsize=32)
def _correction_set(path: str, _sha256: str) -> Any:
    return correctionlib.CorrectionSet.from_file(path)


def correction(path: str, name: str, field: str) -> Any:
    """A correction or compound correction; FilesetError names the metadata field and what the file has."""
    available = correction_set(path)
    if name in list(available):  # not "name in available": correctionlib raises where it should say no
        return available[name]
    if name in list(available.compound):
        return available.compound[name]
    there = sorted([*available, *available.compound])
    raise FilesetError(f"metadata field 'nanoaod.corrections.{field}': {path} has no {name!r}; it has {there}")


def inputs_of(options: JetCorrections | None, where: str) -> set[str]:
    """Inputs that the corrections of a jet collection take, ``systematic`` left out.

    Raises
    ------
    FilesetError
        for a correction that is not in the file or takes something that is not in :data:`INPUTS`.
    """
    if options is None:
        return set()
    named = {"jec": options.jec, "resolution": options.resolution, "resolution_scale": options.resolution_scale}
    named |= {f"uncertainties.{source}": name for source, name in options.uncertainties.items()}
    wanted = set()
    for field, name in named.items():
        if name is not None:
            for item in correction(options.file, name, f"{where}.{field}").inputs:
                if item.name not in (*INPUTS, "systematic"):
                    raise FilesetError(
                        f"metadata field 'nanoaod.corrections.{where}.{field}': {name} takes {item.name!r}; known are {INPUTS}"
                    )
                wanted.add(item.name)
    return wanted - {"systematic"}


def evaluate(chosen: Any, given: Mapping[str, Any]) -> FloatArray:
    """Evaluate a correction on flat arrays (or scalars) by the names of its inputs."""
    kinds: dict[str, Callable[[Any], Any]] = {
        "real": lambda x: np.asarray(x, dtype=np.float64),
        "int": lambda x: np.asarray(x, dtype=np.int64),
        "string": str,
    }
    arguments = [kinds[item.type](given[item.name]) for item in chosen.inputs]
    sizes = [len(a) for a in arguments if isinstance(a, np.ndarray) and a.ndim]
    if sizes and sizes[0] == 0:
        return np.zeros(0)
    result: FloatArray = np.asarray(chosen.evaluate(*arguments), dtype=np.float64)
    return result


def energy_scale(
    columns: Columns, given: Mapping[str, npt.NDArray[Any]], raw_factor: FloatArray, options: JetCorrections
) -> FloatArray:
    """Factor from the file's jets to corrected ones: the stored correction undone, that of ``options.jec`` done.

    ``columns`` are the flat ``pt eta phi mass`` of the file, ``raw_factor`` is 1 − raw/stored pT.
    """
    assert options.jec is not None
    raw = 1.0 - raw_factor
    chosen = correction(options.file, options.jec, "jec")
    return raw * evaluate(chosen, {**given, **_jet(columns), "JetPt": columns["pt"] * raw})


class Thrown(NamedTuple):
    """Flat, of each jet: relative resolution, standard normal number, whether it has a generated jet, and (pT − pT_gen)/pT."""

    resolution: FloatArray
    normal: FloatArray
    matched: npt.NDArray[np.bool_]
    difference: FloatArray


def throw(
    columns: Columns,
    given: Mapping[str, npt.NDArray[Any]],
    options: JetCorrections,
    generated: Generated,
    radius: float,
    seed: RandomSeed,
) -> Thrown:
    """What :func:`smearing` is made of, whatever the variation: a generated jet counts with ΔR < R/2 and |ΔpT| < 3σ."""
    assert options.resolution is not None
    pt = np.asarray(columns["pt"], dtype=np.float64)
    available = {**given, **_jet(columns)}
    resolution = evaluate(correction(options.file, options.resolution, "resolution"), available)
    near = delta_r_squared(columns["eta"], columns["phi"], generated.eta, generated.phi) < (radius / 2) ** 2
    matched = (generated.pt > 0) & near & (np.abs(pt - generated.pt) < 3 * resolution * pt)
    # never 0: uniform numbers start there, and N⁻¹(0) is −∞
    normal = ndtri(np.maximum(uniform(seed.uuid, seed.entry, seed.jet), 2.0**-54))
    return Thrown(resolution, normal, matched, (pt - generated.pt) / np.where(pt > 0, pt, 1.0))


def smearing(
    columns: Columns, given: Mapping[str, npt.NDArray[Any]], options: JetCorrections, variation: str, thrown: Thrown
) -> FloatArray:
    """Factor that brings the resolution of simulated jets to that of data (the "hybrid method" of CMS JetMET).

    A jet with a generated one is moved away from it by the ratio s of resolutions, c = 1 + (s − 1)(pT − pT_gen)/pT; others
    get c = 1 + N(0, σ/pT) √max(s² − 1, 0).
    """
    assert options.resolution_scale is not None
    way = {f"{JER}_{d}": d for d in DIRECTIONS}.get(variation, "nom")
    scale = evaluate(
        correction(options.file, options.resolution_scale, "resolution_scale"),
        {**given, **_jet(columns), "systematic": way},
    )
    shifted = 1 + (scale - 1) * thrown.difference
    random = 1 + thrown.normal * thrown.resolution * np.sqrt(np.maximum(scale**2 - 1, 0))
    return np.maximum(np.where(thrown.matched, shifted, random), MIN_SMEARED)


def shift(columns: Columns, given: Mapping[str, npt.NDArray[Any]], options: JetCorrections, source: str) -> FloatArray:
    """Relative uncertainty δ of the energy scale by one of its sources; up is 1 + δ, down 1 − δ."""
    chosen = correction(options.file, options.uncertainties[source], f"uncertainties.{source}")
    return evaluate(chosen, {**given, **_jet(columns)})


def _jet(columns: Columns) -> dict[str, npt.NDArray[Any]]:
    return {"JetPt": columns["pt"], "JetEta": columns["eta"], "JetPhi": columns["phi"]}
