"""
More data than memory
=====================

`ExpertCapsules`, like every model here, reads its data by rows: an array, or a memory map of a file
of any size. What is held in memory does not grow with the file. This story writes a file of
features, trains on it, and looks every so often at what the process holds itself and at the pages
of the file, which the system keeps at hand as long as nobody needs their room.

``CAPSNP_EXAMPLES_GB`` sets the size of the file, a quarter of a gigabyte if it is not set. The file
is sparse: only every tenth row takes room on the disk, the others are read as zeros.
"""

import os
import tempfile
import threading
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from capsnp import ExpertCapsules
from capsnp.plotting import save

GB = float(os.environ.get("CAPSNP_EXAMPLES_GB", "0.25"))

# %%
# A file of input capsules at the paper's sizes, 576 of 8 numbers each.

folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
path = Path(folder.name) / "features.npy"
n = int(GB * 1e9 / (4 * 576 * 8))
rows = np.lib.format.open_memmap(path, "w+", dtype=np.float32, shape=(n, 576, 8))
kinds = np.random.default_rng(0).normal(size=(100, 576, 8))
for row in range(0, n, 10):
    rows[row] = kinds[row // 10 % 100]
rows.flush()
del rows
print(f"{n} rows, {path.stat().st_size / 1e9:.2f} GB")

# %%
# A view that counts the rows which are read: a model needs no more of its data than their shape and
# their rows. Beside it a thread notes every few milliseconds what is held.


class Counted:
    """Rows of a memory map, and how many of them were read."""

    def __init__(self, X):
        self.X, self.shape, self.n_read = X, X.shape, 0

    def __getitem__(self, rows):
        block = self.X[rows]
        self.n_read += len(block)
        return block


def held() -> list[float]:
    """MB that the process holds itself, and MB of files' pages; none where nobody tells."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return [np.nan, np.nan]
    sizes = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith("Rss")}
    return [int(sizes[kind]) / 1e3 for kind in ("RssAnon", "RssFile")]


def watch() -> None:
    while not done.wait(0.005):
        seen.append([features.n_read, *held()])


# %%
# Training reads every row twice, for the mean of the features and their length, and then batches at
# random. (Afterwards it would go through all rows once more, to balance the capsules: left out.)

features = Counted(np.load(path, mmap_mode="r"))
seen, done = [[0, *held()]], threading.Event()
watching = threading.Thread(target=watch)
watching.start()
model = ExpertCapsules(n_steps=20, rebalance_steps=0).fit(features)
done.set()
watching.join()
n_read, own, pages = np.asarray(seen).T
print(f"{features.n_read} rows read, {features.n_read * 4 * 576 * 8 / 1e9:.2f} GB")
print(f"held: {np.max(own):.0f} MB at most, {np.max(own) - own[0]:.0f} MB more than at the start")

# %%
# What the process holds is a level line, whatever the file's size.

figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
axes.plot(n_read * 4 * 576 * 8 / 1e9, own / 1e3, label="held by the process")
axes.plot(n_read * 4 * 576 * 8 / 1e9, pages / 1e3, label="pages of the file, which can be dropped")
axes.axhline(path.stat().st_size / 1e9, color="0.5", linestyle=":", label="the file")
axes.set(xlabel="read (GB)", ylabel="memory (GB)", ylim=(0, None))
axes.legend(frameon=False, loc="center right")
figure

# %%
# Where ``CAPSNP_EXAMPLES_OUT`` names a folder, the picture is written there.

folder.cleanup()
if out := os.environ.get("CAPSNP_EXAMPLES_OUT"):
    save(figure, Path(out) / "plot_long_data.png")
