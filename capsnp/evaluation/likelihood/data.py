"""Binary data, and the record of what was scored."""

import hashlib
from typing import Literal, NamedTuple

import numpy as np

from capsnp.blocks import slices
from capsnp.errors import DataError, DomainError
from capsnp.functional._checks import expect_count, expect_option, first_index
from capsnp.models._base import BLOCK, Rows

Rule = Literal["none", "threshold", "stochastic"]


class DataRecord(NamedTuple):
    """What a likelihood is of.

    Attributes
    ----------
    sha256 : str
        Of the rows that were scored: their shape and dtype, then their bytes in C order.
    shape : tuple of int
    dtype : str
    rule : {"none", "threshold", "stochastic"}
        How they were made binary.
    seed : int or None
        Of the rule "stochastic".
    """

    sha256: str
    shape: tuple[int, ...]
    dtype: str
    rule: Rule
    seed: int | None


class Binarized(NamedTuple):
    """Rows of zeros and ones, with how they came about.

    Attributes
    ----------
    rows : numpy.ndarray, shape (N, I)
    record : DataRecord
    """

    rows: np.ndarray
    record: DataRecord


def binarize(X: Rows, *, rule: Rule = "threshold", random_state: int = 0) -> Binarized:
    r"""Rows of numbers in [0, 1] as zeros and ones, by a rule that is written down with them.

    Parameters
    ----------
    X : array, shape (N, ...)
        Axes after the first are laid out as one.
    rule : {"threshold", "stochastic", "none"}
        "threshold": 1 where :math:`x > \tfrac12`. "stochastic": 1 with probability x, once and
        for all. "none": X is binary as it is.
    random_state : int
        Seed of "stochastic".

    Returns
    -------
    Binarized
        In X's dtype, or float32 if that is not floating.

    Raises
    ------
    OptionError
        If the rule is unknown or the seed negative.
    DomainError
        If a number is outside [0, 1], or with "none" neither 0 nor 1.
    DataError
        If there is no row.

    Notes
    -----
    Log-likelihoods of the two rules differ by tens of nats on MNIST: noise has to be explained too.

    Examples
    --------
    >>> binary = binarize(np.asarray([[0.2, 0.5, 0.9]]))
    >>> binary.rows, binary.record.rule
    (array([[0., 0., 1.]]), 'threshold')
    """
    expect_option("rule", rule, ("threshold", "stochastic", "none"))
    expect_count("random_state", random_state, minimum=0)
    X = np.asarray(X[:])
    if X.ndim < 2 or 0 in X.shape:
        raise DataError(f"X: expected shape (N, I) with no empty axis, got {X.shape}")
    X = X.reshape(len(X), -1)
    if X.dtype.kind != "f":
        X = X.astype(np.float32)
    outside = ~((X >= 0) & (X <= 1))
    if np.any(outside):
        first = first_index(np, outside)
        raise DomainError(f"X: expected numbers from 0 to 1, got {X[first]:g} at {first}")
    if rule == "none" and not np.all((X == 0) | (X == 1)):
        raise DomainError(
            "X: expected 0 or 1 everywhere for the rule 'none', got numbers between: "
            "choose the rule 'threshold' or 'stochastic'"
        )
    if rule == "threshold":
        rows = (X > 0.5).astype(X.dtype)
    elif rule == "stochastic":
        rng = np.random.default_rng(random_state)
        parts = (rng.random((len(X[b]), X.shape[1])) < X[b] for b in slices(len(X), BLOCK))
        rows = np.concatenate(list(parts)).astype(X.dtype)
    else:
        rows = X
    seed = random_state if rule == "stochastic" else None
    return Binarized(rows, record_of(rows, rule=rule, seed=seed))


def record_of(rows: np.ndarray, *, rule: Rule = "none", seed: int | None = None) -> DataRecord:
    """The record of rows as they are.

    Parameters
    ----------
    rows : numpy.ndarray
    rule : {"none", "threshold", "stochastic"}
    seed : int, optional

    Returns
    -------
    DataRecord

    Examples
    --------
    >>> a, b = np.zeros((2, 3)), np.zeros((3, 2))
    >>> record_of(a).sha256 == record_of(b).sha256
    False
    """
    digest = hashlib.sha256(f"{rows.shape} {rows.dtype.str}\n".encode())
    digest.update(np.ascontiguousarray(rows).data)
    return DataRecord(digest.hexdigest(), tuple(rows.shape), str(rows.dtype), rule, seed)
