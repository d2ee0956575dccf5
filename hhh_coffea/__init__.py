"""Columnar jet assignment for multi-Higgs analyses, in the coffea ecosystem."""

__version__ = "0.1.0"
