"""What a run prints at its end: what was skipped, by name, how much was processed, and where everything is."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rich.console import Console

from hhh_coffea.base.terminal import plural, say
from hhh_coffea.engine.chunks import Chunk, Failure, Partial, Plan

SHOWN_FAILURES = 20


def where_of(failure: Failure) -> str:
    """Dataset, file and entry range of a failure."""
    entries = "" if failure.start is None else f" entries {failure.start}–{failure.stop}"
    return f"{failure.dataset}: {failure.file}{entries}"


def print_stop(console: Console, failure: Failure) -> None:
    """Why a run with ``--on-error stop`` ended early."""
    say(f"{where_of(failure)}: {failure.reason}", console, "stopped (--on-error stop):", "red")


def print_failures(console: Console, plan: Plan, total: Partial | None = None) -> None:
    """Every file and chunk that was skipped, with its reason."""
    failures = [*plan.failures, *(total.failures if total else ())]
    if not failures:
        return
    by_reason: dict[tuple[str, str, str], list[Failure]] = {}
    for failure in failures:
        by_reason.setdefault((failure.dataset, failure.file, failure.reason), []).append(failure)
    files = sum(failure.start is None for failure in failures)
    kinds = ((files, "file"), (len(failures) - files, "chunk"))
    say(" and ".join(plural(number, kind) for number, kind in kinds if number), console, "skipped:", "red")
    for (dataset, file, reason), group in list(by_reason.items())[:SHOWN_FAILURES]:
        ranges = ", ".join(f"{f.start}–{f.stop}" for f in group if f.start is not None)
        lost = sum(f.events or 0 for f in group)
        detail = f" (entries {ranges}: {plural(lost, 'event')})" if ranges else ""
        say(f"  {dataset}: {file}{detail}: {reason}", console)
    if len(by_reason) > SHOWN_FAILURES:
        say(f"  … and {len(by_reason) - SHOWN_FAILURES} more, all named in provenance.json", console)


def unread(plan: Plan, total: Partial, finished: Iterable[Chunk]) -> list[str]:
    """Warnings of datasets of which everything was skipped, where others were read."""
    read = {c.dataset for c in finished}
    lost = {f.dataset for f in (*plan.failures, *total.failures)} - read if read else ()
    return [
        f"dataset {name!r}: no event was read, because all its files or chunks were skipped" for name in sorted(lost)
    ]


def print_end(console: Console, plan: Plan, total: Partial, wall: float, output: Path, written: list[str]) -> None:
    """Speed, ledger and where everything is."""
    speed = f"({wall:.1f} s, {total.events / wall:,.0f} events/s)"
    if plan.failures and not plan.files:
        say("no file could be read", console, "nothing was processed:", "red")
    elif plan.failures:
        known = f"{total.events:,}" if total.events == plan.events else f"{total.events:,} of {plan.events:,}"
        files = len(plan.files) + len(plan.failures)
        say(
            f"processed {known} events in {len(plan.files):,} of {plural(files, 'file')} {speed}; the number of events in the "
            "skipped files is unknown",
            console,
        )
    elif not plan.events:
        say("there was nothing to process: the files have no events", console, "warning:", "yellow")
    elif not total.chunks:
        lost = f"all of the {plural(plan.events, 'planned event')} were skipped"
        say(lost, console, "nothing was processed:", "red")
    else:
        say(
            f"processed {total.events:,} of {plural(plan.events, 'planned event')}, {total.chunks:,} of "
            f"{plural(len(plan.chunks), 'chunk')} {speed}",
            console,
        )
    words = "written to" if total.chunks else "written, without any event, to"
    say(f"{words} {output.resolve()}: {', '.join(written)}", console)
    if "report.html" in written:
        say(f"report: {output.resolve() / 'report.html'}", console)
