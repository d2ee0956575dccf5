"""Everything a fit can be told, validated: command line over ``fit.yaml`` over the defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from hhh_coffea.base.strict import Positive, Strict, comma_separated, pairs
from hhh_coffea.config import validated
from hhh_coffea.inference.binning import TransformationD
from hhh_coffea.inference.fit import FitOptions
from hhh_coffea.inference.model import Fraction, ModelOptions
from hhh_coffea.results.directory import FIT

BINNING, MODEL = TransformationD(), ModelOptions()  # their defaults
MOST_POINTS = 201  # of a scan in one coupling


class ScanRange(Strict):
    """Values of one coupling, at equal steps."""

    low: float = Field(allow_inf_nan=False)
    high: float = Field(allow_inf_nan=False)
    points: int = Field(31, ge=3, le=MOST_POINTS)

    @model_validator(mode="after")
    def _rising(self) -> ScanRange:
        if not self.low < self.high:
            raise ValueError(f"low = {self.low:g} is not below high = {self.high:g}")
        return self


RANGES = {"kappa3": ScanRange(low=-5, high=10), "kappa4": ScanRange(low=-100, high=100)}


class FitConfig(Strict):
    """Options of ``hhh fit``; field names are those of the command line with underscores."""

    results: str
    output: str | None = None
    plots: bool = True
    observable: str | None = None
    select: dict[str, str | int] = Field(default_factory=dict)
    methods: tuple[str, ...] | None = None
    signal: tuple[str, ...] | None = None
    datasets: tuple[str, ...] | None = None
    luminosity: Positive | None = None
    unblind: bool = False
    binning: Literal["automatic", "stored"] = "automatic"
    z_signal: float = Field(BINNING.z_signal, ge=0, allow_inf_nan=False)
    z_background: float = Field(BINNING.z_background, ge=0, allow_inf_nan=False)
    background_uncertainty: Fraction = MODEL.background_uncertainty
    background_model: Literal["shapesys", "normsys", "normsys_both"] = MODEL.background_model
    luminosity_uncertainty: Fraction = MODEL.luminosity_uncertainty
    normalisation: dict[str, Fraction] = Field(default_factory=dict)
    mc_statistics: bool = MODEL.mc_statistics
    level: float = Field(0.95, gt=0.5, lt=1)
    scan: dict[str, ScanRange] = Field(default_factory=dict)
    label: str | None = None
    label_text: str | None = None
    sqrt_s: Positive | None = None
    verbose: bool = False

    @field_validator("methods", "signal", "datasets", mode="before")
    @classmethod
    def _comma_separated(cls, value: Any) -> Any:
        return comma_separated(value)

    @field_validator("select", "normalisation", mode="before")
    @classmethod
    def _pairs(cls, value: Any, info: Any) -> Any:
        """``NAME=VALUE`` of the command line."""
        if not isinstance(value, list):
            return value
        found = pairs(value)
        return found if info.field_name == "select" else {name: _number(text) for name, text in found.items()}

    @field_validator("scan", mode="before")
    @classmethod
    def _ranges(cls, value: Any) -> Any:
        """``kappa3,kappa4=-50:50:21`` of the command line."""
        if not isinstance(value, str):
            return value
        found: dict[str, Any] = {}
        for item in value.split(","):
            name, _, text = item.strip().partition("=")
            if name in found:
                raise ValueError(f"{name!r} is given twice")
            if not text:
                if name not in RANGES:
                    raise ValueError(f"{name!r} needs a range: {name}=LOW:HIGH")
                found[name] = RANGES[name]
                continue
            parts = text.split(":")
            if len(parts) not in (2, 3):
                raise ValueError(f"{item.strip()!r} is not NAME=LOW:HIGH or NAME=LOW:HIGH:POINTS")
            found[name] = {"low": _number(parts[0]), "high": _number(parts[1])}
            if len(parts) == 3:
                points = _number(parts[2])
                found[name]["points"] = int(points) if points == int(points) else points
        return found

    @field_validator("scan")
    @classmethod
    def _one_or_two(cls, value: dict[str, ScanRange]) -> dict[str, ScanRange]:
        if len(value) > 2:
            raise ValueError("one or two couplings can be scanned together")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> FitConfig:
        if self.binning == "stored" and {"z_signal", "z_background"} & self.model_fields_set:
            raise ValueError("z_signal and z_background belong to binning 'automatic'")
        if self.binning == "automatic" and not self.z_signal + self.z_background >= 1:
            raise ValueError("z_signal + z_background must be at least 1: it is the largest number of bins")
        if self.label_text is not None and self.label is None:
            raise ValueError("label_text is shown after the label: give label too")
        return self

    @property
    def folder(self) -> Path:
        """Where everything is written."""
        return Path(self.results) / FIT if self.output is None else Path(self.output)

    @property
    def labels(self) -> dict[str, Any]:
        """What stands above the figures, as far as it is given."""
        found = {name: getattr(self, name) for name in ("label", "label_text", "sqrt_s", "luminosity")}
        return {name: value for name, value in found.items() if value is not None}

    @property
    def model(self) -> ModelOptions:
        """Uncertainties of the model."""
        return ModelOptions(**{name: getattr(self, name) for name in ModelOptions.model_fields})

    @property
    def shares(self) -> TransformationD | None:
        """Options of the automatic binning; None for the bins of the histogram."""
        if self.binning == "stored":
            return None
        return TransformationD(z_signal=self.z_signal, z_background=self.z_background)

    @property
    def fit_options(self) -> FitOptions:
        """What the fit of one method is told."""
        return FitOptions(model=self.model, binning=self.shares, unblind=self.unblind, level=self.level)


def make_fit_config(given: dict[str, Any], config_file: str | None = None) -> FitConfig:
    """Validate options: those ``given`` on the command line over those of a YAML file.

    Raises
    ------
    ConfigError
        naming the file and every option at fault.
    """
    return validated(FitConfig, given, config_file)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number") from None
