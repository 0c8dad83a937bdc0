"""A mixture of Gaussians on principal components: what joint codes are drawn from."""

import warnings
from collections.abc import Mapping
from typing import Literal, get_args

import numpy as np
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from capsnp.blocks import slices
from capsnp.errors import CheckpointError, DataError, NotFittedError, OptionError, ShapeError
from capsnp.functional._checks import expect_count, expect_option, expect_range
from capsnp.models._base import expect_rows
from capsnp.models._expectation_maximisation import Mixture, fit_mixture, log_densities
from capsnp.models._saving import Saveable
from capsnp.training.loop import Track

Init = Literal["kmeans", "random"]

PCA_ROWS = 20_000
"""Rows that the principal components are computed from; more change nothing that is visible."""

EXACT_COLUMNS = 1_500
"""Up to here the covariance is diagonalised, above the components come from random projections."""

KMEANS_ROUNDS, KMEANS_STEPS = 5, 5
"""Progress is shown after each round of steps."""

BLOCK = 2_048
"""Rows of a memory-mapped array that are read at a time."""


class MixtureModel(Saveable):
    r"""Density of points: a mixture of Gaussians over their principal components.

    .. math:: P(t) = \sum_k \pi_k\, \mathcal N(t;\, \mu_k, \Sigma_k), \qquad t = (p - \bar p) V

    with V the first principal directions of the points p. Used for joint codes of all capsules
    and, on the features themselves, for the control without capsules.

    Parameters
    ----------
    n_components : int, default 320
        Gaussians, each with a full covariance; no more than there are points.
    n_principal : int, default 80
        Principal components, no more than points or their numbers.
    init : {"kmeans", "random"}
        First assignment of points to Gaussians: by k-means from random points, or to the nearest
        of `n_components` random points.
    max_iter : int, default 8
        Steps of expectation maximisation.
    tol : float, default 1e-3
        Stop when a step raises the mean log-likelihood by less.
    regularization : float, default 1e-4
        Added to every variance, in units of the mean variance of the principal components.
    random_state : int, default 0
        The same seed gives the same mixture, bit by bit.

    Attributes
    ----------
    mean_ : numpy.ndarray, shape (F,)
    principal_ : numpy.ndarray, shape (n_principal, F)
        Orthonormal rows.
    weights_ : numpy.ndarray, shape (n_components,)
    means_ : numpy.ndarray, shape (n_components, n_principal)
    factors_ : numpy.ndarray, shape (n_components, n_principal, n_principal)
        Lower triangular with covariance = factor · factorᵀ.
    log_likelihood_ : float
        Mean over the training points, before the last step.
    n_iter_ : int

    References
    ----------
    Dempster, Laird & Rubin (1977), J. R. Stat. Soc. B 39, 1-38.

    Examples
    --------
    >>> points = np.random.default_rng(0).standard_normal((500, 6)) + [4, 0, 0, 0, 0, 0]
    >>> model = MixtureModel(n_components=2, n_principal=3).fit(points)
    >>> model.sample(2, np.random.default_rng(1)).shape
    (2, 6)
    """

    def __init__(
        self,
        n_components: int = 320,
        n_principal: int = 80,
        *,
        init: Init = "kmeans",
        max_iter: int = 8,
        tol: float = 1e-3,
        regularization: float = 1e-4,
        random_state: int = 0,
    ):
        self.n_components = n_components
        self.n_principal = n_principal
        self.init = init
        self.max_iter = max_iter
        self.tol = tol
        self.regularization = regularization
        self.random_state = random_state

    # --- fitting ---------------------------------------------------------------------------

    def fit(self, points, y=None, *, track: Track = lambda items, _: items):  # noqa: ARG002
        """Find principal components, then the mixture.

        Parameters
        ----------
        points : array, shape (N, F)
            Real floating; may be memory-mapped, and is then read in blocks.
        y : ignored
        track : callable, optional
            From the steps and what they are to the steps: `capsnp.training.track` shows them.

        Returns
        -------
        MixtureModel
            Itself.

        Raises
        ------
        OptionError
            If an option lies outside its range.
        ShapeError
            If the points are no (N, F) with N ≥ 2.
        DataError
            If a number is not finite.
        """
        self._expect_options()
        expect_rows("points", points, (None, None), "(N, F)")
        if points.shape[0] < 2:
            raise ShapeError(
                f"points: expected shape (N, F) with N at least 2, got {tuple(points.shape)}"
            )
        self._find_principal(points)
        t = self._principal_of(points)
        if not np.all(np.isfinite(t)):
            raise DataError("points: expected finite numbers, got NaN or infinity")
        scale = float(np.sqrt(np.mean(np.square(t), dtype=np.float64))) or 1.0
        t /= np.float32(scale)
        mixture, self.log_likelihood_, self.n_iter_ = fit_mixture(
            t,
            self._first_labels(t, track),
            steps=track(range(1, self.max_iter + 1), "mixture"),
            tol=self.tol,
            regularization=self.regularization,
        )
        self.log_likelihood_ -= t.shape[1] * float(np.log(scale))
        self.weights_ = mixture.weights
        self.means_ = mixture.means * np.float32(scale)
        self.factors_ = mixture.factors * np.float32(scale)
        return self

    def _expect_options(self) -> None:
        for name in ("n_components", "n_principal", "max_iter"):
            expect_count(name, getattr(self, name))
        expect_count("random_state", self.random_state, minimum=0)
        expect_option("init", self.init, get_args(Init))
        for name in ("tol", "regularization"):
            expect_range(name, getattr(self, name), 0.0)
        if not self.regularization:
            raise OptionError("regularization: expected a number above 0, got 0")

    def _find_principal(self, points) -> None:
        n, columns = points.shape
        rng = np.random.default_rng([self.random_state, 0])
        rows = np.sort(rng.choice(n, PCA_ROWS, replace=False)) if n > PCA_ROWS else slice(None)
        some = np.array(points[rows], dtype=np.float32)
        if not np.all(np.isfinite(some)):
            raise DataError("points: expected finite numbers, got NaN or infinity")
        mean = np.mean(some, axis=0, dtype=np.float64).astype(np.float32)
        pca = PCA(
            min(self.n_principal, *some.shape),
            svd_solver="covariance_eigh" if columns <= EXACT_COLUMNS else "randomized",
            iterated_power=3,
            random_state=self.random_state % 2**32,  # as many as scikit-learn knows
            copy=False,
        )
        some -= mean
        with np.errstate(invalid="ignore"):  # points all alike have no ratios of variance
            pca.fit(some)
        self.mean_ = mean
        self.principal_ = np.asarray(pca.components_, dtype=np.float32)

    def _principal_of(self, points) -> np.ndarray:
        """t, shape (N, n_principal), float32."""
        blocks = slices(points.shape[0], BLOCK)
        read = (np.asarray(points[rows], dtype=np.float32) for rows in blocks)
        return np.concatenate([(block - self.mean_) @ self.principal_.T for block in read])

    def _first_labels(self, t: np.ndarray, track: Track) -> np.ndarray:
        rng = np.random.default_rng([self.random_state, 1])
        k = min(self.n_components, len(t))
        # k-means++ takes thirty times as long and clusters no better
        centres = t[rng.choice(len(t), k, replace=False)]
        rounds, steps = (KMEANS_ROUNDS, KMEANS_STEPS) if self.init == "kmeans" else (1, 1)
        with warnings.catch_warnings(), threadpool_limits(1, "openmp"):
            # sums over threads come in any order, so one thread; fewer distinct points than
            # clusters leave some empty, which the mixture allows
            warnings.simplefilter("ignore", ConvergenceWarning)
            for _ in track(range(rounds), "clusters"):
                clusters = KMeans(k, init=centres, max_iter=steps, n_init=1, random_state=0).fit(t)
                centres = clusters.cluster_centers_
        return clusters.labels_

    # --- using -----------------------------------------------------------------------------

    def _expect_fitted(self) -> None:
        if not hasattr(self, "factors_"):
            raise NotFittedError("MixtureModel has no factors_ yet: call fit first")

    def transform(self, points) -> np.ndarray:
        """Principal components (N, n_principal) of points (N, F)."""
        self._expect_fitted()
        expect_rows("points", points, (None, self.mean_.size), "(N, F)")
        return self._principal_of(points)

    def inverse_transform(self, t: np.ndarray) -> np.ndarray:
        """Points (N, F) of principal components (N, n_principal): the rest is the mean."""
        self._expect_fitted()
        return np.asarray(t, dtype=np.float32) @ self.principal_ + self.mean_

    def score_samples(self, points) -> np.ndarray:
        """Log-density of each point's principal components, shape (N,)."""
        mixture = Mixture(self.weights_, self.means_, self.factors_)
        return np.logaddexp.reduce(log_densities(self.transform(points), mixture), axis=1)

    def score(self, points, y=None) -> float:  # noqa: ARG002
        """Mean of `score_samples`."""
        return float(np.mean(self.score_samples(points)))

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Points drawn from the mixture.

        Parameters
        ----------
        n : int
        rng : numpy.random.Generator

        Returns
        -------
        numpy.ndarray of float32, shape (n, F)
        """
        self._expect_fitted()
        expect_count("n", n)
        weights = self.weights_.astype(np.float64)
        chosen = rng.choice(weights.size, size=n, p=weights / weights.sum())
        noise = rng.standard_normal((n, self.means_.shape[1]), dtype=np.float32)
        t = np.empty_like(noise)
        for k in np.unique(chosen):
            rows = chosen == k
            t[rows] = self.means_[k] + noise[rows] @ self.factors_[k].T
        return self.inverse_transform(t)

    # --- state -----------------------------------------------------------------------------

    def state(self) -> dict[str, np.ndarray]:
        """Learned arrays by name."""
        self._expect_fitted()
        return {name: np.asarray(getattr(self, f"{name}_")) for name in _STATE}

    def restore(self, state: Mapping[str, np.ndarray]) -> "MixtureModel":
        """Take learned arrays from `state`.

        Raises
        ------
        CheckpointError
            If an array is missing or has another shape than the others ask for.
        """
        missing = [name for name in _STATE if name not in state]
        if missing:
            raise CheckpointError(f"state: expected {', '.join(_STATE)}, missing {missing[0]}")
        k, d, columns = state["weights"].size, *state["principal"].shape
        shapes = {"mean": (columns,), "means": (k, d), "factors": (k, d, d)}
        for name, shape in shapes.items():
            if state[name].shape != shape:
                raise CheckpointError(f"{name}: expected shape {shape}, got {state[name].shape}")
        for name in _ARRAYS:
            setattr(self, name + "_", np.asarray(state[name], dtype=np.float32))
        self.log_likelihood_ = float(state["log_likelihood"])
        self.n_iter_ = int(state["n_iter"])
        return self


_ARRAYS = ("mean", "principal", "weights", "means", "factors")
_STATE = (*_ARRAYS, "log_likelihood", "n_iter")
