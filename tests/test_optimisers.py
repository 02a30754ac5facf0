"""Adam and L-BFGS on problems with known answers: by hand, from scipy, or from torch."""

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import Bounds, minimize
from torch import Tensor

from impasto.synthesis.lbfgs import LBFGS, _Trial, lbfgs, strong_wolfe
from impasto.synthesis.optimisers import Adam, Evaluation, Optimiser, Project, Update, adam
from impasto.synthesis.schedules import Stage

Loss = Callable[[Tensor], Tensor]
STAGE = Stage((1, 1), 200)


def evaluation(loss: Loss, parameters: Tensor) -> Evaluation:
    variable = parameters.detach().requires_grad_()
    value = loss(variable)
    (gradient,) = torch.autograd.grad(value, variable)
    return Evaluation({"loss": value.item()}, value.item(), gradient)


def free(parameters: Tensor) -> Tensor:
    return parameters


def box(parameters: Tensor) -> Tensor:
    return parameters.clamp(0, 1)


class Descent:
    """Steps, counted and kept."""

    def __init__(self, loss: Loss, optimiser: Optimiser, start: Tensor, project: Project = free) -> None:
        self.loss, self.optimiser, self.project = loss, optimiser, project
        self.path, self.updates, self.tried = [start], list[Update](), list[Tensor]()

    def evaluate(self, parameters: Tensor) -> Evaluation:
        self.tried.append(parameters)
        return evaluation(self.loss, parameters)

    def run(self, steps: int) -> "Descent":
        for _ in range(steps):
            update = self.optimiser.step(self.path[-1], self.evaluate, self.project)
            self.updates.append(update)
            self.path.append(update.parameters)
            if update.converged:
                break
        return self

    @property
    def evaluations(self) -> int:
        return len(self.tried)

    @property
    def end(self) -> Tensor:
        return self.path[-1]


def quadratic(count: int, condition: float, seed: int = 0) -> tuple[Loss, Tensor, Tensor]:
    """A convex quadratic (x − m)ᵀ A (x − m) / 2, its matrix and its minimum m, about the middle of the unit box."""
    random = np.random.default_rng(seed)
    axes, _ = np.linalg.qr(random.normal(size=(count, count)))
    matrix = torch.from_numpy(axes @ np.diag(np.geomspace(1, condition, count)) @ axes.T)
    minimum = torch.from_numpy(0.5 + random.normal(size=count))
    return lambda x: (x - minimum) @ matrix @ (x - minimum) / 2, matrix, minimum


def rosenbrock(x: Tensor) -> Tensor:
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


# Known minima --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line_search", [True, False])
@pytest.mark.parametrize("condition", [1.0, 10.0, 1e3])
def test_lbfgs_on_a_convex_quadratic(line_search: bool, condition: float) -> None:
    loss, _, minimum = quadratic(30, condition)
    descent = Descent(loss, LBFGS(line_search=line_search), torch.zeros(30, dtype=torch.float64)).run(200)
    assert (descent.end - minimum).abs().max() < 1e-6
    assert descent.evaluations <= 250


