"""Rules that turn a gradient into a step.

Both are pure: `update` takes the parameters and its own moments and returns new ones, and
`moments` can be saved and put back.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from capsnp.backend import namespace

Array = Any


@dataclass
class Momentum:
    r"""Stochastic ascent with momentum as an average, and ℓ2 decay (Algorithm 1's "in practice").

    .. math:: M ← β M + (1 − β)(G − γ W), \qquad W ← W + λ_t M

    Parameters
    ----------
    momentum : float
        β in [0, 1).
    l2 : float
        γ ≥ 0.
    """

    momentum: float = 0.9
    l2: float = 0.0
    moments: dict[str, Array] = field(default_factory=dict)

    def update(
        self, parameters: Mapping[str, Array], gradient: Mapping[str, Array], rate: float
    ) -> dict[str, Array]:
        """The parameters after one step uphill of length `rate`."""
        new = {}
        for name, value in parameters.items():
            fresh = (1.0 - self.momentum) * (gradient[name] - self.l2 * value)
            old = self.moments.get(name)
            self.moments[name] = fresh if old is None else self.momentum * old + fresh
            new[name] = value + rate * self.moments[name]
        return new


@dataclass
class Adam:
    """Adam (Kingma & Ba 2015), downhill.

    Parameters
    ----------
    beta1, beta2 : float
        Averaging of the gradient and of its square, in [0, 1).
    epsilon : float
        Added to the root of the mean square.
    """

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    count: int = 0
    moments: dict[str, Array] = field(default_factory=dict)

    def update(
        self, parameters: Mapping[str, Array], gradient: Mapping[str, Array], rate: float
    ) -> dict[str, Array]:
        """The parameters after one step downhill with learning rate `rate`."""
        self.count += 1
        bias1, bias2 = 1.0 - self.beta1**self.count, 1.0 - self.beta2**self.count
        new = {}
        for name, value in parameters.items():
            g = gradient[name]
            xp = namespace(gradient=g)
            first, second = self.moments.get(f"{name}.first"), self.moments.get(f"{name}.second")
            first = (1 - self.beta1) * g + (0.0 if first is None else self.beta1 * first)
            second = (1 - self.beta2) * g * g + (0.0 if second is None else self.beta2 * second)
            self.moments[f"{name}.first"], self.moments[f"{name}.second"] = first, second
            step = (first / bias1) / (xp.sqrt(second / bias2) + self.epsilon)
            new[name] = value - rate * step
        return new
