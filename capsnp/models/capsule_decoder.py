"""The capsule decoder U: from output capsules back to input capsules."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, get_args

import numpy as np

from capsnp.backend import Array
from capsnp.blocks import map_blocks, slices
from capsnp.errors import OptionError, ShapeError
from capsnp.functional import (
    Settled,
    decoder_gradient,
    forward,
    length,
    route,
    settle,
    settling_gradient,
    winners,
)
from capsnp.functional._checks import expect_count, expect_option, expect_range
from capsnp.functional.routing import Agreement, Normalize
from capsnp.models._base import BLOCK, Estimator, Rows, expect_rows
from capsnp.training.loop import Gradient, Observer, Training, batch_indices, train
from capsnp.training.optimisers import Momentum

SETTLED = 25  # examples that settle together with coefficients of their own


class CapsuleDecoder(Estimator):
    r"""Decoder of expert capsules, trained by the paper's rule for U and by settled codes.

    .. math:: h_i = \sum_j e_{ji} U_{ji} y_j

    First phase: the paper's rule (section 4.1) on the codes of winners. Second phase (beyond the
    paper): half of each batch as before, half with the delta rule on codes that settled against
    this very decoder (`capsnp.functional.settle`). Parameters marked † are departures.

    Parameters
    ----------
    winner_steps, settled_steps : int
        Steps of the two phases; the paper has the first alone († with ``settled_steps > 0``).
    routing_iterations : int
        Weightings when coefficients e are routed from the code; 1 gives uniform coefficients.
    agreement : {"cosine", "dot"}
    normalize : {"inputs", "outputs"}
        The axis on which e sums to 1: over the codes' capsules j or over the decoded capsules i.
    coefficient_scale : float or None
        † The mean of e in the paper's rule; None leaves e summing to 1 (the paper).
    gain : float
        † Decoded features are this times those of the paper's rule, which comes to rest at
        features too short.
    n_winners : int or None
        † Capsules that are on in the codes of the first phase; None is all.
    strength : float
        λ of settling: the weight of the prior on codes.
    settled_counts : tuple of int
        Numbers of capsules on, drawn per example in the second phase.
    winner_weight : float
        Weight of the first phase's rule in the second phase.
    learning_rate, settled_learning_rate : float
        At the start of each phase; both fall linearly to 0.
    settling_steps, settling_steps_training : int
        Steps of settling in use and in training.
    momentum, l2, init_scale, batch_size, random_state, dtype, backend
        As in `ExpertCapsules`.

    Attributes
    ----------
    U_ : array, shape (J, I, P, D)

    References
    ----------
    Hauser (2019), arXiv:1907.11643, section 4.1.
    """

    def __init__(
        self,
        *,
        winner_steps: int = 600,
        settled_steps: int = 1500,
        routing_iterations: int = 1,
        agreement: Agreement = "cosine",
        normalize: Normalize = "outputs",
        coefficient_scale: float | None = 0.17,
        gain: float = 3.0,
        n_winners: int | None = 1,
        strength: float = 0.1,
        settled_counts: tuple[int, ...] = (1, 3, 20),
        winner_weight: float = 1.0,
        learning_rate: float = 4.0,
        settled_learning_rate: float = 2.0,
        settling_steps: int = 400,
        settling_steps_training: int = 30,
        momentum: float = 0.9,
        l2: float = 1e-4,
        init_scale: float = 0.001,
        batch_size: int = 100,
        random_state: int = 0,
        dtype: str = "float32",
        backend: Any = None,
    ):
        self.winner_steps = winner_steps
        self.settled_steps = settled_steps
        self.routing_iterations = routing_iterations
        self.agreement = agreement
        self.normalize = normalize
        self.coefficient_scale = coefficient_scale
        self.gain = gain
        self.n_winners = n_winners
        self.strength = strength
        self.settled_counts = settled_counts
        self.winner_weight = winner_weight
        self.learning_rate = learning_rate
        self.settled_learning_rate = settled_learning_rate
        self.settling_steps = settling_steps
        self.settling_steps_training = settling_steps_training
        self.momentum = momentum
        self.l2 = l2
        self.init_scale = init_scale
        self.batch_size = batch_size
        self.random_state = random_state
        self.dtype = dtype
        self.backend = backend

    # --- fitting ---------------------------------------------------------------------------

    def fit(
        self,
        X: Rows,
        y: Rows,
        *,
        priority: Rows | None = None,
        observers: Iterable[Observer] = (),
    ):
        """Train on codes and the features that they stand for.

        Parameters
        ----------
        X : array, shape (N, J, D)
            Codes of all capsules, from `ExpertCapsules.transform`.
        y : array, shape (N, I, P)
            Features, centred and scaled, from `ExpertCapsules.standardize`.
        priority : array, shape (N, J), optional
            By which winners are chosen; by default the codes' lengths.
        observers : iterable of Observer, optional

        Returns
        -------
        CapsuleDecoder
            Itself.
        """
        train(self.training(X, y, priority=priority), observers=observers)
        return self

    def training(self, X: Rows, y: Rows, *, priority: Rows | None = None) -> "DecoderTraining":
        """The training that `fit` would run, to be driven step by step."""
        self._expect_options()
        expect_rows("X", X, (None, None, None), "(N, J, D)")
        expect_rows("y", y, (X.shape[0], None, None), "(N, I, P)")
        if priority is not None:
            expect_rows("priority", priority, tuple(X.shape[:2]), "(N, J)")
        if self.settled_steps and X.shape[0] < 2:
            raise ShapeError(f"X: expected at least 2 rows for settled steps, got {X.shape[0]}")
        return DecoderTraining(self, X, y, priority)

    def _expect_options(self) -> None:
        super()._expect_options()
        for name in ("winner_steps", "routing_iterations"):
            expect_count(name, getattr(self, name))
        for name in ("settled_steps", "settling_steps", "settling_steps_training"):
            expect_count(name, getattr(self, name), minimum=0)
        # a batch of settled steps is cut in halves
        expect_count("batch_size", self.batch_size, minimum=2 if self.settled_steps else 1)
        if not isinstance(self.settled_counts, tuple | list) or not self.settled_counts:
            raise OptionError(
                f"settled_counts: expected whole numbers like (1, 3, 20), "
                f"got {self.settled_counts!r}"
            )
        for count in self.settled_counts:
            expect_count("settled_counts", count)
        if self.n_winners is not None:
            expect_count("n_winners", self.n_winners)
        expect_option("agreement", self.agreement, get_args(Agreement))
        expect_option("normalize", self.normalize, get_args(Normalize))
        if self.coefficient_scale is not None:
            expect_range("coefficient_scale", self.coefficient_scale, 0.0)
        for name in (
            "gain",
            "strength",
            "winner_weight",
            "learning_rate",
            "settled_learning_rate",
            "l2",
            "init_scale",
        ):
            expect_range(name, getattr(self, name), 0.0)
        expect_range("momentum", self.momentum, 0.0, 1.0)

    def _start(self, X: Rows, y: Rows) -> None:
        (_, n_in, dim_in), (_, n_out, dim_out) = X.shape, y.shape
        rng = np.random.default_rng([self.random_state, 2])
        self.U_ = self._held(rng.normal(0.0, self.init_scale, (n_in, n_out, dim_out, dim_in)))

    def _held(self, host: np.ndarray) -> Array:
        """Weights (J, I, P, D) held in memory as (J, D, I, P): a layer is one product, uncopied."""
        held = np.ascontiguousarray(np.transpose(host, (0, 3, 1, 2)))
        return self._backend.xp.permute_dims(self._array(held), (0, 2, 3, 1))

    # --- inference -------------------------------------------------------------------------

    @property
    def _shared(self) -> int:
        """How many capsules the coefficients sum to 1 over."""
        return self.U_.shape[0 if self.normalize == "inputs" else 1]

    def _uniform(self, gain: float) -> float:
        """Each coefficient when all are equal, scaled."""
        scale = 1.0 / self._shared if self.coefficient_scale is None else self.coefficient_scale
        return gain * scale

    def _coefficients(self, y: Array, gain: float = 1.0) -> Array:
        """e, (J, I) when uniform, else routed from codes (B, J, D) to (B, J, I)."""
        if self.routing_iterations == 1:
            uniform = self._uniform(gain)
            return self._backend.xp.full(self.U_.shape[:2], uniform, dtype=self.U_.dtype)
        c = route(
            y,
            self.U_,
            iterations=self.routing_iterations,
            agreement=self.agreement,
            normalize=self.normalize,
        ).c
        return c * (self._uniform(gain) * self._shared)

    def inverse_transform(self, codes: Array) -> np.ndarray:
        """Features (N, I, P), centred and scaled, of codes (N, J, D)."""
        self._expect_fitted("U_")
        n_in, _, _, dim_in = self.U_.shape
        expect_rows("codes", codes, (None, n_in, dim_in), "(N, J, D)")
        parts = []
        for rows in slices(codes.shape[0], BLOCK):
            y = self._array(codes[rows])
            parts.append(
                self._backend.to_host(forward(y, self.U_, self._coefficients(y, self.gain)))
            )
        return np.concatenate(parts)

    def settle(
        self, h: Array, *, start: Array, on: Array | None = None, max_iter: int | None = None
    ) -> Settled:
        """Codes of features (B, I, P) that explain them away, see `capsnp.functional.settle`.

        Parameters
        ----------
        h : array, shape (B, I, P)
            Features, centred and scaled.
        start : array, shape (B, J, D)
            Codes from which coefficients are routed; not looked at with one routing iteration.
        on : array, shape (B, J), optional
            Capsules that may be on.
        max_iter : int, optional
            By default ``settling_steps``.
        """
        self._expect_fitted("U_")
        steps = self.settling_steps if max_iter is None else max_iter

        def part(rows: slice) -> Settled:
            e = self._coefficients(start[rows, ...], self.gain)
            gate = None if on is None else on[rows, ...]
            return settle(h[rows, ...], self.U_, e, strength=self.strength, on=gate, max_iter=steps)

        y, z, residual, _ = zip(*self._in_parts(part, h.shape[0]), strict=True)
        join = self._backend.xp.concat
        return Settled(join(y, axis=0), join(z, axis=0), join(residual, axis=0), steps)

    def _in_parts(self, part: Callable[[slice], Any], n: int) -> list[Any]:
        """`part` of all of n examples, or of `SETTLED` at a time if each has its coefficients."""
        routed = self.routing_iterations > 1 and n > 0
        blocks = slices(n, SETTLED) if routed else [slice(0, n)]
        return map_blocks(part, blocks, parallel=self._backend.name == "numpy")

    def metric(self) -> np.ndarray:
        """Lower triangular L, (J·D, J·D), with ‖yL‖ the length of the features of a code y.

        Of the decoder with uniform coefficients; a millionth of the mean is added to its squares,
        so that L has an inverse.
        """
        self._expect_fitted("U_")
        n_in, n_out, dim_out, dim_in = self.U_.shape
        held = self._backend.to_host(self.U_).transpose(0, 3, 1, 2)
        U = held.reshape(n_in * dim_in, n_out * dim_out).astype("float64")
        gram = self._uniform(self.gain) ** 2 * (U @ U.T)
        floor = 1e-6 * np.mean(np.diagonal(gram)) + np.finfo(U.dtype).tiny
        return np.linalg.cholesky(gram + floor * np.eye(len(gram))).astype(self.dtype)

    # --- state -----------------------------------------------------------------------------

    def state(self) -> dict[str, np.ndarray]:
        """Learned arrays by name, on the host."""
        self._expect_fitted("U_")
        return {"U": np.ascontiguousarray(self._backend.to_host(self.U_))}

    def restore(self, state: Mapping[str, np.ndarray]):
        """Take learned arrays from `state`."""
        self.U_ = self._held(state["U"])
        return self


class DecoderTraining(Training):
    """Training of `CapsuleDecoder`: the paper's rule, then half of it with settled codes."""

    name = "decoder"

    def __init__(self, model: CapsuleDecoder, X: Rows, y: Rows, priority: Rows | None):
        self.model, self.X, self.y, self.priority = model, X, y, priority
        self.n_steps = model.winner_steps + model.settled_steps
        self._optimiser = Momentum(model.momentum, model.l2)
        self._health: dict[str, Array] = {}
        model._start(X, y)

    def gradient(self) -> Gradient:
        model = self.model
        rows = np.sort(
            batch_indices(
                self.step, n=self.X.shape[0], batch_size=model.batch_size, seed=model.random_state
            )
        )
        y, h = model._array(self.X[rows]), model._array(self.y[rows])
        priority = length(y) if self.priority is None else model._array(self.priority[rows])
        if self.step < model.winner_steps:
            return {"U": self._winner_gradient(y, h, priority)}
        half = y.shape[0] // 2
        first = self._winner_gradient(y[:half, ...], h[:half, ...], priority[:half, ...])
        second = self._settled_gradient(y[half:, ...], h[half:, ...], priority[half:, ...])
        return {"U": 0.5 * (model.winner_weight * first + second)}

    def _winner_gradient(self, y: Array, h: Array, priority: Array) -> Array:
        model = self.model
        if model.n_winners is not None:
            y = y * winners(priority, model.n_winners)[..., None]
        e = model._coefficients(y)
        xp = model._backend.xp
        self._health = {"P(on)": xp.mean(length(y))}
        return decoder_gradient(y, h, model.U_, e)

    def _settled_gradient(self, y: Array, h: Array, priority: Array) -> Array:
        model, xp = self.model, self.model._backend.xp
        rng = np.random.default_rng([model.random_state, 3, self.step])
        counts = np.minimum(model.settled_counts, y.shape[1])
        k = model._backend.asarray(rng.choice(counts, size=(y.shape[0], 1)))
        on = winners(priority, k)

        def part(rows: slice) -> tuple[Array, Array]:
            e = model._coefficients(y[rows, ...], model.gain)
            settled = settle(
                h[rows, ...],
                model.U_,
                e,
                strength=model.strength,
                on=on[rows, ...] > 0,
                max_iter=model.settling_steps_training,
            )
            share = (rows.stop - rows.start) / y.shape[0]
            gradient = settling_gradient(h[rows, ...], model.U_, e, settled.y)
            return share * gradient, xp.sum(length(settled.y))

        gradients, lengths = zip(*model._in_parts(part, y.shape[0]), strict=True)
        self._health |= {"P(on), settled": sum(lengths[1:], lengths[0]) / xp.sum(on)}
        return sum(gradients[1:], gradients[0])

    def apply(self, gradient: Gradient) -> None:
        model = self.model
        if self.step == model.winner_steps:
            self._optimiser.moments = {}
        if self.step < model.winner_steps:
            rate = model.learning_rate * (1.0 - self.step / model.winner_steps)
        else:
            done = (self.step - model.winner_steps) / model.settled_steps
            rate = model.settled_learning_rate * (1.0 - done)
        model.U_ = self._optimiser.update({"U": model.U_}, gradient, rate)["U"]
        self.step += 1

    def parameters(self) -> dict[str, Array]:
        return {"U": self.model.U_}

    def health(self) -> dict[str, float]:
        return {name: float(value) for name, value in self._health.items()}

    def state(self) -> dict[str, np.ndarray]:
        host = self.model._backend.to_host
        moments = {f"moment.{name}": host(m) for name, m in self._optimiser.moments.items()}
        return self.model.state() | moments | {"step": np.asarray(self.step)}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        self.model.restore(state)
        if "moment.U" in state:
            self._optimiser.moments = {"U": self.model._held(state["moment.U"])}
        self.step = int(state["step"])
