r"""Kinds of units of a bipartite machine: what states they take and what a field does to them.

A layer of units of one kind has states s (..., I), biases b (I,) and feels fields x (..., I). Its
own energy e(s; b) and its statistic φ(s) are such that with a field x in place of b

.. math:: p(s \mid x) \propto e^{-e(s; x)}, \qquad
          e(s; b) = e(s; 0) - b \cdot φ(s) + \mathrm{offset}(b)

=============  ======================  =================================  ==============
name           states                  e(s; b)                            noise
=============  ======================  =================================  ==============
"bernoulli"    0 or 1                  −Σ b s                             uniform
"categorical"  K numbers, one of       −Σ b s                             uniform, one
               them 1, the others 0                                       per K
"gaussian"     real                    Σ (s − b)²/2σ²                     normal
"relu"         real, not negative      Σ s²/2 − b s                       uniform
=============  ======================  =================================  ==============

Nothing here draws: `Units.draw` turns noise of the shape `Units.noise_shape` into states. All of it
is derived on :doc:`/derivations/units`.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

from array_api_compat import device

from capsnp.backend import Array, namespace
from capsnp.errors import DomainError, OptionError, ShapeError
from capsnp.functional import _rectified
from capsnp.functional._checks import expect_count, expect_option, first_index, floating
from capsnp.functional._special import LOG_2PI
from capsnp.functional.activations import logsumexp, sigmoid, sigmoid_derivative, softmax, softplus

Noise = Literal["uniform", "normal"]
UnitKind = Literal["bernoulli", "categorical", "gaussian", "relu"]


class Units(ABC):
    """Units of one kind.

    Attributes
    ----------
    name : str
        One of `UnitKind`.
    noise : {"uniform", "normal"}
        What `draw` takes: numbers in [0, 1), or of mean 0 and variance 1.
    """

    name: ClassVar[str]
    noise: ClassVar[Noise] = "uniform"

    @abstractmethod
    def energy(self, s: Array, bias: Array) -> Array:
        """Their own energy e(s; b), summed over the layer: (..., I) and (I,) to (...)."""

    @abstractmethod
    def log_partition(self, x: Array) -> Array:
        r"""The logarithm of :math:`\sum_s e^{-e(s;\,0) + x\cdot φ(s)}`, or the integral.

        Fields (..., I) to (...), summed over the layer.
        """

    @abstractmethod
    def mean(self, x: Array) -> Array:
        """⟨s⟩ in fields x, (..., I): σ² times the derivative of `log_partition`."""

    @abstractmethod
    def variance(self, x: Array) -> Array:
        """⟨s²⟩ − ⟨s⟩² in fields x, (..., I)."""

    @abstractmethod
    def draw(self, x: Array, noise: Array) -> Array:
        """States (..., I) drawn in fields x with noise of `noise_shape`."""

    @abstractmethod
    def outside(self, s: Array) -> Array:
        """Where states, or means of states, are impossible: boolean, (..., I)."""

    def statistic(self, s: Array) -> Array:
        """φ(s), by which biases and weights meet the states."""
        return s

    def offset(self, bias: Array) -> Array | float:  # noqa: ARG002
        """What e(s; b) has beside e(s; 0) − b·φ(s)."""
        return 0.0

    def noise_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Of the noise for states of a shape."""
        return shape

    def expect_states(self, name: str, s: Array, *, row: int = 0) -> None:
        """Raise `DomainError` unless all are states, or means of states; reads the array.

        Parameters
        ----------
        name : str
            What the caller calls them.
        s : array, shape (B, I)
        row : int, optional
            Where the first is among the caller's.

        Examples
        --------
        >>> import numpy as np
        >>> Bernoulli().expect_states("X", np.asarray([[0.0, 255.0]]))
        Traceback (most recent call last):
        capsnp.errors.DomainError: X: expected numbers from 0 to 1 for bernoulli units, \
got 255 at (0, 1)
        """
        xp = namespace(s=s)
        outside = self.outside(s)
        if bool(xp.any(outside)):
            first, *place = first_index(xp, outside)
            raise DomainError(
                f"{name}: expected {self._domain} for {self.name} units, "
                f"got {float(s[(first, *place)]):g} at {(row + first, *place)}"
            )

    _domain: ClassVar[str]


