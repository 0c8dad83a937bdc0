"""Sheets of images: what capsules draw, reconstructions, joint samples, sweeps and negatives."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from capsnp.backend import Array
from capsnp.errors import ShapeError
from capsnp.functional._checks import expect_count, expect_ndim, expect_shape
from capsnp.plotting._page import fit_label, host, styled
from capsnp.plotting._sheet import Band, cell_width, sheet


@styled
def capsule_grid(
    images: Array,
    *,
    labels: Sequence[str] | None = None,
    title: str = "What single capsules draw",
) -> Figure:
    """Images drawn by one capsule each, a column per capsule (the paper's Figure 2).

    Parameters
    ----------
    images : array, shape (J, R, H, W, C)
        R images of each of J capsules, C = 1 or 3, in [0, 1] (what lies outside is cut).
    labels : sequence of J str, optional
        A second line under each capsule's number, such as its most common class.
    title : str

    Returns
    -------
    matplotlib.figure.Figure
        Twenty capsules side by side, more in further bands below.

    Raises
    ------
    ShapeError
        If the images have another number of axes or of channels, or the labels another length.

    References
    ----------
    Hauser (2019), arXiv:1907.11643, Figure 2.
    """
    drawn = _host_images("images", images, "(J, R, H, W, C)")
    _expect_labels("labels", labels, len(drawn))
    side_by_side = min(20, len(drawn))
    width = cell_width(drawn.shape[3], side_by_side)
    names = [
        f"{j}\n{fit_label(labels[j], width)}" if labels is not None else f"{j}"
        for j in range(len(drawn))
    ]
    rows = [f"draw {r + 1}" for r in range(drawn.shape[1])]
    bands = [
        Band(np.moveaxis(drawn[j : j + 20], 0, 1), names[j : j + 20], rows)
        for j in range(0, len(drawn), 20)
    ]
    return sheet(bands, title=title, corner="capsule")


@styled
def reconstructions(
    originals: Array,
    rebuilt: Array | Mapping[str, Array],
    *,
    labels: Sequence[str] | None = None,
    title: str = "Originals and reconstructions",
) -> Figure:
    """Originals above what a model makes of them, a column per image.

    Parameters
    ----------
    originals : array, shape (N, H, W, C)
        C = 1 or 3, in [0, 1] (what lies outside is cut).
    rebuilt : array, shape (N, H, W, C), or mapping of str to such arrays
        One row below the originals for each entry, such as "20 capsules", "3", "1".
    labels : sequence of N str, optional
        A label above each column, such as the image's class.
    title : str

    Returns
    -------
    matplotlib.figure.Figure
        Twenty images side by side, more in further bands below.

    Raises
    ------
    ShapeError
        If a shape differs from the originals' or the labels have another length.
    """
    given = rebuilt if isinstance(rebuilt, Mapping) else {"rebuilt": rebuilt}
    rows = {"original": _host_images("originals", originals, "(N, H, W, C)")}
    shape = tuple(originals.shape)
    for name, array in given.items():
        argument = f"rebuilt[{name!r}]" if isinstance(rebuilt, Mapping) else "rebuilt"
        expect_shape(argument, array, shape, axes="(N, H, W, C)", because="to match originals")
        rows[name] = _host_images(argument, array, "(N, H, W, C)")
    _expect_labels("labels", labels, shape[0])
    images = np.stack(list(rows.values()))
    width = cell_width(shape[2], min(20, shape[0]))
    above = [fit_label(label, width) for label in labels] if labels is not None else [""] * shape[0]
    bands = [
        Band(images[:, n : n + 20], above[n : n + 20], list(rows)) for n in range(0, shape[0], 20)
    ]
    return sheet(bands, title=title)


@styled
def samples(
    images: Array, *, columns: int = 20, title: str = "Joint samples: all capsules at once"
) -> Figure:
    """Images in rows and columns.

    Parameters
    ----------
    images : array, shape (N, H, W, C)
        C = 1 or 3, in [0, 1] (what lies outside is cut).
    columns : int
        Images in a row, from 1.
    title : str

    Returns
    -------
    matplotlib.figure.Figure
        Row by row; each row is labelled with the number of its first image.

    Raises
    ------
    ShapeError
        If the images have another number of axes or of channels.
    OptionError
        If `columns` is below 1.
    """
    expect_count("columns", columns)
    drawn = _host_images("images", images, "(N, H, W, C)")
    columns = min(columns, len(drawn))
    n_rows = math.ceil(len(drawn) / columns)
    whole = np.full((n_rows * columns, *drawn.shape[1:]), np.nan)
    whole[: len(drawn)] = drawn
    rows = [str(row * columns) for row in range(n_rows)]
    image_rows = whole.reshape(n_rows, columns, *drawn.shape[1:])
    above = [f"+{k}" for k in range(columns)]
    return sheet([Band(image_rows, above, rows)], title=title, corner="number")


@styled
def capsule_sweep(
    images: Array,
    values: Sequence[float],
    *,
    moves: Sequence[str] | None = None,
    title: str = "One capsule, one dimension at a time",
) -> Figure:
    """What a capsule draws when one dimension of its code after the other is changed.

    Parameters
    ----------
    images : array, shape (D, V, H, W, C)
        Row d: dimension d set to each of V values, the others left as they were. C = 1 or 3,
        in [0, 1] (what lies outside is cut).
    values : sequence of V float
        Written above the columns, dimensionless.
    moves : sequence of D str, optional
        Written beside each dimension's number: what it moves.
    title : str

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ShapeError
        If the images have another number of axes or of channels, or the values or `moves` another
        length.

    References
    ----------
    Sabour, Frosst and Hinton (2017), Dynamic routing between capsules, Figure 4.
    """
    drawn = _host_images("images", images, "(D, V, H, W, C)")
    _expect_labels("values", values, drawn.shape[1])
    above = [f"{value:.2f}".replace("-", "\N{MINUS SIGN}") for value in values]
    _expect_labels("moves", moves, len(drawn))
    rows = [str(d) if moves is None else f"{moves[d]}   {d}" for d in range(len(drawn))]
    return sheet([Band(drawn, above, rows)], title=title, corner="dimension")


@styled
def negatives(
    images_x: Array,
    images_minus_x: Array,
    *,
    title: str = "A code x and its opposite −x, capsule by capsule",
) -> Figure:
    """What each capsule draws from a code and, right beside it, from the opposite code.

    Parameters
    ----------
    images_x, images_minus_x : array, shape (J, H, W, C)
        One image per capsule, C = 1 or 3, in [0, 1] (what lies outside is cut).
    title : str

    Returns
    -------
    matplotlib.figure.Figure
        Pairs side by side, ten capsules in a band.

    Raises
    ------
    ShapeError
        If a shape is wrong or the two differ.

    References
    ----------
    Hauser (2019), arXiv:1907.11643, section 4.2 on negatives.
    """
    drawn = _host_images("images_x", images_x, "(J, H, W, C)")
    expect_shape(
        "images_minus_x", images_minus_x, tuple(images_x.shape), axes="(J, H, W, C)",
        because="to match images_x",
    )  # fmt: skip
    opposite = _host_images("images_minus_x", images_minus_x, "(J, H, W, C)")
    pairs = np.stack([drawn, opposite], axis=1)  # (J, 2, H, W, C)
    bands = []
    for j in range(0, len(pairs), 10):
        band = pairs[j : j + 10]
        columns = [f"{j + k}\n{sign}" for k in range(len(band)) for sign in ("x", "−x")]
        bands.append(Band(band.reshape(1, -1, *band.shape[2:]), columns, [""]))
    return sheet(bands, title=title, corner="capsule\ncode", group=2)


def _host_images(name: str, images: Array, axes: str) -> np.ndarray:
    """The images in [0, 1] with three channels."""
    array = host(name, images)
    expect_ndim(name, array, axes.count(",") + 1, axes)
    if array.shape[-1] not in (1, 3) or 0 in array.shape:
        raise ShapeError(f"{name}: expected shape {axes} with C = 1 or 3, got {array.shape}")
    return np.broadcast_to(np.clip(array, 0, 1), (*array.shape[:-1], 3))


def _expect_labels(name: str, labels: Sequence | None, n: int) -> None:
    if labels is not None and len(labels) != n:
        raise ShapeError(f"{name}: expected {n} of them to match images, got {len(labels)}")
