"""A routing-weighted product of expert neurons, trained by contrastive divergence."""

import math
from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np

from capsnp.backend import Array
from capsnp.errors import DomainError, OptionError
from capsnp.functional import (
    capsule_evidence,
    neuron_free_energy,
    neuron_machine,
    neuron_mix,
    neuron_visible_field,
    sigmoid,
)
from capsnp.functional._checks import expect_count, expect_option
from capsnp.functional.harmonium import Harmonium
from capsnp.functional.routing import Agreement, Normalize
from capsnp.models._base import Rows, expect_rows
from capsnp.models._neuron_training import NeuronTraining
from capsnp.models._routed import Decay, RoutedLayer

GIBBS = 6
"""What the random numbers are for: the second part of their generator's seed."""

Units = Literal["gaussian", "bernoulli", "logistic"]
Hidden = Literal["mean", "sample"]


class ExpertNeurons(RoutedLayer):
    r"""Routing-weighted product of expert neurons, our reading of arXiv:1907.11639.

    .. math:: -E(v, h) = \sum_{ij} c_{ij}\, (h_j - \lambda)^\top W_{ij} (v_i - \mu_i)
              + \sum_j a_j^\top h_j + \sum_i b_i^\top v_i

    for Bernoulli visible neurons; Gaussian ones have :math:`-\tfrac12\|v_i - b_i\|^2` in place of
    the last sum. Every hidden neuron is 0 or 1 and one expert; routing by agreement finds the
    coefficients c from the data, and the chain keeps them. With equal coefficients this is a
    restricted Boltzmann machine.

    A capsule's code is the mean of its neurons, from −1 to 1 and divided by √D,

    .. math:: y_j = \frac{2 P(h_j = 1 \mid v) - 1}{\sqrt D},

    so that it lies in the unit ball: short when its neurons are undecided, and of length 1 when all
    of them are certain.

    Parameters
    ----------
    n_capsules, capsule_dim : int
        J hidden capsules of D neurons.
    visible : {"gaussian", "bernoulli", "logistic"}
        What X is: real numbers, centred and scaled (v); bits or probabilities in [0, 1]; or real
        numbers whose logistic function, centred and scaled, is the probability of a bit.
    hidden : {"mean", "sample"}
        What goes down in training: the neurons' means, or drawn neurons.
    routing_iterations, agreement, normalize, coefficient_scale
        As in `ExpertCapsules`. The coefficients' mean of 1 makes equal ones an RBM.
    centre : bool
        Subtract each feature's mean over the data, and λ = ½ from the hidden neurons.
    feature_scale : float or None
        Features are divided so that the mean capsule's length is this; None leaves them. Gaussian
        neurons have a variance of 1 given h, so it says how certain the hidden neurons become: long
        features make all of them 0 or 1. Bits are not scaled.
    n_winners : int or None
        Capsules that take part per example, those with the largest evidence
        (`capsnp.functional.capsule_evidence`) + bias; the others' neurons stay at λ. None is all.
        With one winner this is a mixture of J machines.
    balance, rebalance_steps, mixing_steps, learning_rate, decay, momentum, l2, init_scale
        As in `ExpertCapsules`; the decay is of a and b, too. Evidence has a longer scale than
        log P(on), and so has `balance`.
    n_steps, batch_size, random_state, dtype, backend
        As in `ExpertCapsules`.

    Attributes
    ----------
    W_ : array, shape (I, J, D, P)
    a_ : array, shape (J, D)
    b_ : array, shape (I, P)
    bias_ : array, shape (J,)
        Of winners.
    mean_ : array, shape (I, P)
    scale_ : float
        Features are ``(X - mean_) / scale_``.

    References
    ----------
    A reading of Hauser (2019), arXiv:1907.11639, of which we have the abstract.
    Derivation: :doc:`/derivations/neurons`.

    Examples
    --------
    >>> import numpy as np
    >>> h = np.random.default_rng(0).normal(size=(64, 9, 4)).astype("float32")
    >>> model = ExpertNeurons(3, 5, n_steps=20, batch_size=16).fit(h)
    >>> model.transform(h).shape, model.sample(2, gibbs_steps=5).shape
    ((64, 3, 5), (2, 9, 4))
    """

    def __init__(
        self,
        n_capsules: int = 20,
        capsule_dim: int = 16,
        *,
        visible: Units = "gaussian",
        hidden: Hidden = "mean",
        routing_iterations: int = 2,
        agreement: Agreement = "cosine",
        normalize: Normalize = "inputs",
        coefficient_scale: float | None = 1.0,
        centre: bool = True,
        feature_scale: float | None = 0.3,
        n_winners: int | None = 1,
        balance: float = 1.0,
        rebalance_steps: int = 3000,
        mixing_steps: int = 1,
        learning_rate: float = 2.0,
        decay: Decay = "linear",
        momentum: float = 0.9,
        l2: float = 1e-4,
        init_scale: float = 0.01,
        n_steps: int = 3000,
        batch_size: int = 100,
        random_state: int = 0,
        dtype: str = "float32",
        backend: Any = None,
    ):
        self.n_capsules = n_capsules
        self.capsule_dim = capsule_dim
        self.visible = visible
        self.hidden = hidden
        self.routing_iterations = routing_iterations
        self.agreement = agreement
        self.normalize = normalize
        self.coefficient_scale = coefficient_scale
        self.centre = centre
        self.feature_scale = feature_scale
        self.n_winners = n_winners
        self.balance = balance
        self.rebalance_steps = rebalance_steps
        self.mixing_steps = mixing_steps
        self.learning_rate = learning_rate
        self.decay = decay
        self.momentum = momentum
        self.l2 = l2
        self.init_scale = init_scale
        self.n_steps = n_steps
        self.batch_size = batch_size
        self.random_state = random_state
        self.dtype = dtype
        self.backend = backend

    def _training(self, X: Rows, *, start: bool) -> NeuronTraining:
        return NeuronTraining(self, X, start=start)

    def _expect_options(self) -> None:
        super()._expect_options()
        expect_option("visible", self.visible, get_args(Units))
        expect_option("hidden", self.hidden, get_args(Hidden))

    def _start(self, X: Rows) -> None:
        super()._start(X)
        self.a_ = self._array(np.zeros((self.n_capsules, self.capsule_dim)))
        self.b_ = self._array(np.zeros(self.mean_.shape))
        if self.visible == "bernoulli":
            self.scale_ = 1.0

    # --- inference -------------------------------------------------------------------------

    @property
    def _offset(self) -> float:
        """λ."""
        return 0.5 if self.centre else 0.0

    @property
    def _kind(self) -> dict[str, Any]:
        """What the equations have to know of the neurons."""
        if self.visible == "gaussian":
            return {"visible": "gaussian", "offset": self._offset}
        mu = self.mean_ if self.visible == "bernoulli" else self.mean_ * 0.0 + self._offset
        return {"visible": "bernoulli", "offset": self._offset, "visible_offset": mu}

    def inputs(self, X: Rows) -> Array:
        """Visible neurons less their offset."""
        v = self.standardize(X)
        if self.visible == "bernoulli":
            xp = self._backend.xp
            u = v + self.mean_
            if not bool(xp.all((u >= 0) & (u <= 1))):
                raise DomainError(
                    "X: expected numbers in [0, 1] for visible='bernoulli', got others or NaN; "
                    "real features take 'gaussian' or 'logistic'"
                )
        return sigmoid(v) - self._offset if self.visible == "logistic" else v

    def _codes(self, z: Array) -> Array:
        return (2.0 * sigmoid(z + self.a_) - 1.0) / math.sqrt(self.capsule_dim)

    def _score_sums(self, z: Array) -> Array:
        return capsule_evidence(z + self.a_, offset=self._offset) + self.bias_

    def _score_codes(self, codes: Array) -> Array:
        """From the fields of the codes, those of certain neurons the largest that round apart."""
        xp = self._backend.xp
        most = 1.0 - float(xp.finfo(codes.dtype).eps)
        spin = xp.clip(codes * math.sqrt(self.capsule_dim), min=-most, max=most)
        field = 2.0 * xp.atanh(spin)
        return capsule_evidence(field, offset=self._offset) + self.bias_

    def score_samples(self, X: Rows) -> np.ndarray:
        """log p(v) + log Z = −free energy with the routed coefficients, (N,)."""
        kind = {name: self._kind[name] for name in ("visible", "offset")}
        scores = []
        for v in self._blocks(X):
            found = neuron_free_energy(v, self.W_, self._route(v).c, self.a_, self.b_, **kind)
            scores.append(self._backend.to_host(-found))
        return np.concatenate(scores)

    def inverse_transform(self, codes: Array) -> np.ndarray:
        """Features (N, I, P) that codes (N, J, D) expect, with uniform coefficients."""
        self._expect_fitted("W_")
        n_in, n_out, dim, _ = self.W_.shape
        expect_rows("codes", codes, (None, n_out, dim), "(N, J, D)")
        c = self._backend.xp.full((n_in, n_out), self._uniform, dtype=self.W_.dtype)
        p = 0.5 * (self._array(codes) * math.sqrt(dim) + 1.0)
        field = neuron_visible_field(p - self._offset, self.W_, c, self.b_)
        v = sigmoid(field) - self._kind["visible_offset"] if self.visible == "bernoulli" else field
        return self._backend.to_host(v * self.scale_ + self.mean_)

    def _features(self, v: Array) -> Array:
        """Features of visible neurons less their offset, the inverse of `inputs`."""
        if self.visible == "logistic":
            xp = self._backend.xp
            spin = 2.0 * (v + self._offset) - 1.0
            most = 1.0 - float(xp.finfo(v.dtype).eps)
            v = 2.0 * xp.atanh(xp.clip(spin, min=-most, max=most))
        return v * self.scale_ + self.mean_

    # --- likelihood ------------------------------------------------------------------------

    def machine(self, c: Any = None) -> Harmonium:
        """The bipartite machine of the neurons, with the same coefficients for all examples.

        `capsnp.evaluation.likelihood` says how likely rows of `visible_states` are under it.

        Parameters
        ----------
        c : array, shape (I, J), optional
            A model of one routing iteration has its own, all equal. Of one that routes each
            example a machine is not the model, and its coefficients are to be said: the mean over
            examples, ``model.routing(X).c.mean(axis=0)``, is one choice.

        Returns
        -------
        Harmonium

        Raises
        ------
        OptionError
            If coefficients are needed, or there are winners: a machine has all capsules on.
        ShapeError
            If c is not (I, J).

        Examples
        --------
        >>> from capsnp.evaluation.likelihood import binarize, log_likelihood
        >>> bits = np.random.default_rng(0).integers(0, 2, (64, 3, 2)).astype("float32")
        >>> options = {"visible": "bernoulli", "routing_iterations": 1, "n_winners": None}
        >>> model = ExpertNeurons(2, 2, n_steps=20, batch_size=16, **options).fit(bits)
        >>> print(log_likelihood(model.machine(), model.visible_states(bits)))
        -4.1... nats per row, exact
        """
        self._expect_fitted("W_")
        if self.n_winners is not None:
            raise OptionError(
                f"n_winners: expected None, for a machine has all capsules on, got {self.n_winners}"
            )
        if c is None and self.routing_iterations > 1:
            raise OptionError(
                f"c: expected coefficients (I, J), for {self.routing_iterations} routing "
                f"iterations find others for each example, got None"
            )
        if c is None:
            c = self._backend.xp.full(self.W_.shape[:2], self._uniform, dtype=self.W_.dtype)
        return neuron_machine(self.W_, self._array(c), self.a_, self.b_, **self._kind)

    def visible_states(self, X: Rows) -> np.ndarray:
        """Visible states of `machine`, (N, I·P), of features (N, I, P).

        Bits as they are, real features centred and scaled; of logistic neurons the probability of
        each bit.
        """
        mu = 0.0 if self.visible == "gaussian" else self._kind["visible_offset"]
        to_host = self._backend.to_host
        parts = [to_host(v + mu) for v in self._blocks(X)]
        return np.concatenate(parts).reshape(X.shape[0], -1)

    # --- sampling --------------------------------------------------------------------------

    def gibbs(self, X: Rows, steps: int = 1, *, random_state: int | None = None) -> np.ndarray:
        """Features after block Gibbs steps from X, both layers drawn, (N, I, P).

        Routing (and the winners) are found anew in each step, on what the last one drew. With one
        routing iteration and no winners this leaves the model's distribution as it is.

        Parameters
        ----------
        X : array, shape (N, I, P)
        steps : int
        random_state : int, optional
            By default the model's.

        Returns
        -------
        numpy.ndarray, shape (N, I, P)
            What the last hidden neurons expect.
        """
        self._expect_fitted("W_")
        expect_count("steps", steps)
        seed = self.random_state if random_state is None else random_state
        expect_count("random_state", seed, minimum=0)
        rng = np.random.default_rng([seed, GIBBS])
        return self._chain(self.inputs(X), steps, rng)

    def sample(
        self, n: int = 1, *, gibbs_steps: int = 200, random_state: int | None = None
    ) -> np.ndarray:
        """Features (n, I, P) at the end of chains that start from noise; see `gibbs`.

        What one mixing of means has trained need not be good far from the data: a long chain may
        end in states that training never met.

        Parameters
        ----------
        n : int
        gibbs_steps : int
        random_state : int, optional
            By default the model's.

        Returns
        -------
        numpy.ndarray, shape (n, I, P)
        """
        self._expect_fitted("W_")
        expect_count("n", n)
        expect_count("gibbs_steps", gibbs_steps)
        seed = self.random_state if random_state is None else random_state
        expect_count("random_state", seed, minimum=0)
        rng = np.random.default_rng([seed, GIBBS])
        noise = rng.standard_normal((n, *self.mean_.shape), dtype=np.dtype(self.dtype))
        v = self._array(noise)
        if self.visible != "gaussian":
            v = self._backend.xp.astype(v > 0, v.dtype) - self._kind["visible_offset"]
        return self._chain(v, gibbs_steps, rng)

    def _chain(self, v: Array, steps: int, rng: np.random.Generator) -> np.ndarray:
        """Features that the last hidden neurons of a chain from v expect."""
        dtype = np.dtype(self.dtype)
        draw: Any = rng.standard_normal if self.visible == "gaussian" else rng.random
        for left in reversed(range(steps)):
            c, z = self._route(v)
            up = self._array(rng.random((1, *z.shape), dtype=dtype))
            down = self._array(draw((1, *v.shape), dtype=dtype)) if left else None
            v = neuron_mix(
                v,
                self.W_,
                c,
                self.a_,
                self.b_,
                **self._kind,
                hidden_noise=up,
                visible_noise=down,
                on=None if self.n_winners is None else self._winners(z) > 0,
                z=z,
            ).v_model
        return self._backend.to_host(self._features(v))

    # --- state -----------------------------------------------------------------------------

    def state(self) -> dict[str, np.ndarray]:
        """Learned arrays by name, on the host."""
        self._expect_fitted("W_")
        host = self._backend.to_host
        return {
            "W": np.ascontiguousarray(host(self.W_)),
            "a": host(self.a_),
            "b": host(self.b_),
            "bias": host(self.bias_),
            "mean": host(self.mean_),
            "scale": np.asarray(self.scale_, dtype="float64"),
        }

    def restore(self, state: Mapping[str, np.ndarray]):
        """Take learned arrays from `state`."""
        self._forget()
        self.W_ = self._held(state["W"])
        self.a_, self.b_ = self._array(state["a"]), self._array(state["b"])
        self.bias_, self.mean_ = self._array(state["bias"]), self._array(state["mean"])
        self.scale_ = float(state["scale"])
        return self
