"""What a run needs in memory, from its shapes alone.

Counted is what the process itself holds, libraries and all. Pages of files do not count: those of
memory-mapped features stay in memory only as long as nobody needs the room.

Each stage's most is the sum of the arrays that live at its widest point; what is done on threads
counts once for each. The sums follow the code, and a test holds them to 20 % of what is measured.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from capsnp.blocks import n_threads
from capsnp.functional.lowering import lowering
from capsnp.models._base import BLOCK
from capsnp.models._convolutional import STRIDE
from capsnp.models.autoencoder import CHUNK
from capsnp.models.mixture import BLOCK as MIXTURE_ROWS
from capsnp.models.mixture import PCA_ROWS
from capsnp.reproduce.settings import Settings
from capsnp.reproduce.shapes import Shapes

LIBRARIES = {"numpy": 116, "array-api-strict": 116, "torch": 236, "jax": 162}
"""MiB that the interpreter holds once all is imported, as measured; 240 for what is not here."""

STAGES = ("autoencoder", "features", "capsules", "decoder", "mixture", "figures", "evaluation")

PARTS = {
    "autoencoder": ("autoencoder",),
    "capsules": ("features", "capsules"),
    "neurons": ("features", "capsules"),
    "decoder": ("features", "codes", "decoder", "settling", "mixture"),
    "images": ("figures", "evaluation"),
}
"""What is done in each stage of training, and afterwards."""

_MIB = 2**20
_SMALL = 20 * _MIB  # what no array is: caches, gaps between arrays
_DRAWING = 120 * _MIB  # the plotting library with a sheet of pictures
_JUDGING = 50 * _MIB  # libraries that are imported when images are judged
_REFERENCE = 20_000  # real images that are looked at to judge others


def memory(settings: Settings, shapes: Shapes, n: int, n_test: int) -> dict[str, int]:
    """Bytes at the peak of each stage.

    Parameters
    ----------
    settings : Settings
    shapes : Shapes
    n, n_test : int
        Images to train on and to test.

    Returns
    -------
    dict of str to int
        By the names in `STAGES`; with what is held all the time: libraries and images.
    """
    always = standing(settings, shapes, n, n_test)
    own = {
        "autoencoder": _autoencoder(settings, shapes),
        "features": _through_autoencoder(settings, shapes),
        "capsules": _capsules(settings, shapes, n),
        "decoder": _decoder(settings, shapes, n),
        "mixture": _mixture(settings, shapes, n),
        "figures": _through_autoencoder(settings, shapes) + _DRAWING,
        "evaluation": _evaluation(settings, shapes, n, n_test),
    }
    features = features_held(settings, shapes, n)
    later = STAGES[STAGES.index("capsules") :]
    return {
        stage: round(always + own[stage] + (features if stage in later else 0)) for stage in STAGES
    }


def standing(settings: Settings, shapes: Shapes, n: int, n_test: int) -> float:
    """Bytes that are held from the first stage to the last: libraries, images, weights."""
    libraries = LIBRARIES.get(settings["backend"], 240) * _MIB
    return libraries + _SMALL + 4 * (n + n_test) * math.prod(shapes.image) + 4 * shapes.autoencoder


def features_of(settings: Settings, shapes: Shapes, n: int) -> int:
    """Bytes of the stored features of n images."""
    dtype = np.dtype(settings["feature_dtype"] or settings["dtype"])
    return n * shapes.I * shapes.P * dtype.itemsize


def features_held(settings: Settings, shapes: Shapes, n: int) -> int:
    """Bytes of features in memory: none if there are so many that they are memory-mapped."""
    stored = features_of(settings, shapes, n)
    return stored if stored <= settings["feature_memory"] * 1_000_000 else 0


# --- stage by stage ------------------------------------------------------------------------


class _Layer(NamedTuple):
    """Numbers in the products of a convolution: of an image, of its code, of the weight."""

    image: int
    code: int
    weight: int
    hidden: int  # the code itself


def _layers(settings: Settings, shapes: Shapes) -> tuple[_Layer, _Layer]:
    ae = settings.table("autoencoder")
    height, width, channels = shapes.image
    k, F = ae["kernel"], ae["filters"]
    hidden = (height - k + 1, width - k + 1)
    first = _layer((height, width), k, 1, channels, F, hidden)
    return first, _layer(hidden, k, STRIDE, F, F, shapes.grid)


def _layer(size: Any, k: int, stride: int, channels: int, F: int, codes: Any) -> _Layer:
    """Sizes of a convolution's products; one channel of zeros goes through to find them."""
    zeros = np.zeros((1, *size, 1), dtype=np.float32)
    way = lowering(size, k, stride, channels=channels, like=zeros)
    image = way.from_images(zeros).size * channels
    code = way.from_codes(np.zeros((1, *codes, 1), dtype=np.float32)).size * F
    weight = way.from_weight(np.zeros((k, k, 1, 1), dtype=np.float32)).size * channels * F
    return _Layer(image, code, weight, math.prod(codes) * F)


