"""Mistakes that a user can correct: commands print their message without a traceback and exit with 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

# of difflib: "trian" is meant as "train", "sigma" is not "skim"; of words of three letters, one may be wrong
ALIKE, ALIKE_SHORT, SHORT = 0.7, 0.6, 3
FEW = 8  # names that are listed whole


class UserError(ValueError):
    """What the user gave cannot be used; the message names the file, branch, key or option and says why."""


def why_unreadable(error: Exception) -> str:
    """What is wrong with a YAML file, in one line: the parser's own message has a drawing below it."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return " ".join(str(error).split())
    return f"{getattr(error, 'problem', None)} (line {mark.line + 1}, column {mark.column + 1})"


def listed(names: Iterable[str]) -> str:
    """The names in alphabetical order, with commas; ``nothing`` for none."""
    return ", ".join(sorted(names)) or "nothing"


def nearest(name: str, there: Sequence[str], cutoff: float) -> list[str]:
    """Those of many names that look most like ``name`` (:func:`difflib.get_close_matches`), or all where they are few."""
    return list(there) if len(there) <= FEW else difflib.get_close_matches(name, there, n=FEW, cutoff=cutoff)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`` (did you mean 'name'?)`` of the known name that looks most like ``word``, in capitals or not; empty for none."""
    names = list(known)
    folded = {name.casefold(): name for name in reversed(names)}
    cutoff = ALIKE_SHORT if len(word) <= SHORT else ALIKE
    close = difflib.get_close_matches(word, names, n=1, cutoff=cutoff) or [
        folded[name] for name in difflib.get_close_matches(word.casefold(), list(folded), n=1, cutoff=cutoff)
    ]
    exact = folded.get(word.casefold())  # the same in other capitals is what was meant
    return f" (did you mean {(exact or close[0])!r}?)" if exact or close else ""
