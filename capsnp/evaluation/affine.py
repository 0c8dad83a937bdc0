"""Images turned, sheared, scaled and shifted."""

import numpy as np

from capsnp.errors import DomainError
from capsnp.functional._checks import expect_ndim

_TO_ROWS = np.asarray([[0.0, -1.0], [1.0, 0.0]])  # from (right, up) to (row, column)


def affine_map(*, rotation: float = 0.0, shear: float = 0.0, scale: float = 1.0) -> np.ndarray:
    r"""The matrix of a rotation after a shear after a scaling, on columns (right, up).

    .. math:: A = \begin{pmatrix} \cos φ & -\sin φ \\ \sin φ & \cos φ \end{pmatrix}
                  \begin{pmatrix} 1 & s \\ 0 & 1 \end{pmatrix} k

    Parameters
    ----------
    rotation : float
        Degrees, anticlockwise.
    shear : float
        Pixels to the right for each one up.
    scale : float

    Returns
    -------
    numpy.ndarray, shape (2, 2)

    Examples
    --------
    >>> affine_map(rotation=90, scale=2).round(12).tolist()
    [[0.0, -2.0], [2.0, 0.0]]
    """
    angle = np.deg2rad(rotation)
    turn = np.asarray([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return scale * turn @ np.asarray([[1.0, shear], [0.0, 1.0]])


def affine_images(
    images: np.ndarray, maps: np.ndarray, shifts: np.ndarray | tuple[float, float] = (0.0, 0.0)
) -> np.ndarray:
    r"""Images under :math:`p \mapsto A p + t`, counted from their middle; black comes in.

    Pixels are interpolated linearly, so a map by whole pixels is exact.

    Parameters
    ----------
    images : array, shape (N, H, W, C)
        On the host.
    maps : array, shape (2, 2) or (N, 2, 2)
        A, on columns (right, up), see `affine_map`.
    shifts : array, shape (2,) or (N, 2)
        t, (right, up) in pixels.

    Returns
    -------
    numpy.ndarray, shape and dtype of images

    Raises
    ------
    ShapeError
        If the images have not four axes.
    DomainError
        If a map has no inverse.

    Examples
    --------
    >>> image = np.zeros((1, 3, 3, 1))
    >>> image[0, 1, 2] = 1.0
    >>> affine_images(image, affine_map(rotation=90))[0, :, :, 0].round(12).tolist()
    [[0.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    """
    from scipy import ndimage  # here, for it is slow to import

    expect_ndim("images", images, 4, "(N, H, W, C)")
    n, height, width, channels = images.shape
    maps = np.broadcast_to(np.asarray(maps, dtype=np.float64), (n, 2, 2))
    shifts = np.broadcast_to(np.asarray(shifts, dtype=np.float64), (n, 2))
    if not np.all(np.abs(np.linalg.det(maps)) > 0):
        raise DomainError("maps: expected matrices that have inverses, got one of determinant 0")
    middle = np.asarray([(height - 1) / 2, (width - 1) / 2])
    moved = np.empty_like(images)
    for k, (A, t) in enumerate(zip(maps, shifts, strict=True)):
        back = (_TO_ROWS @ np.linalg.inv(A) @ _TO_ROWS.T).round(14)  # no pixel lost by rounding
        offset = middle - back @ (middle + _TO_ROWS @ t)
        for c in range(channels):
            moved[k, :, :, c] = ndimage.affine_transform(
                images[k, :, :, c], back, offset=offset, order=1, mode="grid-constant"
            )
    return moved
