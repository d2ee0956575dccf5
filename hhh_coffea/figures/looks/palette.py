"""Colours of what is no method: quantities, kinds of events, particles. Needs nothing.

No colour here is that of a method (:data:`hhh_coffea.figures.looks.style.METHOD_STYLES`), and those that stand beside each other
differ in lightness, so that they are told apart with any colour vision. A test holds both.
"""

from __future__ import annotations

# values in order, two directions, quantities: from viridis
SEQUENCE = ("#440154", "#31688e", "#35b779", "#b5de2b")
# kinds of events: signals dark, backgrounds light (P. Tol, "light"), as areas under the lines of signals and methods
SIGNALS = (SEQUENCE[0], SEQUENCE[1], "#b59ad0")
BACKGROUNDS = ("#45b08f", "#f7e3a8", "#ffb9d0", "#c3cc50", "#999400")
# true particles of one event, and candidates that are none of them, which are hatched as well
PARTICLES = SEQUENCE
WRONG_CANDIDATES = ("#ffb9d0", "#e8d48a", "#a3a3ad", "#6f6259")
# outcomes: those that are right have the colour of their method
WRONG, NOT_RECONSTRUCTABLE = "#94a4a2", "#dcdcdc"
# central intervals of experiments
INNER, OUTER = "#8fd18a", "#f5e27a"
