"""Median discovery significance of binned signal on background with an independent uncertainty in every bin, in closed form.

It is what :func:`hhh_coffea.inference.limits.expected_significance` finds for a model with one ``shapesys`` on the background,
for many pairs of histograms at once: at μ = 0 no bin knows of another.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


def significance(signal: npt.ArrayLike, background: npt.ArrayLike, uncertainty: float) -> FloatArray:
    """√q₀ of Asimov data at μ = 1: ``(…, bins)`` expected events twice → ``(…)``.

    G. Cowan, "Discovery sensitivity for a counting experiment with background uncertainty" (2012), equation 20, summed over
    bins: q₀ = Σ 2[(s+b) ln((s+b)(b+v)/(b²+(s+b)v)) − (b²/v) ln(1 + v s/(b(b+v)))], v = (``uncertainty`` · b)².

    Raises
    ------
    ValueError
        if there is signal in a bin without background.
    """
    s, b = np.broadcast_arrays(np.asarray(signal, dtype=np.float64), np.asarray(background, dtype=np.float64))
    if ((b <= 0) & (s > 0)).any():
        raise ValueError("signal in a bin without background: merge bins")
    b = np.where(b > 0, b, 1.0)
    if uncertainty == 0:
        q = 2 * ((s + b) * np.log1p(s / b) - s)
    else:
        v = (uncertainty * b) ** 2
        # (s+b)(b+v)/(b²+(s+b)v) = 1 + s b/(b²+(s+b)v): nothing is lost where s is small
        first = (s + b) * np.log1p(s * b / (b * b + (s + b) * v))
        q = 2 * (first - b * b / v * np.log1p(v * s / (b * (b + v))))
    total: FloatArray = np.sqrt(np.maximum(q, 0.0).sum(axis=-1))
    return total
