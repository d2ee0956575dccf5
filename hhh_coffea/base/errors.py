"""Mistakes that a user can mend: commands print their message without a traceback and exit with 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


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


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`` (did you mean 'name'?)`` of the known name that looks most like ``word``, empty where none does."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
