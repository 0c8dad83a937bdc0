"""What codes and capsules know: probes, relative errors, use and purity."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from capsnp.blocks import slices
from capsnp.errors import DataError, DomainError, OptionError, ShapeError
from capsnp.models._base import BLOCK, Rows

Probe = Literal["ridge", "logistic"]


@dataclass(frozen=True)
class CodeScores:
    """What is known of codes, and of the capsules that won images.

    Attributes
    ----------
    probe : float or None
        Accuracy of a linear probe on new codes.
    relative_error : float or None
        Of features rebuilt from the codes.
    usage : tuple of float
        Share of images that each capsule won.
    purity : tuple of float or None
        Share of the most common class among them; NaN for a capsule that won none.
    mean_purity : float or None
        Mean over the images.
    """

    probe: float | None
    relative_error: float | None
    usage: tuple[float, ...]
    purity: tuple[float, ...] | None
    mean_purity: float | None


def linear_probe(
    codes: np.ndarray,
    labels: np.ndarray,
    new_codes: np.ndarray,
    new_labels: np.ndarray,
    *,
    kind: Probe = "ridge",
    n_most: int = 15_000,
) -> float:
    """Accuracy on new codes of a linear classifier trained on codes.

    Parameters
    ----------
    codes, new_codes : array, shape (N, ...) and (M, ...)
        Standardised before the probe, each number by its mean and deviation.
    labels, new_labels : array of int, shape (N,) and (M,)
    kind : {"ridge", "logistic"}
        Ridge regression on the classes (penalty 1), or logistic regression (C = 1).
    n_most : int
        Only the first so many codes are used: more labels tell little more.

    Returns
    -------
    float
        In [0, 1]; chance is the share of the most common class.

    Raises
    ------
    ShapeError
        If codes and labels do not match.
    OptionError
        If `kind` is unknown.

    Examples
    --------
    >>> codes = np.random.default_rng(0).standard_normal((200, 2, 3))
    >>> labels = (codes[:, 0, 0] > 0).astype(int)
    >>> linear_probe(codes[:100], labels[:100], codes[100:], labels[100:]) > 0.9
    True
    """
    if kind not in get_args(Probe):
        raise OptionError(f"kind: expected 'ridge' or 'logistic', got {kind!r}")
    labels, new_labels = np.asarray(labels), np.asarray(new_labels)
    if len(codes) != len(labels) or len(new_codes) != len(new_labels):
        raise ShapeError(
            f"labels: expected {len(codes)} and {len(new_codes)} to match the codes, "
            f"got {len(labels)} and {len(new_labels)}"
        )
    probe = RidgeClassifier() if kind == "ridge" else LogisticRegression(max_iter=1000)
    model = make_pipeline(StandardScaler(), probe)
    model.fit(_flat(codes[:n_most]), labels[:n_most])
    return float(model.score(_flat(new_codes), new_labels))


def relative_error(h: Rows, rebuilt: Rows) -> float:
    r"""Squared error of rebuilt features, relative to their variance.

    .. math:: \frac{\sum_n \|h_n - \hat h_n\|^2}{\sum_n \|h_n - \bar h\|^2}

    Parameters
    ----------
    h, rebuilt : array, shape (N, ...)
        May be memory-mapped; read in blocks.

    Returns
    -------
    float
        0 for exact features, 1 for the mean in place of all of them.

    Raises
    ------
    ShapeError
        If the shapes differ.
    DataError
        If the features are all alike.

    Examples
    --------
    >>> h = np.random.default_rng(0).standard_normal((9, 4, 2))
    >>> round(relative_error(h, h.mean(axis=0, keepdims=True) + 0.0 * h), 6)
    1.0
    """
    if tuple(h.shape) != tuple(rebuilt.shape):
        raise ShapeError(f"rebuilt: expected shape {tuple(h.shape)}, got {tuple(rebuilt.shape)}")
    n, error, total = h.shape[0], 0.0, np.zeros(h.shape[1:])
    for rows in slices(n, BLOCK):
        block = np.asarray(h[rows], dtype=np.float64)
        total += block.sum(axis=0)
        error += float(np.sum(np.square(block - rebuilt[rows])))
    mean = total / n
    spread = sum(float(np.sum(np.square(h[rows] - mean))) for rows in slices(n, BLOCK))
    if spread == 0:
        raise DataError("h: expected features that vary, got all alike")
    return error / spread


def usage(won: np.ndarray, n_capsules: int) -> np.ndarray:
    """Share of images that each capsule won.

    Parameters
    ----------
    won : array of int, shape (N,)
        Which capsule won each image.
    n_capsules : int
        J.

    Returns
    -------
    numpy.ndarray, shape (J,)
        Adds up to 1.

    Examples
    --------
    >>> usage(np.asarray([0, 2, 2, 2]), 3)
    array([0.25, 0.  , 0.75])
    """
    return np.bincount(_winners(won, n_capsules), minlength=n_capsules) / len(won)


def class_purity(won: np.ndarray, labels: np.ndarray, n_capsules: int) -> tuple[np.ndarray, float]:
    """Share of the most common class among the images that each capsule won.

    Parameters
    ----------
    won : array of int, shape (N,)
        Which capsule won each image.
    labels : array of int, shape (N,)
    n_capsules : int
        J.

    Returns
    -------
    purity : numpy.ndarray, shape (J,)
        NaN for a capsule that won none.
    mean : float
        Mean over the images: the accuracy of naming each capsule by its most common class.

    Raises
    ------
    ShapeError
        If the lengths differ.

    Examples
    --------
    >>> purity, mean = class_purity(np.asarray([0, 0, 0, 0, 1]), np.asarray([7, 7, 7, 2, 2]), 2)
    >>> purity, mean
    (array([0.75, 1.  ]), 0.8)
    """
    won, labels = _winners(won, n_capsules), np.asarray(labels)
    if won.shape != labels.shape:
        raise ShapeError(f"labels: expected shape {won.shape}, got {labels.shape}")
    classes, index = np.unique(labels, return_inverse=True)
    counts = np.zeros((n_capsules, classes.size), dtype=np.int64)
    np.add.at(counts, (won, index), 1)
    most, total = counts.max(axis=1), counts.sum(axis=1)
    purity = np.full(n_capsules, np.nan)
    np.divide(most, total, out=purity, where=total > 0)
    return purity, float(most.sum() / won.size)


def capsule_scores(
    won: np.ndarray,
    n_capsules: int,
    *,
    labels: np.ndarray | None = None,
    probe: float | None = None,
    error: float | None = None,
) -> CodeScores:
    """Use and purity of capsules, gathered with the probe and the relative error.

    Parameters
    ----------
    won : array of int, shape (N,)
    n_capsules : int
    labels : array of int, shape (N,), optional
    probe, error : float, optional
        From `linear_probe` and `relative_error`.

    Returns
    -------
    CodeScores
    """
    shares = tuple(float(share) for share in usage(won, n_capsules))
    if labels is None:
        return CodeScores(probe, error, shares, None, None)
    purity, mean = class_purity(won, labels, n_capsules)
    return CodeScores(probe, error, shares, tuple(float(p) for p in purity), mean)


def _winners(won: np.ndarray, n_capsules: int) -> np.ndarray:
    won = np.asarray(won)
    if won.ndim != 1 or won.size == 0:
        raise ShapeError(f"won: expected shape (N,) with N at least 1, got {won.shape}")
    if won.min() < 0 or won.max() >= n_capsules:
        raise DomainError(f"won: expected 0 to {n_capsules - 1}, got {won.min()} to {won.max()}")
    return won


def _flat(codes: np.ndarray) -> np.ndarray:
    return np.reshape(codes, (len(codes), -1)).astype(np.float64)
