"""What stages hold in memory, measured: run as a process, prints the peaks in bytes as JSON.

``measured.py run FOLDER IMAGES.npz NAME=VALUE ...`` makes a run of images, stage after stage;
``measured.py codes FOLDER N NAME=VALUE ...`` makes U and the mixture of N random features.
"""

import json
import sys
import threading
from pathlib import Path

import numpy as np

from capsnp.memory import _status, give_back, resident
from capsnp.reproduce import making, open_run
from capsnp.reproduce.given import parse_assignments
from capsnp.reproduce.pipeline import Pipeline
from capsnp.reproduce.scores import evaluate
from capsnp.reproduce.settings import resolve
from capsnp.reproduce.shapes import shapes_of
from capsnp.training import Progress


class Peak:
    """The most that is held while the block runs, by looking every millisecond.

    A busy machine looks too seldom for what is short. The kernel's own mark of the most counts
    mapped files, too; less the most of these it is a bound from below.
    """

    def __enter__(self):
        give_back()
        try:
            Path("/proc/self/clear_refs").write_text("5")  # the mark starts anew
            self._anew = True
        except OSError:
            self._anew = False
        self.bytes, self._files, self._stop = resident(), files(), threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self):
        while not self._stop.wait(0.001):
            self.bytes = max(self.bytes, resident())
            self._files = max(self._files, files())

    def __exit__(self, *error):
        self._stop.set()
        self._thread.join()
        mark = _status()["VmHWM"] - max(self._files, files())
        if self._anew:
            self.bytes = max(self.bytes, mark)


def files():
    """Bytes of mapped files that are in memory."""
    return _status()["RssFile"]


def run(folder, images, *assignments):
    opened = open_run(folder, {"data": images}, parse_assignments(assignments), quiet=True)
    found = {"sizes": opened.data.sizes}
    with opened.run.lock(), Progress(quiet=True) as progress:
        pipeline = Pipeline(opened.run, opened.settings, opened.data, progress=progress)
        stages = {
            "autoencoder": lambda: pipeline.train("autoencoder"),
            "features": pipeline.features,
            "capsules": lambda: pipeline.train(opened.settings["model"]),
            "decoder": lambda: pipeline.train("decoder"),
            "figures": lambda: making._draw(opened, pipeline.model, progress),
            "evaluation": lambda: evaluate(
                opened, pipeline.model, features=pipeline.features(), progress=progress
            ),
        }
        for stage, work in stages.items():
            with Peak() as peak:
                work()
            found[stage] = peak.bytes
    return found


def codes(folder, n, *assignments):
    settings = resolve(parse_assignments(assignments))
    shapes, n = shapes_of(settings, (28, 28, 1)), int(n)
    rng = np.random.default_rng(0)
    path = Path(folder) / "features.npy"
    shape = (n, shapes.I, shapes.P)
    features = np.lib.format.open_memmap(path, "w+", dtype=np.float32, shape=shape)
    kinds = rng.standard_normal((50, *shape[1:]), dtype=np.float32)
    for start in range(0, n, 1000):
        block = features[start : start + 1000]
        noise = rng.standard_normal(block.shape, dtype=np.float32)
        block[:] = kinds[rng.integers(50, size=len(block))] + 0.2 * noise
    features.flush()
    model = settings.generator().fit_capsules(features[:200])
    found, points = {"sizes": ((28, 28, 1), n, 0)}, []
    with Peak() as peak:
        points.append(model._fit_U(features, (), lambda items, _: items))
    found["decoder"] = peak.bytes
    with Peak() as peak:
        model.mixture.fit(points[0])
    found["mixture"] = peak.bytes
    return found


if __name__ == "__main__":
    made = {"run": run, "codes": codes}[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:])
    print(json.dumps(made))
