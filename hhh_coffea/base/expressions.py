"""Expressions over the objects of an event, as users write them: ``sum(jets.btag) >= 5 and jets.pt[0] > 100``.

Python's own parser reads them, and nothing is executed: every node of the syntax tree is one of those that are listed here.
Numbers, comparisons and ``and or not`` work on all events at once. ``jets.pt`` is a list of each event, ``jets.pt[0]`` its first
value (NaN where there is none), ``jets[:6]`` its first six objects, ``jets[jets.pt > 40]`` those that pass.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import awkward as ak
import numpy as np
import numpy.typing as npt

from hhh_coffea.base.errors import UserError
from hhh_coffea.base.kinematics import cartesian

LONGEST = 1000  # characters
FOUR_VECTOR = ("pt", "eta", "phi", "mass")
Value = Any  # awkward array of events, or a number


class ExpressionError(UserError):
    """An expression that cannot be read or computed; the message holds it and says what is wrong with it."""


@dataclass(frozen=True)
class Expression:
    """A text that was checked; the names in it are those of :attr:`names`."""

    text: str
    names: tuple[str, ...]

    def __call__(self, objects: Mapping[str, Any]) -> npt.NDArray[Any]:
        """Compute it: one value of each event ``(N,)``.

        Raises
        ------
        ExpressionError
            naming what the events do not have, or if it is a list of each event, or not of events at all.
        """
        tree = ast.parse(self.text, mode="eval").body
        with np.errstate(all="ignore"):
            try:
                value = _value(tree, objects)
            except ExpressionError as error:
                raise ExpressionError(f"{self.text!r}: {error}") from None
            except (TypeError, ValueError) as error:
                raise ExpressionError(f"{self.text!r}: {str(error).strip().splitlines()[0]}") from None
        if not isinstance(value, ak.Array) or value.fields:
            raise ExpressionError(f"{self.text!r}: is no value of each event")
        if value.ndim != 1:
            raise ExpressionError(f"{self.text!r}: is a list of each event: take one of it, or sum, max, count … it")
        return np.asarray(ak.to_numpy(value))


def parse(text: str, known: tuple[str, ...]) -> Expression:
    """Check an expression without events.

    Parameters
    ----------
    known
        names of the objects it may speak of

    Raises
    ------
    ExpressionError
        for a syntax error, and for anything that is not in the language, with its name.
    """
    if len(text) > LONGEST:
        raise ExpressionError(f"{text[:40]!r} …: longer than {LONGEST} characters")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else "cannot be read"
        raise ExpressionError(f"{text!r}: {reason}") from None
    names: dict[str, None] = {}
    try:
        _check(tree, known, names)
    except ExpressionError as error:
        raise ExpressionError(f"{text!r}: {error}") from None
    if not names:
        raise ExpressionError(f"{text!r}: speaks of no object; there are {', '.join(known)}")
    return Expression(text.strip(), tuple(names))


def _check(node: ast.AST, known: tuple[str, ...], names: dict[str, None]) -> None:  # noqa: PLR0912 - a case for each node
    """Every node must be one that :func:`_value` knows."""
    match node:
        case ast.Constant(value=bool() | int() | float()):
            children: list[ast.AST] = []
        case ast.Name(id=name):
            if name not in known:
                raise ExpressionError(f"there is no {name!r}; there are {', '.join(known)}")
            names[name] = None
            children = []
        case ast.Attribute(value=inner, attr=name) if not name.startswith("_"):
            children = [inner]
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
            if name not in FUNCTIONS:
                raise ExpressionError(f"there is no function {name!r}; there are {', '.join(FUNCTIONS)}")
            if len(arguments) != 1:
                raise ExpressionError(f"{name} takes one value (got {len(arguments)})")
            children = list(arguments)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in BINARY:
            children = [left, right]
        case ast.UnaryOp(op=op, operand=inner) if type(op) in UNARY:
            children = [inner]
        case ast.BoolOp(values=values):
            children = list(values)
        case ast.Compare(left=left, ops=ops, comparators=others) if all(type(op) in COMPARISONS for op in ops):
            children = [left, *others]
        case ast.Subscript(value=inner, slice=index):
            children = [inner] if _position(index) is not None else [inner, index]
        case _:
            raise ExpressionError(f"{ast.unparse(node)!r} is not allowed")
    for child in children:
        _check(child, known, names)


def _position(node: ast.AST) -> int | slice | None:
    """``[0]``, ``[:6]``, ``[2:]``; None for anything else."""
    match node:
        case ast.Constant(value=int(index)) if not isinstance(index, bool) and index >= 0:
            return index
        case ast.Slice(lower=lower, upper=upper, step=None):
            ends = [None if end is None else _position(end) for end in (lower, upper)]
            if all(given is None or isinstance(end, int) for given, end in zip((lower, upper), ends, strict=True)):
                return slice(*ends)
    return None


def _value(node: ast.AST, objects: Mapping[str, Any]) -> Value:  # noqa: PLR0911, PLR0912 - a case for each node
    match node:
        case ast.Constant(value=number):
            # Python's own numbers raise on overflow, or grow without end
            return number if isinstance(number, bool) else np.float64(number)  # type: ignore[arg-type]
        case ast.Name(id=name):
            if name not in objects:
                raise ExpressionError(f"these events have no {name!r}; they have {', '.join(objects)}")
            return objects[name]
        case ast.Attribute(value=inner, attr=name):
            found = _value(inner, objects)
            if not isinstance(found, ak.Array) or name not in found.fields:
                fields = ", ".join(found.fields) if isinstance(found, ak.Array) else ""
                raise ExpressionError(f"{ast.unparse(inner)} has no {name!r}; it has {fields or 'no fields'}")
            return found[name]
        case ast.Call(func=ast.Name(id=name), args=[argument]):
            return FUNCTIONS[name](_value(argument, objects))
        case ast.BinOp(left=left, op=op, right=right):
            return BINARY[type(op)](_value(left, objects), _value(right, objects))
        case ast.UnaryOp(op=op, operand=inner):
            return UNARY[type(op)](_value(inner, objects))
        case ast.BoolOp(op=op, values=values):
            found = [_value(value, objects) for value in values]
            combine = np.logical_and if isinstance(op, ast.And) else np.logical_or
            for value in found[1:]:
                found[0] = combine(found[0], value)
            return found[0]
        case ast.Compare(left=left, ops=ops, comparators=others):
            sides = [_value(side, objects) for side in (left, *others)]
            pairs = zip(ops, sides[:-1], sides[1:], strict=True)
            results = [COMPARISONS[type(op)](a, b) for op, a, b in pairs]
            for result in results[1:]:
                results[0] = np.logical_and(results[0], result)
            return results[0]
        case ast.Subscript(value=inner, slice=index):
            return _subscript(_value(inner, objects), index, objects)
    raise ExpressionError(f"{ast.unparse(node)!r} is not allowed")


def _subscript(values: Value, index: ast.AST, objects: Mapping[str, Any]) -> Value:
    if not isinstance(values, ak.Array) or values.ndim < 2:
        raise ExpressionError("only a list per event has positions")
    position = _position(index)
    if position is None:
        return values[_value(index, objects)]
    if isinstance(position, slice):
        return values[:, position]
    return ak.fill_none(_filled(ak.pad_none(values, position + 1)[:, position]), np.nan)


def _filled(values: ak.Array) -> ak.Array:
    """Records field by field, since a missing record is not a number."""
    if not values.fields:
        return values
    return ak.zip({name: ak.fill_none(values[name], np.nan) for name in values.fields})


def _count(values: Value, axis: int) -> Value:
    """Where a condition holds; of anything else its number of elements."""
    is_condition = not values.fields and ak.to_numpy(ak.flatten(values, axis=None)).dtype == np.bool_
    return ak.sum(values, axis=axis) if is_condition else ak.num(values, axis=axis)


def _reduced(reduce: Callable[..., Value], empty: float) -> Callable[[Value], Value]:
    def function(values: Value) -> Value:
        if not isinstance(values, ak.Array) or values.ndim < 2:
            raise ExpressionError("sum, max, count … take a list of each event")
        return ak.fill_none(reduce(values, axis=1), empty)

    return function


def _sum_of_momenta(pick: Callable[..., Value]) -> Callable[[Value], Value]:
    def function(particles: Value) -> Value:
        if not isinstance(particles, ak.Array) or not set(FOUR_VECTOR) <= set(particles.fields):
            raise ExpressionError(f"mass and pt are of objects with {', '.join(FOUR_VECTOR)}")
        columns = (np.asarray(ak.to_numpy(ak.flatten(particles[name]))) for name in FOUR_VECTOR)
        counts = ak.num(particles.pt, axis=1)
        parts = [ak.sum(ak.unflatten(part, counts), axis=1) for part in cartesian(*columns)]
        return ak.Array(np.asarray(pick(*(ak.to_numpy(part) for part in parts))))

    return function


def _mass(energy: Value, px: Value, py: Value, pz: Value) -> Value:
    return np.sqrt(np.maximum(energy**2 - px**2 - py**2 - pz**2, 0))


def _pt(_energy: Value, px: Value, py: Value, _pz: Value) -> Value:
    return np.hypot(px, py)


FUNCTIONS: dict[str, Callable[[Value], Value]] = {
    "count": _reduced(_count, 0),
    "sum": _reduced(ak.sum, 0.0),
    "product": _reduced(ak.prod, 1.0),
    "min": _reduced(ak.min, np.nan),
    "max": _reduced(ak.max, np.nan),
    "any": _reduced(ak.any, False),
    "all": _reduced(ak.all, True),
    "mass": _sum_of_momenta(_mass),
    "pt": _sum_of_momenta(_pt),
    "abs": abs,
    "sqrt": np.sqrt,
    "log": np.log,
    "exp": np.exp,
}
BINARY: dict[type[ast.operator], Callable[[Value, Value], Value]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
UNARY: dict[type[ast.unaryop], Callable[[Value], Value]] = {
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Not: np.logical_not,
}
COMPARISONS: dict[type[ast.cmpop], Callable[[Value, Value], Value]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
