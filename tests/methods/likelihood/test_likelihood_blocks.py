"""Derivatives by hand against autograd, and the terms of ln L against numbers."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from likelihood_events import SlowLikelihood, functions, random_events
from scipy.integrate import quad
from torch import Tensor

from hhh_coffea.methods.likelihood import LikelihoodOptions
from hhh_coffea.methods.likelihood.blocks import Blocks
from hhh_coffea.methods.likelihood.formulas import breit_wigner
from hhh_coffea.methods.likelihood.higgs import FreeBlock, OnShellBlock
from hhh_coffea.methods.likelihood.joint import Joint
from hhh_coffea.methods.likelihood.maximum import maximise
from hhh_coffea.methods.likelihood.newton import Block, Factors, Pattern, dense
from hhh_coffea.methods.likelihood.newton import maximise as newton_maximise
from hhh_coffea.methods.likelihood.shapes import double_gaussian
from hhh_coffea.methods.likelihood_options import top_width

OPTIONS = [
    LikelihoodOptions(),
    LikelihoodOptions(jet_masses=True, normalised=True, jacobian=True),
]


def check(block: Block, pattern: Pattern, x: Tensor) -> None:
    """Gradient and Hessian to 1e-9 of the largest of their kind."""
    found = block(x)
    x = x.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(block(x)[0].sum(), x, create_graph=True)
    torch.testing.assert_close(found[1 : 1 + len(x)], gradient.detach(), rtol=1e-9, atol=1e-10)
    for row, (i, j) in enumerate(pattern):
        (second,) = torch.autograd.grad(gradient[i].sum(), x, retain_graph=True)
        expected = -second[j].detach()
        torch.testing.assert_close(
            found[1 + len(x) + row], expected, rtol=1e-9, atol=1e-9 * float(expected.abs().max())
        )
        for k in range(len(x)):
            if (max(i, k), min(i, k)) not in pattern:
                assert float(second[k].abs().max()) == 0


@pytest.mark.parametrize("options", OPTIONS, ids=["default", "masses"])
@pytest.mark.parametrize("flavor", [0, 1])
def test_derivatives(options: LikelihoodOptions, flavor: int) -> None:
    blocks = Blocks(random_events(5, 6), flavor, functions(), options.model_copy(update={"higgs": True}))
    assert blocks.higgs is not None
    fits = torch.arange(20)
    for problem in (blocks.hadronic, blocks.leptonic):
        check(problem.block(fits), problem.pattern, problem.starts()[:, :20] * 1.03)
    free = blocks.higgs.block(fits)
    check(free, dense(2), free.quarks.energy * 1.02)
    alone = FreeBlock(free.quarks, options, None)
    check(alone, dense(2), free.quarks.energy * 1.02)
    on_shell = OnShellBlock(free, 125.0)
    possible = torch.nonzero(on_shell.possible)[:, 0]
    assert len(possible) > 2
    some = OnShellBlock(blocks.higgs.block(possible), 125.0)
    check(some, dense(1), 0.4 * some.low + 0.6 * some.high)
    mass = torch.linspace(150, 210, 20, dtype=torch.float64).unsqueeze(0)
    x = torch.cat([blocks.hadronic.starts()[:, :20] * 1.03, blocks.leptonic.starts()[:, :20] * 1.03, mass])
    check(Joint(blocks.hadronic, blocks.leptonic, (fits, fits)).block(fits), Joint.pattern, x)


SHAPES: dict[str, tuple[float, ...]] = {
    "E1": (0.01, 1e-5, 1.0, 0.03, 0.2, 1e-4, 0.1, 1e-5, 0.25, 1e-4),
    "E2": (0.05, 1e-5, 1.0, 0.03, 1.0, 1e-4, 0.1, 1e-5, 0.25, 1e-4),
    "E3": (1.0, 0.01, 1.0, 0.05, 0.2, 1e-4, 2.0, 0.1, 3.0, 0.2),
    "E4": (0.01, 1.0, 0.03, 0.9, 0.1, 1.0, 0.1, 0.2, 0.15, 5e-5),
    "E5": (0.01, 1e-5, 0.03, 1.0, 0.2, 1e-4, 0.1, 0.2, 0.25, 1e-4),
    "pT": (0.01, 1e-5, 0.08, 1e-5, 0.2, 1e-4, 0.1, 1e-5, 0.25, 1e-4),
}


@pytest.mark.parametrize("shape", ["E1", "E2", "E3", "E4", "E5", "pT"])
def test_with_the_jacobian_it_is_a_density_in_the_measured_energy(shape: str) -> None:
    c = torch.tensor([*SHAPES[shape], 20.0, 1000.0], dtype=torch.float64)
    for x in (30.0, 100.0, 700.0):

        def density(measured: float, x: float = x) -> float:
            at = (torch.tensor(v, dtype=torch.float64) for v in (x, measured))
            return math.exp(double_gaussian(shape, c, *at, jacobian=True).f)

        total, _ = quad(density, -10 * x, 12 * x, points=[0.5 * x, 0.8 * x, x, 1.2 * x], limit=400)
        assert total == pytest.approx(1, abs=1e-7)


@pytest.mark.parametrize("jacobian", [False, True])
@pytest.mark.parametrize("shape", [*SHAPES, "gaussian"])
def test_compiled_loops_find_what_torch_finds(shape: str, jacobian: bool) -> None:
    """And for each shape, jets far out of the range of their transfer functions among them."""
    entry: dict[str, Any] = {"kind": "gaussian", "eta": (0.0, 2.5), "a": 0.05, "b": 0.9, "c": 2.0}
    if shape != "gaussian":
        parameters = SHAPES[shape]
        entry = {
            "kind": "double_gaussian",
            "eta": (0.0, 2.5),
            "shape": shape,
            "parameters": parameters,
            "range": (60.0, 120.0),
        }
    options = LikelihoodOptions(jacobian=jacobian, max_iterations=100)
    blocks = Blocks(random_events(40, 5), 0, functions(light=[entry]), options)
    fits = torch.arange(20)
    mass = torch.full((1, 20), 174.0, dtype=torch.float64)
    for problem in (blocks.hadronic, blocks.leptonic, Joint(blocks.hadronic, blocks.leptonic, (fits, fits))):
        if isinstance(problem, Joint):
            x, starts = torch.cat([blocks.hadronic.starts()[:, :20], blocks.leptonic.starts()[:, :20], mass]), 1
        else:
            x, starts = problem.starts(), problem.n_starts
        slow = newton_maximise(problem, x, starts=starts, max_iterations=100).best(starts)
        fast = maximise(problem, x, starts=starts, tolerance=1e-9, max_iterations=100)
        # rounding may decide between two maxima: seldom
        same = (slow.value - fast.value).abs() < 1e-7
        assert same.double().mean() > 0.97
        both = same & slow.converged & fast.converged
        assert both.double().mean() > 0.8
        torch.testing.assert_close(slow.x[:, both], fast.x[:, both], rtol=1e-3, atol=1e-2)
        assert torch.equal(slow.at_limit[both], fast.at_limit[both])


def test_value_of_the_blocks_is_that_of_the_slow_likelihood() -> None:
    events, options = random_events(6, 6), LikelihoodOptions(higgs=True, top_mass=172.0)
    checked = 0
    for flavor in (0, 1):
        blocks = Blocks(events, flavor, functions(), options)
        group = blocks.groups[0]
        for event in torch.nonzero(events.lepton_flavor == flavor)[:, 0].tolist():
            slow = SlowLikelihood(events, event, functions(), options)
            for permutation in (0, 17, 179):
                fits = group.fits(torch.tensor([event]), torch.tensor([permutation]))
                problems = (blocks.hadronic, blocks.leptonic, blocks.higgs)
                parts = [p.block(f) for p, f in zip(problems, fits, strict=True) if p is not None]
                had, lep = (p.starts()[:, f] * 1.02 for p, f in zip(problems[:2], fits[:2], strict=True))
                higgs = parts[2].quarks.energy * 0.98
                value = sum(float(p(x)[0]) for p, x in zip(parts, (had, lep, higgs), strict=True))
                energies = [had[0], had[1], had[2], lep[0], higgs[0], higgs[1], lep[1]]
                numbers = [*(float(e) for e in energies), *parts[1].neutrino(lep)[:, 0].tolist(), 172.0]
                expected = slow(group.table.permutations[permutation].tolist(), numbers)
                assert value == pytest.approx(expected, rel=1e-10)
                checked += 1
    assert checked == 18


def test_breit_wigner_and_width_by_hand() -> None:
    # one width away in r: half the height
    inverse, slope, curvature, weight = breit_wigner(80.4**2 + 80.4 * 2.1, 80.4, 1 / (80.4 * 2.1))
    assert (inverse, slope, curvature, weight) == pytest.approx((0.5, -1, 0, 1))
    assert breit_wigner(80.4**2, 80.4, 1 / (80.4 * 2.1)) == pytest.approx((1, 0, 2, 2))
    assert [round(top_width(m), 3) for m in (170, 172.5, 173)] == [1.263, 1.329, 1.343]  # spec §3.1


def test_factors_solve_positive_systems_and_climb_in_others() -> None:
    g = torch.Generator().manual_seed(3)
    a = torch.randn(50, 5, 5, generator=g, dtype=torch.float64)
    pattern = dense(5)
    positive = a @ a.transpose(1, 2) + torch.eye(5, dtype=torch.float64)
    right = torch.randn(50, 5, generator=g, dtype=torch.float64)
    factors = Factors(pattern, torch.stack([positive[:, i, j] for i, j in pattern]))
    assert factors.positive.all()
    torch.testing.assert_close(factors.solve(right.T).T, torch.linalg.solve(positive, right), rtol=1e-9, atol=1e-9)
    indefinite = a + a.transpose(1, 2)
    factors = Factors(pattern, torch.stack([indefinite[:, i, j] for i, j in pattern]))
    assert not factors.positive.all()
    assert ((factors.solve(right.T).T * right).sum(1) > 0).all()  # upwards


class Bowl:
    """−(x − 3)² − (y − 5)², with x kept below 2; from a NaN there is no way."""

    pattern = dense(2)

    def block(self, fits: Tensor) -> Bowl:
        n = len(fits)
        self.low, self.high = torch.tensor([[0.0], [0.0]]).expand(2, n), torch.tensor([[2.0], [9.0]]).expand(2, n)
        return self

    longest = ((0.0, 1.0),) * 2

    def __call__(self, x: Tensor) -> Tensor:
        d = x - torch.tensor([[3.0], [5.0]])
        two = torch.full_like(x[0], 2)
        return torch.stack([-(d**2).sum(0), -2 * d[0], -2 * d[1], two, 0 * two, two])


def test_maximise_stops_at_ranges_and_survives_nan() -> None:
    found = newton_maximise(Bowl(), torch.tensor([[1.0, 1.0, torch.nan], [1.0, 8.0, 1.0]]))
    torch.testing.assert_close(found.x[:, :2], torch.tensor([[2.0, 2.0], [5.0, 5.0]]))
    assert found.converged.tolist() == [True, True, False]
    assert found.at_limit[:2].all()
    assert found.value[2] == -torch.inf
