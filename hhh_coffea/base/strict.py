"""What every file that a user writes is validated by: no unknown fields, no silent conversions."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

LONGEST = 80  # values that are longer are not repeated in messages
IN_PLAIN_WORDS = {
    "missing": "is missing",
    "string_type": 'must be a text, in quotes: "…"',
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "list_type": "must be a list: […]",
    "tuple_type": "must be a list: […]",
    "dict_type": "must be a mapping: {{…}}",
    "model_type": "must be a mapping: {{…}}",
    "model_attributes_type": "must be a mapping: {{…}}",
    "literal_error": "must be {expected}",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "string_pattern_mismatch": "must match {pattern}",
}
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Strict(BaseModel):
    """No unknown fields, no silent conversions, no changes after validation."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def pairs(items: Iterable[str], form: str = "NAME=VALUE") -> dict[str, str]:
    """``NAME=VALUE`` of a command line, each name once.

    Raises
    ------
    ValueError
        naming the item that has another ``form``.
    """
    found: dict[str, str] = {}
    for item in items:
        name, equals, text = (part.strip() for part in str(item).partition("="))
        if not equals or text.startswith("=") or not re.fullmatch(r"[\w.+-]+", name):
            raise ValueError(f"{item!r} is not {form}")
        if name in found:
            raise ValueError(f"{name!r} is given twice")
        found[name] = text
    return found


def in_plain_words(problem: Any) -> str:
    """One problem of a ValidationError: what the value must be, and what it is, as JSON writes it."""
    kind, value, context = problem["type"], problem["input"], problem.get("ctx", {})
    message = str(problem["msg"]).removeprefix("Value error, ")
    if kind in IN_PLAIN_WORDS:
        message = IN_PLAIN_WORDS[kind].format_map(context)
    if kind == "literal_error" and f"'{value}'" in message and not isinstance(value, str):
        message = f'must be a text, in quotes: "{value}"'
    elif kind in ("int_type", "float_type") and isinstance(value, str) and _is_number(value):
        message += ", without quotes"
    given = json.dumps(value, ensure_ascii=False, default=str)
    # a whole mapping would hide the message
    hidden = kind in ("missing", "too_short") or isinstance(value, dict | BaseModel) or len(given) > LONGEST
    return message if hidden else f"{message} (got {given})"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def comma_separated(value: Any) -> Any:
    """Names of a command line, ``a,b``, as a tuple; what is no text is left to the validation."""
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    return tuple(value) if isinstance(value, list) else value
