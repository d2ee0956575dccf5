"""What a stored chunk depends on beyond its events and metadata: code, options, models and library versions, as sha256 sums.

Too wide rather than too narrow: a comment changed in the package gives new sums, and that costs computing time only.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import platform
import sys
import sysconfig
import types
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from hhh_coffea import __version__

PACKAGE = Path(__file__).resolve().parents[1]
LIBRARIES = (
    "coffea",
    "awkward",
    "uproot",
    "numpy",
    "hist",
    "boost-histogram",
    "vector",
    "pyarrow",
    "xgboost",
    "torch",
)


class UnknownStateError(TypeError):
    """An object whose contents cannot be told; the message names it."""


def fingerprint(processor: Any, options: dict[str, Any]) -> dict[str, str]:
    """Name → what it is now, for everything that may change what a chunk gives.

    The state of the processor covers its models' weights by value, also those that a processor of one's own reads.

    Raises
    ------
    UnknownStateError
        if the processor holds something whose contents cannot be told.
    """
    found = {"hhh_coffea": f"{__version__} {code_of_package()}", "Python": platform.python_version()}
    found |= {name: _version(name) for name in LIBRARIES}
    found |= {f"option {name}": repr(value) for name, value in sorted(options.items())}
    files = sorted(source_files(sys.modules[type(processor).__module__]))
    found["processor"] = f"{type(processor).__qualname__} {_sha256(*(f.read_bytes() for f in files))}"
    found["processor's state, models included"] = state_of(processor)
    return found


def code_of_package() -> str:
    """Of every file of this package, by name and content."""
    files = sorted(p for p in PACKAGE.rglob("*") if p.is_file() and not {"__pycache__", "_bundled"} & set(p.parts))
    return _sha256(*(part for p in files for part in (str(p.relative_to(PACKAGE)).encode(), p.read_bytes())))


def source_files(module: types.ModuleType) -> set[Path]:
    """The module's file and those of the user's own modules that it imports, or holds names of; not libraries', not ours."""
    found: set[Path] = set()
    todo = [module]
    while todo:
        current = todo.pop()
        file = Path(getattr(current, "__file__", None) or "/")
        if file.suffix != ".py" or file in found or (current is not module and _is_installed(file)):
            continue
        found.add(file)
        for value in vars(current).values():
            owner = value if isinstance(value, types.ModuleType) else sys.modules.get(getattr(value, "__module__", ""))
            if isinstance(owner, types.ModuleType):
                todo.append(owner)
    unread = list(found)
    while unread:  # constants do not tell where they come from, and functions import too
        new = {f for name in _imports(unread.pop()) for f in _files_of(name)} - found
        found |= new
        unread += new
    return found


def _imports(file: Path) -> set[str]:
    """Top-level names of what a file imports anywhere in it."""
    try:
        nodes = list(ast.walk(ast.parse(file.read_bytes())))
    except (OSError, SyntaxError, ValueError):
        return set()
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level}
    return {name.partition(".")[0] for name in names}


def _files_of(name: str) -> set[Path]:
    """The file of a module of the user's, or all Python files of a package."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        return set()
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    files = {file for folder in folders if not _is_installed(folder) for file in folder.rglob("*.py")}
    files |= {Path(spec.origin)} if spec.origin and spec.origin.endswith(".py") else set()
    return {file for file in files if file.is_file() and not _is_installed(file)}


def state_of(value: Any) -> str:
    """A sum over the contents of any object that can be copied, the same in every process.

    Objects are taken apart as for copying (``__reduce_ex__``), functions by their names and code, classes and functions of
    the user's by the files of their module too.

    Raises
    ------
    UnknownStateError
        naming what cannot be taken apart.
    """
    digest = hashlib.sha256()
    _walk(value, digest, {})
    return digest.hexdigest()


def _walk(value: Any, digest: Any, seen: dict[int, tuple[int, Any]]) -> None:
    kind = type(value)
    digest.update(f"<{kind.__module__}.{kind.__qualname__}{_code_of(kind.__module__)}>".encode())
    if value is None or kind in (bool, int, float, complex, str):
        digest.update(repr(value).encode())
        return
    if kind in (bytes, bytearray):
        digest.update(b"%d:" % len(value) + value)
        return
    if id(value) in seen:
        digest.update(b"seen %d" % seen[id(value)][0])
        return
    seen[id(value)] = (len(seen), value)  # kept alive, so that its id stays its own
    if isinstance(value, type | types.BuiltinFunctionType):
        digest.update(f"{value.__module__}.{value.__qualname__}{_code_of(value.__module__)}".encode())
    elif kind in (set, frozenset):
        digest.update("".join(sorted(state_of(item) for item in value)).encode() + b";")
    else:
        parts = _parts(value)
        digest.update(b"%d:" % len(parts))  # else [[1], 2] would be [[1, 2]]
        for part in parts:
            _walk(part, digest, seen)


@lru_cache(maxsize=256)
def _code_of(name: str) -> str:
    """A sum over the files of a module of the user's, with what it imports; empty for libraries' and ours."""
    module = sys.modules.get(name)
    file = getattr(module, "__file__", None)
    if module is None or not file or _is_installed(Path(file)):
        return ""
    return " " + _sha256(*(found.read_bytes() for found in sorted(source_files(module))))


def _parts(value: Any) -> list[Any]:
    """What an object is made of, besides its type."""
    if isinstance(value, dict | list | tuple):
        return [part for item in value.items() for part in item] if isinstance(value, dict) else list(value)
    if isinstance(value, types.ModuleType):
        return [value.__name__]
    if isinstance(value, types.FunctionType):
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        given = [value.__defaults__, value.__kwdefaults__, cells]
        # what it finds by name, constants and other functions, is in its module's files
        return [value.__module__, value.__qualname__, _code_of(value.__module__), value.__code__, *given]
    if isinstance(value, types.CodeType):
        return [value.co_code, value.co_consts, value.co_names, value.co_varnames, value.co_freevars]
    if isinstance(value, types.MethodType):
        return [value.__func__, value.__self__]
    try:
        parts = value.__reduce_ex__(2)
    except Exception as error:
        raise UnknownStateError(f"a {type(value).__module__}.{type(value).__qualname__} ({error})") from None
    # after the first three come iterators over items of lists and dicts
    return [parts] if isinstance(parts, str) else [list(p) if i >= 3 and p else p for i, p in enumerate(parts)]


def _is_installed(file: Path) -> bool:
    libraries = [Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    return any(file.is_relative_to(folder) for folder in (PACKAGE, *libraries))


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


def _sha256(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()
