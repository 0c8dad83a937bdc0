"""The embedded digits: scikit-learn's 1,797 of 8×8, enlarged to 28×28."""

import numpy as np

from capsnp.datasets.dataset import Part, Split

N_TEST = 297
"""The last 297 images, 27 to 33 of each class, are the test split; 1,500 are left to train on."""


def read_digits(part: Part) -> Split:
    """One part of the digits.

    A margin of one pixel of black is put around each image, which keeps whole strokes inside as
    in MNIST, before cubic splines enlarge it 2.8 times; what overshoots [0, 1] is clipped.

    Parameters
    ----------
    part : {"train", "test"}

    Returns
    -------
    Split
        Images of float32, shape (1500, 28, 28, 1) or (297, 28, 28, 1).

    References
    ----------
    Alpaydin and Kaynak (1998), Optical Recognition of Handwritten Digits, UCI repository
    (CC BY 4.0), as distributed by scikit-learn.

    Examples
    --------
    >>> read_digits("test").images.shape
    (297, 28, 28, 1)
    """
    # Imported here: both are slow to import, and only these images need them.
    from scipy.ndimage import zoom
    from sklearn.datasets import load_digits

    digits = load_digits()
    rows = slice(-N_TEST) if part == "train" else slice(-N_TEST, None)
    small = np.pad(digits.images[rows] / 16, ((0, 0), (1, 1), (1, 1)))  # (N, 10, 10)
    large = zoom(small, (1, 2.8, 2.8), order=3, mode="grid-constant", grid_mode=True)
    images = np.clip(large, 0, 1).astype(np.float32)[..., None]
    return Split(images, digits.target[rows].astype(np.int64), tuple("0123456789"))
