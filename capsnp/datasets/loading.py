"""`load`: a data set by its name or its path."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np

from capsnp.datasets.catalogue import CIFAR10, FASHION_MNIST, MNIST, IdxCollection
from capsnp.datasets.dataset import Dataset, Part, Split, SplitName, as_floats, parts_of
from capsnp.datasets.digits import read_digits
from capsnp.datasets.download import cache_folder, fetch
from capsnp.datasets.folder import read_folder
from capsnp.datasets.mnist import find_pair, read_pair
from capsnp.datasets.own import read_npy, read_npz
from capsnp.datasets.rgb import find_rgb, read_rgb
from capsnp.errors import DataError, OptionError

NAMES = ("digits", "mnist", "fashion-mnist", "rgb")
"""The data sets that have a name."""


def load(
    name: str | Path,
    *,
    data_dir: str | Path | None = None,
    split: SplitName = "train",
    limit: int | None = None,
    progress: bool = True,
) -> Dataset:
    """Load images.

    Parameters
    ----------
    name : str or Path
        One of `NAMES`, or the path of the user's own images: an NPZ or NPY file, or a folder of
        PNG and JPEG files. See `read_npz`, `read_npy` and `read_folder` for what they hold.
    data_dir : str or Path, optional
        A folder that holds ``mnist/``, ``fashion/`` or ``fashion-mnist/``, and ``rgb/``. By
        default ``CAPSNP_DATA``; without either, the files are downloaded into the user's cache.
    split : {"train", "test", "all"}, default "train"
        Images to train on, images kept from training, or both, in this order.
    limit : int, optional
        Take the first images only, at most so many.
    progress : bool, default True
        Show the progress of what takes longer.

    Returns
    -------
    Dataset
        Images of float32, (N, H, W, C), in [0, 1].

    Raises
    ------
    OptionError
        If `name`, `split` or `limit` is none of the above.
    DataError
        If a file is missing, damaged or another than expected; it is left as it was.

    Examples
    --------
    >>> digits = load("digits", limit=100)
    >>> digits.images.shape, digits.images.dtype, digits.classes[:3]
    ((100, 28, 28, 1), dtype('float32'), ('0', '1', '2'))
    """
    if split not in get_args(SplitName):
        raise OptionError(f"split: expected 'train', 'test' or 'all', got {split!r}")
    if limit is not None and (
        not isinstance(limit, int | np.integer) or isinstance(limit, bool) or limit < 1
    ):
        raise OptionError(f"limit: expected a whole number from 1, got {limit!r}")
    read = _reader(name, data_dir, limit=limit, progress=progress)
    found = read(split)
    return Dataset(
        name=str(name),
        images=as_floats(found.images[:limit]),
        labels=None if found.labels is None else found.labels[:limit],
        classes=found.classes,
    )


def _reader(
    name: str | Path, data_dir: str | Path | None, *, limit: int | None, progress: bool
) -> Callable[[SplitName], Split]:
    """What reads a split of the named data."""
    if name == "digits":
        return _from_parts(read_digits)
    if name in NAMES:
        root = _data_folder(data_dir)
        if name == "rgb":
            return _from_parts(lambda part: read_rgb(_rgb_file(root, progress=progress), part))
        collection = MNIST if name == "mnist" else FASHION_MNIST
        return _from_parts(
            lambda part: read_pair(
                collection, part, _idx_pair(collection, part, root, progress=progress)
            )
        )
    path = Path(name).expanduser()
    if name != "" and path.is_dir():
        return lambda split: read_folder(path, split, progress=progress)
    suffix = path.suffix.lower()
    if suffix in (".npz", ".npy"):
        if not path.is_file():
            raise DataError(f"{path}: expected a file of images, found none")
        if suffix == ".npy":
            return lambda split: read_npy(path, split, limit=limit)
        return lambda split: read_npz(path, split)
    raise OptionError(
        f"data: expected {', '.join(NAMES)}, or the path of an .npz or .npy file or a folder of "
        f"images that is there, got {str(name)!r}"
    )


def _from_parts(read: Callable[[Part], Split]) -> Callable[[SplitName], Split]:
    def read_split(split: SplitName) -> Split:
        parts = [read(part) for part in parts_of(split)]
        labels = [part.labels for part in parts if part.labels is not None]
        return Split(
            np.concatenate([part.images for part in parts]),
            np.concatenate(labels) if labels else None,
            parts[0].classes,
        )

    return read_split


def _data_folder(data_dir: str | Path | None) -> Path | None:
    """The user's data folder, which must be there; None where the user names none."""
    named = data_dir if data_dir is not None else os.environ.get("CAPSNP_DATA") or None
    if named is None:
        return None
    root = Path(named).expanduser()
    if not root.is_dir():
        origin = "data_dir" if data_dir is not None else "CAPSNP_DATA"
        raise DataError(
            f"{origin}: expected a folder that holds mnist/, fashion/ or rgb/, found none at {root}"
        )
    return root


def _idx_pair(
    collection: IdxCollection, part: Part, root: Path | None, *, progress: bool
) -> tuple[Path, Path]:
    if root is not None:
        return find_pair(collection, part, root)
    images, labels = (
        fetch(
            file.remote,
            cache_folder(collection.name),
            otherwise=_instead(f"{collection.folders[0]}/{file.remote.name}"),
            progress=progress,
        )
        for file in collection.files[part]
    )
    return images, labels


def _rgb_file(root: Path | None, *, progress: bool) -> Path:
    if root is not None:
        return find_rgb(root)
    otherwise = _instead(f"rgb/{CIFAR10.name}")
    return fetch(CIFAR10, cache_folder("rgb"), otherwise=otherwise, progress=progress)


def _instead(path: str) -> str:
    return f"name a folder that holds {path} by --data-dir or CAPSNP_DATA"
