"""Processors by name or by path, in a form that travels to any worker."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudpickle
from coffea.processor import ProcessorABC

from hhh_coffea.bundled import find_bundled, list_bundled


class ProcessorError(ValueError):
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
        return _LOADED[self.digest]


_LOADED: dict[str, Any] = {}


def load_processor(name: str, options: dict[str, Any]) -> ProcessorABC:
    """Make a processor from ``NAME``, ``PATH.py`` or ``PATH.py:Class``.

    Its ``__init__`` gets those of the run's options that it names as parameters. A bundled name is looked for among the
    bundled processors. The file is Python code and is executed.

    Raises
    ------
    ProcessorError
        if there is no such file or class, if the class is ambiguous, or if it cannot be made from the options.
    """
    path, _, class_name = name.partition(":") if ".py:" in name else (name, "", "")
    file = Path(path).expanduser()
    if not file.is_file() or file.suffix != ".py":
        bundled = find_bundled("processors", path)
        if bundled is None:
            raise ProcessorError(f"no processor {path!r}: neither a file nor one of {list_bundled('processors')}")
        file = bundled
    module = _module(file.resolve())
    chosen = _choose(file, module, class_name)
    parameters = inspect.signature(chosen).parameters
    takes_all = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    try:
        instance: ProcessorABC = chosen(**{k: v for k, v in options.items() if takes_all or k in parameters})
    except Exception as error:
        raise ProcessorError(f"{file}: {chosen.__name__} cannot be made: {type(error).__name__}: {error}") from error
    return instance


def _module(file: Path) -> Any:
    name = f"hhh_processor_{file.stem}_{hashlib.sha256(str(file).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ProcessorError(f"{file}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise ProcessorError(f"{file}: cannot be imported: {type(error).__name__}: {error}") from error
    cloudpickle.register_pickle_by_value(module)
    return module


def _choose(file: Path, module: Any, class_name: str) -> type[ProcessorABC]:
    classes = {
        key: value
        for key, value in vars(module).items()
        if inspect.isclass(value) and issubclass(value, ProcessorABC) and value.__module__ == module.__name__
    }
    if class_name:
        if class_name not in classes:
            raise ProcessorError(f"{file}: no processor class {class_name!r}; it has {sorted(classes)}")
        return classes[class_name]
    if len(classes) != 1:
        raise ProcessorError(
            f"{file}: has {len(classes)} processor classes {sorted(classes)}; "
            + ("name one: PATH.py:Class" if classes else "derive one from coffea.processor.ProcessorABC")
        )
    return next(iter(classes.values()))
