"""The Newton fits of :mod:`.newton` as loops over single fits, compiled by numba: what a CPU uses.

Torch needs a pass over memory for each operator; a fit of three parameters fits into the registers. The formulas are the
same (:mod:`.formulas`), and so is every step; the results agree to rounding.

Numbers of a fit are columns of arrays ``(rows, n)``: see :func:`hadronic_numbers` and :func:`leptonic_numbers`.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from numba import njit
from torch import Tensor

from hhh_coffea.methods.likelihood import formulas, newton
from hhh_coffea.methods.likelihood.formulas import (
    exponents,
    gaussian,
    hadronic,
    leptonic,
    linear,
    mixture,
    plus_inverse,
    plus_root,
    quadrature,
    root_and_linear,
    top_mass_terms,
)
from hhh_coffea.methods.likelihood.hadronic import HadronicBlock, Quarks
from hhh_coffea.methods.likelihood.joint import LONGEST_MASS, TOP_RANGE, JointBlock
from hhh_coffea.methods.likelihood.leptonic import LeptonicBlock
from hhh_coffea.methods.likelihood.shapes import LOG_ROOT_2PI, SHAPES, SMALLEST
from hhh_coffea.methods.likelihood_options import LikelihoodOptions

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
# no flag that would drop NaN or infinity, or change the order of a sum
FAST: Any = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "nsz", "arcp"}}
compiled: Callable[..., Any] = njit(**FAST)
kept_on_disk: Callable[..., Any] = njit(cache=True, **FAST)
inlined: Callable[..., Any] = njit(inline="always")
FORMS = (formulas.linear, formulas.plus_inverse, formulas.plus_root, formulas.root_and_linear, formulas.quadrature)
N_FORMS = len(FORMS)
HADRONIC, LEPTONIC, JOINT = 0, 1, 2
N_HAD, N_LEP = 3, 5
N_COEFFICIENTS = 12
# rows of the numbers of a hadronic fit: energies, m², cosines, transfer functions; of a leptonic one: see leptonic_numbers
HAD_TF, LEP_TF = 9, 13
SMALLEST_PIVOT, STUCK, NEAR = newton.SMALLEST_PIVOT, newton.STUCK, newton.NEAR
LONGEST_TOP, TOP_LOW, TOP_HIGH = LONGEST_MASS, TOP_RANGE[0], TOP_RANGE[1]


# --- transfer functions -----------------------------------------------------------------------------------------------
@compiled
def _parameter(form: int, c: Any, k: int, x: float, u: float, v: float, inside: float) -> Any:
    a, b = c[k], c[k + 1]
    if form >= N_FORMS:  # published with the coefficients in the other order
        a, b, form = b, a, form - N_FORMS
    if form == 0:
        return linear(a, b, x, u, v, inside)
    if form == 1:
        return plus_inverse(a, b, x, u, v, inside)
    if form == 2:
        return plus_root(a, b, x, u, v, inside)
    if form == 3:
        return root_and_linear(a, b, x, u, v, inside)
    return quadrature(a, b, x, u, v, inside)


@compiled
def _transfer(forms: Any, which: int, c: Any, k: int, x: float, measured: float) -> tuple[float, float, float, float]:
    """ln W = −LOG_ROOT_2PI + the first + ln of the second; then its derivatives. Logarithms are taken once a fit.

    A row of ``forms`` is [kind, Jacobian, forms of the five parameters]; the coefficients are those of c from k on.
    """
    if forms[which, 0] == 0:
        chi2, variance, first, second = gaussian(c[k], c[k + 1], c[k + 2], x, measured)
        return -0.5 * chi2, 1 / math.sqrt(variance), first, second
    low, high = c[k + 10], c[k + 11]
    at = min(max(x, low), high)
    inside = 1.0 if low < x < high else 0.0
    u = 1 / at
    v = math.sqrt(u)
    mu1 = _parameter(forms[which, 2], c, k, at, u, v, inside)
    s1 = _parameter(forms[which, 3], c, k + 2, at, u, v, inside)
    a = _parameter(forms[which, 4], c, k + 4, at, u, v, inside)
    mu2 = _parameter(forms[which, 5], c, k + 6, at, u, v, inside)
    s2 = _parameter(forms[which, 6], c, k + 8, at, u, v, inside)
    if inside == 0:
        u = 1 / x
    g1, g2 = exponents(u, measured, mu1, s1, mu2, s2)
    amplitude = max(a[0], SMALLEST)
    # both exponentials over the larger one
    small = math.exp(-abs(g1[0] - g2[0]))
    one, two = (1.0, amplitude * small) if g1[0] <= g2[0] else (small, amplitude)
    total = one + two
    norm, first, second = mixture(two / total, amplitude, g1, g2, s1, a, s2)
    value = -min(g1[0], g2[0])
    if forms[which, 1]:
        return value, total * u / norm, first - u, second + u * u
    return value, total / norm, first, second


# --- value and derivatives of a fit -----------------------------------------------------------------------------------
@compiled
def _top_terms(g: Any, h: Any, terms: Any, first: int, size: int, last: int, found: Any, mass: float, o: Any) -> None:
    """Add a block's dependence on a free top mass, the parameter ``last``; ``found`` are t, dB/dr, −d²B/dr²."""
    residual, slope, curvature, mixed = top_mass_terms(found[1], found[2], found[0], mass, o[2], o[3])
    top = 1 if first == 0 else 3
    g[last] += slope
    h[last, last] += curvature
    for i in range(size):
        h[last, first + i] = mixed * mass * o[2] * terms[top, 1 + first + i]
    terms[top, 1 + last] = residual


