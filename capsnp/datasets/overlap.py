"""Two images over each other, as in MultiMNIST, made as they are asked for."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from capsnp.errors import DataError, OptionError, ShapeError
from capsnp.functional._checks import expect_count, expect_range

BOX = 20 / 28
"""Side of the box around what is drawn, of the image's: that of MNIST's digits."""


class Pairs(NamedTuple):
    """Which images lie over each other, and where.

    Attributes
    ----------
    images : numpy.ndarray of int, shape (N, 2)
        Numbers of both images, of different classes.
    shifts : numpy.ndarray of int, shape (N, 2, 2)
        Rows and columns that each is moved by.
    """

    images: np.ndarray
    shifts: np.ndarray


class Overlaps:
    r"""Pairs of images of different classes over each other, each moved by some pixels.

    Pixels are added and cut at 1. The boxes around both, of height and width h and w, share at
    least some part of their area,

    .. math:: \Big(1 - \frac{|Δ_y|}{h}\Big)_+ \Big(1 - \frac{|Δ_x|}{w}\Big)_+ \ge a

    and of all shifts that leave so much each is equally likely.

    Parameters
    ----------
    images : numpy.ndarray, shape (K, H, W, C)
        In [0, 1].
    labels : numpy.ndarray of int, shape (K,)
    n : int
        N, the pairs.
    shift : int
        Each image is moved by up to so many pixels each way, and grows by them on each side.
    overlap : float
        a, in [0, 1].
    random_state : int
        A pair is a function of this and its own number, whatever N is.

    Attributes
    ----------
    pairs : Pairs
    classes : numpy.ndarray of int, shape (N, 2)
        Labels of both.
    shape : tuple of int
        (N, H + 2 shift, W + 2 shift, C).

    Raises
    ------
    ShapeError, OptionError
        If the arguments are not as above.
    DataError
        If all labels are the same.

    References
    ----------
    Sabour, Frosst and Hinton (2017), Dynamic routing between capsules, section 6.

    Examples
    --------
    >>> images = np.ones((4, 28, 28, 1), dtype="float32")
    >>> pairs = Overlaps(images, np.asarray([3, 3, 5, 5]), 100)
    >>> pairs[:8].shape, np.unique(np.sort(pairs.classes)).tolist()
    ((8, 36, 36, 1), [3, 5])
    >>> float(pairs.alone[np.arange(8), np.zeros(8, dtype=int)].sum()) == 8 * 28 * 28
    True
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        n: int,
        *,
        shift: int = 4,
        overlap: float = 0.8,
        random_state: int = 0,
    ):
        expect_count("n", n)
        expect_count("shift", shift, minimum=0)
        expect_range("overlap", overlap, 0, 1)
        if images.ndim != 4 or labels.shape != images.shape[:1]:
            raise ShapeError(
                f"images: expected (K, H, W, C) with K labels, got {images.shape} and "
                f"{labels.shape}"
            )
        self.images, self.labels, self.shift = images, labels, shift
        rng = np.random.default_rng(random_state)
        uniform = rng.random((n, 3))  # by rows, so that a pair does not depend on n
        allowed = _shifts(shift, images.shape[1:3], overlap)
        chosen = _place(uniform[:, 2], len(allowed))
        self.pairs = Pairs(_partners(labels, uniform), allowed[chosen])
        self.classes = labels[self.pairs.images]
        _, height, width, channels = images.shape
        self.shape = (n, height + 2 * shift, width + 2 * shift, channels)
        self.dtype = images.dtype

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def alone(self) -> "Alone":
        """Each of both images where it lies, without the other: (N, 2, H, W, C), by numbers."""
        return Alone(self)

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Images (B, H, W, C) of pairs, by a slice or numbers."""
        numbers = np.arange(len(self))[rows]
        first, second = (self.moved(numbers, part) for part in (0, 1))
        return np.minimum(first + second, 1.0, dtype=self.dtype)

    def moved(self, numbers: np.ndarray, parts: np.ndarray | int) -> np.ndarray:
        """One of both images of each pair, (B, H, W, C)."""
        numbers = np.asarray(numbers)
        parts = np.broadcast_to(np.asarray(parts), numbers.shape)
        found = np.zeros((numbers.size, *self.shape[1:]), dtype=self.dtype)
        height, width = self.images.shape[1:3]
        corners = self.pairs.shifts[numbers, parts] + self.shift
        images = self.pairs.images[numbers, parts]
        for canvas, image, (y, x) in zip(found, images, corners, strict=True):
            canvas[y : y + height, x : x + width] = self.images[image]
        return found

    def indicator(self, classes: Sequence[Any] | np.ndarray) -> np.ndarray:
        """Which classes are there, (N, J) of 0 and 1."""
        there = self.classes[:, :, None] == np.asarray(classes)
        return np.any(there, axis=1).astype(np.int64)


class Alone:
    """Images of pairs by the pair's number and 0 or 1, for both images; see `Overlaps.alone`."""

    def __init__(self, overlaps: Overlaps):
        self._overlaps = overlaps
        n, *image = overlaps.shape
        self.shape = (n, 2, *image)

    def __getitem__(self, place: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        return self._overlaps.moved(*place)


def _place(uniform: np.ndarray, n: np.ndarray | int) -> np.ndarray:
    """Whole numbers from 0, below n, of numbers in [0, 1)."""
    return np.floor(uniform * n).astype(np.int64)


def _partners(labels: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """Numbers (N, 2) of an image and of one of another class, all equally likely."""
    order = np.argsort(labels, kind="stable")  # classes one after the other
    _, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if counts.size < 2:
        raise DataError(f"labels: expected at least two classes, got {counts.size}")
    starts = np.cumsum(counts) - counts
    first = _place(uniform[:, 0], labels.size)
    kind = inverse[first]
    other = _place(uniform[:, 1], labels.size - counts[kind])
    other += np.where(other >= starts[kind], counts[kind], 0)  # past its own class
    return np.stack([first, order[other]], axis=1)


def _shifts(most: int, size: tuple[int, ...], overlap: float) -> np.ndarray:
    """All pairs of shifts (S, 2, 2) after which the boxes share so much."""
    steps = np.arange(-most, most + 1)
    along = np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1).reshape(-1, 2)
    y, x = (np.abs(along[:, 0] - along[:, 1]) / max(1, math.floor(side * BOX)) for side in size)
    shared = np.clip(1 - y, 0, None)[:, None] * np.clip(1 - x, 0, None)[None, :]
    rows, columns = np.nonzero(shared >= overlap - 1e-12)  # 1 - 4/20 is not quite 0.8
    if rows.size == 0:
        raise OptionError(f"overlap: expected a share that shifts can leave, got {overlap}")
    return np.stack([along[rows], along[columns]], axis=-1)