class DiscreteUnits(Units):
    """Units whose states can be listed."""

    @abstractmethod
    def n_states(self, size: int) -> int:
        """How many states a layer of so many numbers has."""

    @abstractmethod
    def states(self, size: int, start: int, stop: int, *, like: Array) -> Array:
        """States number `start` to `stop` of a layer: (stop − start, size) in the dtype of `like`.

        Examples
        --------
        >>> import numpy as np
        >>> Bernoulli().states(2, 1, 4, like=np.zeros(1)).tolist()
        [[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]
        """


@dataclass(frozen=True)
class Bernoulli(DiscreteUnits):
    r"""Units that are 0 or 1.

    .. math:: e(s; b) = -b s, \qquad \log(1 + e^x), \qquad \langle s\rangle = \sigma(x)

    Examples
    --------
    >>> import numpy as np
    >>> units, x = Bernoulli(), np.asarray([0.0, 2.0])
    >>> units.mean(x).round(4), units.draw(x, np.asarray([0.7, 0.7]))
    (array([0.5   , 0.8808]), array([0., 1.]))
    """

    name = "bernoulli"
    _domain = "numbers from 0 to 1"

    def energy(self, s: Array, bias: Array) -> Array:
        return -_dot(s, bias)

    def log_partition(self, x: Array) -> Array:
        return namespace(x=x).sum(softplus(x), axis=-1)

    def mean(self, x: Array) -> Array:
        return sigmoid(x)

    def variance(self, x: Array) -> Array:
        return sigmoid_derivative(x)

    def draw(self, x: Array, noise: Array) -> Array:
        xp = namespace(x=x)
        # σ(x) by tanh, which is less work: no finer than the noise where it is small
        return xp.astype(noise < 0.5 + 0.5 * xp.tanh(0.5 * x), x.dtype)

    def outside(self, s: Array) -> Array:
        return ~((s >= 0) & (s <= 1))

    def n_states(self, size: int) -> int:
        return 2**size

    def states(self, size: int, start: int, stop: int, *, like: Array) -> Array:
        return _digits(2, size, start, stop, like)


