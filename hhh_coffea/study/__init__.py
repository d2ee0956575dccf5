"""Published analyses reproduced on top of the package, each by one command: ``hhh study tth|top-mass|zprime``."""

from hhh_coffea.study.command import main, parser

__all__ = ["main", "parser"]
