"""Analyses: what one family of events knows, its particles, its selection, its truth, its methods."""

from hhh_coffea.analyses.declared import Analyses, all_methods, analysis_of, load_analyses, load_analysis
from hhh_coffea.reconstruction.analysis import Analysis

__all__ = ["Analyses", "Analysis", "all_methods", "analysis_of", "load_analyses", "load_analysis"]
