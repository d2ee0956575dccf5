"""From histograms to a measurement: templates, statistical model, fit, limits. Thin: pyhf, hist and scipy do the work."""

from hhh_coffea.inference.fit import FitOptions, FitResult, fit
from hhh_coffea.inference.templates import Templates, from_histogram

__all__ = ["FitOptions", "FitResult", "Templates", "fit", "from_histogram"]
