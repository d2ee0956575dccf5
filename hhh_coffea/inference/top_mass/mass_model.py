"""Templates of a mass measurement: shapes and shares of categories, all functions of the top-quark mass and the JSF.

Two observables of the same events, the masses of t_H and of its W boson, each a histogram. The expected histogram is
N · Σ_c share_c · shape_c. M. Fenton et al., Commun. Phys. 7, 139 (2024), arXiv:2309.01886.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hhh_coffea.inference.top_mass.mass_shapes import FloatArray, Prior, Shape, ShapeError, basis, fit_shape

OBSERVABLES = ("top", "w")
EDGES = {"top": np.arange(120.0, 230.5), "w": np.arange(40.0, 120.5)}  # GeV
# of what can be expected: masses scale with the jets, half of a change of m_t may be lost in wrong assignments, a W boson
# knows nothing of m_t, and shapes change slowly
PRIORS = {
    "top": Prior(
        np.array([[0, 0], [0.5, 150], [0, 0], [0.5, 150], [0, 0]], dtype=np.float64),
        np.array([[0.01, 0.5], [0.5, 75], [0.1, 20], [0.5, 75], [0.1, 20]]),
    ),
    "w": Prior(
        np.array([[0, 0], [0, 75], [0, 0], [0, 75], [0, 0]], dtype=np.float64),
        np.array([[0.01, 0.5], [0.2, 40], [0.1, 20], [0.2, 40], [0.1, 20]]),
    ),
}
CATEGORIES = ("correct", "incorrect", "unmatched")


@dataclass(frozen=True)
class Line:
    """A number that is linear in m_t and JSF: ``coefficients (3,)`` of the basis, and χ² of the fit."""

    coefficients: FloatArray
    chi2: float = np.nan
    ndf: int = 0

    def __call__(self, top_mass: npt.ArrayLike, jsf: npt.ArrayLike) -> FloatArray:
        """Values at these points."""
        found: FloatArray = basis(top_mass, jsf) @ self.coefficients
        return found


@dataclass(frozen=True)
class MassModel:
    """What is expected at any m_t (GeV) and JSF.

    ``shapes`` by category and observable; ``shares`` of all categories but the last, which has what is left;
    ``acceptance``: selected events per event of the sample.
    """

    categories: tuple[str, ...]
    shapes: Mapping[str, Mapping[str, Shape]]
    shares: Mapping[str, Line]
    acceptance: Line

    def share(self, top_mass: npt.ArrayLike, jsf: npt.ArrayLike) -> FloatArray:
        """``(…, categories)``, which sum to 1."""
        first = [np.clip(self.shares[name](top_mass, jsf), 0.0, 1.0) for name in self.categories[:-1]]
        last = np.clip(1.0 - np.sum(first, axis=0), 0.0, 1.0) if first else np.ones(np.shape(basis(top_mass, jsf))[:-1])
        found = np.stack([*first, last], axis=-1)
        normalised: FloatArray = found / found.sum(axis=-1, keepdims=True)
        return normalised

    def __call__(self, top_mass: npt.ArrayLike, jsf: npt.ArrayLike) -> dict[str, FloatArray]:
        """Probability of each bin ``(…, bins)`` by observable."""
        share = self.share(top_mass, jsf)
        return {
            name: sum(
                (share[..., i, None] * self.shapes[c][name](top_mass, jsf) for i, c in enumerate(self.categories)),
                start=np.zeros(1),
            )
            for name in OBSERVABLES
        }


@dataclass(frozen=True)
class Samples:
    """Counts of template samples at ``top_mass`` and ``jsf`` ``(S,)``.

    ``counts`` by category and observable ``(S, bins)``; ``generated (S,)``: events of each sample before any cut.
    """

    top_mass: FloatArray
    jsf: FloatArray
    counts: Mapping[str, Mapping[str, FloatArray]]
    generated: FloatArray

    @property
    def categories(self) -> tuple[str, ...]:
        """Those in which there are events, in their order."""
        return tuple(name for name in CATEGORIES if name in self.counts)


def fit_model(samples: Samples, mirrored_w: Sequence[str] = (), start: MassModel | None = None) -> MassModel:
    """Shapes, shares and acceptance, each fitted to all samples at once.

    Parameters
    ----------
    mirrored_w
        categories whose W-boson mass has its Landau tail at low masses
    start
        a model of similar samples: its shapes are where the fits start

    Raises
    ------
    ShapeError
        naming the category and observable that cannot be fitted.
    """
    shapes: dict[str, dict[str, Shape]] = {}
    for category in samples.categories:
        shapes[category] = {}
        for name in OBSERVABLES:
            first = None if start is None else start.shapes[category][name].coefficients
            mirrored = name == "w" and category in mirrored_w
            try:
                counts = samples.counts[category][name]
                points = samples.top_mass, samples.jsf
                shapes[category][name] = fit_shape(counts, EDGES[name], *points, mirrored, first, PRIORS[name])
            except ShapeError as error:
                raise ShapeError(f"mass of {name!r}, {category} assignments: {error}") from None
    number = {name: samples.counts[name]["top"].sum(axis=1) for name in samples.categories}
    total = np.sum(list(number.values()), axis=0)
    names = samples.categories
    shares = {name: fit_line(number[name], total, samples) for name in names[:-1]}
    return MassModel(names, shapes, shares, fit_line(total, samples.generated, samples))


def fit_line(passed: FloatArray, total: FloatArray, samples: Samples) -> Line:
    """Weighted least squares of ``passed / total (S,)``, with binomial errors at the mean share."""
    use = total > 0
    mean = passed.sum() / max(total.sum(), 1)
    error = np.sqrt(max(mean * (1 - mean), 1e-9) / total[use])
    x = basis(samples.top_mass, samples.jsf)[use]
    value = passed[use] / total[use]
    coefficients = np.linalg.lstsq(x / error[:, None], value / error, rcond=None)[0]
    chi2 = float((((value - x @ coefficients) / error) ** 2).sum())
    return Line(coefficients, chi2, int(use.sum()) - 3)