@compiled
def _hadronic(x: Any, c: Any, forms: Any, mass: float, o: Any, g: Any, h: Any, terms: Any, free: bool) -> Any:
    """ln L without the logarithms of MΓ."""
    per_t = 1 / (mass * o[2])
    vb, fb, db, ddb = _transfer(forms, 0, c, HAD_TF, x[0], c[0])
    v1, f1, d1, dd1 = _transfer(forms, 1, c, HAD_TF + 12, x[1], c[1])
    v2, f2, d2, dd2 = _transfer(forms, 1, c, HAD_TF + 24, x[2], c[2])
    tfs = ((vb, db, ddb), (v1, d1, dd1), (v2, d2, dd2))
    rows = hadronic((x[0], x[1], x[2]), (c[3], c[4], c[5]), (c[6], c[7], c[8]), tfs, o[0], o[1], mass, per_t)
    g[0], g[1], g[2] = rows[4], rows[5], rows[6]
    h[0, 0], h[1, 0], h[1, 1], h[2, 0], h[2, 1], h[2, 2] = rows[7], rows[8], rows[9], rows[10], rows[11], rows[12]
    terms[0, 0], terms[0, 1], terms[0, 2], terms[0, 3] = rows[13], rows[14], rows[15], rows[16]
    terms[1, 0], terms[1, 1], terms[1, 2], terms[1, 3] = rows[17], rows[18], rows[19], rows[20]
    if free:
        _top_terms(g, h, terms, 0, 3, 8, (rows[1], rows[2], rows[3]), mass, o)
    return vb + v1 + v2 - 3 * LOG_ROOT_2PI + math.log(rows[0] * fb * f1 * f2)


@compiled
def _leptonic(
    x: Any, first: int, c: Any, forms: Any, mass: float, o: Any, g: Any, h: Any, terms: Any, free: bool
) -> Any:
    """As :func:`_hadronic`; its parameters start at ``first``, 3 in a joint fit, where its Breit–Wigner terms come last."""
    per_t = 1 / (mass * o[2])
    eb, el, v, a, b = x[first], x[first + 1], x[first + 2], x[first + 3], x[first + 4]
    vb, fb, db, ddb = _transfer(forms, 2, c, LEP_TF, eb, c[0])
    factor = c[12]
    vl, fl, dl, ddl = _transfer(forms, 3, c, LEP_TF + 12, el * factor, c[11] * factor)
    tf, tl = (vb, db, ddb), (vl, dl * factor, ddl * factor * factor)
    rows = leptonic(
        (eb, el, v, a, b), c[1], (c[2], c[3], c[4]), (c[5], c[6]), (c[7], c[8], c[9]), tf, tl, o[0], o[1], mass, per_t
    )
    _unpack(rows, first, g, h, terms)
    if free:
        _top_terms(g, h, terms, first, 5, 8, (rows[2], rows[3], rows[4]), mass, o)
    return vb + vl + rows[0] - 4 * LOG_ROOT_2PI + math.log(rows[1] * c[9] * fb * fl)


