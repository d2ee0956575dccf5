"""What is printed, at the width of the terminal: that of ``COLUMNS``, else its own, else, as in a pipe, 80."""

from __future__ import annotations

import shutil
import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console


def wrapped(text: str, width: int = 0, hang: str = "  ") -> str:
    """Lines of at most ``width`` columns (0: of the terminal), broken at spaces; a longer word, as a path, stands alone.

    Line breaks and indents of the text are kept; the rest of a line that is too long is indented by ``hang`` more.
    """
    width = width or shutil.get_terminal_size().columns
    lines = []
    for line in text.split("\n"):
        indent = line[: len(line) - len(line.lstrip())]
        lines += textwrap.wrap(
            line, width, subsequent_indent=indent + hang, break_long_words=False, break_on_hyphens=False
        ) or [""]
    return "\n".join(lines)


def say(text: str, console: Console | None = None, mark: str = "", style: str = "") -> None:
    """Print a text at once, wrapped: a log file shows where the work is. Its first word may be a ``mark`` in a ``style``."""
    from rich.console import Console
    from rich.text import Text

    console = console or Console()
    shown = Text(wrapped(f"{mark} {text}" if mark else text, console.width))
    shown.stylize(style, 0, len(mark) or None)
    console.print(shown, soft_wrap=True, highlight=False)


def contents(folder: Path) -> str:
    """``FOLDER: a.json, b/``: what a command has written there; files that begin with a dot are left out."""
    names = sorted(p.name + "/" * p.is_dir() for p in folder.iterdir() if not p.name.startswith("."))
    return f"{folder}: {', '.join(names)}"


def plural(number: int, noun: str) -> str:
    """``1 file``, ``2,000 files``."""
    return f"{number:,} {noun}{'s' * (number != 1)}"
