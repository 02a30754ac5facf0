"""From parameters and their gradient to better parameters: the protocol of optimisers, and Adam.

Parameters are a flat vector of about unit scale, so a first step of root mean square 0.02 is small but visible. The
scale of the objective does not matter: no optimiser stalls or explodes because losses are small or large.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from impasto.objectives.criterion import Losses
from impasto.synthesis.parameterisations import Parameters
from impasto.synthesis.schedules import Stage


class Evaluation(NamedTuple):
    """The objective at some parameters: its terms, their sum, and the gradient (same shape as the parameters)."""

    losses: Losses
    loss: float
    gradient: Tensor


class Update(NamedTuple):
    """New parameters, and the evaluation before the update; `converged` if nothing better was found."""

    parameters: Parameters
    before: Evaluation
    converged: bool = False


NOISE = 1e-4  # of the loss: smaller changes may be rounding of a bfloat16 network
Evaluate = Callable[[Parameters], Evaluation]
Project = Callable[[Parameters], Parameters]
Memory = Mapping[str, Any]  # an optimiser's state: nested plain data and tensors; its tensors are never changed


@runtime_checkable
class Optimiser(Protocol):
    """A method of descent and its memory; each stage has a new one."""

    def step(self, parameters: Parameters, evaluate: Evaluate, project: Project) -> Update:
        """One update; `evaluate` may be called more than once."""

    def state(self) -> Memory:
        """The optimiser's memory, from which a new optimiser continues bit for bit once `restore` has been called."""

    def restore(self, memory: Memory) -> None:
        """Take over the `state` of another optimiser."""


MakeOptimiser = Callable[[Stage], Optimiser]


@dataclass
class Adam:
    """Adaptive moments with a learning rate that falls along half a cosine to `final` times its start.

    Source: Kingma & Ba 2015 (arXiv:1412.6980), algorithm 1.
    Departs: ε is far below the gradients of normalised losses, so the objective's scale does not matter.
    """

    learning_rate: float
    steps: int
    final: float = 1.0
    betas: tuple[float, float] = (0.9, 0.99)
    epsilon: float = 1e-16
    count: int = 0
    mean: Tensor | None = None
    square: Tensor | None = None

    def step(self, parameters: Parameters, evaluate: Evaluate, project: Project) -> Update:
        """One evaluation, one update."""
        before = evaluate(parameters)
        gradient = before.gradient
        self.mean = torch.zeros_like(gradient) if self.mean is None else self.mean
        self.square = torch.zeros_like(gradient) if self.square is None else self.square
        progress = min(1.0, self.count / max(1, self.steps - 1))
        rate = self.learning_rate * (self.final + (1 - self.final) * (1 + math.cos(math.pi * progress)) / 2)
        self.count += 1
        first, second = self.betas
        self.mean = self.mean.lerp(gradient, 1 - first)
        self.square = self.square.lerp(gradient.square(), 1 - second)
        spread = (self.square / (1 - second**self.count)).sqrt_().add_(self.epsilon)
        change = spread.reciprocal_().mul_(self.mean).mul_(-rate / (1 - first**self.count))
        return Update(project(change.add_(parameters)), before)

    def state(self) -> Memory:
        """Steps taken, and both moments."""
        return {"count": self.count, "mean": self.mean, "square": self.square}

    def restore(self, memory: Memory) -> None:
        """Continue from a state."""
        self.count, self.mean, self.square = memory["count"], memory["mean"], memory["square"]


def adam(learning_rate: float = 0.02, *, final: float = 1.0) -> MakeOptimiser:
    """Adam for each stage; its learning rate falls to `final` times its start over the stage's steps."""
    return lambda stage: Adam(learning_rate, stage.steps, final)
