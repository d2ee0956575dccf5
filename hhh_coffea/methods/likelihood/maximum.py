"""Where the fits of a problem are done: compiled loops on a CPU, whole arrays elsewhere."""

from __future__ import annotations

import torch
from torch import Tensor

from hhh_coffea.methods.likelihood import newton
from hhh_coffea.methods.likelihood.hadronic import Hadronic
from hhh_coffea.methods.likelihood.joint import Joint
from hhh_coffea.methods.likelihood.leptonic import Leptonic
from hhh_coffea.methods.likelihood.newton import Maximum

FITS = 1 << 15  # handed to the loops together


def maximise(
    problem: Hadronic | Leptonic | Joint, x: Tensor, *, starts: int = 1, tolerance: float, max_iterations: int
) -> Maximum:
    """Best maximum of each fit from the starts ``x`` ``(P, S·n)``, which lie one after the other."""
    if x.device.type != "cpu":
        found = newton.maximise(problem, x, starts=starts, tolerance=tolerance, max_iterations=max_iterations)
        return found.best(starts)
    from hhh_coffea.methods.likelihood import loops

    split = x.reshape(len(x), starts, -1).transpose(0, 1)
    parts = []
    for k, fits in enumerate(torch.split(torch.arange(split.shape[-1]), FITS)):
        if isinstance(problem, Joint):
            numbers = loops.Numbers.of(problem.block(fits))
        else:
            if k not in problem.gathered:
                problem.gathered[k] = loops.Numbers.of(problem.block(fits))
            numbers = problem.gathered[k].at_mass(problem.top_mass)
        here = split[..., fits[0] : fits[-1] + 1]
        parts.append(loops.maximise(numbers, here, tolerance=tolerance, max_iterations=max_iterations))
    columns = ([getattr(p, name) for p in parts] for name in ("x", "value", "converged", "at_limit"))
    return Maximum(*(torch.cat(c, dim=-1) for c in columns))
