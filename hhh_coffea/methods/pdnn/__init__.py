"""The permutation network: a fully connected network scores every assignment of jets, and the best one is taken.

After the PDNN of M. Fenton et al., Commun. Phys. 7, 139 (2024), and J. Erdmann et al., JINST 14, P11015. Neither publishes
its inputs or its layers; those here are our own (docs/pdnn.md).
"""

from hhh_coffea.methods.pdnn.assign import PdnnAssignment, Permutations, assign
from hhh_coffea.methods.pdnn.candidates import reconstruct
from hhh_coffea.methods.pdnn.model import PdnnError, PdnnModel, load_model, load_models

__all__ = [
    "PdnnAssignment",
    "PdnnError",
    "PdnnModel",
    "Permutations",
    "assign",
    "load_model",
    "load_models",
    "reconstruct",
]
