"""HistFactory workspace of templates: which uncertainties there are and how the JSON of pyhf writes them.

Format: https://pyhf.readthedocs.io/en/v0.7.6/likelihood.html, HistFactory: CERN-OPEN-2012-016.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pyhf
from pydantic import Field

from hhh_coffea.base.atomic import replacing
from hhh_coffea.base.errors import UserError, listed
from hhh_coffea.base.strict import Strict
from hhh_coffea.inference.templates import DOWN, UP, FloatArray, Region, Template, Templates

Workspace = dict[str, Any]  # JSON
Fraction = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
MU = "mu"  # the signal strength, in units of the signal templates
LUMINOSITY, BACKGROUND, SIGNAL = "luminosity", "background", "signal"  # names of normalisation uncertainties
MEASUREMENT = "measurement"


class ModelError(UserError):
    """A workspace that cannot be used; the message names the file or the option."""


class ModelOptions(Strict):
    """Uncertainties of the model besides the shape variations that the templates have.

    ``background_model`` says what ``background_uncertainty`` δ means:

    - ``shapesys``: the background of each bin is uncertain by δ, independently of every other bin. It is shared among
      the processes of the bin such that the uncertainties of all of them add up in quadrature to δ of the sum.
    - ``normsys``: one uncertainty δ of all backgrounds in all bins.
    - ``normsys_both``: the same, and one of the signal, also δ. It does not enter the expected significance.
    """

    background_model: Literal["shapesys", "normsys", "normsys_both"] = "shapesys"
    background_uncertainty: Fraction = 0.1
    luminosity_uncertainty: Fraction = Field(0.0, description="of every process, log-normal")
    normalisation: dict[str, Fraction] = Field(default_factory=dict, description="process → uncertainty of its rate")
    mc_statistics: bool = Field(False, description="statistical uncertainty of the simulated backgrounds (staterror)")


def build_workspace(
    templates: Templates, options: ModelOptions, *, observed: bool = False, validate: bool = True
) -> Workspace:
    """The model of pyhf as JSON, validated against its schema.

    Unless ``observed`` is set, or where a region has no data, the observations are the nominal signal and background
    (Asimov data at μ = 1): a workspace does not unblind by itself.

    Raises
    ------
    ModelError
        if ``options`` name a process that is not there.
    """
    if unknown := set(options.normalisation) - set(templates.processes):
        raise ModelError(f"normalisation: no process {sorted(unknown)[0]!r}; there are {listed(templates.processes)}")
    reserved = {MU, LUMINOSITY, BACKGROUND, SIGNAL}
    if taken := reserved & set(templates.sources):
        raise ModelError(f"a source of uncertainty cannot be called {sorted(taken)[0]!r}")
    channels = [_channel(region, templates, options) for region in templates.regions]
    observations = []
    for region in templates.regions:
        data = region.data if observed and region.data is not None else region.total(templates.processes)
        observations.append({"name": region.name, "data": data.tolist()})
    signal = np.concatenate([region.total(templates.signals) for region in templates.regions])
    background = np.concatenate([region.total(templates.backgrounds) for region in templates.regions])
    largest = 10 * max(1.0, approximate_error(signal, background, options.background_uncertainty))
    poi = {"name": MU, "inits": [1.0], "bounds": [[0.0, largest]]}
    workspace = {
        "version": "1.0.0",
        "channels": channels,
        "observations": observations,
        "measurements": [{"name": MEASUREMENT, "config": {"poi": MU, "parameters": [poi]}}],
    }
    if validate:  # takes longer than building it: once for a scan
        pyhf.schema.validate(workspace, "workspace.json")
    return workspace


def write_workspace(path: Path, workspace: Workspace) -> None:
    """Write the JSON; the file appears whole or not at all."""
    with replacing(path) as partial:
        partial.write_text(json.dumps(workspace, indent=1) + "\n", encoding="utf-8")


def read_workspace(path: Path) -> Workspace:
    """Read and validate a workspace, ours or any other of pyhf.

    Raises
    ------
    ModelError
        naming the file and what is wrong with it.
    """
    try:
        workspace = json.loads(path.read_text(encoding="utf-8"))
        pyhf.schema.validate(workspace, "workspace.json")
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ModelError(f"{path}: cannot be read as a workspace: {error}") from None
    except pyhf.exceptions.InvalidSpecification as error:
        raise ModelError(f"{path}: not a workspace of pyhf: {str(error).splitlines()[0]}") from None
    if not isinstance(workspace, dict):
        raise ModelError(f"{path}: not a workspace of pyhf")
    return workspace


def approximate_error(signal: FloatArray, background: FloatArray, uncertainty: float) -> float:
    """Error of μ at small signal, 1/√Σ s²/(b + δ²b²): sets the scale of bounds and of searches."""
    some = background > 0
    s, b = signal[some], background[some]
    information = float((s**2 / (b + (uncertainty * b) ** 2)).sum())
    return 1 / information**0.5 if information > 0 else 1.0


def _channel(region: Region, templates: Templates, options: ModelOptions) -> dict[str, Any]:
    background = region.total(templates.backgrounds)
    squares = np.sum(
        [region.nominal(process).values ** 2 for process in templates.backgrounds if process in region.samples], axis=0
    )
    # the relative uncertainty that gives δ of the sum when those of all processes are added in quadrature
    relative = options.background_uncertainty * background / np.sqrt(squares)
    samples = []
    for process in templates.processes:
        if process not in region.samples:
            continue
        nominal = region.nominal(process)
        modifiers = _normalisations(process, templates, options)
        modifiers += _shapes(region, process)
        if process in templates.backgrounds:
            modifiers += _of_bins(region, process, nominal, relative, options)
        samples.append({"name": process, "data": nominal.values.tolist(), "modifiers": modifiers})
    return {"name": region.name, "samples": samples}


def _normalisations(process: str, templates: Templates, options: ModelOptions) -> list[dict[str, Any]]:
    is_signal = process in templates.signals
    modifiers: list[dict[str, Any]] = [{"name": MU, "type": "normfactor", "data": None}] if is_signal else []
    delta = options.background_uncertainty
    if delta and options.background_model != "shapesys":
        if not is_signal:
            modifiers.append(_normsys(BACKGROUND, 1 - delta, 1 + delta))
        elif options.background_model == "normsys_both":
            modifiers.append(_normsys(SIGNAL, 1 - delta, 1 + delta))
    if luminosity := options.luminosity_uncertainty:
        modifiers.append(_normsys(LUMINOSITY, 1 / (1 + luminosity), 1 + luminosity))
    if own := options.normalisation.get(process, 0.0):
        modifiers.append(_normsys(f"normalisation_{process}", 1 - own, 1 + own))
    return modifiers


def _normsys(name: str, low: float, high: float) -> dict[str, Any]:
    return {"name": name, "type": "normsys", "data": {"lo": low, "hi": high}}


def _shapes(region: Region, process: str) -> list[dict[str, Any]]:
    variations = region.samples[process]
    modifiers = []
    for name in sorted(variations):
        if name.endswith(UP):
            source = name.removesuffix(UP)
            up, down = variations[name].values, variations[source + DOWN].values
            data = {"hi_data": up.tolist(), "lo_data": down.tolist()}
            modifiers.append({"name": source, "type": "histosys", "data": data})
    return modifiers


def _of_bins(
    region: Region, process: str, nominal: Template, relative: FloatArray, options: ModelOptions
) -> list[dict[str, Any]]:
    modifiers: list[dict[str, Any]] = []
    if options.background_model == "shapesys" and options.background_uncertainty:
        # pyhf leaves bins out whose uncertainty is 0, so an empty bin of one process brings no parameter
        data = (relative * nominal.values).tolist()
        modifiers.append({"name": f"uncorrelated_{region.name}_{process}", "type": "shapesys", "data": data})
    if options.mc_statistics:
        # one parameter for the sum of all backgrounds in a bin (Barlow–Beeston-lite)
        errors = np.sqrt(nominal.variances)
        modifiers.append({"name": f"mc_statistics_{region.name}", "type": "staterror", "data": errors.tolist()})
    return modifiers
