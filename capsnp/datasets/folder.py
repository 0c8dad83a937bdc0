"""The user's own images in a folder of PNG and JPEG files."""

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import track

from capsnp.datasets.dataset import Split, SplitName, parts_of, reading
from capsnp.datasets.own import split_rows
from capsnp.errors import DataError

_SUFFIXES = {".png", ".jpg", ".jpeg"}
_CHANNELS = {"1": 1, "L": 1, "LA": 1, "P": 3, "RGB": 3, "RGBA": 3}
_DAMAGE = (
    ValueError,
    EOFError,
    SyntaxError,
    TypeError,
    OverflowError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
"""What Pillow was seen to raise on damaged files, and its documented errors."""


class Listing(NamedTuple):
    """The image files of a folder in order, the class of each, and the classes."""

    paths: list[Path]
    labels: np.ndarray | None
    classes: tuple[str, ...]


def read_folder(folder: Path, split: SplitName, *, progress: bool = True) -> Split:
    """Read a folder of images, all of one size.

    Parameters
    ----------
    folder : Path
        Either image files, or a sub-folder of them for each class; either of these may lie
        inside the two sub-folders ``train`` and ``test``. Names that start with a dot, and other
        files, are passed over.
    split : {"train", "test", "all"}
        See `split_rows` for a folder that is not split.
    progress : bool, default True
        Show a bar where the standard error is a terminal.

    Returns
    -------
    Split
        Images of uint8, one channel where all files are grey, else three; transparency is
        dropped.

    Raises
    ------
    DataError
        If a file is damaged or differs from the first; the message names it.
    """
    with reading(folder, "a folder of images"):
        halves = {part: folder / part for part in parts_of("all")}
        if all(half.is_dir() for half in halves.values()):
            train, test = (_list(half) for half in halves.values())
            everything = _joined(train, test, folder)
            first, last = slice(len(train.paths)), slice(len(train.paths), None)
            rows = np.arange(len(everything.paths))
            rows = {"train": rows[first], "test": rows[last], "all": rows}[split]
        else:
            everything = _list(folder)
            rows = split_rows(len(everything.paths), split, folder)
    shape = _common_shape(everything.paths)
    images = _decode([everything.paths[row] for row in rows], shape, progress=progress)
    labels = None if everything.labels is None else everything.labels[rows]
    return Split(images, labels, everything.classes)


def _joined(train: Listing, test: Listing, folder: Path) -> Listing:
    if train.classes != test.classes:
        raise DataError(
            f"{folder}: expected the same classes in train and test, "
            f"found {', '.join(train.classes) or 'none'} and {', '.join(test.classes) or 'none'}"
        )
    labels = None
    if train.labels is not None and test.labels is not None:
        labels = np.concatenate([train.labels, test.labels])
    return Listing(train.paths + test.paths, labels, train.classes)


def _list(folder: Path) -> Listing:
    entries = _visible(folder)
    top = _images(entries)
    classes = {
        entry.name: images
        for entry in entries
        if entry.is_dir() and (images := _images(_visible(entry)))
    }
    if top and classes:
        raise DataError(
            f"{folder}: expected images in the folder or in its sub-folders, "
            f"found {top[0].name} beside {next(iter(classes))}/"
        )
    if not top and not classes:
        raise DataError(f"{folder}: expected PNG or JPEG files, found none")
    if top:
        return Listing(top, None, ())
    counts = [len(images) for images in classes.values()]
    paths = [path for images in classes.values() for path in images]
    return Listing(paths, np.repeat(np.arange(len(counts)), counts), tuple(classes))


def _visible(folder: Path) -> list[Path]:
    visible = (entry for entry in folder.iterdir() if not entry.name.startswith("."))
    return sorted(visible, key=lambda entry: entry.name)


def _images(entries: list[Path]) -> list[Path]:
    return [entry for entry in entries if entry.suffix.lower() in _SUFFIXES and entry.is_file()]


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    with reading(path, "a PNG or JPEG image", *_DAMAGE), Image.open(path) as image:
        if image.mode not in _CHANNELS:
            raise DataError(
                f"{path}: expected 8 bits for each of grey or red, green and blue, "
                f"found mode {image.mode}"
            )
        yield image


def _common_shape(paths: list[Path]) -> tuple[int, int, int]:
    """(H, W, C) of the first image, which every other must have; reads headers alone."""
    first: tuple[int, int, int] | None = None
    for path in paths:
        with _opened(path) as image:
            shape = (image.height, image.width, _CHANNELS[image.mode])
        if first is None:
            first = shape
        if shape != first:
            raise DataError(
                f"{path}: expected {_describe(first)} as in {paths[0].name}, "
                f"found {_describe(shape)}"
            )
    assert first is not None
    return first


def _describe(shape: tuple[int, int, int]) -> str:
    height, width, channels = shape
    return f"{width}×{height} pixels in {'grey' if channels == 1 else 'colour'}"


def _decode(paths: list[Path], shape: tuple[int, int, int], *, progress: bool) -> np.ndarray:
    images = np.empty((len(paths), *shape), dtype=np.uint8)
    console = Console(stderr=True)
    shown = progress and console.is_terminal
    for n, path in enumerate(
        track(paths, "reading images", console=console, disable=not shown, transient=True)
    ):
        with _opened(path) as image:
            # By way of RGBA: a palette with transparency has no direct way to RGB.
            whole = image.convert("RGBA") if image.mode == "P" else image
            pixels = np.asarray(whole.convert("L" if shape[2] == 1 else "RGB"))
            images[n] = pixels.reshape(shape)
    return images
