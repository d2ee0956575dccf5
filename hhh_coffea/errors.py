"""Mistakes that a user can mend: commands print their message without a traceback and exit with 2."""

from __future__ import annotations


class UserError(ValueError):
    """What the user gave cannot be used; the message names the file, branch, key or option and says why."""