@compiled
def _unpack(rows: Any, first: int, g: Any, h: Any, terms: Any) -> None:
    at = 5
    for i in range(5):
        g[first + i] = rows[at + i]
    at += 5
    for i in range(5):
        for j in range(i + 1):
            h[first + i, first + j] = rows[at]
            at += 1
    k = 0 if first == 0 else 2
    for term in (k, k + 1):
        terms[term, 0] = rows[at]
        for i in range(5):
            terms[term, 1 + first + i] = rows[at + 1 + i]
        at += 6


@inlined
def _evaluate(
    kind: int, x: Any, had: Any, lep: Any, forms: Any, mass: float, o: Any, g: Any, h: Any, terms: Any
) -> Any:
    """ln L at x; fills the gradient, the lower triangle of minus the second derivatives and the Breit–Wigner terms."""
    if kind == HADRONIC:
        value = _hadronic(x, had, forms, mass, o, g, h, terms, False) - o[4]
    elif kind == LEPTONIC:
        value = _leptonic(x, 0, lep, forms, mass, o, g, h, terms, False) - o[4]
    else:
        g[8] = h[8, 8] = 0.0
        value = _hadronic(x, had, forms, x[8], o, g, h, terms, True)
        value += _leptonic(x, 3, lep, forms, x[8], o, g, h, terms, True)
        value -= 2 * (o[4] + o[3] * math.log(x[8]))
    return value


# --- Newton's method --------------------------------------------------------------------------------------------------
@compiled
def _factorise(a: Any, n: int) -> bool:
    """LDLᵀ in place of the lower triangle, with pivots made positive; whether they were (see newton.Factors)."""
    positive = True
    for j in range(n):
        diagonal = a[j, j]
        for k in range(j):
            diagonal -= a[j, k] * a[j, k] * a[k, k]
        least = SMALLEST_PIVOT * abs(a[j, j])
        if not diagonal > least:
            positive = False
        a[j, j] = max(abs(diagonal), least, 1e-30)
        for i in range(j + 1, n):
            element = a[i, j]
            for k in range(j):
                element -= a[i, k] * a[j, k] * a[k, k]
            a[i, j] = element / a[j, j]
    return positive


@compiled
def _solve(a: Any, y: Any, n: int) -> None:
    """In place, with the factors of :func:`_factorise`."""
    for i in range(n):
        for k in range(i):
            y[i] -= a[i, k] * y[k]
    for i in range(n - 1, -1, -1):
        y[i] /= a[i, i]
        for k in range(i + 1, n):
            y[i] -= a[k, i] * y[k]


