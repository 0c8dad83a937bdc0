"""Deep belief networks: machines trained one on the other, then tuned together."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal, get_args

import numpy as np
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin, clone
from sklearn.utils.validation import check_is_fitted, validate_data

from capsnp.backend import Array
from capsnp.blocks import slices
from capsnp.errors import OptionError, ShapeError
from capsnp.functional._checks import expect_count, expect_option, expect_range
from capsnp.functional.belief import down_field, untied, up_field
from capsnp.functional.harmonium import hidden_mean, visible_mean
from capsnp.functional.units import units_of
from capsnp.models._base import Estimator
from capsnp.models._chains import Noise, sweep
from capsnp.models._deep_belief_bound import BeliefBound, bound_of, log_weights
from capsnp.models._deep_belief_state import restore_state, state_of
from capsnp.models._deep_belief_training import UpDownTraining
from capsnp.models._rows import ROWS
from capsnp.models.rbm import RBM
from capsnp.training.loop import Observer, train

Chain = Literal["cd", "pcd"]
Start = Literal["random", "transposed"]
Shown = Literal["means", "states"]
Observers = Callable[[str], Iterable[Observer]]

STATES = 10
"""Stream of random numbers for the states that a layer hands on."""


def _nobody(stage: str) -> Iterable[Observer]:  # noqa: ARG001
    return ()


class DeepBeliefNetwork(ClassNamePrefixFeaturesOutMixin, TransformerMixin, Estimator):
    r"""Deep belief network: restricted Boltzmann machines stacked, trained greedily, then together.

    .. math:: p(v, h^1, \dots, h^n) = p(v \mid h^1) \cdots p(h^{n-1} \mid h^n)\; p(h^n)

    Each machine is trained on hidden states that the one below draws at the data. All but the last
    then serve downwards only; the last, undirected, is the prior of its visible units. Fine-tuning
    unties the weights down and up, and follows the up-down algorithm.

    Parameters
    ----------
    hidden : sequence of int or RBM
        Hidden units of each layer from below, or the machine itself, to be cloned.
    rbm : RBM, optional
        What a layer of `hidden` given as a number is a clone of.
    start : {"random", "transposed"}
        First weights of a machine above the first: its own, or those of the machine below
        transposed, with which the bound begins at that machine's log-likelihood. The second wants
        as many hidden units as the machine below has visible ones.
    fine_tune_iter : int
        Passes of fine-tuning over the data; 0 leaves the network as greedy training made it.
    fine_tune_rate : float
        At the start; it falls linearly to 0.
    fine_tune_momentum : float
        In [0, 1), of an average of gradients.
    fine_tune_algorithm : {"cd", "pcd"}
        Chains of the top machine in fine-tuning: from the batch, or kept.
    fine_tune_k : int
        Gibbs steps of a chain in a step.
    batch_size : int
        Rows of a step of fine-tuning.
    random_state : int
        Also of the machines, layer n with ``random_state + n``.
    dtype : {"float32", "float64"}, optional
        By default that of the data.
    backend : str, Backend or None
        See `capsnp.backend.get_backend`.

    Attributes
    ----------
    layers_ : list of capsnp.functional.belief.DirectedLayer
        Of all machines but the last.
    top_ : capsnp.functional.harmonium.Harmonium
    visible_ : str
        Kind of the visible units.
    mean_, scale_ : array, shape (I,)
        Of the data; Gaussian visible units are those of ``(X - mean_) / scale_``.
    h_samples_ : array
        Hidden states of the top machine at the ends of its chains.
    n_features_in_ : int

    Notes
    -----
    Derivation: :doc:`/derivations/deep_belief`.

    References
    ----------
    Hinton, Osindero & Teh (2006), A fast learning algorithm for deep belief nets.

    Examples
    --------
    >>> X = np.asarray([[0, 0, 1, 1], [1, 1, 0, 0]] * 50, dtype="float32")
    >>> model = DeepBeliefNetwork((3, 2), rbm=RBM(n_iter=20, batch_size=20)).fit(X)
    >>> model.transform(X).shape, model.sample(5, n_steps=10).shape
    ((100, 2), (5, 4))
    """

    _defaults: ClassVar = {"rbm": RBM}

    def __init__(
        self,
        hidden: Sequence[int | RBM] = (500, 500),
        *,
        rbm: RBM | None = None,
        start: Start = "random",
        fine_tune_iter: int = 0,
        fine_tune_rate: float = 0.01,
        fine_tune_momentum: float = 0.5,
        fine_tune_algorithm: Chain = "cd",
        fine_tune_k: int = 3,
        batch_size: int = 100,
        random_state: int = 0,
        dtype: str | None = None,
        backend: Any = None,
    ):
        self.hidden = hidden
        self.rbm = rbm
        self.start = start
        self.fine_tune_iter = fine_tune_iter
        self.fine_tune_rate = fine_tune_rate
        self.fine_tune_momentum = fine_tune_momentum
        self.fine_tune_algorithm = fine_tune_algorithm
        self.fine_tune_k = fine_tune_k
        self.batch_size = batch_size
        self.random_state = random_state
        self.dtype = dtype  # type: ignore[assignment]
        self.backend = backend

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    # --- fitting ---------------------------------------------------------------------------

    def fit(self, X: Any, y: Any = None, *, observers: Observers = _nobody) -> "DeepBeliefNetwork":  # noqa: ARG002
        """Train machine after machine, then all of them together if asked for.

        Parameters
        ----------
        X : array, shape (N, I)
        y : ignored
        observers : callable, optional
            From a stage's name ("layer-1", "layer-2", ..., "fine-tuning") to its observers.

        Returns
        -------
        DeepBeliefNetwork
            Itself.
        """
        self._expect_options()
        X = self._checked(X, reset=True)
        machines: list[RBM] = []
        rows = X
        for n, machine in enumerate(self._machines()):
            self._train_machine(machine, rows, machines, observers(f"layer-{n + 1}"))
            machines.append(machine)
            if n + 1 < len(self.hidden):
                rows = self._drawn_above(machine, rows, n)
        self._take(machines)
        if self.fine_tune_iter:
            train(UpDownTraining(self, X), observers=observers("fine-tuning"))
        return self

    def fine_tune(self, X: Any, *, observers: Iterable[Observer] = ()) -> "DeepBeliefNetwork":
        """Go on from the present weights with ``fine_tune_iter`` passes of the up-down algorithm.

        Parameters
        ----------
        X : array, shape (N, I)
        observers : iterable of Observer, optional

        Returns
        -------
        DeepBeliefNetwork
            Itself.
        """
        train(self.fine_tuning(X), observers=observers)
        return self

    def fine_tuning(self, X: Any) -> UpDownTraining:
        """The training that `fine_tune` would run, to be driven step by step."""
        check_is_fitted(self, "top_")
        self._expect_options()
        expect_count("fine_tune_iter", self.fine_tune_iter)
        return UpDownTraining(self, self._expect_states(self._checked(X, reset=False)))

    def _expect_options(self) -> None:
        if self.dtype is not None:
            super()._expect_options()
        expect_count("random_state", self.random_state, minimum=0)
        if isinstance(self.hidden, str) or not isinstance(self.hidden, Sequence) or not self.hidden:
            raise OptionError(f"hidden: expected layers like (500, 500), got {self.hidden!r}")
        for layer in self.hidden:
            if not isinstance(layer, RBM):
                expect_count("hidden", layer)
        for machine in self._machines():
            if machine.hidden != "bernoulli":
                raise OptionError(f"hidden: expected bernoulli units, got {machine.hidden!r}")
        expect_option("start", self.start, get_args(Start))
        expect_option("fine_tune_algorithm", self.fine_tune_algorithm, get_args(Chain))
        expect_count("fine_tune_iter", self.fine_tune_iter, minimum=0)
        for name in ("fine_tune_k", "batch_size"):
            expect_count(name, getattr(self, name))
        expect_range("fine_tune_rate", self.fine_tune_rate, 0)
        expect_range("fine_tune_momentum", self.fine_tune_momentum, 0, 1)

    def _machines(self) -> list[RBM]:
        """One for each layer, not fitted."""
        made = []
        for n, layer in enumerate(self.hidden):
            if isinstance(layer, RBM):
                machine = clone(layer)
            else:
                machine = clone(self._given("rbm")).set_params(n_components=layer)
            machine.set_params(
                random_state=self.random_state + n, dtype=self.dtype, backend=self.backend
            )
            made.append(machine.set_params(visible="bernoulli") if n else machine)
        return made

    def _train_machine(
        self, machine: RBM, rows: np.ndarray, below: list[RBM], observers: Iterable[Observer]
    ) -> None:
        training = machine.training(rows)
        training.name = f"layer-{len(below) + 1}"
        if below and self.start == "transposed":
            last = below[-1]
            if last.visible_ != "bernoulli":
                raise OptionError(
                    "start: expected 'random', as the visible units are no bernoulli units, "
                    f"got 'transposed' with {last.visible_} ones"
                )
            if machine.n_components != last.n_features_in_:
                raise OptionError(
                    f"hidden: expected {last.n_features_in_} units in layer {len(below) + 1} with "
                    f"start='transposed', as layer {len(below)} has visible ones, "
                    f"got {machine.n_components}"
                )
            training.start_from(last.components_, last.intercept_hidden_, last.intercept_visible_)
        train(training, observers=observers)

    def _drawn_above(self, machine: RBM, rows: np.ndarray, n: int) -> np.ndarray:
        """Hidden states at rows, one draw for each, (N, J) on the host."""
        xp, layer = machine._backend.xp, machine.machine_
        seed = np.random.SeedSequence([self.random_state, STATES, n])
        noise = machine._noise(int(seed.generate_state(1)[0]))
        parts = []
        for part in slices(rows.shape[0], ROWS):
            mean = machine.transform(rows[part])
            mean = xp.asarray(mean, dtype=layer.w.dtype)
            drawn = noise.for_states(layer.hidden, tuple(mean.shape)) < mean
            parts.append(machine._backend.to_host(xp.astype(drawn, layer.w.dtype)))
        return np.concatenate(parts)

    def _take(self, machines: list[RBM]) -> None:
        """The network of trained machines."""
        first, last = machines[0], machines[-1]
        self._dtype, self.visible_ = first._dtype, first.visible_
        self._n_categories = first.n_categories
        self.mean_ = first.mean_
        for name in ("scale_", "h_samples_"):
            if hasattr(self, name):
                delattr(self, name)
        if hasattr(first, "scale_"):
            self.scale_ = first.scale_
        values = first._standard()
        units = units_of(
            first.visible_,
            n_categories=first.n_categories,
            log_variance=values.get("log_variance"),
        )
        lowest = first.machine_._replace(w=values["w"], b=values["b"], c=values["c"], visible=units)
        found = [lowest, *(machine.machine_ for machine in machines[1:])]
        self.layers_ = [untied(machine) for machine in found[:-1]]
        self.top_ = found[-1]
        self.h_samples_ = last.h_samples_

    # --- arrays ----------------------------------------------------------------------------

    def _array(self, host: Any) -> Array:
        return self._backend.asarray(host, dtype=self._dtype)

    def _checked(self, X: Any, *, reset: bool) -> np.ndarray:
        return validate_data(self, X, dtype=[np.float64, np.float32], reset=reset)

    def _expect_states(self, X: np.ndarray) -> np.ndarray:
        units_of(self.visible_, n_categories=self._n_categories).expect_states("X", X)
        return X

    def _inward(self, v: Array) -> Array:
        """States of the visible units: features standardized where the units are Gaussian."""
        return (v - self.mean_) / self.scale_ if hasattr(self, "scale_") else v

    def _outward(self, v: Array) -> Array:
        return v * self.scale_ + self.mean_ if hasattr(self, "scale_") else v

    def _blocks(self, X: Any) -> Iterable[Array]:
        """Rows as states of the visible units, a block at a time."""
        check_is_fitted(self, "top_")
        X = self._expect_states(self._checked(X, reset=False))
        for rows in slices(X.shape[0], ROWS):
            yield self._inward(self._array(X[rows]))

    def _noise(self, rng: np.random.Generator | int | None) -> Noise:
        if not isinstance(rng, np.random.Generator):
            rng = self._backend.rng(self.random_state if rng is None else rng)
        return Noise(self._backend, self._dtype, rng)

    def _chain_starts(self, n: int) -> Array:
        """Hidden states of the top machine, from its chains in turns, (n, J)."""
        kept = self.h_samples_
        rows = self._backend.xp.asarray(np.arange(n) % kept.shape[0])
        return self._backend.xp.take(kept, rows, axis=0)

    # --- inference and samples -------------------------------------------------------------

    def transform(self, X: Any) -> np.ndarray:
        """Means of the top hidden units, (N, J), given those of each layer below."""
        parts = []
        for v in self._blocks(X):
            for layer in self.layers_:
                v = layer.hidden.mean(up_field(layer, v))
            parts.append(self._backend.to_host(hidden_mean(self.top_, v)))
        return np.concatenate(parts)

    def inverse_transform(self, H: Any) -> np.ndarray:
        """Means of the visible units, (N, I), given top hidden means or states, layer by layer."""
        check_is_fitted(self, "top_")
        h = self._array(H)
        if h.ndim != 2 or h.shape[1] != self.top_.w.shape[1]:
            raise ShapeError(f"H: expected shape (N, {self.top_.w.shape[1]}), got {tuple(h.shape)}")
        self.top_.hidden.expect_states("H", h)
        v = visible_mean(self.top_, h)
        for layer in reversed(self.layers_):
            v = layer.visible.mean(down_field(layer, v))
        return self._backend.to_host(self._outward(v))

    def reconstruct(self, X: Any) -> np.ndarray:
        """Rows (N, I) that come back from the top."""
        return self.inverse_transform(self.transform(X))

    def sample(
        self,
        n: int,
        *,
        n_steps: int = 1000,
        show: Shown = "states",
        rng: np.random.Generator | int | None = None,
    ) -> np.ndarray:
        """Visible states: from the top machine's chains downwards.

        Parameters
        ----------
        n : int
            Chains, started where the chains of training ended, in turns.
        n_steps : int
            Gibbs steps of each in the top machine.
        show : {"states", "means"}
            Of the visible units, given the states of the layer above.
        rng : numpy.random.Generator or int, optional
            Generator or seed of the noise; by default `random_state`.

        Returns
        -------
        numpy.ndarray, shape (n, I)
        """
        check_is_fitted(self, "top_")
        expect_count("n", n)
        expect_count("n_steps", n_steps)
        expect_option("show", show, get_args(Shown))
        noise = self._noise(rng)
        v, _ = sweep(self.top_, self._chain_starts(n), noise, n_steps)
        if not self.layers_ and show == "means":
            v = visible_mean(self.top_, hidden_mean(self.top_, v))
        for place, layer in reversed(list(enumerate(self.layers_))):
            x = down_field(layer, v)
            if place == 0 and show == "means":
                v = layer.visible.mean(x)
            else:
                v = layer.visible.draw(x, noise.for_states(layer.visible, tuple(x.shape)))
        return self._backend.to_host(self._outward(v))

    def lower_bound(
        self,
        X: Any,
        *,
        n_draws: int = 100,
        partition: Any = None,
        rng: np.random.Generator | int | None = None,
        **options: Any,
    ) -> BeliefBound:
        r"""Lower bounds of the mean log p(v) of rows.

        .. math:: \log p(v) \ge \Big\langle
                  \log\frac{p(v, h^1, \dots, h^n)}{q(h^1, \dots, h^n \mid v)}\Big\rangle_q

        Parameters
        ----------
        X : array, shape (N, I)
        n_draws : int
            Of recognition, for each row; at least 2.
        partition : LogPartition, optional
            Of the top machine, found before.
        rng : numpy.random.Generator or int, optional
            As in `sample`.
        **options
            Of `capsnp.evaluation.likelihood.log_partition`, for the top machine.

        Returns
        -------
        BeliefBound

        References
        ----------
        Burda, Grosse & Salakhutdinov (2016), Importance weighted autoencoders (`tighter`).
        """
        from capsnp.evaluation.likelihood import log_partition

        expect_count("n_draws", n_draws, minimum=2)
        noise = self._noise(rng)
        parts = [log_weights(self.layers_, self.top_, v, n_draws, noise) for v in self._blocks(X)]
        if partition is None:
            partition = log_partition(self.top_, **options)
        return bound_of(np.concatenate(parts, axis=1), partition, self._log_scale())

    def _log_scale(self) -> float:
        """Of the volume that standardizing takes away."""
        if not hasattr(self, "scale_"):
            return 0.0
        return float(np.sum(np.log(self._backend.to_host(self.scale_))))

    # --- state -----------------------------------------------------------------------------

    def _values(self) -> dict[str, Array]:
        """Learned parameters by name, those of the top machine under "top"."""
        values = {
            f"{n}.{name}": getattr(layer, name)
            for n, layer in enumerate(self.layers_)
            for name in ("w", "b", "r", "c")
        }
        return values | {f"top.{name}": getattr(self.top_, name) for name in ("w", "b", "c")}

    def _set_values(self, values: Mapping[str, Array]) -> None:
        self.layers_ = [
            layer._replace(**{name: values[f"{n}.{name}"] for name in ("w", "b", "r", "c")})
            for n, layer in enumerate(self.layers_)
        ]
        self.top_ = self.top_._replace(**{name: values[f"top.{name}"] for name in ("w", "b", "c")})

    def state(self) -> dict[str, np.ndarray]:
        """Learned arrays by name, on the host."""
        check_is_fitted(self, "top_")
        return state_of(self)

    def restore(self, state: Mapping[str, np.ndarray]) -> "DeepBeliefNetwork":
        """Go back to a `state`.

        Raises
        ------
        KeyError
            If an array is missing.
        """
        restore_state(self, state)
        return self

    @property
    def _n_features_out(self) -> int:
        return self.top_.w.shape[1]
