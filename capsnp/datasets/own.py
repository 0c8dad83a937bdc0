"""The user's own images in an NPZ or NPY file."""

import struct
import tokenize
import zipfile
import zlib
from pathlib import Path

import numpy as np

from capsnp.datasets.dataset import Split, SplitName, as_images, parts_of, reading
from capsnp.errors import DataError

_BOTH = parts_of("all")
_DAMAGE = (
    ValueError,
    EOFError,
    KeyError,
    TypeError,
    MemoryError,
    OverflowError,
    SyntaxError,
    RuntimeError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
    tokenize.TokenError,
)
"""What `numpy.load` was seen to raise on damaged files, and its documented errors."""


def split_rows(n: int, split: SplitName, source: Path) -> np.ndarray:
    """Rows of a split where the user has made none: nine tenths to train on, one to test.

    Parameters
    ----------
    n : int
        Images in all.
    split : {"train", "test", "all"}
    source : Path
        What an error names.

    Returns
    -------
    numpy.ndarray of int64
        As they lie for "all". Else in an order that is shuffled, and the same for the same `n`
        everywhere: it comes from the raw stream of PCG64 from seed 0, which NumPy guarantees.

    Examples
    --------
    >>> split_rows(20, "test", Path("mine.npy")).tolist()
    [11, 3]
    """
    if split == "all":
        return np.arange(n)
    if n < 2:
        raise DataError(f"{source}: expected at least 2 images, one of them to test, found {n}")
    order = np.argsort(np.random.PCG64(0).random_raw(n), kind="stable")
    return order[: n_test(n)] if split == "test" else order[n_test(n) :]