@dataclass(frozen=True)
class Categorical(DiscreteUnits):
    r"""Groups of K numbers, of which one is 1 and the others are 0.

    .. math:: e(s; b) = -\sum_k b_k s_k, \qquad \log \sum_k e^{x_k}, \qquad
              \langle s_k\rangle = \frac{e^{x_k}}{\sum_l e^{x_l}}

    Parameters
    ----------
    n_categories : int
        K; a layer of I numbers is I/K groups.

    Examples
    --------
    >>> import numpy as np
    >>> units, x = Categorical(3), np.zeros(6)
    >>> units.draw(x, np.asarray([0.1, 0.9]))
    array([1., 0., 0., 0., 0., 1.])
    """

    n_categories: int

    name = "categorical"
    _domain = "groups of numbers from 0 to 1 that sum to 1"

    def __post_init__(self) -> None:
        expect_count("n_categories", self.n_categories, minimum=2)

    def energy(self, s: Array, bias: Array) -> Array:
        return -_dot(s, bias)

    def log_partition(self, x: Array) -> Array:
        return namespace(x=x).sum(logsumexp(self._grouped(x)), axis=-1)

    def mean(self, x: Array) -> Array:
        return namespace(x=x).reshape(softmax(self._grouped(x)), x.shape)

    def variance(self, x: Array) -> Array:
        mean = self.mean(x)
        return mean * (1.0 - mean)

    def draw(self, x: Array, noise: Array) -> Array:
        xp = namespace(x=x, noise=noise)
        cumulative = xp.cumulative_sum(softmax(self._grouped(x)), axis=-1)
        passed = xp.astype(cumulative[..., :-1] <= noise[..., None], x.dtype)
        edge = xp.ones_like(passed[..., :1])
        one_hot = xp.concat([edge, passed], axis=-1) - xp.concat([passed, 0.0 * edge], axis=-1)
        return xp.reshape(one_hot, x.shape)

    def outside(self, s: Array) -> Array:
        xp = namespace(s=s)
        groups = self._grouped(s)
        total = xp.sum(groups, axis=-1, keepdims=True)
        near_one = xp.abs(total - 1.0) <= float(xp.finfo(s.dtype).eps) ** 0.5
        return xp.reshape(~((groups >= 0) & (groups <= 1) & near_one), s.shape)

    def noise_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*shape[:-1], shape[-1] // self.n_categories)

    def n_states(self, size: int) -> int:
        return self.n_categories ** (size // self.n_categories)

    def states(self, size: int, start: int, stop: int, *, like: Array) -> Array:
        xp, K = namespace(like=like), self.n_categories
        chosen = _digits(K, size // K, start, stop, like)[..., None]  # (S, G, 1)
        each = xp.astype(xp.arange(K, device=device(like)), like.dtype)
        return xp.reshape(xp.astype(chosen == each, like.dtype), (stop - start, size))

    def _grouped(self, x: Array) -> Array:
        """(..., I) as (..., I/K, K)."""
        if x.shape[-1] % self.n_categories:
            raise ShapeError(
                f"categorical units: expected a multiple of {self.n_categories} (n_categories) "
                f"in the last axis, got shape {tuple(x.shape)}"
            )
        return namespace(x=x).reshape(x, (*x.shape[:-1], -1, self.n_categories))


@dataclass(frozen=True, eq=False)
class Gaussian(Units):
    r"""Real units with a Gaussian around their field.

    .. math:: e(s; b) = \frac{(s - b)^2}{2\sigma^2}, \qquad φ(s) = \frac{s}{\sigma^2}, \qquad
              \frac{x^2}{2\sigma^2} + \tfrac12\log 2\pi\sigma^2, \qquad \langle s\rangle = x

    With the field as the mean (Cho et al. 2011) a change of σ² does not move it.

    Parameters
    ----------
    log_variance : array, shape (I,), optional
        log σ²; without it σ² = 1.

    References
    ----------
    Cho, Ilin & Raiko (2011), Improved learning of Gaussian-Bernoulli restricted Boltzmann
    machines.
    Derivation: :doc:`/derivations/units`.

    Examples
    --------
    >>> import numpy as np
    >>> units = Gaussian(np.log([4.0]))
    >>> units.energy(np.asarray([3.0]), np.asarray([1.0])), units.draw(np.ones(1), np.ones(1))
    (np.float64(0.5), array([3.]))
    """

    log_variance: Array | None = None

    name = "gaussian"
    noise = "normal"
    _domain = "finite numbers"

    def energy(self, s: Array, bias: Array) -> Array:
        return 0.5 * namespace(s=s).sum(self.statistic((s - bias) ** 2), axis=-1)

    def log_partition(self, x: Array) -> Array:
        xp = namespace(x=x)
        log_volume = LOG_2PI if self.log_variance is None else LOG_2PI + self.log_variance
        return 0.5 * xp.sum(self.statistic(x * x) + log_volume, axis=-1)

    def mean(self, x: Array) -> Array:
        return x

    def variance(self, x: Array) -> Array:
        xp = namespace(x=x)
        one = xp.ones_like(x)
        return one if self.log_variance is None else one * xp.exp(self.log_variance)

    def draw(self, x: Array, noise: Array) -> Array:
        if self.log_variance is None:
            return x + noise
        return x + namespace(x=x).exp(0.5 * self.log_variance) * noise

    def outside(self, s: Array) -> Array:
        return ~namespace(s=s).isfinite(s)

    def statistic(self, s: Array) -> Array:
        return s if self.log_variance is None else s * namespace(s=s).exp(-self.log_variance)

    def offset(self, bias: Array) -> Array:
        return self.energy(0.0 * bias, bias)


@dataclass(frozen=True)
class Relu(Units):
    r"""Units of a Gaussian that is cut off below 0: the exact rectified unit.

    .. math:: e(s; b) = \tfrac12 s^2 - b s, \qquad
              \log\int_0^\infty e^{xs - s^2/2}\,ds = \tfrac12 x^2 + \tfrac12\log 2\pi + \log\Phi(x),
              \qquad \langle s\rangle = x + \frac{e^{-x^2/2}}{\sqrt{2\pi}\,\Phi(x)}

    Noisy rectified units, s = max(0, x + √σ(x) · noise) of Nair & Hinton (2010), come from no
    energy: no free energy, likelihood or chain of theirs belongs together. These do.

    Notes
    -----
    Below x = −4 the terms cancel. There the mean is the continued fraction of Laplace,

    .. math:: \langle s\rangle = \cfrac{1}{a + \cfrac{2}{a + \cfrac{3}{a + \cdots}}},
              \qquad a = -x, \qquad
              \int_0^\infty e^{xs - s^2/2}\,ds = \frac{1}{a + \langle s\rangle}

    Draws invert the distribution function: by Φ⁻¹ for x ≥ 0, where they are exact to its rounding,
    by Newton's method on the logarithm of the tail for x < 0.

    References
    ----------
    Leisink & Kappen (2000), Learning in higher order Boltzmann machines using linear response;
    Su et al. (2017), Unsupervised learning with truncated Gaussian graphical models.
    Derivation: :doc:`/derivations/units`.

    Examples
    --------
    >>> import numpy as np
    >>> units, x = Relu(), np.asarray([-100.0, 0.0, 100.0])
    >>> units.mean(x).round(4)
    array([1.000e-02, 7.979e-01, 1.000e+02])
    >>> units.draw(x, np.asarray([0.5, 0.5, 0.5])).round(4)
    array([6.900e-03, 6.745e-01, 1.000e+02])
    """

    name = "relu"
    _domain = "numbers from 0"

    def energy(self, s: Array, bias: Array) -> Array:
        return namespace(s=s).sum(s * (0.5 * s - bias), axis=-1)

    def log_partition(self, x: Array) -> Array:
        return namespace(x=x).sum(_rectified.log_partition(x), axis=-1)

    def mean(self, x: Array) -> Array:
        return _rectified.mean(x)

    def variance(self, x: Array) -> Array:
        return _rectified.variance(x)

    def draw(self, x: Array, noise: Array) -> Array:
        return _rectified.draw(x, noise)

    def outside(self, s: Array) -> Array:
        return ~((s >= 0) & namespace(s=s).isfinite(s))


def units_of(
    kind: str, *, n_categories: int | None = None, log_variance: Array | None = None
) -> Units:
    """Units by the name of their kind.

    Parameters
    ----------
    kind : {"bernoulli", "categorical", "gaussian", "relu"}
    n_categories : int, optional
        Of categorical units, which need it.
    log_variance : array, shape (I,), optional
        Of Gaussian units.

    Returns
    -------
    Units

    Raises
    ------
    OptionError
        If the kind is unknown, or categories are missing.

    Examples
    --------
    >>> units_of("categorical", n_categories=10)
    Categorical(n_categories=10)
    """
    expect_option("kind", kind, ("bernoulli", "categorical", "gaussian", "relu"))
    if kind == "categorical":
        if n_categories is None:
            raise OptionError("n_categories: expected a number for categorical units, got None")
        return Categorical(n_categories)
    if kind == "gaussian":
        return Gaussian(log_variance)
    return Bernoulli() if kind == "bernoulli" else Relu()


def _dot(s: Array, bias: Array) -> Array:
    xp = floating(s=s, bias=bias)
    return xp.sum(s * bias, axis=-1)


def _digits(base: int, n: int, start: int, stop: int, like: Array) -> Array:
    """Numbers from `start` to `stop` in a base, the first of n digits the slowest: (S, n)."""
    xp, place = namespace(like=like), device(like)
    numbers = xp.arange(start, stop, device=place)[:, None]
    powers = xp.asarray([base**k for k in reversed(range(n))], dtype=numbers.dtype, device=place)
    return xp.astype((numbers // powers) % base, like.dtype)
