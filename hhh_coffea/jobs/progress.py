"""What is shown while something is done: how much is done, for how long it has run, and how long it will take."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.table import Column
from rich.text import Text

from hhh_coffea.base.terminal import plural

BAR_WIDTH = 40  # at most; the other columns come first


def progress_bar(console: Console) -> Progress:
    """With the counts done and the time left; tasks have a ``note``."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=None, table_column=Column(max_width=BAR_WIDTH)),
        _Done(),
        _Times(),
        TextColumn("{task.fields[note]}"),
        console=console,
    )


def drawing(console: Console, folder: Path) -> Progress:
    """Count the figures that appear in ``folder``: drawing them may take minutes. In a log nothing is shown."""
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        _Figures(folder),
        _Times(),
        console=console,
        transient=True,
        refresh_per_second=2,
        disable=not console.is_terminal,
    )
    bar.add_task("drawing", total=None)
    return bar


class _Done(ProgressColumn):
    """``5,000/14,000``."""

    def __init__(self) -> None:
        super().__init__(Column(no_wrap=True, justify="right"))

    def render(self, task: Task) -> Text:
        total = "?" if task.total is None else f"{int(task.total):,}"
        return Text(f"{int(task.completed):,}/{total}", "progress.download")


class _Times(ProgressColumn):
    """``0:12 elapsed, 1:30 left``; of a finished task ``in 0:12``."""

    def __init__(self) -> None:
        super().__init__(Column(no_wrap=True))

    def render(self, task: Task) -> Text:
        if task.finished:
            return Text(f"in {_clock(task.finished_time)}")
        left = "" if task.total is None else f", {_clock(task.time_remaining)} left"
        return Text(f"{_clock(task.elapsed)} elapsed{left}")


class _Figures(ProgressColumn):
    def __init__(self, folder: Path) -> None:
        super().__init__(Column(no_wrap=True))
        self.folder = folder

    def render(self, task: Task) -> Text:
        del task
        return Text(plural(sum(1 for _ in self.folder.rglob("*.p*")), "file"))


def _clock(seconds: float | None) -> str:
    """``1:05``, ``2:00:00``; dashes where it is not known."""
    if seconds is None:
        return "-:--"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
