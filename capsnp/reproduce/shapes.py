"""Sizes of the model that settings make, from the images' size alone."""

import math
from typing import NamedTuple

from capsnp.errors import ShapeError
from capsnp.models._convolutional import code_grid
from capsnp.reproduce.settings import Settings


class Shapes(NamedTuple):
    """Sizes of a model by the paper's letters.

    Attributes
    ----------
    image : tuple of int
        (H, W, C).
    grid : tuple of int
    I, P, J, D : int
        Input capsules and their dimension, output capsules and theirs.
    autoencoder, W, U : int
        Numbers that are learned.
    """

    image: tuple[int, int, int]
    grid: tuple[int, int]
    I: int
    P: int
    J: int
    D: int
    autoencoder: int
    W: int
    U: int


def shapes_of(settings: Settings, image: tuple[int, int, int]) -> Shapes:
    """Sizes of the model that these settings make of images (H, W, C).

    Raises
    ------
    ShapeError
        If the images are too small, or their code cannot be cut into capsules.
    """
    ae, caps = settings.table("autoencoder"), settings.layer
    height, width, channels = image
    cells = code_grid((height, width), ae["kernel"])
    numbers, P = math.prod(cells) * ae["filters"], ae["capsule_dim"]
    if numbers % P:
        raise ShapeError(f"autoencoder.capsule_dim: expected a divisor of {numbers}, got {P}")
    I, J, D = numbers // P, caps["n_capsules"], caps["capsule_dim"]
    F, area = ae["filters"], ae["kernel"] ** 2
    learned = area * F * (channels + F) + 3 * F + channels
    return Shapes(image, cells, I, P, J, D, learned, I * P * J * D, I * P * J * D)