@pytest.mark.parametrize("count", [2, 10])
def test_lbfgs_on_rosenbrock(count: int) -> None:
    start = torch.tensor([-1.2, 1.0] * (count // 2), dtype=torch.float64)
    descent = Descent(rosenbrock, LBFGS(), start).run(200)
    assert (descent.end - 1).abs().max() < 1e-6
    losses = [update.before.loss for update in descent.updates]
    assert all(later <= sooner for sooner, later in pairwise(losses))
    reference = minimize(
        lambda x: rosenbrock(torch.from_numpy(x)).item(),
        start.numpy(),
        jac=lambda x: evaluation(rosenbrock, torch.from_numpy(x)).gradient.numpy(),
        method="L-BFGS-B",
        options={"maxcor": 20, "ftol": 1e-14},
    )
    assert descent.evaluations < 3 * reference.nfev


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("line_search", [True, False])
def test_lbfgs_in_a_box(line_search: bool, seed: int) -> None:
    loss, _, minimum = quadratic(20, 50, seed)
    assert ((minimum < 0) | (minimum > 1)).sum() > 3  # the box matters
    truth = minimize(
        lambda x: loss(torch.from_numpy(x)).item(),
        np.full(20, 0.5),
        jac=lambda x: evaluation(loss, torch.from_numpy(x)).gradient.numpy(),
        method="L-BFGS-B",
        bounds=Bounds(0, 1),
        options={"ftol": 1e-15, "gtol": 1e-10},
    )
    descent = Descent(loss, LBFGS(line_search=line_search), torch.full((20,), 0.5, dtype=torch.float64), box).run(300)
    assert descent.end.numpy() == pytest.approx(truth.x, abs=1e-5)
    assert all(parameters.min() >= 0 and parameters.max() <= 1 for parameters in descent.path)


def test_adam_in_a_box() -> None:
    loss, _, minimum = quadratic(20, 1)  # without coupling the answer is the minimum clipped
    descent = Descent(loss, Adam(0.05, 400, 0.0), torch.full((20,), 0.5, dtype=torch.float64), box).run(400)
    assert (descent.end - minimum.clamp(0, 1)).abs().max() < 1e-4
    assert all(parameters.min() >= 0 and parameters.max() <= 1 for parameters in descent.path)


# The scale of the objective ------------------------------------------------------------------------------------------

MAKERS = {
    "adam": lambda: Adam(0.02, 50),
    "lbfgs": LBFGS,
    "plain": lambda: LBFGS(line_search=False),
}


@pytest.mark.parametrize("scale", [1e-6, 1e6])
@pytest.mark.parametrize("name", MAKERS)
def test_the_scale_of_the_objective_does_not_matter(name: str, scale: float) -> None:
    """In particular nothing stands still because losses are large, nor explodes because they are small."""
    loss, _, _ = quadratic(30, 10)
    start = torch.zeros(30, dtype=torch.float64)
    truth = Descent(loss, MAKERS[name](), start).run(10)
    scaled = Descent(lambda x: scale * loss(x), MAKERS[name](), start).run(10)
    for found, expected in zip(scaled.path, truth.path, strict=True):
        assert torch.allclose(found, expected, rtol=1e-5, atol=1e-7)
    assert truth.path[1].abs().mean() > 0.01


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("name", MAKERS)
def test_single_precision_moves_at_every_scale(name: str, scale: float) -> None:
    minimum = torch.linspace(0, 1, 1000)
    descent = Descent(lambda x: scale * (x - minimum).square().sum(), MAKERS[name](), torch.full((1000,), 0.5)).run(20)
    assert (descent.path[1] - descent.path[0]).abs().mean() > 0.005
    assert (descent.end - minimum).norm() < 0.5 * (descent.path[0] - minimum).norm()


@pytest.mark.parametrize("name", ["lbfgs", "plain"])
@pytest.mark.parametrize("slope", [1e-8, 1.0, 1e8])
def test_the_first_step_is_small_but_visible(name: str, slope: float) -> None:
    weights = torch.linspace(-1, 1, 300, dtype=torch.float64)
    descent = Descent(lambda x: slope * (x @ weights + x @ x), MAKERS[name](), torch.zeros(300, dtype=torch.float64))
    step = descent.run(2).tried[1]
    assert step.square().mean().sqrt().item() == pytest.approx(0.02)
    assert torch.nn.functional.cosine_similarity(step, -weights, dim=0).item() == pytest.approx(1)


# Line search ---------------------------------------------------------------------------------------------------------

# Moré & Thuente 1994, "Line search algorithms with guaranteed sufficient decrease", equations 5.1, 5.2 and 5.4.


def _gamma(beta: float) -> float:
    return math.sqrt(1 + beta**2) - beta


def _yanai(x: Tensor, first: float, second: float) -> Tensor:
    one, two = _gamma(first), _gamma(second)
    return one * ((1 - x) ** 2 + second**2).sqrt() + two * (x**2 + first**2).sqrt()


CURVES: dict[str, Loss] = {
    "5.1": lambda x: -x / (x**2 + 2),
    "5.2": lambda x: (x + 0.004) ** 5 - 2 * (x + 0.004) ** 4,
    "5.4 even": lambda x: _yanai(x, 0.001, 0.001),
    "5.4 left": lambda x: _yanai(x, 0.01, 0.001),
    "5.4 right": lambda x: _yanai(x, 0.001, 0.01),
    "square": lambda x: (x - 1) ** 2,
    "waves": lambda x: (x - 2) ** 2 - 0.4 * torch.sin(9 * x),
}


def attempts(curve: Loss, unit: float) -> Callable[[float], _Trial]:
    """The curve along a direction of length `unit`."""

    def attempt(length: float) -> _Trial:
        position = torch.tensor([length * unit], dtype=torch.float64)
        at = evaluation(lambda x: curve(x).sum(), position)
        return _Trial(length, position, at, unit * at.gradient.item())

    return attempt


@pytest.mark.parametrize("unit", [1e-3, 1e-1, 1.0, 10.0, 1e3])
@pytest.mark.parametrize("name", CURVES)
def test_strong_wolfe_conditions(name: str, unit: float) -> None:
    attempt = attempts(CURVES[name], unit)
    start = attempt(0.0)
    assert start.slope < 0
    found, flat = strong_wolfe(attempt, start, 30)
    assert flat
    assert found.at.loss <= start.at.loss + 1e-4 * found.length * start.slope
    assert abs(found.slope) <= 0.9 * abs(start.slope)
    assert found.parameters.item() == pytest.approx(found.length * unit)


def test_slopes_are_those_of_the_path_bent_at_the_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    checked = []

    def check(attempt: Callable[[float], _Trial], start: _Trial, most: int) -> tuple[_Trial, bool]:
        for length in (0.0, 0.7, 3.0, 12.0, 40.0):
            sides = [attempt(length + step).at.loss for step in (-1e-6, 1e-6)]
            truth = (sides[1] - sides[0]) / 2e-6
            checked.append(attempt(length))
            assert checked[-1].slope == pytest.approx(truth, rel=1e-5, abs=1e-6)
        return checked[-3], True

    monkeypatch.setattr("impasto.synthesis.lbfgs.strong_wolfe", check)
    loss, _, _ = quadratic(20, 50)
    Descent(loss, LBFGS(), torch.full((20,), 0.5, dtype=torch.float64), box).run(2)
    assert any(((trial.parameters == 0) | (trial.parameters == 1)).any() for trial in checked)  # some were bent


@pytest.mark.slow
@given(st.integers(0, 500))
def test_steps_of_lbfgs_satisfy_wolfe(seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    start = 2 * torch.randn(6, generator=random, dtype=torch.float64)
    descent = Descent(rosenbrock, LBFGS(), start).run(8)
    for before, after in pairwise(descent.path):
        old, new, step = evaluation(rosenbrock, before), evaluation(rosenbrock, after), after - before
        slope = old.gradient @ step
        assert slope < 0
        assert new.loss <= old.loss + 1e-4 * slope
        assert abs(new.gradient @ step) <= 0.9 * abs(slope) + 1e-12


def test_no_step_where_nothing_is_lower() -> None:
    rising = attempts(lambda x: x, 1.0)
    start = rising(0.0)._replace(slope=-1.0)  # a slope that lies
    found, flat = strong_wolfe(rising, start, 12)
    assert found is start
    assert not flat


def test_the_line_search_keeps_its_limit() -> None:
    count = 0
    downhill = attempts(lambda x: -x, 1.0)

    def attempt(length: float) -> _Trial:
        nonlocal count
        count += 1
        return downhill(length)

    found, flat = strong_wolfe(attempt, downhill(0.0), 5)
    assert count == 5
    assert not flat
    assert found.length == pytest.approx(2.5**4)


@pytest.mark.parametrize("beyond", [math.nan, math.inf])
def test_recovery_from_beyond_the_domain(beyond: float) -> None:
    """A barrier: the loss is not a number outside the unit ball, and the first step leads there."""
    weights = torch.linspace(-1, 1, 8, dtype=torch.float64)

    def loss(x: Tensor) -> Tensor:
        room = 1 - x @ x
        return weights @ x - 0.1 * room.log() if room > 0 else beyond * x.sum() + beyond

    descent = Descent(loss, LBFGS(first_step=30.0), torch.zeros(8, dtype=torch.float64)).run(60)
    assert all(math.isfinite(update.before.loss) for update in descent.updates)
    # By symmetry the minimum lies at −t along the weights, with ‖w‖ (1 − t²) = 0.2 t.
    length = weights.norm().item()
    t = (-0.2 + math.sqrt(0.04 + 4 * length**2)) / (2 * length)
    assert torch.allclose(descent.end, -t * weights / length, atol=1e-6)


# Memory --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 3, 8])
def test_directions_are_those_of_bfgs(count: int) -> None:
    """Two loops over vectors against the inverse Hessian written out: Nocedal & Wright, equations 7.16 and 7.20."""
    random = torch.Generator().manual_seed(count)
    optimiser = LBFGS()
    identity = torch.eye(12, dtype=torch.float64)
    steps = torch.randn(count, 12, generator=random, dtype=torch.float64)
    changes = steps * torch.linspace(1, 5, 12)  # of a convex quadratic, so that all curvatures are positive
    for step, change in zip(steps, changes, strict=True):
        optimiser._remember(step, change)
    inverse = identity * (steps[-1] @ changes[-1]) / (changes[-1] @ changes[-1])
    for step, change in zip(steps, changes, strict=True):
        rho = 1 / (step @ change)
        left = identity - rho * torch.outer(step, change)
        inverse = left @ inverse @ left.T + rho * torch.outer(step, step)
    gradient = torch.randn(12, generator=random, dtype=torch.float64)
    assert torch.allclose(optimiser._direction(gradient), -inverse @ gradient)


def test_the_history_is_limited() -> None:
    optimiser = LBFGS(history=4)
    Descent(rosenbrock, optimiser, torch.tensor([-1.2, 1.0], dtype=torch.float64)).run(15)
    assert len(optimiser.pairs) == 4


def test_steps_without_curvature_are_forgotten() -> None:
    optimiser = LBFGS()
    step = torch.tensor([1.0, 0.0])
    for change in (-step, torch.zeros(2), torch.tensor([0.0, 1.0])):
        optimiser._remember(step, change)
    assert not optimiser.pairs
    optimiser._remember(step, step)
    assert len(optimiser.pairs) == 1


# Ends ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line_search", [True, False])
def test_at_a_minimum_it_says_so(line_search: bool) -> None:
    loss, _, minimum = quadratic(5, 10)
    descent = Descent(loss, LBFGS(line_search=line_search), minimum).run(3)
    assert len(descent.updates) == 1
    assert descent.updates[0].converged
    assert torch.equal(descent.end, minimum)


@pytest.mark.parametrize("line_search", [True, False])
def test_in_the_best_corner_it_says_so(line_search: bool) -> None:
    weights = torch.tensor([1.0, -2.0, 3.0])
    corner = torch.tensor([0.0, 1.0, 0.0])
    descent = Descent(lambda x: weights @ x, LBFGS(line_search=line_search), corner, box).run(3)
    assert descent.updates[0].converged
    assert torch.equal(descent.end, corner)


def test_where_rounding_ends_progress_it_says_so() -> None:
    descent = Descent(lambda x: 1e6 + (x @ x), LBFGS(), torch.tensor([1e-5, -2e-5])).run(10)
    assert descent.updates[-1].converged
    assert descent.loss(descent.end) == descent.loss(descent.path[0])


@pytest.mark.parametrize("shift", [0.0, 3.0, -3.0])
def test_the_level_of_the_loss_does_not_matter(shift: float) -> None:
    loss, _, minimum = quadratic(10, 10)
    descent = Descent(lambda x: loss(x) + shift, LBFGS(), torch.zeros(10, dtype=torch.float64)).run(200)
    assert descent.updates[-1].converged
    assert (descent.end - minimum).abs().max() < 1e-4


def test_it_does_not_stop_before_the_end() -> None:
    loss, _, _ = quadratic(30, 1e3)
    updates = Descent(loss, LBFGS(), torch.zeros(30, dtype=torch.float64)).run(20).updates
    assert len(updates) == 20
    assert not any(update.converged for update in updates)


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_handed_on(name: str, value: float) -> None:
    start = torch.full((3,), 0.5)
    update = MAKERS[name]().step(start, lambda x: Evaluation({"loss": value}, value, torch.zeros(3)), free)
    assert not math.isfinite(update.before.loss)
    assert not update.converged
    assert torch.equal(update.parameters, start)


# Adam ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("final", "epsilon"), [(1.0, 1e-8), (0.1, 1e-3), (0.0, 1e-16)])
def test_adam_is_that_of_torch(final: float, epsilon: float) -> None:
    steps, rate = 40, 0.05
    loss, _, _ = quadratic(10, 100)
    start = torch.zeros(10, dtype=torch.float64)
    descent = Descent(loss, Adam(rate, steps, final, epsilon=epsilon), start).run(steps)
    variable = torch.nn.Parameter(start.clone())
    reference = torch.optim.Adam([variable], lr=rate, betas=(0.9, 0.99), eps=epsilon)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(reference, steps - 1, eta_min=final * rate)
    for found in descent.path[1:]:
        reference.zero_grad()
        loss(variable).backward()
        reference.step()
        schedule.step()
        assert torch.allclose(found, variable.detach(), rtol=1e-9, atol=1e-12)
    assert descent.evaluations == steps


def test_the_first_step_of_adam_is_its_rate() -> None:
    weights = torch.tensor([1e-9, -3.0, 1e9], dtype=torch.float64)
    descent = Descent(lambda x: weights @ x, Adam(0.02, 10), torch.zeros(3, dtype=torch.float64)).run(1)
    assert descent.end.tolist() == pytest.approx([-0.02, 0.02, -0.02], rel=1e-6)


def test_adam_leaves_alone_what_has_no_gradient() -> None:
    weights = torch.tensor([0.0, 1.0])
    descent = Descent(lambda x: weights @ x, Adam(0.02, 10), torch.full((2,), 0.5)).run(5)
    assert descent.end[0] == 0.5


# Makers --------------------------------------------------------------------------------------------------------------


def test_makers_make_afresh() -> None:
    make = adam(0.03, final=0.5)
    first, second = make(STAGE), make(Stage((1, 1), 7))
    assert isinstance(first, Adam)
    assert (first.learning_rate, first.final, first.steps) == (0.03, 0.5, 200)
    assert isinstance(second, Adam)
    assert second.steps == 7
    for line_search in (True, False):
        one, other = (lbfgs(history=7, line_search=line_search)(STAGE) for _ in range(2))
        assert isinstance(one, LBFGS)
        assert isinstance(other, LBFGS)
        assert (one.history, one.line_search) == (7, line_search)
        assert one.pairs is not other.pairs


def test_a_shorter_memory_goes_on_with_the_newest_pairs() -> None:
    """As where memory has become short meanwhile; what is dropped is the oldest."""
    loss, _, _ = quadratic(12, 50)
    made = LBFGS(history=6)
    Descent(loss, made, torch.zeros(12, dtype=torch.float64)).run(8)
    shorter = LBFGS(history=2)
    shorter.restore(made.state())
    assert [pair.curvature for pair in shorter.pairs] == [pair.curvature for pair in made.pairs][-2:]
