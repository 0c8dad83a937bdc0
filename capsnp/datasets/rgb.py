"""Small colour photographs: a subset of CIFAR-10, from an NPZ file or CIFAR-10's archive."""

import tarfile
import zlib
from pathlib import Path, PurePosixPath

import numpy as np

from capsnp.datasets.catalogue import CIFAR10, CIFAR10_CLASSES
from capsnp.datasets.dataset import Part, Split, reading
from capsnp.datasets.own import read_npz
from capsnp.errors import DataError

_SHAPE = (3, 32, 32)  # of an image in the archive: channels first
_MEMBERS: dict[Part, str] = {"train": "data_batch_1.bin", "test": "test_batch.bin"}
_PER_CLASS: dict[Part, int] = {"train": 400, "test": 100}


def find_rgb(root: Path) -> Path:
    """The one NPZ file in ``rgb/`` of the user's data folder, or else CIFAR-10's archive there.

    Raises
    ------
    DataError
        If there is neither, or more than one NPZ file.
    """
    folder = root / "rgb"
    files = sorted(folder.glob("*.npz"))
    if len(files) == 1:
        return files[0]
    if files:
        names = ", ".join(file.name for file in files)
        raise DataError(f"{folder}: expected one NPZ file, found {names}")
    if (archive := folder / CIFAR10.name).is_file():
        return archive
    raise DataError(
        f"{root}: expected rgb/ with an NPZ file or {CIFAR10.name} in it, found neither"
    )


def read_rgb(path: Path, part: Part) -> Split:
    """Read a part of colour images.

    Parameters
    ----------
    path : Path
        An NPZ file as `read_npz` takes it, or CIFAR-10's binary archive.
    part : {"train", "test"}
        Of the archive, 400 or 100 images of each class.

    Returns
    -------
    Split
        Images of three channels.

    Raises
    ------
    DataError
        If the file is damaged or holds something else.
    """
    if path.suffix != ".npz":
        return read_cifar(path, part, per_class=_PER_CLASS[part])
    found = read_npz(path, part)
    if found.images.shape[3] != 3:
        raise DataError(f"{path}: expected 3 channels, got {found.images.shape[3]}")
    return found


def read_cifar(path: Path, part: Part, *, per_class: int) -> Split:
    """Read the first images of each class from CIFAR-10's binary archive.

    The archive is read as a stream and nothing is unpacked to disk. An image is a byte for its
    class, then 1,024 each for red, green and blue.

    Parameters
    ----------
    path : Path
        ``cifar-10-binary.tar.gz``.
    part : {"train", "test"}
        From the first of the five training batches, or from the test batch.
    per_class : int

    Returns
    -------
    Split
        Images of uint8, shape (10 per_class, 32, 32, 3), in the archive's order.

    Raises
    ------
    DataError
        If the archive is damaged, lacks the batch, or holds too few images of a class.

    References
    ----------
    Krizhevsky (2009), Learning multiple layers of features from tiny images.
    """
    batch = _extract(path, _MEMBERS[part])
    size = 1 + int(np.prod(_SHAPE))
    if not batch or len(batch) % size:
        raise DataError(
            f"{path}: expected {_MEMBERS[part]} of whole images of {size} bytes, "
            f"found {len(batch)} bytes"
        )
    records = np.frombuffer(batch, dtype=np.uint8).reshape(-1, size)
    labels = records[:, 0].astype(np.int64)
    n_classes = len(CIFAR10_CLASSES)
    if labels.max() >= n_classes:
        raise DataError(f"{path}: expected labels 0 to {n_classes - 1}, found {labels.max()}")
    chosen = [np.flatnonzero(labels == label)[:per_class] for label in range(n_classes)]
    for name, rows in zip(CIFAR10_CLASSES, chosen, strict=True):
        if len(rows) < per_class:
            raise DataError(
                f"{path}: expected {per_class} images of class {name}, found {len(rows)}"
            )
    rows = np.sort(np.concatenate(chosen))
    images = records[rows, 1:].reshape(-1, *_SHAPE).transpose(0, 2, 3, 1)  # (N, 32, 32, 3)
    return Split(images, labels[rows], CIFAR10_CLASSES)


def _extract(path: Path, name: str) -> bytes:
    with (
        reading(path, "CIFAR-10's binary archive", EOFError, zlib.error, tarfile.TarError),
        tarfile.open(path, "r|gz") as archive,
    ):
        for member in archive:
            if PurePosixPath(member.name).name == name and (file := archive.extractfile(member)):
                return file.read()
    raise DataError(f"{path}: expected the member {name}, found none")
