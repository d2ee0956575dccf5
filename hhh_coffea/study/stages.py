"""Stages of a study: a stage that was done with the same inputs and the same code is not repeated.

Each leaves ``stages/NAME.done.json`` (what it depends on, as a SHA-256 sum) beside its result, which is written first. All files
appear whole or not at all, so a study that is killed continues after its last complete stage.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeVar

from hhh_coffea import __version__
from hhh_coffea.base.atomic import replacing
from hhh_coffea.study.event_table import EventTable, read_table, write_table

FOLDER = "stages"
PACKAGE = Path(__file__).resolve().parents[1]
Result = TypeVar("Result")


@dataclass(frozen=True)
class Done(Generic[Result]):
    """What a stage gave, and what this depends on: an input of the stages that use it."""

    value: Result
    fingerprint: str


class Stages:
    """The stages of one study, kept in ``folder/stages``.

    ``say`` gets a line for each stage; ``overwrite`` repeats all.
    """

    def __init__(self, folder: Path, say: Callable[[str], None], overwrite: bool = False) -> None:
        self.folder, self.say, self.overwrite = folder / FOLDER, say, overwrite

    def numbers(
        self, name: str, inputs: Mapping[str, Any], make: Callable[[], Any], uses: Sequence[ModuleType] = ()
    ) -> Done[Any]:
        """A stage whose result is JSON: dicts, lists, numbers, texts.

        ``inputs`` is JSON too: every option it depends on, and the fingerprints of the stages before it. ``uses`` are modules
        of the study itself whose code it depends on.
        """

        def write(path: Path, value: Any) -> None:
            path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")

        def read(path: Path) -> Any:
            return json.loads(path.read_text(encoding="utf-8"))

        return self._run(name, ".json", inputs, uses, make, write, read)

    def table(
        self, name: str, inputs: Mapping[str, Any], make: Callable[[], EventTable], uses: Sequence[ModuleType] = ()
    ) -> Done[EventTable]:
        """A stage whose result is a table of events."""
        return self._run(name, ".npz", inputs, uses, make, write_table, read_table)

    def directory(
        self, name: str, inputs: Mapping[str, Any], make: Callable[[Path], None], uses: Sequence[ModuleType] = ()
    ) -> Done[Path]:
        """A stage that fills a folder, a model directory say; what an interrupted one left is removed."""
        path = self.folder / name

        def run() -> Path:
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir(parents=True)
            make(path)
            return path

        return self._run(name, None, inputs, uses, run, lambda *_: None, lambda _: path)

    def _run(
        self,
        name: str,
        suffix: str | None,
        inputs: Mapping[str, Any],
        uses: Sequence[ModuleType],
        make: Callable[[], Result],
        write: Callable[[Path, Result], None],
        read: Callable[[Path], Result],
    ) -> Done[Result]:
        path, note = self.folder / f"{name}{suffix or ''}", self.folder / f"{name}.done.json"
        wanted = fingerprint(inputs, uses)
        if not self.overwrite and path.exists() and _fingerprint_in(note) == wanted:
            self.say(f"stage {name}: done before")
            return Done(read(path), wanted)
        self.say(f"stage {name} …")
        begin = time.perf_counter()
        self.folder.mkdir(parents=True, exist_ok=True)
        note.unlink(missing_ok=True)
        value = make()
        if suffix is not None:
            with replacing(path) as partial:
                write(partial, value)
            value = read(path)  # the same numbers whether it was done now or before
        with replacing(note) as partial:
            content = {"fingerprint": wanted, "version": __version__, "inputs": inputs}
            partial.write_text(json.dumps(content, indent=1, default=str) + "\n", encoding="utf-8")
        self.say(f"stage {name}: {time.perf_counter() - begin:.1f} s")
        return Done(value, wanted)


def fingerprint(inputs: Mapping[str, Any], uses: Sequence[ModuleType] = ()) -> str:
    """SHA-256 of the inputs, of the code that all studies share, and of the modules named."""
    digest = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode())
    digest.update(code_of_package().encode())
    for module in uses:
        digest.update(Path(str(module.__file__)).read_bytes())
    return digest.hexdigest()


@cache
def code_of_package() -> str:
    """Of every file that numbers may depend on: all of the package but its figures and the modules of one study alone."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        folder, *inner = path.relative_to(PACKAGE).parts
        if folder not in ("figures", "_bundled") and not (folder == "study" and len(inner) > 1):
            digest.update(str(path.relative_to(PACKAGE)).encode() + path.read_bytes())
    return digest.hexdigest()


def _fingerprint_in(note: Path) -> str:
    try:
        return str(json.loads(note.read_text(encoding="utf-8"))["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
