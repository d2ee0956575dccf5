"""Paths and YAML as users write them: what Python takes silently, or dies of, is an error that says what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from hhh_coffea.base.errors import UserError


def expanded(path: str) -> Path:
    """The path with ``~`` and ``~user`` replaced.

    Raises
    ------
    UserError
        for a user that does not exist, and for a NUL character.
    """
    if "\0" in path:
        raise UserError(f"{path!r}: no path has a NUL character")
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UserError(f"{path}: there is no such user, or the home folder is not known") from None


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An ``object_pairs_hook`` of json: it allows a key twice and Python keeps the last, so something would vanish unsaid.

    Raises
    ------
    UserError
        naming the key.
    """
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise UserError(f"{key!r} is listed twice")
        found[key] = value
    return found


class _UniqueKeys(yaml.SafeLoader):
    """YAML forbids a key twice, and its library keeps the last without a word."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if isinstance(key, yaml.ScalarNode) and (key.tag, key.value) in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} is listed twice", key.start_mark)
            seen.add((key.tag, key.value) if isinstance(key, yaml.ScalarNode) else id(key))
        return super().construct_mapping(node, deep)


def load_yaml(text: str | bytes) -> Any:
    """Plain values of a YAML document.

    Raises
    ------
    yaml.YAMLError
        for what is no YAML, a key that is listed twice, and a document that is nested too deeply.
    """
    try:
        return yaml.load(text, _UniqueKeys)  # a SafeLoader
    except RecursionError:
        raise yaml.YAMLError("nested too deeply") from None
