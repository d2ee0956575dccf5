"""Letters that fonts draw wrongly: a bar over a letter, as in tt̄. Needs nothing but matplotlib."""

from __future__ import annotations

import re

from matplotlib.figure import Figure
from matplotlib.text import Text

BARRED = re.compile("([A-Za-zΑ-Ωα-ω])[\u0304\u0305]")  # combining macron and overline
DOLLAR = re.compile(r"(?<!\\)\$")  # begins and ends mathematics, unless there is an odd number of them


def with_bars(text: str) -> str:
    """``text`` for matplotlib, each letter with a bar in mathematics: fonts set the combining bar over the letter before.

    What is in mathematics already stays so, and dollars that are only dollars stay dollars.
    """
    if not BARRED.search(text):
        return text
    parts = DOLLAR.split(text)
    if len(parts) % 2 == 0:
        parts = [r"\$".join(parts)]
    parts[::2] = [BARRED.sub(r"$\\bar{\\mathregular{\1}}$", part) for part in parts[::2]]
    parts[1::2] = [BARRED.sub(r"\\bar{\1}", part) for part in parts[1::2]]
    return "$".join(parts)


def set_bars(figure: Figure) -> None:
    """Every text of a figure :func:`with_bars`: titles, axes and legends."""
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        if (barred := with_bars(text.get_text())) != text.get_text():
            text.set_text(barred)
