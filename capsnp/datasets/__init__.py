"""Images to train on: embedded, by name, or the user's own.

`load` is the one way in. Each kind of source is one module, which gives a split as it is stored;
`load` makes floats in [0, 1] of it.
"""

from capsnp.datasets.dataset import Dataset
from capsnp.datasets.idx import read_idx
from capsnp.datasets.loading import NAMES, load
from capsnp.datasets.overlap import Overlaps

__all__ = ["NAMES", "Dataset", "Overlaps", "load", "read_idx"]
