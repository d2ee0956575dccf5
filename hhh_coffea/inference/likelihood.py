"""The likelihood of a workspace: expected events, Asimov data, −2 ln L and its derivatives.

The signal is scaled inside so that the parameter of interest is of order one, whatever its limit is; every signal
strength that goes in or comes out is in units of the workspace.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import numpy.typing as npt
import pyhf
from scipy.special import xlogy

from hhh_coffea.inference.model import ModelError, Workspace
from hhh_coffea.inference.templates import FloatArray

REACH = 10.0  # largest scaled signal strength in the workspace: some ten times its error
STEP = 1e-3  # of the error of a parameter before the fit, for derivatives
NEAR = 1e-3  # relative distance of data and expectation below which a series is exact to rounding
IMPOSSIBLE = 1e10  # −2 ln L where fewer than no events are expected


class Likelihood:
    """Model and data of a workspace; pyhf computes the expected events.

    Data are the observed events of all bins and the auxiliary measurements of the constraints, in the order of pyhf.
    """

    def __init__(self, workspace: Workspace) -> None:
        if not workspace["measurements"]:
            raise ModelError("the workspace has no measurement")
        config = workspace["measurements"][0]["config"]
        poi = config["poi"]
        channels = copy.deepcopy(workspace["channels"])
        signals = [sample for channel in channels for sample in channel["samples"] if _is_signal(sample, poi)]
        if not signals:
            raise ModelError(f"no sample of the workspace is scaled by its parameter of interest {poi!r}")
        own: dict[str, Any] = next((p for p in config["parameters"] if p["name"] == poi), {})
        self.scale: float = max(1.0, own.get("bounds", [[0.0, REACH]])[0][1] / REACH)
        for sample in signals:
            _multiply(sample, self.scale)
        parameters = [p for p in config["parameters"] if p["name"] != poi]
        parameters.append({"name": poi, "inits": [1.0 / self.scale], "bounds": [[0.0, REACH]]})
        spec = {"channels": channels, "parameters": parameters}
        # the workspace was validated when it was built or read
        self.model = pyhf.Model(spec, poi_name=poi, validate=False)
        self.names: tuple[str, ...] = tuple(self.model.config.par_names)
        self.poi: int = self.model.config.poi_index
        self.fixed: npt.NDArray[np.bool_] = np.array(self.model.config.suggested_fixed(), dtype=bool)
        self.prior_errors = _prior_errors(self.model.config)
        # all points that derivatives need in one call: forty times faster than one call each for forty parameters
        self._batch = pyhf.Model(spec, poi_name=poi, validate=False, batch_size=2 * len(self.names))
        self._steps = STEP * np.where(self.prior_errors > 0, self.prior_errors, 1.0)
        self._sigmas = _sigmas(self.model.config)
        self._gaussian = ~np.isnan(self._sigmas)
        observed = {o["name"]: o["data"] for o in workspace["observations"]}
        main = [value for name in self.model.config.channels for value in observed[name]]
        self.observed: FloatArray = np.array([*main, *self.model.config.auxdata], dtype=np.float64)

    def nominal(self, mu: float) -> FloatArray:
        """Parameters ``(n,)`` with every nuisance at its nominal value."""
        parameters = np.array(self.model.config.suggested_init(), dtype=np.float64)
        parameters[self.poi] = mu / self.scale
        return parameters

    def mu(self, parameters: FloatArray) -> float:
        """The signal strength among the parameters."""
        return float(parameters[self.poi] * self.scale)

    def expected(self, parameters: FloatArray) -> FloatArray:
        """Expected data; as data they are the Asimov data of these parameters (arXiv:1007.1727, section 3.2)."""
        return np.asarray(self.model.expected_data(parameters), dtype=np.float64)

    def asimov(self, mu: float) -> FloatArray:
        """Asimov data at ``mu`` and nominal nuisance parameters."""
        return self.expected(self.nominal(mu))

    def twice_nll(self, expected: FloatArray, data: FloatArray) -> float:
        """−2 ln (L / L of a model that expects the data exactly), so that equal data give 0 without rounding."""
        with np.errstate(divide="ignore", invalid="ignore"):
            poisson = 2 * expected * _excess(data / expected - 1)
            gaussian = ((data - expected) / self._sigmas) ** 2
        possible = self._gaussian | (expected > 0) | ((expected == 0) & (data == 0))
        if not possible.all():
            return IMPOSSIBLE
        poisson = np.where(expected > 0, poisson, 0.0)
        return float(np.where(self._gaussian, gaussian, poisson).sum())

    def slopes(self, parameters: FloatArray) -> FloatArray:
        """Derivative of the expected data by each parameter ``(n, data)``, from differences to both sides."""
        moved = np.vstack([parameters + np.diag(self._steps), parameters - np.diag(self._steps)])
        up, down = np.split(np.asarray(self._batch.expected_data(moved), dtype=np.float64), 2)
        return (up - down) / (2 * self._steps[:, None])

    def variances(self, expected: FloatArray) -> FloatArray:
        """Variance of each datum: the expected events, or the square of the width of a Gaussian constraint."""
        return np.where(self._gaussian, self._sigmas**2, np.maximum(expected, 1e-300))

    def curvature(self, parameters: FloatArray, data: FloatArray) -> FloatArray:
        """Second derivatives of −ln L ``(n, n)``.

        The larger part is a product of first derivatives, which has no cancellation: where millions of events are known
        to 10%, differences of the gradient lose the curvature of a constraint in the rounding.
        """
        expected, slopes = self.expected(parameters), self.slopes(parameters)
        variances = self.variances(expected)
        relative = np.where(self._gaussian, 1.0, data / np.maximum(expected, 1e-300))
        hessian: FloatArray = (slopes * (relative / variances)) @ slopes.T
        residual = (expected - data) / variances
        if np.abs(residual).max(initial=0.0) > 0:
            for row, size in enumerate(10 * self._steps):
                step = np.zeros(len(parameters))
                step[row] = size
                change = self.slopes(parameters + step) - self.slopes(parameters - step)
                hessian[row] += change @ residual / (2 * size)
        return (hessian + hessian.T) / 2

    def gradient(self, parameters: FloatArray, data: FloatArray) -> FloatArray:
        """Derivative of −2 ln L by each parameter ``(n,)``."""
        expected = self.expected(parameters)
        return 2 * self.slopes(parameters) @ ((expected - data) / self.variances(expected))


def _excess(t: FloatArray) -> FloatArray:
    """(1 + t) ln(1 + t) − t, without the cancellation near 0 that hides one signal event among millions of others.

    With t = data/expected − 1 it is −ln of the Poisson likelihood ratio per expected event.
    """
    series = t**2 * (1 / 2 - t * (1 / 6 - t * (1 / 12 - t * (1 / 20 - t / 30))))
    return np.where(np.abs(t) < NEAR, series, xlogy(1 + t, 1 + t) - t)


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


def _prior_errors(config: Any) -> FloatArray:
    """Error of each parameter by its constraint; 0 for parameters that are free or fixed."""
    errors = np.zeros(config.npars)
    for name in config.par_order:
        parameters = config.param_set(name)
        if parameters.constrained:
            fixed = np.array(parameters.suggested_fixed, dtype=bool)
            errors[config.par_slice(name)] = np.where(fixed, 0.0, parameters.width())
    return errors


def _sigmas(config: Any) -> FloatArray:
    """Width of every datum with a Gaussian likelihood; not a number where it is Poisson."""
    sigmas = [np.nan] * config.nmaindata
    for name in config.auxdata_order:
        parameters = config.param_set(name)
        is_poisson = parameters.pdf_type == "poisson"
        sigmas += [np.nan] * parameters.n_parameters if is_poisson else list(parameters.width())
    return np.array(sigmas, dtype=np.float64)
