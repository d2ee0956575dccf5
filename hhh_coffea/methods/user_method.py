"""A method of the user's own: a class in a file, named by ``--methods my_method.py:MyMethod`` (docs/bring_your_own.md).

The class needs one method, ``reconstruct(record, analysis)``, which gets the event record and the declared
:class:`~hhh_coffea.reconstruction.analysis.Analysis`, and returns candidates, made with ``analysis.candidates()``. It may
have an attribute ``extra_features``: what it reads beyond kinematics, ``tau21`` of large-radius jets or
``jets.n_charged`` of jets.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import awkward as ak

from hhh_coffea.base.errors import UserError
from hhh_coffea.base.user_code import choose_class, split_name
from hhh_coffea.reconstruction.analysis import Analysis
from hhh_coffea.reconstruction.candidates import checked


@dataclass(frozen=True)
class UserMethod:
    """An instance of the user's class, with where it came from; it travels to workers by value."""

    name: str
    file: str
    sha256: str  # of the file: finished chunks of an earlier run are not taken after it was edited
    instance: Any

    def reconstruct(self, record: ak.Array, analysis: Analysis) -> ak.Array:
        """Candidates of every event.

        Raises
        ------
        TypeError
            if what the class returned are not the candidates of these events.
        """
        candidates = self.instance.reconstruct(record, analysis)
        return checked(candidates, len(record), f"method {self.name} of {Path(self.file).name}: reconstruct()")


def is_user_method(name: str) -> bool:
    """Whether a name of ``--methods`` is a file: ``PATH.py`` or ``PATH.py:Class``."""
    return split_name(name)[0].suffix == ".py"


def load_user_method(name: str) -> UserMethod:
    """The method of ``PATH.py`` or ``PATH.py:Class``. The file is Python code and is executed.

    Raises
    ------
    UserError
        if there is no such file or class, or if an instance cannot be made without arguments.
    """
    file, class_name = split_name(name)
    if not file.is_file():
        raise UserError(f"option 'methods': no such file {file}")
    chosen = choose_class(
        file,
        class_name,
        lambda found: callable(getattr(found, "reconstruct", None)),
        "method",
        "give one a method reconstruct(self, record, analysis)",
    )
    try:
        instance = chosen()
    except Exception as error:
        raise UserError(f"{file}: {chosen.__name__}() cannot be made: {type(error).__name__}: {error}") from error
    if not callable(getattr(instance, "reconstruct", None)):
        raise UserError(f"{file}: {chosen.__name__} has no method reconstruct(self, record, analysis)")
    return UserMethod(chosen.__name__, str(file), hashlib.sha256(file.read_bytes()).hexdigest(), instance)
