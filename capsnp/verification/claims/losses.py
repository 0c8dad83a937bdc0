"""Beyond the paper: losses of capsules that stand for classes."""

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np

from capsnp.functional.losses import (
    cross_entropy,
    cross_entropy_gradient,
    margin_loss,
    margin_loss_gradient,
    spread_loss,
    spread_loss_gradient,
)
from capsnp.verification.claims._by_hand import slopes
from capsnp.verification.lab import Lab
from capsnp.verification.ledger import Checks, claim

B, J = 4, 5
Loss = Callable[[Sequence[complex] | np.ndarray, np.ndarray], complex]


def above_zero(number: complex) -> complex:
    return number if number.real > 0.0 else 0.0


def margin_formula(lengths: Sequence[complex] | np.ndarray, targets: np.ndarray) -> complex:
    """Equation 4 of Sabour et al., for real or complex lengths."""
    there = [above_zero(0.9 - l) ** 2 for l, t in zip(lengths, targets, strict=True) if t]
    absent = [above_zero(l - 0.1) ** 2 for l, t in zip(lengths, targets, strict=True) if not t]
    return sum(there) + 0.5 * sum(absent)


def spread_formula(lengths: Sequence[complex] | np.ndarray, targets: np.ndarray) -> complex:
    """Equation 3 of Hinton et al. with m = 0.9, for each class that is there."""
    pairs = itertools.permutations(range(J), 2)
    wanted = [(t, j) for t, j in pairs if targets[t] and not targets[j]]
    return sum((above_zero(0.9 - (lengths[t] - lengths[j])) ** 2 for t, j in wanted), 0.0)


def entropy_formula(logits: Sequence[complex] | np.ndarray, targets: np.ndarray) -> complex:
    """−Σ T log softmax, without a shift."""
    weights = np.exp(np.asarray(logits))
    return complex(-np.sum(targets * np.log(weights / np.sum(weights))))


def checks(
    lab: Lab, formula: Loss, loss: Callable, gradient: Callable, *, signed: bool = False
) -> Checks:
    """A loss and its gradient for no, one, two and all classes."""
    lengths = lab.normal(B, J, scale=2.0) if signed else lab.uniform(B, J)
    targets = np.asarray([np.arange(J) < n for n in (0, 1, 2, J)], float)
    expected = [formula(*pair).real for pair in zip(lengths, targets, strict=True)]
    found = lab.run(loss, lengths, targets)
    yield lab.near(found, expected, terms=4.0 * J, magnitude=math.fsum(expected) + J)
    slope = np.zeros((B, J))
    for place, (at, there) in enumerate(zip(lengths, targets, strict=True)):
        slope[place] = slopes(lambda l, there=there: formula(l, there), at)  # type: ignore[misc]
    found = lab.run(gradient, lengths, targets)
    yield lab.near(found, slope, terms=4.0 * J, magnitude=float(J))


@claim(
    "(L1), (L2)",
    "losses",
    "Margin loss, Σ_j T_j max(0, 0.9 − l_j)² + 0.5 (1 − T_j) max(0, l_j − 0.1)², and its gradient",
    function="margin_loss, margin_loss_gradient",
    method="scalar formula and complex steps",
)
def margin_loss_by_scalars(lab: Lab) -> Checks:
    for _ in lab.cases(3):
        yield from checks(lab, margin_formula, margin_loss, margin_loss_gradient)


@claim(
    "(L3), (L4)",
    "losses",
    "Spread loss, Σ max(0, m − (l_t − l_j))² over classes t that are there and j that are not, and "
    "its gradient",
    function="spread_loss, spread_loss_gradient",
    method="scalar formula and complex steps",
)
def spread_loss_by_scalars(lab: Lab) -> Checks:
    for _ in lab.cases(3):
        yield from checks(lab, spread_formula, spread_loss, spread_loss_gradient)


@claim(
    "(L5)",
    "losses",
    "Cross-entropy of a softmax has the gradient softmax(l) Σ_k T_k − T",
    function="cross_entropy, cross_entropy_gradient",
    method="scalar formula and complex steps",
)
def cross_entropy_by_scalars(lab: Lab) -> Checks:
    for _ in lab.cases(3):
        yield from checks(lab, entropy_formula, cross_entropy, cross_entropy_gradient, signed=True)
