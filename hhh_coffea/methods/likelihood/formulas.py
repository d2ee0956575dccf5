"""Formulas of the likelihood and its derivatives, written once: they hold for tensors and, compiled, for single numbers.

So there is arithmetic in them, and nothing else: logarithms and exponentials are taken by who calls them
(:mod:`.shapes`, :mod:`.hadronic`, :mod:`.leptonic` with torch; :mod:`.loops` with numba). Source: spec §3.1 and §3.3.
A triple is a value with its first and second derivative in one variable.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from numba.extending import overload, register_jitable

N = Any  # a tensor, or a float inside of compiled code
Triple = tuple[N, N, N]
usable_compiled: Callable[..., Any] = register_jitable  # stays the Python function for who calls it uncompiled


def root(x: N) -> N:
    """√x."""
    return x**0.5


@overload(root)
def _compiled_root(x):  # type: ignore[no-untyped-def]  # noqa: ARG001  numba compares the two signatures
    return lambda x: math.sqrt(x)  # noqa: PLW0108  as above; a compiled power is many times slower


# --- parameters of a double Gaussian ----------------------------------------------------------------------------------
@usable_compiled
def linear(a: N, b: N, x: N, u: N, v: N, inside: N) -> Triple:  # noqa: ARG001
    """a + bx; u = 1/x and v = 1/√x. Outside of the range ``inside`` is 0 and x its end: a constant."""
    return a + b * x, b * inside, 0.0


@usable_compiled
def plus_inverse(a: N, b: N, x: N, u: N, v: N, inside: N) -> Triple:  # noqa: ARG001
    """a + b/x."""
    f = b * u
    d = -f * u * inside
    return a + f, d, -2 * d * u


@usable_compiled
def plus_root(a: N, b: N, x: N, u: N, v: N, inside: N) -> Triple:  # noqa: ARG001
    """a + b/√x."""
    f = b * v
    d = -0.5 * f * u * inside
    return a + f, d, -1.5 * d * u


@usable_compiled
def root_and_linear(a: N, b: N, x: N, u: N, v: N, inside: N) -> Triple:
    """a/√x + bx."""
    f = a * v
    d = -0.5 * f * u * inside
    return f + b * x, d + b * inside, -1.5 * d * u


@usable_compiled
def quadrature(a: N, b: N, x: N, u: N, v: N, inside: N) -> Triple:  # noqa: ARG001
    """√(a²/x + b²)."""
    square = a * a * u
    f = root(square + b * b)
    inverse = 1 / f
    d = -0.5 * square * u * inverse * inside
    return f, d, (square * u * u * inside - d * d) * inverse


# --- transfer functions -----------------------------------------------------------------------------------------------
@usable_compiled
def half_square(d: N, d1: N, d2: N, mu: Triple, sigma: Triple) -> Triple:
    """(d − μ)²/2σ² where d, μ and σ all depend on x."""
    inverse = 1 / sigma[0]
    y = (d - mu[0]) * inverse
    y1 = (d1 - mu[1] - y * sigma[1]) * inverse
    y2 = (d2 - mu[2] - 2 * y1 * sigma[1] - y * sigma[2]) * inverse
    return 0.5 * y * y, y * y1, y * y2 + y1 * y1


@usable_compiled
def exponents(u: N, measured: N, mu1: Triple, s1: Triple, mu2: Triple, s2: Triple) -> tuple[Triple, Triple]:
    """Both :func:`half_square` of d = (x − measured)/x, u = 1/x."""
    ratio = measured * u
    first = ratio * u
    second = -2 * first * u
    return half_square(1 - ratio, first, second, mu1, s1), half_square(1 - ratio, first, second, mu2, s2)


@usable_compiled
def mixture(w2: N, amplitude: N, g1: Triple, g2: Triple, s1: Triple, a: Triple, s2: Triple) -> tuple[N, N, N]:
    """Norm s1 + A s2, and the derivatives of ln W; ``w2`` is the share of the second Gaussian."""
    inverse_a = 1 / amplitude
    rate = a[1] * inverse_a
    odds_d = g1[1] - g2[1] + rate
    odds_dd = g1[2] - g2[2] + a[2] * inverse_a - rate * rate
    norm = s1[0] + amplitude * s2[0]
    inverse = 1 / norm
    norm_d = (s1[1] + a[1] * s2[0] + amplitude * s2[1]) * inverse
    norm_dd = (s1[2] + a[2] * s2[0] + 2 * a[1] * s2[1] + amplitude * s2[2]) * inverse - norm_d * norm_d
    first = w2 * odds_d - g1[1] - norm_d
    second = w2 * (odds_dd + (1 - w2) * odds_d * odds_d) - g1[2] - norm_dd
    return norm, first, second


@usable_compiled
def gaussian(a: N, b: N, c: N, x: N, measured: N) -> tuple[N, N, N, N]:
    """χ²; variance a²x² + b²x + c²; derivatives of −½(χ² + ln variance)."""
    a2, b2 = a * a, b * b
    variance = a2 * x * x + b2 * x + c * c
    inverse = 1 / variance
    slope, bend = (2 * a2 * x + b2) * inverse, 2 * a2 * inverse
    delta = x - measured
    chi2 = delta * delta * inverse
    chi2_d = 2 * delta * inverse - chi2 * slope
    chi2_dd = 2 * inverse - 2 * chi2_d * slope - chi2 * bend
    return chi2, variance, -0.5 * (chi2_d + slope), -0.5 * (chi2_dd + bend - slope * slope)


# --- Breit–Wigner -----------------------------------------------------------------------------------------------------
@usable_compiled
def breit_wigner(s: N, mass: N, per: N) -> tuple[N, N, N, N]:
    """1/(1 + r²), dB/dr, −d²B/dr² and 2/(1 + r²) of B = −ln(1 + r²), r = (s − M²)·per, per = 1/(MΓ)."""
    r = (s - mass * mass) * per
    inverse = 1 / (1 + r * r)
    return inverse, -2 * r * inverse, 2 * (2 * inverse - 1) * inverse, 2 * inverse


@usable_compiled
def top_mass_terms(slope: N, curvature: N, t: N, mass: N, width: N, weight: N) -> tuple[N, N, N, N]:
    """Derivatives in M of −ln(1 + r²) − weight·ln(MΓ), r = (t/M − M)/Γ.

    Returns dr/dM, dB/dM, −d²B/dM² and the factor of the gradient of t in −d²B/dM dx.
    """
    inverse = 1 / mass
    r_m = -(t * inverse * inverse + 1) / width
    r_t = inverse / width
    first = slope * r_m - weight * inverse
    second = curvature * r_m * r_m - slope * 2 * t * inverse * inverse * inverse / width - weight * inverse * inverse
    return r_m, first, second, curvature * r_t * r_m + slope * r_t * inverse


# --- blocks -----------------------------------------------------------------------------------------------------------
@usable_compiled
def momentum(e: N, m2: N) -> Triple:
    """|p| of a particle and its derivatives in E."""
    p = root(e * e - m2)
    inverse = 1 / p
    d = e * inverse
    return p, d, (1 - d * d) * inverse


@usable_compiled
def hadronic(
    e: tuple[N, N, N],
    m2: tuple[N, N, N],
    cos: tuple[N, N, N],
    tf: tuple[Triple, Triple, Triple],
    w_mass: N,
    per_w: N,
    t_mass: N,
    per_t: N,
) -> tuple[N, ...]:
    """Hadronic block in E of b, q1, q2; ``cos`` are n_b·n_1, n_b·n_2, n_1·n_2, ``per_w`` and ``per_t`` 1/(MΓ).

    1/((1 + r_W²)(1 + r_t²)), m_t², dB_t/dr, −d²B_t/dr²; gradient (3); minus second derivatives (6, lower triangle by rows);
    of W and top: 2/(1 + r²) and the gradient of r (4 each). The logarithm of the first one is missing in the value.
    """
    eb, e1, e2 = e
    cb1, cb2, c12 = cos
    pb, db, ddb = momentum(eb, m2[0])
    p1, d1, dd1 = momentum(e1, m2[1])
    p2, d2, dd2 = momentum(e2, m2[2])
    # W boson
    w12 = c12 * p2
    w = m2[1] + m2[2] + 2 * (e1 * e2 - p1 * w12)
    w_1, w_2 = 2 * (e2 - d1 * w12), 2 * (e1 - c12 * p1 * d2)
    w_11, w_22 = -2 * dd1 * w12, -2 * c12 * p1 * dd2
    w_12 = 2 * (1 - c12 * d1 * d2)
    # top quark
    along = cb1 * p1 + cb2 * p2  # of the W's momentum along the b
    t = w + m2[0] + 2 * (eb * (e1 + e2) - pb * along)
    b1, b2 = pb * cb1, pb * cb2
    t_b = 2 * (e1 + e2 - db * along)
    t_1, t_2 = w_1 + 2 * (eb - b1 * d1), w_2 + 2 * (eb - b2 * d2)
    t_bb = -2 * ddb * along
    t_b1, t_b2 = 2 * (1 - db * cb1 * d1), 2 * (1 - db * cb2 * d2)
    t_11, t_22 = w_11 - 2 * b1 * dd1, w_22 - 2 * b2 * dd2

    inverse_w, slope_w, curvature_w, weight_w = breit_wigner(w, w_mass, per_w)
    inverse_t, slope_t, curvature_t, weight_t = breit_wigner(t, t_mass, per_t)
    sw, st = slope_w * per_w, slope_t * per_t
    cw, ct = curvature_w * per_w * per_w, curvature_t * per_t * per_t
    ct_b, ct_1, ct_2 = ct * t_b, ct * t_1, ct * t_2
    cw_1 = cw * w_1
    return (
        inverse_w * inverse_t,
        t,
        slope_t,
        curvature_t,
        tf[0][1] + st * t_b,
        tf[1][1] + st * t_1 + sw * w_1,
        tf[2][1] + st * t_2 + sw * w_2,
        -tf[0][2] + ct_b * t_b - st * t_bb,
        ct_b * t_1 - st * t_b1,
        -tf[1][2] + ct_1 * t_1 - st * t_11 + cw_1 * w_1 - sw * w_11,
        ct_b * t_2 - st * t_b2,
        ct_1 * t_2 + cw_1 * w_2 - (st + sw) * w_12,
        -tf[2][2] + ct_2 * t_2 - st * t_22 + cw * w_2 * w_2 - sw * w_22,
        weight_w,
        0.0 * w,
        per_w * w_1,
        per_w * w_2,
        weight_t,
        per_t * t_b,
        per_t * t_1,
        per_t * t_2,
    )


@usable_compiled
def along_lepton(el: N, v: N, a: N, b: N) -> tuple[N, N]:
    """(p_∥ + E_ν)/2 = (a² + b²)/(2q) and q/2 = (E_ν − p_∥)/2 of the neutrino, q = v/(2E_ℓ)."""
    return (a * a + b * b) * el / v, 0.25 * v / el


@usable_compiled
def leptonic(
    x: tuple[N, N, N, N, N],
    m2: N,
    cos: tuple[N, N, N],
    direction: tuple[N, N],
    met: tuple[N, N, N],
    tf_b: Triple,
    tf_l: Triple,
    w_mass: N,
    per_w: N,
    t_mass: N,
    per_t: N,
) -> tuple[N, ...]:
    """Leptonic block in E_b, E_ℓ, v, a, b (see :mod:`.leptonic`).

    ``cos``: n_b along the lepton and the axes of a and b; ``direction``: sinθ and cosθ of the lepton; ``met``: missing
    momentum along the lepton's transverse direction and across it, and 1/σ².

    As :func:`hadronic`, and −½χ² of the missing momentum in front: 1 + 4, gradient (5), minus second derivatives (15), of W
    and top 6 each.
    """
    eb, el, v, a, b = x
    c_l, c_a, c_b = cos
    sin, cosine = direction
    p, dp, ddp = momentum(eb, m2)
    # p_∥ = kρ² − q/2 (P) and E_ν = kρ² + q/2 (N), ρ² = a² + b²; index l: derivative in E_ℓ
    iv, il = 1 / v, 1 / el
    k = el * iv
    bow, half = along_lepton(el, v, a, b)
    rho = bow * il  # ρ²/v
    along, energy = bow - half, bow + half
    half_l, half_v = -half * il, 0.25 * il
    bow_v = -bow * iv
    p_l, n_l = rho - half_l, rho + half_l
    p_v, n_v = bow_v - half_v, bow_v + half_v
    p_a, p_b = 2 * k * a, 2 * k * b  # of both P and N, as all mixed ones with a and b
    h_ll = -2 * half_l * il
    mixed, h_lv = -rho * iv, -half_v * il
    p_vv = -2 * bow_v * iv
    p_la, p_lb = 2 * a * iv, 2 * b * iv
    p_va, p_vb = -p_a * iv, -p_b * iv
    # top quark: v + m_b² + 2(E_b X − p_b Y)
    big_x, big_y = el + energy, (el + along) * c_l + a * c_a + b * c_b
    t = v + m2 + 2 * (eb * big_x - p * big_y)
    pc = p * c_l
    minus, plus = 2 * (eb - pc), 2 * (eb + pc)  # of what P and N share, and of ±q/2
    t_e, t_ee = 2 * (big_x - dp * big_y), -2 * ddp * big_y
    t_l = minus * (1 + rho) + plus * half_l
    t_v = 1 + minus * bow_v + plus * half_v
    t_a, t_b = minus * p_a - 2 * p * c_a, minus * p_b - 2 * p * c_b
    t_el, t_ev = 2 * (1 + n_l - dp * c_l * (1 + p_l)), 2 * (n_v - dp * c_l * p_v)
    t_ea, t_eb = 2 * (p_a - dp * (c_l * p_a + c_a)), 2 * (p_b - dp * (c_l * p_b + c_b))
    t_ll, t_lv, t_vv = plus * h_ll, minus * mixed + plus * h_lv, minus * p_vv

    inverse_w, slope_w, curvature_w, weight_w = breit_wigner(v, w_mass, per_w)
    inverse_t, slope_t, curvature_t, weight_t = breit_wigner(t, t_mass, per_t)
    st = slope_t * per_t
    ct = curvature_t * per_t * per_t
    # missing momentum: along the lepton's transverse direction, and a across it
    precision = met[2]
    off1, off2 = along * sin + b * cosine - met[0], a - met[1]
    pull1 = off1 * precision
    pull = pull1 * sin
    m_l, m_v, m_a, m_b = sin * p_l, sin * p_v, sin * p_a, sin * p_b + cosine
    o_l, o_v, o_a, o_b = m_l * precision, m_v * precision, m_a * precision, m_b * precision
    ct_e, ct_l, ct_v, ct_a, ct_b = ct * t_e, ct * t_l, ct * t_v, ct * t_a, ct * t_b
    rest = pull - st * minus
    bend = 2 * k * rest
    zero = 0.0 * v
    return (
        -0.5 * (off1 * off1 + off2 * off2) * precision,
        inverse_w * inverse_t,
        t,
        slope_t,
        curvature_t,
        tf_b[1] + st * t_e,
        tf_l[1] + st * t_l - pull1 * m_l,
        slope_w * per_w + st * t_v - pull1 * m_v,
        st * t_a - pull1 * m_a - off2 * precision,
        st * t_b - pull1 * m_b,
        -tf_b[2] + ct_e * t_e - st * t_ee,
        ct_e * t_l - st * t_el,
        -tf_l[2] + ct_l * t_l - st * t_ll + o_l * m_l - pull * h_ll,
        ct_e * t_v - st * t_ev,
        ct_l * t_v - st * t_lv + o_l * m_v + pull * (mixed - h_lv),
        curvature_w * per_w * per_w + ct_v * t_v - st * t_vv + o_v * m_v + pull * p_vv,
        ct_e * t_a - st * t_ea,
        ct_l * t_a + o_l * m_a + p_la * rest,
        ct_v * t_a + o_v * m_a + p_va * rest,
        ct_a * t_a + o_a * m_a + precision + bend,
        ct_e * t_b - st * t_eb,
        ct_l * t_b + o_l * m_b + p_lb * rest,
        ct_v * t_b + o_v * m_b + p_vb * rest,
        ct_a * t_b + o_a * m_b,
        ct_b * t_b + o_b * m_b + bend,
        weight_w,
        zero,
        zero,
        zero + per_w,
        zero,
        zero,
        weight_t,
        per_t * t_e,
        per_t * t_l,
        per_t * t_v,
        per_t * t_a,
        per_t * t_b,
    )
