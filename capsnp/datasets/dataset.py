"""A data set as models see it, and as its files hold it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from capsnp.errors import DataError

Part = Literal["train", "test"]
SplitName = Literal["train", "test", "all"]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images with their labels.

    Attributes
    ----------
    name : str
        One of `NAMES`, or the path that was read.
    images : numpy.ndarray of float32, shape (N, H, W, C)
        In [0, 1].
    labels : numpy.ndarray of int64, shape (N,), or None
        Indices into `classes`.
    classes : tuple of str
        Names of the classes; empty where there are no labels.

    Examples
    --------
    >>> import numpy as np
    >>> len(Dataset("mine", np.zeros((5, 28, 28, 1), np.float32), None, ()))
    5
    """

    name: str
    images: np.ndarray
    labels: np.ndarray | None
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images)


class Split(NamedTuple):
    """One split as its files hold it: images (N, H, W, C), uint8 or floats in [0, 1]."""

    images: np.ndarray
    labels: np.ndarray | None
    classes: tuple[str, ...]


def parts_of(split: SplitName) -> tuple[Part, ...]:
    """The parts that make up a split, in order.

    Examples
    --------
    >>> parts_of("all")
    ('train', 'test')
    """
    return ("train", "test") if split == "all" else (split,)


def as_images(images: np.ndarray, source: Path | str) -> np.ndarray:
    """The images with a channel axis, after every check that they are images.

    Parameters
    ----------
    images : numpy.ndarray, shape (N, H, W) or (N, H, W, C)
        uint8, or floats in [0, 1]; 1 to 4 channels.
    source : path or str
        What an error names.

    Returns
    -------
    numpy.ndarray, shape (N, H, W, C)

    Raises
    ------
    DataError
        If a shape, a dtype or a value is another.

    Examples
    --------
    >>> as_images(np.zeros((3, 28, 28), np.uint8), "mine.npy").shape
    (3, 28, 28, 1)
    """
    if images.ndim not in (3, 4):
        raise DataError(
            f"{source}: expected images of shape (N, H, W) or (N, H, W, C), got {images.shape}"
        )
    if images.ndim == 3:
        images = images[..., None]
    if 0 in images.shape:
        raise DataError(f"{source}: expected at least one image and pixel, got {images.shape}")
    if images.shape[3] > 4:
        raise DataError(
            f"{source}: expected (N, H, W, C) with 1 to 4 channels last, got {images.shape}"
        )
    if images.dtype != np.uint8 and images.dtype.kind != "f":
        raise DataError(f"{source}: expected uint8 or floats in [0, 1], got {images.dtype}")
    if images.dtype.kind == "f":
        low, high = float(np.min(images)), float(np.max(images))
        if not 0.0 <= low <= high <= 1.0:  # false for NaN, which min and max pass on
            raise DataError(f"{source}: expected floats in [0, 1], got {low:g} to {high:g}")
    return images


def as_floats(images: np.ndarray) -> np.ndarray:
    """Images as float32 in [0, 1]; bytes are divided by 255.

    Examples
    --------
    >>> as_floats(np.array([0, 51, 255], np.uint8)).tolist()
    [0.0, 0.20000000298023224, 1.0]
    """
    floats = np.array(images, dtype=np.float32, order="C")
    if images.dtype == np.uint8:
        floats /= np.float32(255)
    return floats


def in_one_line(error: BaseException) -> str:
    """The message of an error of another library, without its line breaks."""
    return " ".join(str(error).split()) or type(error).__name__


@contextmanager
def reading(path: Path, kind: str, *errors: type[Exception]) -> Iterator[None]:
    """Say what another library's errors mean: a file of the wrong kind, or a damaged one.

    Parameters
    ----------
    path : Path
        The file that is read.
    kind : str
        What it was expected to be, such as "an NPZ file".
    *errors : exception classes
        What the reading library raises, besides `OSError`.

    Raises
    ------
    DataError
        In place of those.
    """
    unreadable: tuple[type[Exception], ...] = (OSError, *errors)
    try:
        yield
    except DataError:
        raise
    except unreadable as error:
        raise DataError(
            f"{path}: expected {kind}, but it cannot be read: {in_one_line(error)}"
        ) from error
