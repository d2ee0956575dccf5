"""What several readings of one chunk share: computed once, and kept as long as the chunk is."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TypeVar

Value = TypeVar("Value")


class Once:
    """Values by key; a new one keeps what one reading asks for twice, the same one what several readings do."""

    def __init__(self) -> None:
        self._known: dict[Hashable, object] = {}

    def __call__(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The value of ``key``, made on first use."""
        if key not in self._known:
            self._known[key] = make()
        return self._known[key]  # type: ignore[return-value]  # what this key's make() returned