def _loop(kind: int) -> Callable[..., None]:  # noqa: PLR0915  a call costs, and arrays in it more
    """Fits of one kind: ``kind`` is a constant in what is compiled, so that nothing of the other kinds is in it."""
    size, n_terms = (3, 5, 9)[kind], (2, 2, 4)[kind]
    # numba compiles again when this file changes, or a number that the function closes over: so with those it calls
    sources = zlib.crc32(Path(formulas.__file__).read_bytes())

    @kept_on_disk
    def run(  # noqa: PLR0912, PLR0915
        starts: FloatArray,  # (S, P, n)
        low: FloatArray,  # (P, n)
        high: FloatArray,
        had: FloatArray,  # (rows, n)
        lep: FloatArray,
        forms: IntArray,
        mass: float,
        o: FloatArray,
        reach: FloatArray,  # (P, 2): relative and absolute part of the longest step
        tolerance: float,
        max_iterations: int,
        best: FloatArray,  # (P, n), filled
        value: FloatArray,  # (n,), filled
        flags: Any,  # (2, n) bool, filled: converged, at limit
    ) -> None:
        n_starts, _, n = starts.shape
        if n == -sources:  # never
            return
        x, there, g, g_new, step = np.empty(size), np.empty(size), np.zeros(size), np.zeros(size), np.empty(size)
        h, h_new, a = np.zeros((size, size)), np.zeros((size, size)), np.zeros((size, size))
        terms, terms_new = np.zeros((n_terms, 1 + size)), np.zeros((n_terms, 1 + size))
        outward = np.zeros(size, dtype=np.bool_)
        c_had, c_lep = np.empty(len(had)), np.empty(len(lep))
        for fit in range(n):
            value[fit] = -np.inf
            flags[0, fit] = flags[1, fit] = False
            for k in range(len(had)):
                c_had[k] = had[k, fit]
            for k in range(len(lep)):
                c_lep[k] = lep[k, fit]
            for s in range(n_starts):
                for i in range(size):
                    x[i] = min(max(starts[s, i, fit], low[i, fit]), high[i, fit])
                now = _evaluate(kind, x, c_had, c_lep, forms, mass, o, g, h, terms)
                if not np.isfinite(now):
                    if s == 0:
                        best[:, fit] = x
                    continue
                damping, converged = 0.0, False
                for _ in range(max_iterations):
                    for i in range(size):
                        outward[i] = (x[i] >= high[i, fit] and g[i] > 0) or (x[i] <= low[i, fit] and g[i] < 0)
                    for attempt in range(2):
                        for i in range(size):
                            for j in range(i + 1):
                                element = h[i, j]
                                if attempt:
                                    # not near a maximum: the Breit–Wigner terms as reweighted least squares
                                    for t in range(n_terms):
                                        w = terms[t, 0]
                                        element += w * (2 - w) * terms[t, 1 + i] * terms[t, 1 + j]
                                a[i, j] = element
                            scale = abs(h[i, i])
                            a[i, i] += damping * scale
                            if outward[i]:  # stays where it is
                                a[i, i] += 1e20 * (1 + scale)
                            step[i] = 0.0 if outward[i] else g[i]
                        if _factorise(a, size):
                            break
                    _solve(a, step, size)
                    gain, shorten = 0.0, 1.0
                    for i in range(size):
                        if outward[i]:
                            step[i] = 0.0
                        gain += 0.5 * g[i] * step[i]
                        longest = reach[i, 0] * abs(x[i]) + reach[i, 1]
                        if abs(step[i]) * shorten > longest:
                            shorten = longest / abs(step[i])
                    if gain < tolerance:
                        converged = True
                        break
                    if s > 0 and now <= value[fit]:  # on its way to where a better start has been?
                        near = True
                        for i in range(size):
                            near = near and abs(x[i] - best[i, fit]) <= NEAR * (abs(x[i]) + abs(best[i, fit])) + NEAR
                        if near:
                            break
                    if damping > STUCK:
                        break
                    for i in range(size):
                        there[i] = min(max(x[i] + shorten * step[i], low[i, fit]), high[i, fit])
                    new = _evaluate(kind, there, c_had, c_lep, forms, mass, o, g_new, h_new, terms_new)
                    if new >= now:
                        now = new
                        x, there = there, x
                        g, g_new = g_new, g
                        h, h_new = h_new, h
                        terms, terms_new = terms_new, terms
                        damping *= 0.1
                    else:
                        damping = max(8 * damping, 0.1)
                if now > value[fit]:
                    value[fit] = now
                    best[:, fit] = x
                    flags[0, fit], flags[1, fit] = converged, outward.any()

    loop: Callable[..., None] = run
    return loop


LOOPS = (_loop(HADRONIC), _loop(LEPTONIC), _loop(JOINT))


# --- from blocks to numbers -------------------------------------------------------------------------------------------
def _form(form: tuple[str | None, bool]) -> list[int]:
    shape, jacobian = form
    if shape is None:
        return [0] * 7
    codes = [FORMS.index(p.form) + N_FORMS * p.swapped for p in SHAPES[shape]]
    return [1, int(jacobian), *codes]


def _coefficients(quarks: Quarks) -> list[Tensor]:
    """Twelve rows of coefficients for each quark."""
    found = []
    for coefficients in quarks.coefficients():
        missing = coefficients.new_zeros(N_COEFFICIENTS - len(coefficients), coefficients.shape[-1])
        found.append(torch.cat([coefficients, missing]))
    return found


