"""Which capsule an image is for."""

import numpy as np

from capsnp.functional import length
from capsnp.models import CapsuleGenerator


def winning_capsules(model: CapsuleGenerator, images: np.ndarray) -> np.ndarray:
    """The capsule that wins each image, (N,)."""
    return np.argmax(length(model.transform(images, "route", n_on=1)), axis=1)
