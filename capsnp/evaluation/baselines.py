"""What a model must beat: one Gaussian, the mean image, and features without capsules."""

import numpy as np
from sklearn.base import BaseEstimator, clone

from capsnp.errors import OptionError, ShapeError
from capsnp.models._base import Rows, expect_rows
from capsnp.models.mixture import MixtureModel


def pca_gaussian(
    images: Rows, n: int, *, n_principal: int = 80, random_state: int = 0
) -> np.ndarray:
    """Images drawn from one Gaussian on the principal components of images.

    Parameters
    ----------
    images : array, shape (N, H, W, C)
        Floats in [0, 1].
    n : int
        How many to draw.
    n_principal : int
        Principal components.
    random_state : int

    Returns
    -------
    numpy.ndarray of float32, shape (n, H, W, C)
        Clipped to [0, 1].

    Examples
    --------
    >>> images = np.random.default_rng(0).random((50, 4, 4, 1))
    >>> pca_gaussian(images, 3).shape
    (3, 4, 4, 1)
    """
    expect_rows("images", images, (None, None, None, None), "(N, H, W, C)")
    flat = np.reshape(images[:], (images.shape[0], -1))
    model = MixtureModel(n_components=1, n_principal=n_principal, max_iter=1).fit(flat)
    drawn = model.sample(n, np.random.default_rng(random_state))
    return np.clip(drawn, 0.0, 1.0).reshape(n, *images.shape[1:])


def mean_image(images: Rows, n: int = 1) -> np.ndarray:
    """The mean of images, n times.

    Parameters
    ----------
    images : array, shape (N, H, W, C)
    n : int

    Returns
    -------
    numpy.ndarray of float32, shape (n, H, W, C)

    Examples
    --------
    >>> mean_image(np.asarray([0.0, 1.0]).reshape(2, 1, 1, 1)).item()
    0.5
    """
    if n < 1:
        raise OptionError(f"n: expected at least 1, got {n}")
    mean = np.mean(images[:], axis=0, keepdims=True, dtype=np.float64)
    return np.repeat(np.asarray(mean, dtype=np.float32), n, axis=0)


class FeatureControl(BaseEstimator):
    """The same autoencoder features without capsules: principal components and a mixture.

    Whatever capsules achieve on the features, this linear code of as few numbers, with the same
    mixture over it, is the control that tells their merit from the autoencoder's.

    Parameters
    ----------
    mixture : MixtureModel, optional
        Cloned before it is fitted; its `n_principal` is the length of the code.

    Attributes
    ----------
    mixture_ : MixtureModel
    feature_shape_ : tuple of int
        (I, P).

    Examples
    --------
    >>> h = np.random.default_rng(0).standard_normal((60, 4, 2))
    >>> control = FeatureControl(MixtureModel(n_components=2, n_principal=8)).fit(h)
    >>> bool(np.allclose(control.rebuild(h), h, atol=1e-5)), control.sample(3).shape
    (True, (3, 4, 2))
    """

    def __init__(self, mixture: MixtureModel | None = None):
        self.mixture = mixture

    def fit(self, h: Rows, y=None, *, track=lambda items, _: items):  # noqa: ARG002
        """Fit on features (N, I, P), which may be memory-mapped; `track` as in `MixtureModel`."""
        expect_rows("h", h, (None, None, None), "(N, I, P)")
        self.feature_shape_ = tuple(h.shape[1:])
        self.mixture_ = clone(self.mixture or MixtureModel())
        self.mixture_.fit(self._flat(h), track=track)
        return self

    def rebuild(self, h: Rows) -> np.ndarray:
        """Features (N, I, P) projected on the principal components."""
        flat = self._flat(h)
        return self.mixture_.inverse_transform(self.mixture_.transform(flat)).reshape(h.shape)

    def sample(self, n: int, random_state: int = 0) -> np.ndarray:
        """Features (n, I, P) drawn from the mixture."""
        drawn = self.mixture_.sample(n, np.random.default_rng(random_state))
        return drawn.reshape(n, *self.feature_shape_)

    def _flat(self, h: Rows) -> np.ndarray:
        if tuple(h.shape[1:]) != self.feature_shape_:
            raise ShapeError(f"h: expected shape (N, *{self.feature_shape_}), got {h.shape}")
        # a memory map keeps its pages on disk when it is reshaped
        rows = h if isinstance(h, np.ndarray) else h[:]
        return rows.reshape(rows.shape[0], -1)