def _itemsize(settings: Settings) -> int:
    return np.dtype(settings["dtype"]).itemsize


def _threads(settings: Settings) -> int:
    """Blocks that are worked on at the same time."""
    return n_threads() if settings["backend"] == "numpy" else 1


def _chunk(settings: Settings, n: int) -> int:
    """Images that a thread takes through the autoencoder at a time."""
    return min(CHUNK, -(-n // 2)) if settings["backend"] == "numpy" else min(8 * CHUNK, n)


def _autoencoder(settings: Settings, shapes: Shapes) -> float:
    """Gradient of a batch: what forward leaves for backward, and gradients of the products."""
    first, second = _layers(settings, shapes)
    image = 2 * first.image + 4 * first.hidden + 3 * second.image + 3 * second.code
    products = first.weight + second.weight
    chunk = _chunk(settings, settings["autoencoder.batch_size"])
    threads = _threads(settings)
    numbers = products + threads * (chunk * image + 2 * products) + 6 * shapes.autoencoder
    return _itemsize(settings) * numbers


def _through_autoencoder(settings: Settings, shapes: Shapes) -> float:
    """Encode or decode blocks of many images."""
    first, second = _layers(settings, shapes)
    chunk = _chunk(settings, 2 * CHUNK)
    numbers = second.weight + _threads(settings) * chunk * 6 * first.hidden
    return _itemsize(settings) * numbers


def _capsules(settings: Settings, shapes: Shapes, n: int) -> float:
    """Mean length of features in float64, or a step with its coefficients, or the balancing.

    Neurons take no more: a mixing has as many numbers as one of capsules.
    """
    caps = settings.layer
    statistics = 3 * 8 * 4 * BLOCK * shapes.I * shapes.P
    rows = min(n, max(caps["batch_size"], BLOCK if caps["rebalance_steps"] else 0))
    step = _itemsize(settings) * (6 * shapes.W + rows * _routed(settings, shapes))
    scores = 2 * n * shapes.J * _itemsize(settings)
    return max(statistics, step + scores)


def _routed(settings: Settings, shapes: Shapes) -> float:
    """Numbers of an example that is routed: its features and its coefficients."""
    own = settings.layer["routing_iterations"] > 1
    return 2.3 * shapes.I * shapes.P + (3 * shapes.I * shapes.J if own else 0)


def _codes(settings: Settings, shapes: Shapes, n: int) -> float:
    """Numbers in the codes of all images."""
    return _itemsize(settings) * n * shapes.J * (shapes.D + 1)


def _decoder(settings: Settings, shapes: Shapes, n: int) -> float:
    """Codes; then a step of U, or settling of blocks beside codes and their points."""
    dec, size = settings.table("decoder"), _itemsize(settings)
    features = shapes.I * shapes.P
    coding = BLOCK * _routed(settings, shapes) + 2 * shapes.W
    step = 6 * shapes.U + dec["batch_size"] * 6 * features
    settling = 3 * min(n, 4 * BLOCK) * features + 4 * shapes.U
    codes = _codes(settings, shapes, n)
    return 2 * codes + size * (shapes.W + max(coding, step, settling))


def _mixture(settings: Settings, shapes: Shapes, n: int) -> float:
    """Points; their principal components, then Gaussians with their inverses in float64."""
    mixture, columns = settings.table("mixture"), shapes.J * shapes.D
    k, d = mixture["n_components"], min(mixture["n_principal"], columns)
    threads = _threads(settings)
    near = min(n, 4 * n // k)  # points that have a share in one Gaussian
    gaussians = 4 * ((4 + threads) * k * d * d + 4 * threads * min(n, MIXTURE_ROWS) * k)
    gaussians += 3 * 8 * threads * near * d
    own = max(_principal(n, columns), gaussians + 4 * 2 * n * d)
    return _codes(settings, shapes, n) + own


def _principal(n: int, columns: int) -> float:
    """Rows that principal components are found from, and a block that is projected on them."""
    return 4 * columns * (min(n, PCA_ROWS) + 2 * min(n, MIXTURE_ROWS))


def _evaluation(settings: Settings, shapes: Shapes, n: int, n_test: int) -> float:
    """Principal components of features, and features of the test images in four ways."""
    features, pixels = shapes.I * shapes.P, math.prod(shapes.image)
    control = _principal(n, features)
    test = 4 * _itemsize(settings) * n_test * features
    reference = 2 * 4 * min(n, _REFERENCE) * pixels
    through = _through_autoencoder(settings, shapes)
    mixture = _mixture(settings, shapes, 0)
    return max(control + mixture, reference, through + test) + _JUDGING
