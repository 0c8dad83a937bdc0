"""Properties of what is drawn in images, by moments: mass, place, size, slant, thickness."""

import numpy as np

from capsnp.functional._checks import expect_ndim

PROPERTIES = ("mass", "x", "y", "size", "aspect", "slant", "thickness")
"""Names of the columns of `image_properties`."""


def image_properties(images: np.ndarray) -> np.ndarray:
    r"""What is drawn in each image, by moments of its brightness.

    With brightness w at column x and row y, counted to the right and upwards from the image's
    middle, means under w / Σw, variances σ_x², σ_y² and the covariance σ_xy:

    ============  ================================================================================
    property      is
    ============  ================================================================================
    mass          Σw, in pixels that are white
    x, y          the mean place, in pixels
    size          :math:`\sqrt{σ_x^2 + σ_y^2}`, in pixels
    aspect        :math:`(σ_x - σ_y) / (σ_x + σ_y)`: 1 lies, -1 stands
    slant         :math:`σ_{xy} / σ_y^2`: pixels to the right for each one up
    thickness     :math:`2 \sum w / \sum \|∇w\|`, in pixels: a bar of width a and length b has
                  about a b / (a + b), near to a where it is long; what is blurred is thicker
    ============  ================================================================================

    A quotient with nothing below is 0, so a black image has zeros throughout.

    Parameters
    ----------
    images : array, shape (N, H, W, C)
        From 0, on the host; colours are averaged.

    Returns
    -------
    numpy.ndarray of float64, shape (N, 7)
        In the order of `PROPERTIES`.

    Raises
    ------
    ShapeError
        If the images have not four axes.

    Examples
    --------
    >>> image = np.zeros((1, 9, 9, 1))
    >>> image[0, 1:8, 3] = 1.0  # an upright bar, one pixel left of the middle
    >>> dict(zip(PROPERTIES, image_properties(image)[0].round(2).tolist(), strict=True))
    {'mass': 7.0, 'x': -1.0, 'y': 0.0, 'size': 2.0, 'aspect': -1.0, 'slant': 0.0, 'thickness': 0.91}
    """
    expect_ndim("images", images, 4, "(N, H, W, C)")
    w = np.mean(np.asarray(images, dtype=np.float64), axis=3)  # (N, H, W)
    _, height, width = w.shape
    mass = np.sum(w, axis=(1, 2))
    columns, rows = np.sum(w, axis=1), np.sum(w, axis=2)  # (N, W), (N, H)
    right = np.arange(width) - (width - 1) / 2
    up = (height - 1) / 2 - np.arange(height)
    x, y = _over(columns @ right, mass), _over(rows @ up, mass)
    dx, dy = right - x[:, None], up - y[:, None]  # (N, W), (N, H)
    var_x = _over(np.sum(columns * dx * dx, axis=1), mass)
    var_y = _over(np.sum(rows * dy * dy, axis=1), mass)
    cov = _over(np.sum((dy[:, None, :] @ w)[:, 0, :] * dx, axis=1), mass)
    wide, high = np.sqrt(var_x), np.sqrt(var_y)
    found = (
        mass,
        x,
        y,
        np.sqrt(var_x + var_y),
        _over(wide - high, wide + high),
        _over(cov, var_y),
        _over(2.0 * mass, _variation(w)),
    )
    return np.stack(found, axis=1)


def _variation(w: np.ndarray) -> np.ndarray:
    """Sum of the gradient's length over each image (N, H, W) and the black around it."""
    wide = np.pad(w, ((0, 0), (1, 1), (1, 1)))
    across, down = np.diff(wide, axis=2)[:, :-1, :], np.diff(wide, axis=1)[:, :, :-1]
    return np.sum(np.hypot(across, down), axis=(1, 2))


def _over(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a / b, 0 where b is no more than rounding."""
    return np.divide(a, b, out=np.zeros_like(a), where=b > 1e-12)
