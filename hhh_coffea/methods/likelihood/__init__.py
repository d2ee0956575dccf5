"""Kinematic likelihood fit of semi-leptonic tt̄ and ttH: KLFitter's likelihood, its maxima found block by block.

The likelihood and its options are those of KLFitter (Nucl. Instrum. Meth. A 748, 18; arXiv 1312.5595), written from the
formulas; the method, which finds global maxima in batches, is our own.
"""

from hhh_coffea.methods.likelihood.assign import LikelihoodAssignment, assign, events_of
from hhh_coffea.methods.likelihood.events import LeptonJets
from hhh_coffea.methods.likelihood.fit import LikelihoodFit, Permutations, fit
from hhh_coffea.methods.likelihood.transfer_file import TransferFunctions, read_transfer_functions
from hhh_coffea.methods.likelihood_options import LikelihoodOptions

__all__ = [
    "LeptonJets",
    "LikelihoodAssignment",
    "LikelihoodFit",
    "LikelihoodOptions",
    "Permutations",
    "TransferFunctions",
    "assign",
    "events_of",
    "fit",
    "read_transfer_functions",
]