def n_test(n: int) -> int:
    """How many of n images are kept for testing.

    Examples
    --------
    >>> n_test(25)
    2
    """
    return max(1, n // 10)


def read_npy(path: Path, split: SplitName, *, limit: int | None = None) -> Split:
    """Read an NPY file of images, without labels.

    Parameters
    ----------
    path : Path
        Shape (N, H, W) or (N, H, W, C), uint8 or floats in [0, 1].
    split : {"train", "test", "all"}
        See `split_rows`.
    limit : int, optional
        Read the first so many images only.

    Returns
    -------
    Split

    Raises
    ------
    DataError
        If the file is damaged or holds something else.
    """
    with reading(path, "an NPY file of images", *_DAMAGE):
        if path.stat().st_size == 0:
            raise DataError(f"{path}: expected an NPY file of images, found an empty file")
        images = as_images(np.lib.format.open_memmap(path, mode="r"), path)
        return Split(images[split_rows(len(images), split, path)[:limit]], None, ())


def npy_shape(path: Path) -> tuple[int, ...]:
    """Shape (N, H, W, C) of the images in an NPY file, without reading them.

    Raises
    ------
    DataError
        If the file is damaged or holds no images.
    """
    with reading(path, "an NPY file of images", *_DAMAGE):
        images = np.lib.format.open_memmap(path, mode="r")
    if images.ndim not in (3, 4):
        raise DataError(
            f"{path}: expected images of shape (N, H, W) or (N, H, W, C), got {images.shape}"
        )
    return (*images.shape, 1) if images.ndim == 3 else images.shape


def read_npz(path: Path, split: SplitName) -> Split:
    """Read an NPZ file of images, with or without labels.

    Parameters
    ----------
    path : Path
        Holds ``images`` and, if there are, ``labels``; or, already split, ``x_train`` and
        ``x_test`` with ``y_train`` and ``y_test``. ``classes`` may name the classes.
    split : {"train", "test", "all"}
        See `split_rows` for a file that is not split.

    Returns
    -------
    Split
        Without ``classes``, these are the labels that occur, sorted.

    Raises
    ------
    DataError
        If the file is damaged or holds something else.
    """
    with reading(path, "an NPZ file of images", *_DAMAGE), path.open("rb") as file:
        if not zipfile.is_zipfile(file):
            raise DataError(f"{path}: expected an NPZ file, found another kind or a part of one")
        file.seek(0)
        archive = np.lib.npyio.NpzFile(file, allow_pickle=False)
        if "images" in archive:
            return _read_one(archive, path, split)
        if "x_train" in archive and "x_test" in archive:
            return _read_two(archive, path, split)
        raise DataError(
            f"{path}: expected the array images, or x_train and x_test, "
            f"found {', '.join(archive) or 'none'}"
        )


def _read_one(archive: np.lib.npyio.NpzFile, path: Path, split: SplitName) -> Split:
    images = as_images(_array(archive, "images", path), f"{path}, images")
    rows = split_rows(len(images), split, path)
    if "labels" not in archive:
        return Split(images[rows], None, ())
    labels = _labels(archive, "labels", len(images), path)
    (encoded,), classes = _encode([labels], archive, path)
    return Split(images[rows], encoded[rows], classes)


def _read_two(archive: np.lib.npyio.NpzFile, path: Path, split: SplitName) -> Split:
    images = {
        part: as_images(_array(archive, f"x_{part}", path), f"{path}, x_{part}") for part in _BOTH
    }
    if images["train"].shape[1:] != images["test"].shape[1:]:
        raise DataError(
            f"{path}: expected x_test of the size of x_train {images['train'].shape[1:]}, "
            f"got {images['test'].shape[1:]}"
        )
    chosen = np.concatenate([images[part] for part in parts_of(split)])
    if ("y_train" in archive) != ("y_test" in archive):
        raise DataError(f"{path}: expected both y_train and y_test or neither, found one")
    if "y_train" not in archive:
        return Split(chosen, None, ())
    labels = [_labels(archive, f"y_{part}", len(images[part]), path) for part in _BOTH]
    encoded, classes = _encode(labels, archive, path)
    by_part = dict(zip(_BOTH, encoded, strict=True))
    return Split(chosen, np.concatenate([by_part[part] for part in parts_of(split)]), classes)


def _array(archive: np.lib.npyio.NpzFile, key: str, path: Path) -> np.ndarray:
    """A member of the archive, which gives the bytes of one that is no NPY file."""
    array = archive[key]
    if not isinstance(array, np.ndarray):
        raise DataError(f"{path}, {key}: expected an array, found another kind of file")
    return array


def _labels(archive: np.lib.npyio.NpzFile, key: str, n: int, path: Path) -> np.ndarray:
    labels = _array(archive, key, path)
    if labels.shape != (n,) or labels.dtype.kind not in "iuUS":
        raise DataError(
            f"{path}, {key}: expected integers or strings of shape ({n},), "
            f"got {labels.dtype} of shape {labels.shape}"
        )
    return labels


def _encode(
    parts: list[np.ndarray], archive: np.lib.npyio.NpzFile, path: Path
) -> tuple[list[np.ndarray], tuple[str, ...]]:
    """Labels as indices of classes, the same classes for every part."""
    if "classes" not in archive:
        values, indices = np.unique(np.concatenate(parts), return_inverse=True)
        ends = np.cumsum([len(part) for part in parts])[:-1]
        return np.split(indices.astype(np.int64), ends), _names(values)
    classes = _array(archive, "classes", path)
    if classes.ndim != 1 or classes.dtype.kind not in "US":
        raise DataError(f"{path}, classes: expected strings of shape (K,), got {classes.dtype}")
    for labels in parts:
        if labels.dtype.kind not in "iu":
            raise DataError(f"{path}: expected integer labels beside classes, got {labels.dtype}")
        if np.min(labels) < 0 or np.max(labels) >= len(classes):
            raise DataError(
                f"{path}: expected labels 0 to {len(classes) - 1} for {len(classes)} classes, "
                f"got {np.min(labels)} to {np.max(labels)}"
            )
    return [labels.astype(np.int64) for labels in parts], _names(classes)


def _names(values: np.ndarray) -> tuple[str, ...]:
    texts = np.char.decode(values, "utf-8") if values.dtype.kind == "S" else values
    return tuple(str(text) for text in texts)
