"""Processors by name or by path, in a form that travels to any worker."""

from __future__ import annotations

import atexit
import gc
import hashlib
import inspect
import sysconfig
import traceback
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudpickle
from coffea.processor import ProcessorABC

from hhh_coffea.base.bundled import find_bundled, list_bundled
from hhh_coffea.base.errors import UserError, did_you_mean, listed
from hhh_coffea.base.user_code import UserCodeError, choose_class, split_name


class ProcessorError(UserCodeError):
    """The processor cannot be used; the message says why."""


@dataclass(frozen=True)
class ProcessorSource:
    """A processor instance as bytes, sent to workers by value: they need neither its file nor its module.

    ``load`` keeps one instance a process, whatever the executor, so a model it holds is read once.
    """

    payload: bytes
    digest: str

    @classmethod
    def of(cls, processor: ProcessorABC) -> ProcessorSource:
        """Wrap an instance."""
        payload = cloudpickle.dumps(processor)
        return cls(payload, hashlib.sha256(payload).hexdigest())

    def load(self) -> Any:
        """The instance, made on first use in this process."""
        if self.digest not in _LOADED:
            _LOADED[self.digest] = cloudpickle.loads(self.payload)
            gc.freeze()  # what is imported by now stays: looking through it for garbage would cost 0.2 s every few chunks
        return _LOADED[self.digest]


_LOADED: dict[str, Any] = {}
atexit.register(gc.unfreeze)  # a model's destructor needs its library, which is taken down after the last collection
_PACKAGE = Path(__file__).resolve().parents[1]
_LIBRARIES = tuple(Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib"))


def load_processor(name: str, options: dict[str, Any], asked_for: Collection[str] = ()) -> ProcessorABC:
    """Make a processor from ``NAME``, ``PATH.py`` or ``PATH.py:Class``.

    Its ``__init__`` gets those of the run's options that it names as parameters. A bundled name is looked for among the
    bundled processors. The file is Python code and is executed. Options that the user ``asked_for`` must be among
    its parameters.

    Raises
    ------
    ProcessorError
        if there is no such file or class, if the class is ambiguous, or if it cannot be made from the options.
    """
    file, class_name = split_name(name)
    path = str(file)
    if not file.is_file() or file.suffix != ".py":
        bundled = find_bundled("processors", path)
        if bundled is None:
            names = list_bundled("processors")
            raise ProcessorError(
                f"no processor {path!r}{did_you_mean(path, names)}: neither a file nor one of {listed(names)}"
            )
        file = bundled
    chosen: type[ProcessorABC] = choose_class(
        file,
        class_name,
        lambda found: issubclass(found, ProcessorABC),
        "processor",
        "derive one from coffea.processor.ProcessorABC",
    )
    parameters = inspect.signature(chosen).parameters
    takes_all = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    if not takes_all and (ignored := sorted(set(asked_for) & set(options) - set(parameters))):
        hint = did_you_mean(ignored[0], parameters)
        raise ProcessorError(
            f"option {ignored[0]!r} has no effect{hint}: {chosen.__name__} in {file} takes "
            f"{', '.join(parameters) or 'no options'}"
        )
    try:
        instance: ProcessorABC = chosen(**{k: v for k, v in options.items() if takes_all or k in parameters})
    except UserError:
        raise  # a model or an option that cannot be used: its message says which
    except Exception as error:
        raise ProcessorError(f"{file}: {chosen.__name__} cannot be made: {type(error).__name__}: {error}") from error
    return instance


def raised_at(error: BaseException) -> str:
    """`` (file:line in function)`` of the innermost code that is not an installed library's: where to look."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith("<")]
    own = [f for f in frames if not any(Path(f.filename).is_relative_to(p) for p in (*_LIBRARIES, _PACKAGE))]
    here = [f for f in frames if Path(f.filename).is_relative_to(_PACKAGE)]
    chosen = (own or here)[-1:]  # rather the processor than this package
    return "".join(f" ({Path(f.filename).name}:{f.lineno} in {f.name})" for f in chosen)
