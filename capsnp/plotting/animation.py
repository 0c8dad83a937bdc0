"""Films of images that change step by step."""

import itertools
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.animation import FFMpegWriter, PillowWriter

from capsnp.backend import Array
from capsnp.errors import OptionError
from capsnp.functional._checks import expect_count
from capsnp.plotting._page import (
    DPI,
    GREY,
    MARGIN,
    STYLE,
    axes_at,
    header_height,
    page,
    text_at,
)
from capsnp.plotting._sheet import cell_width, mosaic
from capsnp.plotting.images import _host_images
from capsnp.training.files import one_line

FORMATS = (".gif", ".mp4")


def expect_film(path: str | os.PathLike[str], *, name: str = "path") -> None:
    """Raise unless a film can be written to a path, which the caller calls by a name.

    Raises
    ------
    OptionError
        If it ends in neither .gif nor .mp4, or in .mp4 where there is no ffmpeg.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise OptionError(
            f"{name}: expected a name that ends in .gif or .mp4, got {Path(path).name!r}"
        )
    if suffix == ".mp4" and not FFMpegWriter.isAvailable():
        raise OptionError(
            f"{name}: .mp4 needs ffmpeg, which is not found: install it, or take a .gif"
        )


def film(
    frames: Iterable[Array],
    path: str | os.PathLike[str],
    *,
    columns: int = 10,
    rate: int = 10,
    title: str = "Chains",
) -> Path:
    """Write images that change as a film, whole or not at all.

    Parameters
    ----------
    frames : iterable of array, shape (N, H, W, C)
        Each step's images, C = 1 or 3, in [0, 1] (what lies outside is cut); drawn as they come.
    path : path
        Ends in ``.gif``, or ``.mp4`` where ffmpeg is installed; its folder exists. A file that is
        there is replaced.
    columns : int
        Images in a row, from 1.
    rate : int
        Steps in a second, from 1.
    title : str

    Returns
    -------
    pathlib.Path
        The path.

    Raises
    ------
    OptionError
        If the path ends otherwise, there is no ffmpeg, a number is out of its range, or there is
        no frame.
    ShapeError
        If the images have another number of axes or of channels.
    RunError
        If the file cannot be written; then an older file is as it was.
    """
    expect_film(path)
    expect_count("columns", columns)
    expect_count("rate", rate)
    path = Path(path)
    suffix = path.suffix.lower()
    part = path.with_name(f".{path.stem}.{os.getpid()}.tmp{suffix}")
    writer = (PillowWriter if suffix == ".gif" else FFMpegWriter)(fps=rate)
    try:
        with one_line(path, "cannot be written"), mpl.rc_context(STYLE):
            _write(writer, part, frames, columns, title)
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def _write(writer: Any, part: Path, frames: Iterable[Array], columns: int, title: str) -> None:
    pictures = (_picture(images, columns) for images in frames)
    first = next(pictures, None)
    if first is None:
        raise OptionError("frames: expected at least one, got none")
    height, width = first.shape[:2]
    top = header_height(title) + 20
    # even sizes: some codecs take no others
    wide, high = (n + n % 2 for n in (width + 2 * MARGIN, top + height + MARGIN))
    figure = page(wide, high, title)
    shown = axes_at(figure, MARGIN, top, width, height)
    shown.set_axis_off()
    drawn = shown.imshow(first, aspect="auto", interpolation="nearest")
    step = text_at(figure, MARGIN, top - 20, "", color=GREY)
    with writer.saving(figure, str(part), DPI):
        for n, picture in enumerate(itertools.chain([first], pictures)):
            drawn.set_data(picture)
            step.set_text(f"step {n}")
            writer.grab_frame(facecolor="white")


def _picture(images: Array, columns: int) -> np.ndarray:
    """Images in rows and columns, (height, width, 3)."""
    drawn = _host_images("frames", images, "(N, H, W, C)")
    columns = min(columns, len(drawn))
    n_rows = math.ceil(len(drawn) / columns)
    whole = np.full((n_rows * columns, *drawn.shape[1:]), np.nan)
    whole[: len(drawn)] = drawn
    zoom = max(1, cell_width(drawn.shape[2], columns) // drawn.shape[2])
    return mosaic(whole.reshape(n_rows, columns, *drawn.shape[1:]), zoom)
