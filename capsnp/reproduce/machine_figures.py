"""The pictures of a run of a machine: what each shows, and how it is drawn."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from capsnp import plotting
from capsnp.datasets import Dataset
from capsnp.models import RBM
from capsnp.reproduce.figures import COLUMNS, Picture
from capsnp.reproduce.machine_chains import walk, walk_from_training
from capsnp.training import Progress

STEPS = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
"""Gibbs steps at which chains are looked at."""

N_SAMPLES = 80
N_CHAINS = 100
N_SHOWN = 10
N_FILTERS = 200
N_ROWS = 500
SHOWN = 0.999  # share of weights that the scale of colours has room for


@dataclass(frozen=True)
class MachineScene:
    """What pictures are drawn from.

    Attributes
    ----------
    model : RBM
    train, test : numpy.ndarray, shape (N, I)
        Rows as the machine takes them.
    images : Dataset
        The test images that the rows are of.
    records : list of dict
        The run's metrics.
    seed : int
    progress : Progress
    """

    model: RBM
    train: np.ndarray
    test: np.ndarray
    images: Dataset
    records: list[dict[str, Any]]
    seed: int
    progress: Progress

    def as_images(self, rows: np.ndarray) -> np.ndarray:
        """Rows (..., I) as (..., H, W, C)."""
        return rows.reshape(*rows.shape[:-1], *self.images.images.shape[1:])

    @cached_property
    def shown(self) -> np.ndarray:
        """Test rows that chains start from: of each class in turn, as far as there are labels."""
        order = np.random.default_rng([self.seed, len(self.test)]).permutation(len(self.test))
        labels = self.images.labels
        if labels is not None:
            nth = np.zeros(len(order), dtype=np.int64)  # of its class
            for kind in np.unique(labels):
                mine = np.flatnonzero(labels[order] == kind)
                nth[mine] = np.arange(len(mine))
            order = order[np.lexsort((labels[order], nth))]
        return order[:N_CHAINS]

    @cached_property
    def chains(self) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Means of the first chains, (N, T, I), and free energies of both kinds, (T, N) each."""
        model, machine = self.model, self.model.machine_
        to_host = model._backend.to_host
        start = self.test[self.shown]
        unlike = np.random.default_rng(self.seed).permuted(self.train[: len(start)], axis=0)
        both = model._array(np.concatenate([start, unlike]))
        walked = walk(machine, model._noise(self.seed), n_steps=STEPS[-1], v=both)
        means, free = [], []
        for step, at in enumerate(self.progress.track(walked, "chains", total=STEPS[-1] + 1)):
            if step in STEPS:
                means.append(to_host(at.mean[: min(N_SHOWN, len(start)), :]))
                free.append(np.asarray(model.free_energy(to_host(at.v))))
        energies = np.stack(free)
        groups = {
            "from test images": energies[:, : len(start)],
            "from independent pixels": energies[:, len(start) :],
        }
        return np.stack(means, axis=1), groups

    @cached_property
    def samples(self) -> np.ndarray:
        """Means at the ends of chains that go on from the training's, (N, I)."""
        walked = walk_from_training(self.model, N_SAMPLES, n_steps=STEPS[-1], seed=self.seed)
        for at in self.progress.track(walked, "samples", total=STEPS[-1] + 1):
            mean = at.mean
        return self.model._backend.to_host(mean)


def _samples(scene: MachineScene) -> Figure:
    title = f"Samples: ends of {STEPS[-1]} Gibbs steps"
    return plotting.samples(scene.as_images(scene.samples), columns=COLUMNS, title=title)


def _chains(scene: MachineScene) -> Figure:
    means, _ = scene.chains
    data, rows = scene.images, scene.shown[: len(means)]
    labels = None if data.labels is None else [data.classes[k] for k in data.labels[rows]]
    return plotting.chains(scene.as_images(means), STEPS, labels=labels)


def _energies(scene: MachineScene) -> Figure:
    data = {"training images": scene.train, "test images": scene.test}
    free = {name: np.asarray(scene.model.free_energy(v[:N_ROWS])) for name, v in data.items()}
    return plotting.energies(scene.chains[1], STEPS, data=free)


def _filters(scene: MachineScene) -> Figure:
    w = scene.model._backend.to_host(scene.model.components_)
    w = np.asarray(w)[:N_FILTERS]
    most = np.quantile(np.abs(w), SHOWN)
    images = scene.as_images(np.clip(w, -most, most))
    title = "Weights of each hidden unit"
    return plotting.filters(np.moveaxis(images, 0, -1), columns=COLUMNS, title=title)


def _activations(scene: MachineScene) -> Figure:
    labels, classes = scene.images.labels, scene.images.classes
    h = np.asarray(scene.model.transform(scene.test[:N_ROWS]))
    shown = None if labels is None else labels[:N_ROWS]
    return plotting.activations(
        h, labels=shown, classes=classes, title="Hidden units given test images"
    )


def _curves(scene: MachineScene) -> Figure | None:
    return plotting.training_curves(scene.records) if scene.records else None


PICTURES = (
    Picture(
        "samples",
        f"Ends of chains that go on from those of the training, {STEPS[-1]} Gibbs steps each: the "
        "probability of each pixel given the hidden units.",
        _samples,
    ),
    Picture(
        "chains",
        "Chains that start at test images: what the machine takes them for, and where they go from "
        "there. A chain that keeps its class for a thousand steps does not mix.",
        _chains,
    ),
    Picture(
        "energies",
        "Free energies of chains over time, beside those of images. The machine's own states are "
        "where chains from both starts agree; images lie there if it has learnt them. Test images "
        "above training images mean that it knows these by heart.",
        _energies,
    ),
    Picture(
        "filters",
        f"Weights of the first {N_FILTERS} hidden units, red where a pixel turns the unit on; the "
        "largest thousandth have the colour of the scale's end.",
        _filters,
    ),
    Picture(
        "activations",
        "P(on) of each hidden unit, or its mean, given test images.",
        _activations,
    ),
    Picture(
        "training",
        "What was logged in training: of the last batch, and of the monitor's rows, held-out ones "
        "being test images.",
        _curves,
    ),
)


def draw_machine(scene: MachineScene, folder: Path) -> list[Picture]:
    """Write every picture as PNG into a folder that is there; those that were drawn."""
    drawn = []
    for picture in PICTURES:
        figure = picture.draw(scene)
        if figure is not None:
            plotting.save(figure, folder / f"{picture.name}.png")
            drawn.append(picture)
    return drawn
