"""Labelled images for classifiers: images or flat rows, and labels of any kind."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from capsnp.blocks import slices
from capsnp.errors import CheckpointError, DataError, DomainError, OptionError, ShapeError
from capsnp.functional._checks import expect_count
from capsnp.models._base import BLOCK, Estimator, Rows, expect_finite, expect_rows

Shape = tuple[int, int, int]


class ImageRows:
    """Rows as images (N, H, W, C), scaled to [0, 1], as they are asked for.

    Parameters
    ----------
    rows : array, shape (N, H, W, C) or (N, H W C)
    shape : tuple of int
        (H, W, C).
    low, high : float
        What becomes 0 and 1.
    """

    def __init__(self, rows: Rows, shape: Shape, low: float, high: float):
        self.rows, self.image, self.low, self.high = rows, shape, low, high

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.rows.shape[0], *self.image)

    def __getitem__(self, rows: Any) -> np.ndarray:
        images = np.asarray(self.rows[rows]).reshape(-1, *self.image)
        if (self.low, self.high) == (0.0, 1.0):
            return images
        low, high = 0.5 * self.low, 0.5 * self.high  # whose difference does not overflow
        return (0.5 * images - low) / (high - low)


class ImageClassifierBase(Estimator):
    """Takes images (N, H, W, C) in [0, 1], or flat rows (N, H W C) as scikit-learn's estimators do.

    Flat rows may hold any numbers: what of them becomes 0 and 1 is taken from those of `fit`.
    What it learns from data is `image_shape_`, `pixel_range_` and `classes_`.
    """

    image_shape: Any
    image_shape_: Shape
    pixel_range_: tuple[float, float]
    classes_: np.ndarray
    n_features_in_: int

    def _images(self, X: Any, *, reset: bool) -> ImageRows:
        """Checked rows as images; `reset` takes their shape and range."""
        if getattr(X, "ndim", 2) == 4 or len(getattr(X, "shape", ())) == 4:
            return self._given_images(X, reset=reset)
        X = validate_data(
            self, X, dtype=[np.float64, np.float32], reset=reset, ensure_all_finite=False
        )
        expect_finite("X", X)
        if reset:
            self.image_shape_ = self._shape_of_rows(X.shape[1])
            low, high = float(np.min(X)), float(np.max(X))
            within = low >= 0.0 and high <= 1.0
            self.pixel_range_ = (0.0, 1.0) if within else (low, high if high > low else low + 1.0)
        return ImageRows(X, self.image_shape_, *self.pixel_range_)

    def _given_images(self, X: Rows, *, reset: bool) -> ImageRows:
        given = None if self.image_shape is None else _image_shape(self.image_shape)
        wanted = (given or (None, None, None)) if reset else self.image_shape_
        expect_rows("X", X, (None, *wanted), "(N, H, W, C)")
        if reset:
            self.image_shape_ = tuple(int(n) for n in X.shape[1:])  # type: ignore[assignment]
            self.n_features_in_ = math.prod(self.image_shape_)
            self.pixel_range_ = (0.0, 1.0)
            if hasattr(self, "feature_names_in_"):
                del self.feature_names_in_
        if self.pixel_range_ == (0.0, 1.0):
            _expect_pixels(X)
        else:
            expect_finite("X", X)
        return ImageRows(X, self.image_shape_, *self.pixel_range_)

    def _shape_of_rows(self, n: int) -> Shape:
        """Of images in rows of n numbers: without `image_shape` one pixel of n channels."""
        if self.image_shape is None:
            return 1, 1, n
        shape = _image_shape(self.image_shape)
        if math.prod(shape) != n:
            raise ShapeError(
                f"X: expected rows of {math.prod(shape)} numbers for image_shape {shape}, got {n}"
            )
        return shape

    def _indices(self, y: Any, n: int) -> np.ndarray:
        """The class of each label by its number in `classes_`."""
        y = expect_labels(y, n)
        if unseen := sorted(set(y.tolist()) - set(self.classes_.tolist()), key=repr):
            known = ", ".join(map(repr, self.classes_.tolist()[:12]))
            more = ", ..." if self.classes_.size > 12 else ""
            raise DataError(f"y: expected labels of the training, {known}{more}, got {unseen[0]!r}")
        return np.searchsorted(self.classes_, y)

    def _image_state(self) -> dict[str, np.ndarray]:
        """What `_restore_images` takes."""
        check_is_fitted(self, "classes_")
        kind = self.classes_.dtype.kind
        classes = self.classes_
        if kind not in "biuf":
            classes = np.frombuffer(json.dumps(classes.tolist()).encode(), dtype=np.uint8)
        return {
            "classes" if kind in "biuf" else "classes.json": classes,
            "image_shape": np.asarray(self.image_shape_),
            "pixel_range": np.asarray(self.pixel_range_),
        }

    def _restore_images(self, state: Mapping[str, np.ndarray]) -> None:
        for name in ("image_shape", "pixel_range"):
            if name not in state:
                raise CheckpointError(f"state: expected an array {name!r}, got {sorted(state)}")
        if "classes" in state:
            self.classes_ = np.asarray(state["classes"])
        elif "classes.json" in state:
            self.classes_ = np.asarray(json.loads(bytes(state["classes.json"]).decode()))
        else:
            raise CheckpointError(f"state: expected an array 'classes', got {sorted(state)}")
        height, width, channels = (int(n) for n in state["image_shape"])
        self.image_shape_ = height, width, channels
        self.n_features_in_ = math.prod(self.image_shape_)
        low, high = (float(number) for number in state["pixel_range"])
        self.pixel_range_ = low, high


def expect_labels(y: Any, n: int) -> np.ndarray:
    """Labels (N,) of n examples, of any kind that can be told apart and ordered.

    Raises
    ------
    ShapeError
        If there are not n.
    ValueError
        If they are no classes.
    """
    y = column_or_1d(y, warn=True)
    if y.shape[0] != n:
        raise ShapeError(f"y: expected {n} labels, one for each example of X, got {y.shape[0]}")
    if y.dtype.kind == "f" and not np.all(np.isfinite(y)):
        raise DomainError("y: expected labels, got NaN or infinity")
    check_classification_targets(y)
    return np.asarray(y.tolist()) if y.dtype.kind == "O" else y


def indicator(y: Any, n: int) -> np.ndarray | None:
    """An indicator matrix (N, J) of the classes of each of n examples; None if y is none.

    Raises
    ------
    ShapeError
        If it has not n rows.
    DomainError
        If a number is neither 0 nor 1.
    """
    y = np.asarray(y)
    if y.ndim != 2 or y.shape[1] < 2:
        return None
    if y.shape[0] != n:
        raise ShapeError(f"y: expected {n} rows, one for each example of X, got {y.shape[0]}")
    if not np.all((y == 0) | (y == 1)):
        raise DomainError("y: expected labels (N,), or a matrix (N, J) of 0 and 1, got others")
    return y.astype(np.float64)


def expect_classes(y: Any) -> np.ndarray:
    """The sorted classes of labels, at least two of them.

    Raises
    ------
    DataError
        If there is one class only.
    """
    classes = np.unique(y)
    if classes.size < 2:
        found = f"one class, {classes.tolist()[0]!r}" if classes.size else "none"
        raise DataError(f"y: expected at least two classes, got {found}")
    return classes


def _image_shape(shape: Any) -> Shape:
    """(H, W, C) of the parameter `image_shape`, (H, W) being of one channel."""
    if not isinstance(shape, Sequence) or isinstance(shape, str) or len(shape) not in (2, 3):
        raise OptionError(f"image_shape: expected (H, W) or (H, W, C), got {shape!r}")
    for n in shape:
        expect_count("image_shape", n)
    height, width, channels = (*shape, 1)[:3]
    return int(height), int(width), int(channels)


def _expect_pixels(X: Rows) -> None:
    for rows in slices(X.shape[0], 4 * BLOCK):
        block = np.asarray(X[rows])
        low, high = block.min(), block.max()
        if not (low >= 0 and high <= 1):  # also when it is no number
            raise DomainError(f"X: expected pixels from 0 to 1, got {low} to {high}")
