"""Loops over events, compiled: for what array code says at length and slowly, such as the nearest pair taken first.

``compiled`` is numba's ``njit`` with its results kept on disk beside the package, or in the user's cache where the package
cannot be written: the first call on a machine compiles for a second or so, later ones do not. Threads run side by side in
what is compiled, and x/0 is infinite as in numpy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit

compiled: Callable[..., Any] = njit(cache=True, nogil=True, error_model="numpy")
