"""The pictures of a run: what each shows, and how it is drawn from the model."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from capsnp import plotting
from capsnp.datasets import Dataset
from capsnp.functional import length, route, squash
from capsnp.models import CapsuleGenerator, ExpertCapsules
from capsnp.training import Progress

COLUMNS, ROWS = 20, 4  # of the paper's Figure 2
USAGE_IMAGES = 2000
SWEPT = np.linspace(-3.0, 3.0, 11)  # standard deviations of the Gaussian that is squashed
SWEPT_FROM = 1.0  # length of z along its mean: short, for the other directions to be seen


@dataclass(frozen=True)
class Scene:
    """What pictures are drawn from.

    Attributes
    ----------
    model : CapsuleGenerator
        Fitted.
    test : Dataset
        Images that were not trained on.
    records : list of dict
        The run's metrics.
    seed : int
        Of everything that is drawn at random.
    """

    model: CapsuleGenerator
    test: Dataset
    records: list[dict[str, Any]]
    seed: int = 0

    @cached_property
    def firing(self) -> np.ndarray:
        """P(on) of the capsule that wins each of the first test images, else 0, (N, J)."""
        return length(self.model.transform(self.test.images[:USAGE_IMAGES], "route", n_on=1))

    @cached_property
    def won(self) -> np.ndarray:
        """The capsule that wins each of the first test images, (N,)."""
        return np.argmax(self.firing, axis=1)

    @cached_property
    def counts(self) -> np.ndarray:
        """Images of each class that each capsule wins, (J, K); all of one class without labels."""
        n_capsules = self.model.mean_directions_.shape[0]
        labels = self.test.labels
        classes = np.zeros_like(self.won) if labels is None else labels[: len(self.won)]
        counts = np.zeros((n_capsules, max(1, len(self.test.classes))), dtype=np.int64)
        np.add.at(counts, (self.won, classes), 1)
        return counts

    @cached_property
    def busiest(self) -> int:
        """The capsule that fires most, over all images that it wins."""
        return int(np.argmax(np.sum(self.firing, axis=0)))

    def captions(self) -> list[str] | None:
        """The most common class of each capsule, if there are labels."""
        if self.test.labels is None:
            return None
        return [
            self.test.classes[int(np.argmax(row))] if row.any() else "unused" for row in self.counts
        ]


class Picture(NamedTuple):
    """A picture of every run.

    Attributes
    ----------
    name : str
        Of its file, without the suffix.
    caption : str
    draw : callable
        From a `Scene`, or a `MachineScene`; None where there is nothing to show of it.
    """

    name: str
    caption: str
    draw: Callable[[Any], Figure | None]


def draw_all(scene: Scene, folder: Path, *, progress: Progress) -> list[Picture]:
    """Write every picture as PNG.

    Parameters
    ----------
    scene : Scene
    folder : Path
        Exists.
    progress : Progress

    Returns
    -------
    list of Picture
        Those that were drawn.
    """
    return list(_draw_all(scene, folder, progress))


def _draw_all(scene: Scene, folder: Path, progress: Progress) -> Iterator[Picture]:
    for picture in progress.track(PICTURES, "figures"):
        figure = picture.draw(scene)
        if figure is not None:
            plotting.save(figure, folder / f"{picture.name}.png")
            yield picture


# --- the paper's Figure 2 and its relatives ------------------------------------------------


def single_capsules(scene: Scene, domain: Any, title: str) -> Figure:
    """Figure 2: a column for each capsule."""
    n_capsules = scene.model.mean_directions_.shape[0]
    images = scene.model.sample(ROWS * n_capsules, domain, random_state=scene.seed)
    grid = images.reshape(ROWS, n_capsules, *images.shape[1:]).swapaxes(0, 1)
    return plotting.capsule_grid(grid, labels=scene.captions(), title=title)


def _full(scene: Scene) -> Figure:
    title = "Single capsules, codes from the whole sphere (the paper's Figure 2a and c)"
    return single_capsules(scene, "full", title)


def _half(scene: Scene) -> Figure:
    title = "Single capsules, codes from the half-sphere of training (the paper's Figure 2b and d)"
    return single_capsules(scene, "half", title)


def _visited(scene: Scene) -> Figure:
    title = "Single capsules, codes in directions that training visited"
    return single_capsules(scene, "visited", title)


def _joint(scene: Scene) -> Figure:
    images = scene.model.sample(ROWS * COLUMNS, "codes", random_state=scene.seed)
    return plotting.samples(images, columns=COLUMNS)


def _rebuilt(scene: Scene) -> Figure:
    model, images = scene.model, scene.test.images[:COLUMNS]
    n_capsules = model.mean_directions_.shape[0]
    rows = {
        _capsules(k): model.inverse_transform(model.transform(images, "settle", n_on=k))
        for k in sorted({n_capsules, min(3, n_capsules), 1}, reverse=True)
    }
    rows["one pass"] = model.inverse_transform(model.transform(images, "route"))
    title = "Test images, and what is left of them after the codes of some capsules"
    return plotting.reconstructions(
        images, rows, labels=class_names(scene.test, COLUMNS), title=title
    )


def class_names(data: Dataset, n: int) -> list[str] | None:
    """The classes of the first n images, if there are labels."""
    if data.labels is None:
        return None
    return [data.classes[label] for label in data.labels[:n]]


def _capsules(k: int) -> str:
    return "1 capsule" if k == 1 else f"{k} capsules"


def _sweep(scene: Scene) -> Figure:
    model, j = scene.model, scene.busiest
    n_capsules, dim = model.mean_directions_.shape
    centre = SWEPT_FROM * model.mean_directions_[j]
    z = np.tile(centre, (dim, len(SWEPT), 1))  # (D, V, D)
    z[np.arange(dim), :, np.arange(dim)] = SWEPT
    codes = np.zeros((dim * len(SWEPT), n_capsules, dim), dtype=model.dtype)
    codes[:, j] = squash(z.reshape(-1, dim))
    images = model.draw(codes)
    return plotting.capsule_sweep(
        images.reshape(dim, len(SWEPT), *images.shape[1:]),
        SWEPT.tolist(),
        title=f"Capsule {j} alone: one dimension of its z at a time, the others at their mean",
    )


def _negatives(scene: Scene) -> Figure:
    n_capsules = scene.model.mean_directions_.shape[0]
    codes = scene.model.sample_codes(n_capsules, "half", random_state=scene.seed)
    return plotting.negatives(scene.model.draw(codes), scene.model.draw(-codes))


# --- inside the model ----------------------------------------------------------------------


def _filters(scene: Scene) -> Figure:
    autoencoder = scene.model.autoencoder_
    return plotting.filters(autoencoder.weights_["filters1"])


def _curves(scene: Scene) -> Figure | None:
    return plotting.training_curves(scene.records) if scene.records else None


def _usage(scene: Scene) -> Figure:
    total = np.sum(scene.counts, axis=1)
    return plotting.capsule_usage(
        total / np.sum(total),
        np.max(scene.counts, axis=1) / np.maximum(total, 1),
        scene.counts,
        scene.test.classes or ("all",),
    )


def _heat_map(scene: Scene) -> Figure | None:
    model = scene.model
    autoencoder, experts = model.autoencoder_, model.experts_
    if autoencoder.filters % autoencoder.capsule_dim:
        return None  # a capsule lies across two cells of the grid
    image = scene.test.images[:1]
    x = experts.inputs(autoencoder.transform(image))
    iterations = max(2, experts.routing_iterations)
    before, after = (
        route(
            x,
            experts.W_,
            iterations=n,
            agreement=experts.agreement,
            normalize=experts.normalize,
        ).c[0, ...]
        for n in (1, iterations)
    )
    title = f"Routing coefficients over the grid of input capsules, {iterations} iterations"
    return plotting.routing_heatmap(
        before, after, grid=autoencoder.grid_, image=image[0], title=title
    )


def _connections(scene: Scene) -> Figure | None:
    model = scene.model
    if not isinstance(model.experts_, ExpertCapsules):
        return None  # neurons are not squashed
    surest = int(np.argmax(np.max(scene.firing, axis=1)))
    features = model.autoencoder_.transform(scene.test.images[surest : surest + 1])
    c = model.experts_.routing(features).c
    x = model.experts_.inputs(features)
    return plotting.connection_diagram(
        x[0, ...], model.experts_.W_, c if c.ndim == 2 else c[0, ...], j=int(scene.won[surest])
    )


PICTURES = (
    Picture(
        "figure-2-half",
        "One capsule on at a time: each column is a capsule, each image a new draw of its code "
        "from the half-sphere around the mean of the codes in training (Figure 2b and d). Under "
        "each number stands the class that the capsule wins most often.",
        _half,
    ),
    Picture(
        "figure-2-full",
        "The same from the whole sphere (Figure 2a and c): opposite codes are negatives.",
        _full,
    ),
    Picture("visited", "The same in directions that codes had in training.", _visited),
    Picture(
        "joint-samples",
        "All capsules at once, codes drawn from the mixture over the codes of training images.",
        _joint,
    ),
    Picture(
        "reconstructions",
        "Test images as they come, rebuilt from settled codes with so many capsules on (those "
        "that win), and from one pass of routing, the paper's inference.",
        _rebuilt,
    ),
    Picture(
        "usage",
        "Which images each capsule wins: their share, how many of them are of one class, and of "
        "which classes they are.",
        _usage,
    ),
    Picture(
        "sweep",
        "The capsule that fires most, one number of its code changed at a time.",
        _sweep,
    ),
    Picture(
        "negatives",
        "A draw x of each capsule's code beside −x, which inverts the image.",
        _negatives,
    ),
    Picture(
        "routing",
        "Where output capsules look, before and after routing, for the first test image.",
        _heat_map,
    ),
    Picture(
        "connections",
        "How the surest capsule of the first test images comes about: its strongest inputs, "
        "their predictions weighted by the coupling coefficients, their sum, and squash.",
        _connections,
    ),
    Picture("filters", "Filters of the autoencoder's first layer.", _filters),
    Picture("training", "What was logged in training, stage by stage.", _curves),
)
