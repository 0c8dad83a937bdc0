"""Restricted Boltzmann machines of several kinds of units, in scikit-learn's manners."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args

import numpy as np
from array_api_compat import device
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from capsnp.backend import Array, namespace
from capsnp.errors import DataError, OptionError
from capsnp.functional import harmonium
from capsnp.functional._checks import expect_count, expect_option, expect_range
from capsnp.functional.harmonium import Harmonium
from capsnp.functional.pseudolikelihood import hyvarinen_score, pseudo_log_likelihood
from capsnp.functional.units import Units, units_of
from capsnp.memory import expect_fitting
from capsnp.models._chains import Noise, sweep
from capsnp.models._rbm_training import RBMTraining
from capsnp.models._room import expect_room_for_chains
from capsnp.models._rows import RowEstimator
from capsnp.training.loop import Observer, train
from capsnp.training.progress import Progress
from capsnp.training.watchdog import Watchdog

Visible = Literal["auto", "bernoulli", "categorical", "gaussian"]
Hidden = Literal["bernoulli", "gaussian", "relu"]
Algorithm = Literal["cd", "pcd", "pt"]
Offsets = Literal["data", "average"]
Decay = Literal["linear", "none"]


class RBM(ClassNamePrefixFeaturesOutMixin, TransformerMixin, RowEstimator):
    r"""Restricted Boltzmann machine.

    .. math:: p(v, h) = \tfrac1Z e^{-E(v, h)}, \qquad
              E(v, h) = e(v; b) + e(h; c) - \sum_{ij} φ(v)_i\, w_{ij}\, φ(h)_j

    with the energies e and statistics φ of the kinds of units, see
    :py:mod:`capsnp.functional.units`; with Bernoulli units it is (1). Everything that
    scikit-learn's estimators do works: pipelines, searches, sparse rows, its array API dispatch.

    Parameters
    ----------
    n_components : int
        J hidden units.
    visible : {"auto", "bernoulli", "categorical", "gaussian"}
        Kind of the I visible units: "bernoulli" takes numbers from 0 to 1, "categorical" groups of
        `n_categories` numbers that sum to 1, "gaussian" any, with a variance that is learnt for
        each. "auto" is Bernoulli where the data of `fit` lie in [0, 1], else Gaussian.
    hidden : {"bernoulli", "gaussian", "relu"}
    n_categories : int, optional
        Of categorical visible units.
    algorithm : {"cd", "pcd", "pt"}
        Where the gradient's model term comes from: chains that start at each batch (contrastive
        divergence), that go on from step to step, or that do so at several temperatures.
    k : int
        Gibbs steps of a chain in a step of learning.
    n_chains : int, optional
        Kept chains of "pcd" and "pt", for each temperature; by default `batch_size`.
    n_temperatures : int
        Of "pt", from 2; they are placed so that neighbours exchange states alike often.
    learning_rate : float
    decay : {"none", "linear"}
        Of the learning rate, to 0 at the last step.
    momentum : float
        In [0, 1), of an average of gradients.
    l2, l1 : float
        Decay of the weights.
    sparsity_target : float, optional
        Mean of each hidden unit towards which its bias is moved, by `sparsity_cost` times the
        difference in a batch (Lee et al. 2008).
    sparsity_cost : float
    centered : bool
        Follow the gradient of the centred energy, which does not depend on what a unit calls 0.
    offsets : {"data", "average"}
        What is subtracted when centred: means of the data, or of data and model (the enhanced
        gradient).
    init_scale : float
        Standard deviation of the first weights, in standard deviations of Gaussian units.
    n_iter : int
        Passes over the data.
    batch_size : int
        Rows of a step; the short batch at the end of a pass is left out.
    random_state : int
        Seed of the weights, the order of the data and all noise.
    dtype : {"float32", "float64"}, optional
        By default that of the data.
    backend : str, Backend or None
        See `capsnp.backend.get_backend`. With scikit-learn's array API dispatch on, by default
        the library of the data.
    verbose : bool
        Show progress on standard error.

    Attributes
    ----------
    components_ : array, shape (J, I)
        wᵀ.
    intercept_visible_ : array, shape (I,)
        b; from the data's moments at first.
    intercept_hidden_ : array, shape (J,)
        c.
    log_variance_ : array, shape (I,)
        Of Gaussian visible units.
    visible_ : str
        Kind of the visible units.
    mean_, scale_ : array, shape (I,)
        Of the data: means, and standard deviations for Gaussian units, which are trained on
        standardized features.
    h_samples_ : array, shape (n_chains, J)
        Hidden states at the chains' ends.
    betas_, exchange_rates_ : numpy.ndarray, shapes (n_temperatures,) and (n_temperatures - 1,)
        Of "pt": inverse temperatures, and how often neighbours exchanged states.
    n_features_in_ : int

    References
    ----------
    Hauser (2019), arXiv:1907.11643, section 2.1; Hinton (2002); Tieleman (2008); Desjardins et al.
    (2010); Melchior, Fischer & Wiskott (2016), How to center deep Boltzmann machines.

    Examples
    --------
    >>> X = np.asarray([[0, 0, 1], [0, 1, 0], [1, 0, 1], [1, 1, 0]] * 8, dtype="float32")
    >>> model = RBM(2, n_iter=100, batch_size=8, learning_rate=0.5).fit(X)
    >>> model.transform(X).shape
    (32, 2)
    >>> bool(model.score(X) > 3 * np.log(0.5))  # better than independent coins
    True
    """

    def __init__(
        self,
        n_components: int = 256,
        *,
        visible: Visible = "auto",
        hidden: Hidden = "bernoulli",
        n_categories: int | None = None,
        algorithm: Algorithm = "cd",
        k: int = 1,
        n_chains: int | None = None,
        n_temperatures: int = 10,
        learning_rate: float = 0.05,
        decay: Decay = "none",
        momentum: float = 0.0,
        l2: float = 0.0,
        l1: float = 0.0,
        sparsity_target: float | None = None,
        sparsity_cost: float = 0.1,
        centered: bool = True,
        offsets: Offsets = "data",
        init_scale: float = 0.01,
        n_iter: int = 10,
        batch_size: int = 100,
        random_state: int = 0,
        dtype: str | None = None,
        backend: Any = None,
        verbose: bool = False,
    ):
        self.n_components = n_components
        self.visible = visible
        self.hidden = hidden
        self.n_categories = n_categories
        self.algorithm = algorithm
        self.k = k
        self.n_chains = n_chains
        self.n_temperatures = n_temperatures
        self.learning_rate = learning_rate
        self.decay = decay
        self.momentum = momentum
        self.l2 = l2
        self.l1 = l1
        self.sparsity_target = sparsity_target
        self.sparsity_cost = sparsity_cost
        self.centered = centered
        self.offsets = offsets
        self.init_scale = init_scale
        self.n_iter = n_iter
        self.batch_size = batch_size
        self.random_state = random_state
        self.dtype = dtype  # type: ignore[assignment]
        self.backend = backend
        self.verbose = verbose

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.array_api_support = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    # --- fitting ---------------------------------------------------------------------------

    def fit(self, X: Any, y: Any = None, *, observers: Iterable[Observer] = ()) -> "RBM":  # noqa: ARG002
        """Train on rows.

        Parameters
        ----------
        X : array or sparse matrix, shape (N, I)
        y : ignored
        observers : iterable of Observer, optional
            See `capsnp.training`.

        Returns
        -------
        RBM
            Itself.

        Raises
        ------
        OptionError
            If an option lies outside its range.
        DomainError
            If a number is no state of the visible units.
        DataError
            If a feature of Gaussian units is constant.
        DivergenceError
            If training makes a number that is not finite.
        """
        with Progress(quiet=not self.verbose) as progress:
            watching = (Watchdog(limit=math.inf), progress, *observers)
            train(self.training(X), observers=watching)
        return self

    def partial_fit(self, X: Any, y: Any = None) -> "RBM":  # noqa: ARG002
        """One step on the rows as one batch, at the learning rate of the start.

        Goes on from the weights of `fit`; without them the first call sets the weights, and by its
        rows the biases and the kind of the visible units.

        Returns
        -------
        RBM
            Itself.
        """
        self._expect_options()
        first = not hasattr(self, "components_")
        X = self._checked(X, reset=first)
        if not hasattr(self, "_online"):
            self._online = RBMTraining(self, X, start=first)
        self._online.X = None
        rows = np.arange(X.shape[0])
        batch = self._dense(X, rows)
        self._units.expect_states("X", batch)
        self._online.learn(batch)
        self._online.hand_over()
        return self

    def training(self, X: Any) -> RBMTraining:
        """The training that `fit` would run, to be driven step by step."""
        self._expect_options()
        return RBMTraining(self, self._checked(X, reset=True))

    def _expect_options(self) -> None:
        if self.dtype is not None:
            super()._expect_options()
        counts = ("n_components", "k", "n_iter", "batch_size")
        for name in counts if self.n_chains is None else (*counts, "n_chains"):
            expect_count(name, getattr(self, name))
        expect_count("random_state", self.random_state, minimum=0)
        expect_count("n_temperatures", self.n_temperatures, minimum=2)
        for name, choices in (
            ("visible", Visible),
            ("hidden", Hidden),
            ("algorithm", Algorithm),
            ("offsets", Offsets),
            ("decay", Decay),
        ):
            expect_option(name, getattr(self, name), get_args(choices))
        for name in ("learning_rate", "l2", "l1", "sparsity_cost", "init_scale"):
            expect_range(name, getattr(self, name), 0)
        expect_range("momentum", self.momentum, 0, 1)
        if self.sparsity_target is not None:
            expect_range("sparsity_target", self.sparsity_target, 0)

    def _start(self, X: Any) -> None:
        """Kind of units and biases by the data's moments, first weights."""
        self._forget()
        self._library = self._library_for(X)
        self._dtype = self.dtype or str(X.dtype).rsplit(".", 1)[-1]
        mean, variance = self._moments(X)
        n, (n_in, n_out) = X.shape[0], (X.shape[1], self.n_components)
        expect_fitting("n_components", n_out, 16.0 * n_in * n_out, what="hidden units")
        rng = np.random.default_rng([self.random_state, 1])
        values = {
            "w": self._array(rng.normal(0.0, self.init_scale, (n_in, n_out))),
            "c": self._array(np.zeros(n_out)),
        }
        self.mean_ = self._array(mean)
        if self.visible_ == "gaussian":
            _expect_varied(variance, mean, n)
            self.scale_ = self._array(np.sqrt(variance))
            values["b"], values["log_variance"] = (self._array(np.zeros(n_in)) for _ in range(2))
        elif self.visible_ == "categorical":
            share = (n * mean + 0.5) / (n + 0.5 * (self.n_categories or 1))
            values["b"] = self._array(np.log(share))
        else:
            values["b"] = self._array(np.log((n * mean + 0.5) / (n * (1.0 - mean) + 0.5)))
        self._set_standard(values)

    def _forget(self) -> None:
        """Drop what only some machines learn, and the moments of `partial_fit`."""
        for name in ("_online", *(f"{name}_" for name in _OPTIONAL)):
            if hasattr(self, name):
                delattr(self, name)

    def _set_standard(self, values: Mapping[str, Array]) -> None:
        """Take parameters for standardized features, which others are already where not Gaussian.

        With v = mean + scale·u, and u in a machine of w, b, c and σ², v is in one of scale·w,
        mean + scale·b, c − φ(mean)·(scale·w) and scale²·σ².
        """
        w, b, c = values["w"], values["b"], values["c"]
        if "log_variance" in values:
            xp = self._backend.xp
            w, b = w * self.scale_[:, None], self.mean_ + self.scale_ * b
            self.log_variance_ = values["log_variance"] + 2.0 * xp.log(self.scale_)
            c = c - self._units.statistic(self.mean_) @ w
        self._set(w, b, c)

    def _standard(self) -> dict[str, Array]:
        """Parameters for standardized features: what `_set_standard` takes."""
        w, b, c = self._w, self.intercept_visible_, self.intercept_hidden_
        if self.visible_ != "gaussian":
            return {"w": w, "b": b, "c": c}
        return {
            "w": w / self.scale_[:, None],
            "b": (b - self.mean_) / self.scale_,
            "c": c + self._units.statistic(self.mean_) @ w,
            "log_variance": self.log_variance_ - 2.0 * self._backend.xp.log(self.scale_),
        }

    def _set(self, w: Array, b: Array, c: Array) -> None:
        self._w, self.intercept_visible_, self.intercept_hidden_ = w, b, c
        self.components_ = namespace(w=w).matrix_transpose(w)

    def _moments(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance of each feature; the kind of units is chosen, and their domain checked.

        Two passes over the rows, each in float64.
        """
        n, low, high = X.shape[0], 0.0, 1.0
        mean, variance = np.zeros(X.shape[1]), np.zeros(X.shape[1])
        for _, block in self._host_blocks(X):
            mean += np.sum(block, axis=0, dtype=np.float64) / n
            low, high = min(low, float(np.min(block))), max(high, float(np.max(block)))
        self.visible_ = self.visible
        if self.visible == "auto":
            self.visible_ = "bernoulli" if low == 0.0 and high == 1.0 else "gaussian"
        units = self._units
        for start, block in (
            self._host_blocks(X) if self.visible_ != "bernoulli" or high > 1 else ()
        ):
            units.expect_states("X", block, row=start)
            variance += np.sum((block - mean) ** 2, axis=0, dtype=np.float64) / n
        return mean, variance

    # --- machine ---------------------------------------------------------------------------

    @property
    def _n_features_out(self) -> int:
        """By which scikit-learn names the columns of `transform`."""
        return self.components_.shape[0]

    @property
    def _units(self) -> Units:
        return units_of(
            self.visible_,
            n_categories=self.n_categories,
            log_variance=getattr(self, "log_variance_", None),
        )

    @property
    def machine_(self) -> Harmonium:
        """The machine of :py:mod:`capsnp.functional.harmonium`, on the backend."""
        check_is_fitted(self, "components_")
        return Harmonium(
            self._w,
            self.intercept_visible_,
            self.intercept_hidden_,
            self._units,
            units_of(self.hidden),
        )

    # --- inference -------------------------------------------------------------------------

    def transform(self, X: Any) -> Any:
        """Means of the hidden units given rows, (N, J); of Bernoulli units P(on)."""
        return self._joined(
            (harmonium.hidden_mean(self.machine_, v) for v in self._blocks(X, "transform")), X
        )

    def inverse_transform(self, H: Any) -> Any:
        """Means of the visible units given hidden states or means, (N, I)."""
        h = self._hidden(H)
        return self._joined([harmonium.visible_mean(self.machine_, h)], H)

    def _hidden(self, H: Any) -> Array:
        check_is_fitted(self, "components_")
        h = self._array(H)
        if h.ndim != 2 or h.shape[1] != self.components_.shape[0]:
            raise OptionError(
                f"H: expected shape (N, {self.components_.shape[0]}), got {tuple(h.shape)}"
            )
        units_of(self.hidden).expect_states("H", h)
        return h

    def energy(self, X: Any, H: Any) -> Any:
        """E(v, h) of rows and hidden states, (N,)."""
        h, start, parts = self._hidden(H), 0, []
        for v in self._blocks(X, "energy"):
            parts.append(harmonium.energy(self.machine_, v, h[start : start + v.shape[0], :]))
            start += v.shape[0]
        return self._joined(parts, X)

    def free_energy(self, X: Any) -> Any:
        """F(v) = −log Σ_h e^{−E(v, h)} of rows, (N,): −log p(v) − log Z."""
        return self._joined(
            (harmonium.free_energy(self.machine_, v) for v in self._blocks(X, "free_energy")), X
        )

    def score_samples(self, X: Any) -> Any:
        """Pseudo-log-likelihood of rows, (N,): of all units, the same from call to call.

        Of Gaussian visible units the score of Hyvärinen, see
        `capsnp.functional.pseudolikelihood`.
        """
        gaussian = self.__dict__.get("visible_") == "gaussian"
        score = hyvarinen_score if gaussian else pseudo_log_likelihood
        return self._joined((score(self.machine_, v) for v in self._blocks(X, "score_samples")), X)

    def score(self, X: Any, y: Any = None) -> float:  # noqa: ARG002
        """Mean of `score_samples`."""
        scores = self.score_samples(X)
        return float(namespace(scores=scores).mean(scores))

    def log_likelihood(self, X: Any, **options: Any) -> Any:
        """log p(v) of rows, exact where one layer's states can be listed, else between two ends.

        Parameters
        ----------
        X : array, shape (N, I)
        **options
            Of `capsnp.evaluation.likelihood.log_likelihood`, which does it.

        Returns
        -------
        capsnp.evaluation.likelihood.Likelihood
            In nats per row, with the ends and where they come from.
        """
        from capsnp.evaluation.likelihood import log_likelihood

        return log_likelihood(self, X, **options)

    def gibbs(self, X: Any, *, k: int = 1, rng: np.random.Generator | int | None = None) -> Any:
        """Visible states after k Gibbs steps from rows.

        Parameters
        ----------
        X : array or sparse matrix, shape (N, I)
        k : int
        rng : numpy.random.Generator or int, optional
            Generator or seed of the noise; by default `random_state`.

        Returns
        -------
        array, shape (N, I)
        """
        expect_count("k", k)
        noise, parts = self._noise(rng), []
        for v in self._blocks(X, "gibbs"):
            machine = self.machine_
            shape = (v.shape[0], machine.w.shape[1])
            h = harmonium.draw_hidden(machine, v, noise.for_states(machine.hidden, shape))
            parts.append(sweep(machine, h, noise, k)[0])
        return self._joined(parts, X)

    def sample(
        self, n: int, *, n_steps: int = 1000, rng: np.random.Generator | int | None = None
    ) -> Any:
        """Visible states at the ends of chains.

        Parameters
        ----------
        n : int
            Chains, started at hidden states of the training's chains where there are, in turns.
        n_steps : int
            Gibbs steps of each.
        rng : numpy.random.Generator or int, optional
            As in `gibbs`.

        Returns
        -------
        numpy.ndarray, shape (n, I)
        """
        check_is_fitted(self, "components_")
        expect_count("n", n)
        expect_count("n_steps", n_steps)
        machine, xp = self.machine_, self._backend.xp
        expect_room_for_chains("n", n, machine, self._backend)
        start = self.h_samples_
        rows = xp.asarray(np.arange(n) % start.shape[0], device=device(start))
        v, _ = sweep(machine, xp.take(start, rows, axis=0), self._noise(rng), n_steps)
        return self._backend.to_host(v)

    def _noise(self, rng: np.random.Generator | int | None) -> Noise:
        if not isinstance(rng, np.random.Generator):
            rng = self._backend.rng(self.random_state if rng is None else rng)
        return Noise(self._backend, self._dtype, rng)

    # --- state -----------------------------------------------------------------------------

    def state(self) -> dict[str, np.ndarray]:
        """Learned arrays by name, on the host."""
        check_is_fitted(self, "components_")
        names = ("components", "intercept_visible", "intercept_hidden", "mean", *_OPTIONAL)
        host = self._backend.to_host
        return {
            name: np.array(host(getattr(self, f"{name}_")), order="C")
            for name in names
            if hasattr(self, f"{name}_")
        } | {"visible": np.asarray(get_args(Visible).index(self.visible_))}

    def restore(self, state: Mapping[str, np.ndarray]) -> "RBM":
        """Go back to a `state`.

        Raises
        ------
        KeyError
            If an array is missing.
        """
        self._forget()
        self._dtype = str(state["components"].dtype)
        self.visible_ = get_args(Visible)[int(state["visible"])]
        self.n_features_in_ = state["components"].shape[1]
        w = self._array(np.ascontiguousarray(state["components"].T))
        b, c, self.mean_ = (
            self._array(np.array(state[name]))
            for name in ("intercept_visible", "intercept_hidden", "mean")
        )
        self._set(w, b, c)
        for name in _OPTIONAL:
            if name in state:
                value = np.array(state[name])
                setattr(self, f"{name}_", value if name in _LADDER else self._array(value))
        return self


_LADDER = ("betas", "exchange_rates")
_OPTIONAL = ("log_variance", "scale", "h_samples", *_LADDER)
"""What machines learn with some kinds of units, or by some algorithms."""


def _expect_varied(variance: np.ndarray, mean: np.ndarray, n: int) -> None:
    """Raise unless every feature varies beyond the rounding of its mean."""
    if n < 2:
        raise DataError("X: expected at least 2 rows for gaussian units, got n_samples=1")
    rounding = (n * np.finfo(np.float64).eps * np.abs(mean)) ** 2
    constant = np.flatnonzero(variance <= rounding)
    if constant.size:
        raise DataError(
            f"X: expected features that vary for gaussian units, got feature {constant[0]} "
            f"constant at {mean[constant[0]]:g} ({constant.size} of {mean.size}): drop it"
        )
