"""The likelihood of a workspace: Asimov data, fits at a fixed signal strength, the best fit.

The signal is scaled inside so that the parameter of interest is of order one for the minimiser, whatever its limit is;
every signal strength that goes in or comes out is in units of the workspace.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyhf
from pyhf.infer.mle import twice_nll

from hhh_coffea.inference.model import ModelError, Workspace
from hhh_coffea.inference.templates import FloatArray

REACH = 10.0  # largest scaled signal strength: some ten times its error
IMPOSSIBLE = 1e10  # of −2 ln L where expected events are negative
MIGRAD_TOLERANCE = 1e-3  # times 0.002: estimated distance of −2 ln L to its minimum


@dataclass(frozen=True)
class Fit:
    """A minimum of −2 ln L; the parameter of interest is in units of the workspace."""

    twice_nll: float
    parameters: FloatArray  # (n,) in the order of ``Likelihood.names``, the scaled parameter of interest included
    mu: float


@dataclass(frozen=True)
class FitWithErrors(Fit):
    """With the covariance of the parameters (Hesse) and the asymmetric errors of μ (MINOS, None where it fails)."""

    covariance: FloatArray  # (n, n); 0 for parameters that are fixed
    mu_error: float
    mu_errors: tuple[float, float] | None  # below (negative) and above


class Likelihood:
    """Model and data of a workspace."""

    def __init__(self, workspace: Workspace) -> None:
        if not workspace["measurements"]:
            raise ModelError("the workspace has no measurement")
        config = workspace["measurements"][0]["config"]
        poi = config["poi"]
        channels = copy.deepcopy(workspace["channels"])
        signals = [s for c in channels for s in c["samples"] if _is_signal(s, poi)]
        if not signals:
            raise ModelError(f"no sample of the workspace is scaled by its parameter of interest {poi!r}")
        own = next((p for p in config["parameters"] if p["name"] == poi), {})
        self.scale = max(1.0, own.get("bounds", [[0.0, REACH]])[0][1] / REACH)
        for sample in signals:
            _multiply(sample, self.scale)
        parameters = [p for p in config["parameters"] if p["name"] != poi]
        parameters.append({"name": poi, "inits": [1.0 / self.scale], "bounds": [[0.0, REACH]]})
        # the workspace was validated when it was built or read
        self.model = pyhf.Model({"channels": channels, "parameters": parameters}, poi_name=poi, validate=False)
        self.names: tuple[str, ...] = tuple(self.model.config.par_names)
        observed = {o["name"]: o["data"] for o in workspace["observations"]}
        main = [value for name in self.model.config.channels for value in observed[name]]
        self.observed: FloatArray = np.array([*main, *self.model.config.auxdata], dtype=np.float64)
        self._fixed = [i for i, fixed in enumerate(self.model.config.suggested_fixed()) if fixed]
        self._scipy, self._minuit = pyhf.optimize.scipy_optimizer(), pyhf.optimize.minuit_optimizer()

    def nominal(self, mu: float) -> FloatArray:
        """Parameters with every nuisance at its nominal value."""
        parameters = np.array(self.model.config.suggested_init(), dtype=np.float64)
        parameters[self.model.config.poi_index] = mu / self.scale
        return parameters

    def asimov(self, mu: float) -> FloatArray:
        """Data equal to what is expected at ``mu`` and nominal nuisance parameters (arXiv:1007.1727, section 3.2)."""
        return np.asarray(self.model.expected_data(self.nominal(mu)), dtype=np.float64)

    def twice_nll(self, parameters: FloatArray, data: FloatArray) -> float:
        """−2 ln L."""
        return float(_objective(parameters, data, self.model)[0])

    def fit_at(self, mu: float, data: FloatArray, start: FloatArray | None = None) -> Fit:
        """Fit the nuisance parameters at a fixed signal strength.

        Raises
        ------
        ModelError
            if no minimum is found, by SLSQP or by MIGRAD.
        """
        start = self.nominal(mu) if start is None else start.copy()
        start[self.model.config.poi_index] = mu / self.scale
        fixed = [*self._fixed, self.model.config.poi_index]
        if len(set(fixed)) == len(start):
            return Fit(self.twice_nll(start, data), start, mu)
        found = self._minimize(start, data, [(i, float(start[i])) for i in fixed], self.model.config.suggested_bounds())
        return Fit(found[1], found[0], mu)

    def best_fit(self, data: FloatArray) -> FitWithErrors:
        """Fit everything; μ may be negative as long as no bin expects fewer than no events.

        Raises
        ------
        ModelError
            if MIGRAD finds no minimum.
        """
        index = self.model.config.poi_index
        bounds = [list(b) for b in self.model.config.suggested_bounds()]
        # −2 ln L is not defined beyond: keep the minimiser away, the bound itself is far from any error
        bounds[index] = [-min(REACH, 0.9 * self._lowest()), 10 * REACH]
        start = self._start(data)
        fixed = [(i, float(start[i])) for i in self._fixed]
        options = {"return_fitted_val": True, "return_result_obj": True, "tolerance": MIGRAD_TOLERANCE}
        try:
            with np.errstate(invalid="ignore", divide="ignore"):
                parameters, value, result = self._minuit.minimize(
                    _objective, data, self.model, start.tolist(), bounds, fixed, **options
                )
                minuit = result.minuit
                errors = _minos(minuit, self.model.config.poi_name)
        except pyhf.exceptions.FailedMinimization as error:
            raise ModelError(f"the best fit did not converge: {_reason(error)}") from None
        covariance = np.asarray(minuit.covariance, dtype=np.float64)
        covariance[self._fixed] = covariance[:, self._fixed] = 0.0
        parameters = np.asarray(parameters, dtype=np.float64)
        return FitWithErrors(
            twice_nll=float(value),
            parameters=parameters,
            mu=float(parameters[index] * self.scale),
            covariance=covariance,
            mu_error=float(np.sqrt(covariance[index, index]) * self.scale),
            mu_errors=None if errors is None else (errors[0] * self.scale, errors[1] * self.scale),
        )

    def _start(self, data: FloatArray) -> FloatArray:
        """Where the best fit starts: μ = 1, or what the total of the data asks for if that is far away."""
        main = slice(0, self.model.config.nmaindata)
        background = self.model.expected_data(self.nominal(0), include_auxdata=False)
        signal = self.model.expected_data(self.nominal(1), include_auxdata=False) - background
        ratio = float((signal * (data[main] - background) / background).sum() / (signal**2 / background).sum())
        return self.nominal(float(np.clip(ratio, 0, REACH * self.scale)))

    def _lowest(self) -> float:
        """The largest −μ (scaled) that leaves every bin with nothing fewer than no events."""
        background = self.model.expected_data(self.nominal(0), include_auxdata=False)
        signal = self.model.expected_data(self.nominal(self.scale), include_auxdata=False) - background
        return float((background[signal > 0] / signal[signal > 0]).min())

    def _minimize(
        self, start: FloatArray, data: FloatArray, fixed: list[tuple[int, float]], bounds: Sequence[Any]
    ) -> tuple[FloatArray, float]:
        with np.errstate(invalid="ignore", divide="ignore"), _quiet():
            try:
                parameters, value = self._scipy.minimize(
                    _objective, data, self.model, start.tolist(), bounds, fixed,
                    return_fitted_val=True, do_stitch=True, tolerance=1e-10,
                )  # fmt: skip
            except pyhf.exceptions.FailedMinimization:
                try:  # slower, but it gets out of narrow valleys
                    parameters, value = self._minuit.minimize(
                        _objective, data, self.model, start.tolist(), bounds, fixed,
                        return_fitted_val=True, tolerance=MIGRAD_TOLERANCE,
                    )  # fmt: skip
                except pyhf.exceptions.FailedMinimization as error:
                    raise ModelError(f"a fit at fixed signal strength did not converge: {_reason(error)}") from None
        return np.asarray(parameters, dtype=np.float64), float(value)


def _is_signal(sample: dict[str, Any], poi: str) -> bool:
    return any(m["type"] == "normfactor" and m["name"] == poi for m in sample["modifiers"])


def _multiply(sample: dict[str, Any], factor: float) -> None:
    """Scale a sample, and what of its modifiers is in numbers of events."""
    sample["data"] = [factor * value for value in sample["data"]]
    for modifier in sample["modifiers"]:
        if modifier["type"] == "histosys":
            modifier["data"] = {key: [factor * v for v in values] for key, values in modifier["data"].items()}
        elif modifier["type"] in {"shapesys", "staterror"}:
            modifier["data"] = [factor * value for value in modifier["data"]]


def _objective(parameters: Any, data: FloatArray, model: Any) -> FloatArray:
    value = np.asarray(twice_nll(parameters, data, model), dtype=np.float64)
    return np.where(np.isfinite(value), value, IMPOSSIBLE)


def _minos(minuit: Any, name: str) -> tuple[float, float] | None:
    minuit.minos(name)
    found = minuit.merrors[name]
    return (float(found.lower), float(found.upper)) if found.is_valid else None


def _reason(error: Exception) -> str:
    result = error.args[0] if error.args else error
    return str(getattr(result, "message", result)).splitlines()[0]


class _quiet:
    """Keep pyhf from printing a traceback for a fit that is tried again."""

    def __enter__(self) -> None:
        import logging

        self._logger = logging.getLogger("pyhf.optimize.mixins")
        self._before = self._logger.disabled
        self._logger.disabled = True

    def __exit__(self, *_: object) -> None:
        self._logger.disabled = self._before
