"""Two images over each other, each in a colour of its own."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from capsnp.errors import OptionError, ShapeError
from capsnp.plotting._page import fit_label, host, styled
from capsnp.plotting._sheet import Band, cell_width, sheet

SIDE = 80
"""Pixels that an image is enlarged to at most."""

ROWS = ("image", "truth", "rebuilt: one", "the other", "both")


@styled
def overlaps(groups: Mapping[str, Mapping[str, Any]], *, title: str = "Two in one image") -> Figure:
    """Images of two things, and both alone: the first in red, the second in green.

    Parameters
    ----------
    groups : mapping of str to mapping
        A band for each name, of ``images`` (N, H, W, C) in [0, 1], ``truth`` and ``rebuilt``, two
        such arrays each, and ``labels``, N texts.
    title : str

    Returns
    -------
    matplotlib.figure.Figure
        Below each image its two parts as they are, those that were rebuilt one by one, and both.

    Raises
    ------
    OptionError
        If there is nothing to draw.
    ShapeError
        If the arrays of a group do not fit each other.

    References
    ----------
    Sabour, Frosst and Hinton (2017), Dynamic routing between capsules, Figure 5.
    """
    if not groups:
        raise OptionError("groups: expected at least one, got none")
    bands = []
    for name, group in groups.items():
        images = host("images", group["images"])
        zoom = max(1, SIDE // images.shape[2])
        first, second, one, two = (
            host(kind, image) for kind in ("truth", "rebuilt") for image in group[kind]
        )
        for array in (first, second, one, two):
            if array.shape != images.shape:
                raise ShapeError(f"{name}: expected arrays of {images.shape}, got {array.shape}")
        blank = np.zeros_like(images)
        rows = [
            _coloured(images, images, images),
            _coloured(first, second, blank),
            _coloured(one, blank, blank),
            _coloured(blank, two, blank),
            _coloured(one, two, blank),
        ]
        columns = max(len(group["labels"]) for group in groups.values())
        width = max(cell_width(images.shape[2], columns), zoom * images.shape[2])
        labels = [
            "\n".join(fit_label(line, width) for line in label.split("\n"))
            for label in group["labels"]
        ]
        marked = [f"{name}: {ROWS[0]}", *ROWS[1:]]
        large = np.stack(rows).repeat(zoom, axis=2).repeat(zoom, axis=3)
        bands.append(Band(large, labels, marked))
    return sheet(bands, title=title)


def _coloured(red: np.ndarray, green: np.ndarray, blue: np.ndarray) -> np.ndarray:
    """Grey values of three arrays (N, H, W, C) as colours (N, H, W, 3)."""
    return np.stack([np.clip(part.mean(axis=-1), 0, 1) for part in (red, green, blue)], axis=-1)
