"""What every study works with: its options, its stages, and the page it writes."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from hhh_coffea import __version__
from hhh_coffea.base.atomic import replacing
from hhh_coffea.base.terminal import say
from hhh_coffea.figures.looks.style import Writer
from hhh_coffea.figures.report.page import Page, Table, write_page
from hhh_coffea.results.console.layout import show, table_of
from hhh_coffea.study.stages import Stages

SUMMARY, REPORT, PLOTS = "summary.json", "report.html", "plots"
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Study:
    """One call of ``hhh study``: the options as parsed, and where results go."""

    options: argparse.Namespace
    output: Path
    console: Console
    stages: Stages
    figures: Writer

    @classmethod
    def of(cls, options: argparse.Namespace) -> Study:
        """From parsed options."""
        console = Console()
        stages = Stages(options.output, partial(say, console=console), options.overwrite)
        return cls(options, options.output, console, stages, Writer(options.output / PLOTS, ("png", "pdf")))

    def say(self, text: str) -> None:
        """Print a text."""
        say(text, self.console)

    def show(self, table: Table) -> None:
        """Print a table of the page."""
        shown = table_of("", tuple(table.header[:1]), tuple(table.header[1:]))
        for row in table.rows:
            shown.add_row(*row)
        show(self.console, shown)

    def finish(self, page: Page, summary: dict[str, Any]) -> int:
        """Write ``summary.json`` and ``report.html``, say where, and return the exit code."""
        content = {
            "schema_version": SCHEMA_VERSION,
            "package_version": __version__,
            "study": self.options.study,
            **summary,
        }
        with replacing(self.output / SUMMARY) as partial:
            partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        write_page(self.output / REPORT, page)
        self.say(f"\n{page.result}\n")
        for warning in page.warnings:
            say(warning, self.console, "warning:", "yellow")
        self.say(f"written to {self.output.resolve()}: {SUMMARY}, {REPORT}, {PLOTS}/")
        self.say(f"report: {(self.output / REPORT).resolve()}")
        return 0
