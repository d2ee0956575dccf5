"""Python files of a user: a class is taken from one, and travels to workers by value."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle

from hhh_coffea.base.errors import UserError, listed
from hhh_coffea.base.user_files import expanded


class UserCodeError(UserError):
    """The file cannot be used; the message names the file, and the line where that is known."""


def split_name(name: str) -> tuple[Path, str]:
    """``PATH.py:Class`` or ``PATH.py`` → (path, class name or an empty string)."""
    path, _, class_name = name.partition(":") if ".py:" in name else (name, "", "")
    return expanded(path), class_name


def import_file(file: Path) -> ModuleType:
    """Execute a Python file as a module, once per process and path; its classes are pickled by value.

    Raises
    ------
    UserCodeError
        if it is not a Python file or cannot be imported; the message names the line.
    """
    file = file.resolve()
    name = f"hhh_user_{file.stem}_{hashlib.sha256(str(file).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise UserCodeError(f"{file}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        line = error.lineno if isinstance(error, SyntaxError) else _line_in(file, error)
        at = f"{file}:{line}" if line else f"{file}"
        raise UserCodeError(f"{at}: cannot be imported: {type(error).__name__}: {error}") from error
    cloudpickle.register_pickle_by_value(module)
    return module


def choose_class(file: Path, class_name: str, fits: Callable[[type], bool], kind: str, how: str) -> type[Any]:
    """The class of a file by its name, or the only one that ``fits``.

    ``kind`` (``"processor"``) and ``how`` (what makes a class one) stand in the messages.

    Raises
    ------
    UserCodeError
        if there is no such class, or several where none is named.
    """
    module = import_file(file)
    classes = {
        key: value
        for key, value in vars(module).items()
        if inspect.isclass(value) and value.__module__ == module.__name__ and fits(value)
    }
    if class_name:
        if class_name not in classes:
            raise UserCodeError(f"{file}: no {kind} class {class_name!r}; it has {listed(classes)}")
        return classes[class_name]
    if not classes:
        raise UserCodeError(f"{file}: has no {kind} class; {how}")
    if len(classes) > 1:
        raise UserCodeError(f"{file}: has {len(classes)} {kind} classes ({listed(classes)}); name one: PATH.py:Class")
    return next(iter(classes.values()))


def choose_value(file: Path, name: str, kind: type[Any], what: str) -> Any:
    """The object of a class ``kind`` that a file holds, by its name, or the only one; ``what`` stands in messages.

    Raises
    ------
    UserCodeError
        if there is none of this name, or several where none is named.
    """
    values = {key: value for key, value in vars(import_file(file)).items() if isinstance(value, kind)}
    if name:
        if name not in values:
            raise UserCodeError(f"{file}: no {what} {name!r}; it has {listed(values)}")
        return values[name]
    if not values:
        raise UserCodeError(f"{file}: has no object of class {kind.__name__}")
    if len(values) > 1:
        raise UserCodeError(
            f"{file}: has {len(values)} objects of class {kind.__name__} ({listed(values)}); name one: PATH.py:NAME"
        )
    return next(iter(values.values()))


def _line_in(file: Path, error: BaseException) -> int | None:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    return lines[-1] if lines else None
