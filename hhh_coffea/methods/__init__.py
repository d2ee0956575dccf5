"""From the event record to candidates and what they got right: one file per method, one common result.

An :class:`~hhh_coffea.reconstruction.analysis.Analysis` declares what is looked for, and which methods there are.
"""

from hhh_coffea.methods.checks import (
    ForeignEventsError,
    branches_for,
    check_models,
    check_trained_on,
    check_usable,
)
from hhh_coffea.methods.method import (
    DEFAULT_BDT,
    DEFAULT_WORKING_POINT,
    Method,
    MethodOptions,
    extra_features,
    jets_paired,
    method_options,
    methods_for,
    reconstruct,
)
from hhh_coffea.reconstruction.analysis import Analysis

__all__ = [
    "DEFAULT_BDT",
    "DEFAULT_WORKING_POINT",
    "Analysis",
    "ForeignEventsError",
    "Method",
    "MethodOptions",
    "branches_for",
    "check_models",
    "check_trained_on",
    "check_usable",
    "extra_features",
    "jets_paired",
    "method_options",
    "methods_for",
    "reconstruct",
]
