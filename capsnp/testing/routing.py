"""What routing by agreement keeps, whatever the agreement and however many weightings."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import hypothesis.strategies as st
import numpy as np

from capsnp.backend import Backend
from capsnp.functional._checks import expect_option
from capsnp.testing._subject import Subject, label, testing
from capsnp.testing.strategies import capsules, layers

Normalize = Literal["inputs", "outputs"]
Sizes = tuple[int, int, int, int, int]

_AXES = {"inputs": -2, "outputs": -1}
_OTHER = {"inputs": "outputs", "outputs": "inputs"}


def check_routing(
    fn: Callable,
    *,
    normalize: Normalize = "inputs",
    first: Callable | None = None,
    sizes: Sequence[Sizes] = ((1, 2, 1, 3, 1), (2, 3, 2, 2, 2)),
    backend: str | Backend = "numpy",
    dtype: str = "float64",
    examples: int = 50,
    factor: float = 1.0,
) -> None:
    r"""Check the invariants of routing by agreement.

    In this order: the coefficients are finite, not negative and sum to 1 along the axis that is
    named, with zero capsules and zero maps too; the sums, where they are returned, are
    :math:`z_j = \sum_i c_{ij} W_{ij} x_i` (3) with these coefficients; where nothing is predicted,
    and in the first weighting, the coefficients are uniform; an example is routed alike beside
    any others; predictions that all agree are a fixed point, whose coefficients are the same for
    every input; input capsules and output capsules have no order; and an input that disagrees with
    the others gets less than they.

    Parameters
    ----------
    fn : callable
        ``fn(x, W)`` with input capsules x (B, I, P) and maps W (I, J, D, P), to c (B, I, J) or to
        a pair of c and z (B, J, D). Two weightings or more.
    normalize : {"inputs", "outputs"}
        The axis along which coefficients sum to 1: Σ_i c_ij = 1, or Σ_j c_ij = 1.
    first : callable, optional
        The same routing stopped after its first weighting.
    sizes : sequence of (B, I, P, J, D)
        Of the layers to try. A batch of one cannot show that examples meet, nor one capsule that
        their order counts.
    backend : str or Backend
        Whose arrays the functions take, one of `capsnp.backend.BACKENDS`.
    dtype : {"float64", "float32"}
    examples : int
        Drawn for each invariant.
    factor : float
        Multiplies every tolerance; more than three weightings need a larger one.

    Raises
    ------
    InvariantError
        If an invariant is violated; it says which, and shows a small case.
    OptionError, BackendError
        If an option is unknown or its library missing.

    Notes
    -----
    A sum of n numbers may be off by (n + 8) ε of its absolute terms. Two routings that ought to be
    equal are compared on layers whose predictions never cancel (`layers` with signs alike). There
    an error of the logits grows at most elevenfold from one weighting to the next, as long as
    predictions are shorter than 3; after three weightings N = I·P + D + 8 roundings have become
    180·N, and 256·N·ε are allowed, of the largest coefficient or sum.

    Examples
    --------
    >>> from capsnp.functional import route
    >>> check_routing(route, first=lambda x, W: route(x, W, iterations=1))

    The same as if every input gave all of itself away:

    >>> check_routing(route, normalize="outputs")
    Traceback (most recent call last):
    capsnp.errors.InvariantError: route: coefficients sum to 1 over inputs, not over outputs
      x = [[[0.], [0.]]]
      W = [[[[0.]], [[0.]], [[0.]]], [[[0.]], [[0.]], [[0.]]]]
      c = [[[0.5, 0.5, 0.5], [0.5, 0.5, 0.5]]]
    """
    expect_option("normalize", normalize, ("inputs", "outputs"))
    with testing(backend, dtype, examples, factor) as subject:
        trial = _Routing(subject, fn, label(fn, "fn"), normalize)
        many = st.sampled_from(list(sizes))
        anything = layers(many, dtype=dtype)
        smooth = layers(many, dtype=dtype, signs="alike")
        subject.hold(trial.shares, anything)
        subject.hold(trial.sums, anything)
        subject.hold(trial.nothing_predicted, anything)
        if first is not None:
            begin = _Routing(subject, first, label(first, "first"), normalize)
            subject.hold(begin.first_weighting, anything)
        subject.hold(trial.examples_apart, smooth)
        subject.hold(trial.fixed_point, smooth)
        subject.hold(trial.no_order, st.tuples(smooth, st.randoms(use_true_random=False)))
        votes = capsules((2, sizes[0][4]), dtype=dtype, lengths=(0.5, 2.0), zeros=False)
        subject.hold(trial.rewards_agreement, st.tuples(votes))


@dataclass(frozen=True)
class _Routing:
    """One invariant each, for host arrays x (B, I, P) and W (I, J, D, P)."""

    subject: Subject
    fn: Callable
    name: str
    normalize: Normalize

    def __call__(self, x: np.ndarray, W: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        found = self.subject.run_many(self.fn, x, W, name=self.name)
        if len(found) > 2:
            raise self.broken(f"returns {len(found)} arrays, expected c, or c and z", x, W)
        c, z = found if len(found) == 2 else (found[0], None)
        B, (I, J, D, _) = len(x), W.shape
        for letter, array, shape in (("c", c, (B, I, J)), ("z", z, (B, J, D))):
            if array is not None and array.shape != shape:
                raise self.broken(
                    f"returns {letter} of shape {array.shape}, expected {shape}", x, W
                )
        return c, z

    def broken(self, what: str, x: np.ndarray, W: np.ndarray, **found: Any) -> Exception:
        return self.subject.broken(f"{self.name}: {what}", {"x": x, "W": W}, found)

    @property
    def axis(self) -> int:
        return _AXES[self.normalize]

    def shares(self, x: np.ndarray, W: np.ndarray) -> None:
        c, z = self(x, W)
        if not np.all(np.isfinite(c)) or not (z is None or np.all(np.isfinite(z))):
            parts = {"c": c} if z is None else {"c": c, "z": z}
            raise self.broken("the result is not finite", x, W, **parts)
        if np.any(c < 0):
            raise self.broken("a coefficient is negative", x, W, c=c)
        if not self._sum_to_one(c, self.axis):
            other = _OTHER[self.normalize]
            found = "do not sum to 1"
            if self._sum_to_one(c, _AXES[other]):
                found = f"sum to 1 over {other}, not"
            raise self.broken(f"coefficients {found} over {self.normalize}", x, W, c=c)

    def _sum_to_one(self, c: np.ndarray, axis: int) -> bool:
        off = np.abs(np.sum(c, axis=axis) - 1)
        return bool(np.all(off <= (c.shape[axis] + 8) * self.subject.eps))

    def sums(self, x: np.ndarray, W: np.ndarray) -> None:
        c, z = self(x, W)
        if z is None:
            return
        expected, magnitude = _weighted(x, W, c), _weighted(np.abs(x), np.abs(W), c)
        terms = x.shape[1] * x.shape[2] + 8
        allowed = terms * self.subject.eps * magnitude + self.subject.tiny
        if not np.all(np.abs(z - expected) <= allowed):
            raise self.broken(
                "z is not the sum (3) of predictions with the coefficients that are returned",
                x,
                W,
                c=c,
                z=z,
                expected=expected,
            )

    def nothing_predicted(self, x: np.ndarray, W: np.ndarray) -> None:
        for zero_x, zero_W in ((0 * x, W), (x, 0 * W)):
            self._uniform(zero_x, zero_W, "where nothing is predicted")

    def first_weighting(self, x: np.ndarray, W: np.ndarray) -> None:
        self._uniform(x, W, "in the first weighting")

    def _uniform(self, x: np.ndarray, W: np.ndarray, when: str) -> None:
        c, _ = self(x, W)
        share = 1.0 / c.shape[self.axis]
        if not np.all(np.abs(c - share) <= 8 * self.subject.eps * share):
            raise self.broken(f"the coefficients are not uniform {when}", x, W, c=c)

    def examples_apart(self, x: np.ndarray, W: np.ndarray) -> None:
        together = self(x, W)
        for b in range(len(x)):
            alone = self(x[b : b + 1], W)
            beside = tuple(None if part is None else part[b : b + 1] for part in together)
            if not self._same(alone, beside, x, W):
                raise self.broken(
                    f"example {b} is routed differently beside others: is something summed over "
                    "the batch?",
                    x,
                    W,
                    **{f"c[{b}]": together[0][b], "c alone": alone[0][0]},
                )

    def fixed_point(self, x: np.ndarray, W: np.ndarray) -> None:
        # W[:1] and x[:, :1] repeated: every input predicts the same.
        x, W = np.repeat(x[:, :1], x.shape[1], axis=1), np.repeat(W[:1], len(W), axis=0)
        c, _ = self(x, W)
        if not np.all(np.abs(c - c[:, :1]) <= self._tolerance(x, W) * np.max(c)):
            raise self.broken("inputs that predict the same get different coefficients", x, W, c=c)

    def no_order(self, layer: tuple[np.ndarray, np.ndarray], random: Any) -> None:
        x, W = layer
        c, z = self(x, W)
        inputs, outputs = _shuffled(random, W.shape[0]), _shuffled(random, W.shape[1])
        for who, i, j in (("input", inputs, slice(None)), ("output", slice(None), outputs)):
            moved = self(x[:, i], W[i][:, j])
            expected = c[:, i][:, :, j], None if z is None else z[:, j]
            if not self._same(moved, expected, x, W):
                raise self.broken(
                    f"the order of {who} capsules counts",
                    x,
                    W,
                    order=np.asarray(inputs if who == "input" else outputs),
                    c=c,
                    **{"c reordered": moved[0], "expected": expected[0]},
                )

    def rewards_agreement(self, votes: np.ndarray) -> None:
        # Two inputs predict the votes v_j; the third predicts v_0 as they do, and -v_1.
        x, W = np.ones((1, 3, 1)), np.stack([votes] * 3)[..., None]
        W[2, 1] *= -1
        c, _ = self(x, W)
        agreeing = c[0, 0, 1] if self.normalize == "inputs" else c[0, 2, 0]
        if not c[0, 2, 1] < agreeing:
            raise self.broken(
                "input 2 disagrees with the others on output 1 and does not get less for it",
                x,
                W,
                c=c,
            )

    def _tolerance(self, x: np.ndarray, W: np.ndarray) -> float:
        return 256 * (x.shape[1] * x.shape[2] + W.shape[2] + 8) * self.subject.eps

    def _same(self, found: tuple, expected: tuple, x: np.ndarray, W: np.ndarray) -> bool:
        for part, wanted in zip(found, expected, strict=True):
            if wanted is None:
                continue
            scale = np.max(np.abs(wanted), initial=0.0)
            if not np.all(np.abs(part - wanted) <= self._tolerance(x, W) * scale):
                return False
        return True


def _weighted(x: np.ndarray, W: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Σ_i c_ij W_ij x_i, one prediction after the other."""
    z = np.zeros((len(x), *W.shape[1:3]))
    for i in range(W.shape[0]):
        for j in range(W.shape[1]):
            z[:, j] += c[:, i, j, None] * (x[:, i] @ W[i, j].T)
    return z


def _shuffled(random: Any, n: int) -> list[int]:
    order = list(range(n))
    random.shuffle(order)
    return order
