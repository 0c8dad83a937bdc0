"""MNIST and Fashion-MNIST: a pair of IDX files per split, each known by its checksum."""

import hashlib
from pathlib import Path

import numpy as np

from capsnp.datasets.catalogue import FASHION_MNIST, MNIST, IdxCollection, IdxFile
from capsnp.datasets.dataset import Part, Split
from capsnp.datasets.idx import header, read_idx
from capsnp.errors import DataError


def find_pair(collection: IdxCollection, part: Part, root: Path) -> tuple[Path, Path]:
    """Where the images and the labels of a part lie in the user's data folder.

    Raises
    ------
    DataError
        If one is missing; the message lists what was looked for.
    """
    images, labels = collection.files[part]
    return _find(collection, images, root), _find(collection, labels, root)


def _find(collection: IdxCollection, file: IdxFile, root: Path) -> Path:
    packed = file.remote.name
    plain = packed.removesuffix(".gz")
    for folder in collection.folders:
        for name in (packed, plain):
            if (path := root / folder / name).is_file():
                return path
    folders = " or ".join(f"{folder}/" for folder in collection.folders)
    raise DataError(
        f"{root}: expected {folders} with {packed} or {plain} in it, found none of them"
    )


def read_pair(collection: IdxCollection, part: Part, paths: tuple[Path, Path]) -> Split:
    """Read and check the images and the labels of a part.

    A file of the original's length must be the original, by its checksum. A shorter one, cut by
    hand, is accepted where images and labels agree.

    Parameters
    ----------
    collection : IdxCollection
    part : {"train", "test"}
    paths : (Path, Path)
        Images, labels.

    Returns
    -------
    Split
        Images of uint8, shape (N, 28, 28, 1).

    Raises
    ------
    DataError
        If a file is damaged or another one, or the two disagree.
    """
    images, labels = (
        _read(file, path) for file, path in zip(collection.files[part], paths, strict=True)
    )
    if len(images) != len(labels):
        raise DataError(
            f"{paths[1]}: expected {len(images)} labels for the images in {paths[0].name}, "
            f"found {len(labels)}"
        )
    n_classes = len(collection.classes)
    if (wrong := np.flatnonzero(labels >= n_classes)).size:
        raise DataError(
            f"{paths[1]}: expected labels 0 to {n_classes - 1}, "
            f"found {labels[wrong[0]]} at index {wrong[0]}"
        )
    return Split(images[..., None], labels.astype(np.int64), collection.classes)


def _read(file: IdxFile, path: Path) -> np.ndarray:
    array = read_idx(path, shape=(None, *file.shape[1:]))
    digest = hashlib.sha256(header(array.shape))
    digest.update(array)
    content = digest.hexdigest()
    if content == file.content:
        return array
    if content in _KNOWN:
        raise DataError(f"{path}: expected {_KNOWN[file.content]}, found {_KNOWN[content]}")
    if len(array) > file.shape[0]:
        raise DataError(f"{path}: expected at most {file.shape[0]} entries, found {len(array)}")
    if len(array) == file.shape[0]:
        raise DataError(
            f"{path}: expected {_KNOWN[file.content]} with SHA-256 {file.content} "
            f"(decompressed), found {content}"
        )
    return array


_KNOWN = {
    file.content: f"{file.remote.name.removesuffix('.gz')} of {collection.name}"
    for collection in (MNIST, FASHION_MNIST)
    for pair in collection.files.values()
    for file in pair
}
