"""A page of one's own in the style of ``report.html``: paragraphs, tables and figures, self-contained."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from hhh_coffea.base.atomic import replacing

OPEN_TABLES = 2  # of a section; the others are folded
WIDE = 1200  # pixels; one panel of our figures has 880


@dataclass(frozen=True)
class Table:
    """Texts by rows; the first column names the row."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""

    def without_empty_columns(self) -> Table:
        """The same without columns in which every row has a dash, as those of numbers that nobody published."""
        kept = [i for i in range(len(self.header)) if i == 0 or any(row[i] != "–" for row in self.rows)]
        rows = [[row[i] for i in kept] for row in self.rows]
        return replace(self, header=[self.header[i] for i in kept], rows=rows)


@dataclass(frozen=True)
class Figure:
    """A PNG file and what it shows."""

    path: Path
    caption: str

    @property
    def wide(self) -> bool:
        """Whether it needs the whole width of the page."""
        return is_wide(self.path)


@dataclass
class Section:
    """A headline and what stands below it, in this order."""

    title: str
    text: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)


@dataclass
class Page:
    """A whole page; ``result`` is the first paragraph: what the reader can conclude; ``warnings`` stand above it."""

    title: str
    subtitle: str
    result: str
    sections: list[Section] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def templates() -> Environment:
    """The templates of this folder; a variable without a value is an error."""
    return Environment(
        loader=PackageLoader("hhh_coffea.figures.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def write_page(path: Path, page: Page) -> None:
    """Write the page with all figures in it; it appears whole or not at all."""
    text = templates().get_template("page.html.j2").render(page=page, image=image, open_tables=OPEN_TABLES)
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8", errors="replace")


def is_wide(path: Path) -> bool:
    """Whether a PNG file has more than one panel side by side: more pixels than twice the width of half a page."""
    width = int.from_bytes(path.read_bytes()[16:20], "big")  # the first field of the header of every PNG file
    return width > WIDE


def image(path: Any) -> str:
    """A PNG file as a data URL, so that a page needs no other file."""
    return f"data:image/png;base64,{base64.b64encode(Path(path).read_bytes()).decode()}"
