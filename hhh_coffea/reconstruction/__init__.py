"""From the event record to candidates and what they got right: one file per method, one common result.

:data:`METHODS` lists the methods by name: what ``--methods`` accepts, besides a file of the user's own.
"""

from hhh_coffea.reconstruction.methods import (
    DEFAULT_BDT,
    DEFAULT_WORKING_POINT,
    METHODS,
    ForeignEventsError,
    Method,
    MethodOptions,
    check_models,
    check_trained_on,
    fatjet_features,
    jets_paired,
    method_options,
    methods_for,
    reconstruct,
)

__all__ = [
    "DEFAULT_BDT",
    "DEFAULT_WORKING_POINT",
    "METHODS",
    "ForeignEventsError",
    "Method",
    "MethodOptions",
    "check_models",
    "check_trained_on",
    "fatjet_features",
    "jets_paired",
    "method_options",
    "methods_for",
    "reconstruct",
]