def hadronic_numbers(block: HadronicBlock) -> FloatArray:
    """Numbers of each fit: E, m² and cosines (3 rows each), twelve coefficients of each quark."""
    q = block.quarks
    rows = [q.energy, q.mass2, torch.stack([block.cos_b1, block.cos_b2, block.cos_12]), *_coefficients(q)]
    found: FloatArray = torch.cat(rows).numpy()
    return found


def leptonic_numbers(block: LeptonicBlock) -> FloatArray:
    """Numbers of each fit: 13 of the kinematics, twelve coefficients each of the b and of the lepton."""
    kinematics = [
        block.quarks.energy[0],
        block.quarks.mass2[0],
        block.cos_bl,
        block.cos_ba,
        block.cos_bb,
        block.sin,
        block.cos,
        block.met[0],
        block.met[1],
        block.precision,
        block.precision,
        block.lepton_energy,
        block.factor,
    ]
    missing = block.coefficients.new_zeros(N_COEFFICIENTS - len(block.coefficients), len(block.sin))
    found: FloatArray = torch.cat(
        [torch.stack(kinematics), *_coefficients(block.quarks), block.coefficients, missing]
    ).numpy()
    return found


@dataclass(frozen=True)
class Numbers:
    """All that the loops read of some fits."""

    kind: int
    hadronic: FloatArray  # (rows, n)
    leptonic: FloatArray
    low: FloatArray  # (P, n)
    high: FloatArray
    longest: FloatArray  # (P, 2)
    forms: IntArray  # hadronic b, light quarks, leptonic b, lepton
    options: LikelihoodOptions
    top_mass: float  # not used in a joint fit

    @classmethod
    def of(cls, block: HadronicBlock | LeptonicBlock | JointBlock) -> Numbers:
        """From a block of a problem."""
        n = block.low.shape[1]
        had = lep = np.zeros((0, n))
        forms = np.zeros((4, 7), dtype=np.int64)
        parts = (block.hadronic, block.leptonic) if isinstance(block, JointBlock) else (block,)
        kind = JOINT
        for part in parts:
            if isinstance(part, HadronicBlock):
                had, kind = hadronic_numbers(part), HADRONIC
                forms[:2] = [_form(f) for f in part.quarks.forms()[:2]]
            else:
                lep, kind = leptonic_numbers(part), LEPTONIC
                forms[2:] = [_form(part.quarks.forms()[0]), _form(part.transfer.form)]
        kind = JOINT if len(parts) > 1 else kind
        low, high = (t.contiguous().numpy() for t in (block.low, block.high))
        longest = np.array(block.longest)
        return cls(kind, had, lep, low, high, longest, forms, parts[0].options, float(parts[0].top_mass))

    def at_mass(self, top_mass: float) -> Numbers:
        """The same fits with another top mass."""
        return replace(self, top_mass=top_mass)


def maximise(numbers: Numbers, starts: Tensor, *, tolerance: float, max_iterations: int) -> newton.Maximum:
    """Best maximum of each fit from ``starts`` ``(S, P, n)``, on the CPU."""
    o = numbers.options
    mass = 1.0 if numbers.kind == JOINT else numbers.top_mass
    weight = 1.0 if o.normalised else 2.0
    log_peak = weight * math.log(o.w_mass * o.w_width * o.gamma_top * mass)
    size, n = starts.shape[1:]
    best, value, flags = np.empty((size, n)), np.empty(n), np.empty((2, n), dtype=np.bool_)
    LOOPS[numbers.kind](
        starts.contiguous().numpy(),
        numbers.low,
        numbers.high,
        numbers.hadronic,
        numbers.leptonic,
        numbers.forms,
        mass,
        np.array([o.w_mass, 1 / (o.w_mass * o.w_width), o.gamma_top, weight, log_peak]),
        numbers.longest,
        tolerance,
        max_iterations,
        best,
        value,
        flags,
    )
    return newton.Maximum(*(torch.from_numpy(v) for v in (best, value, flags[0], flags[1])))
