"""Train on data that are larger than what this process may hold: run as a process.

``long_data.py MODEL FILE.npy MEGABYTES``: within so many megabytes more than there are already.
"""

import resource
import sys

import numpy as np

from capsnp.blocks import map_blocks
from capsnp.models import ConvAutoencoder, ExpertCapsules

QUICK = {"n_steps": 3, "batch_size": 32}
MODELS = {
    "capsules": (ExpertCapsules(4, 5, rebalance_steps=3, **QUICK), (64, 8)),
    "autoencoder": (ConvAutoencoder(4, **QUICK), (28, 28, 1)),
}


def write(path, shape):
    """A sparse file of rows, of which every hundredth is not zero."""
    rows = np.lib.format.open_memmap(path, "w+", dtype=np.float32, shape=shape)
    some = np.random.default_rng(0).random((len(rows[::100]), *shape[1:]), dtype=np.float32)
    for row, values in zip(rows[::100], some, strict=True):
        row[:] = values
    return rows.nbytes


def hold(megabytes):
    """Let this process allocate no more than this from now on; mapped files do not count."""
    map_blocks(np.ones, [8, 8], parallel=True)  # the threads' stacks are there now
    with open("/proc/self/status") as status:
        taken = next(int(line.split()[1]) for line in status if line.startswith("VmData"))
    limit = 1024 * taken + 1_000_000 * megabytes
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


if __name__ == "__main__":
    name, path, megabytes = sys.argv[1:]
    model, row = MODELS[name]
    size = write(path, (int(400e6 / 4 / np.prod(row)), *row))
    hold(int(megabytes))
    model.fit(np.load(path, mmap_mode="r"))
    print("trained on", size, "bytes")
    try:
        np.load(path)
    except MemoryError:
        print("they do not fit")
