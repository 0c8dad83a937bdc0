"""Two things in one image: a capsule network on overlapping images, each rebuilt alone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from capsnp import plotting
from capsnp.datasets.overlap import Overlaps
from capsnp.errors import DivergenceError, OptionError
from capsnp.evaluation import Column, Table
from capsnp.experiments.data import labels_of
from capsnp.experiments.runs import NetworkRun
from capsnp.experiments.sections import Section
from capsnp.experiments.trials import attempt, begin, finish, resolved
from capsnp.models import CapsNet
from capsnp.models._capsnet_training import Alone
from capsnp.reproduce.runs import Say
from capsnp.reproduce.settings import CAPSNET

SHOWN = 12
"""Pairs of each kind in the picture."""

TEST = 1
"""What is added to the seed for the pairs of the test."""

LEAD = (
    "Two images of different classes over each other, as in MultiMNIST: the network is trained on "
    "which two classes are there, says the two with the longest capsules, and rebuilds each alone."
)
COLUMNS = (
    Column("share", "Share", ".2%", "higher"),
    Column("n", "Of", ","),
)


def separate(
    folder: Path,
    *chosen: Mapping[str, Any],
    overlap: float = 0.8,
    shift: int = 4,
    data_dir: str | Path | None = None,
    quiet: bool = False,
    say: Say = print,
) -> Table:
    """Train a network on overlapping images; write what it tells apart, and pictures of it.

    Each pass over the training images has pairs of its own, as many as there are images.

    Parameters
    ----------
    folder : Path
        Which does not exist or is empty; gets ``model.safetensors`` too.
    *chosen : mapping of str to object
        Settings by dotted names, the strongest last; without a preset, "small", and no further
        shifts.
    overlap, shift
        Of `capsnp.datasets.overlap.Overlaps`.
    data_dir : str or Path, optional
        As for `capsnp.datasets.load`.
    quiet : bool, optional
    say : callable, optional

    Returns
    -------
    Table

    Raises
    ------
    OptionError, DataError, ShapeError
        Before anything is made, if a setting or the data are wrong.
    RunError
        If the folder holds something.
    DivergenceError
        If a number ran away.
    """
    settings = resolved({f"{CAPSNET}.augment": 0}, *chosen)
    if not settings[f"{CAPSNET}.reconstruction"]:
        raise OptionError(f"{CAPSNET}.reconstruction: expected a number above 0, got 0")
    if settings[f"{CAPSNET}.loss"] != "margin":
        raise OptionError(
            f"{CAPSNET}.loss: expected 'margin' for images of several classes, "
            f"got {settings[f'{CAPSNET}.loss']!r}"
        )
    options: dict[str, Any] = {"overlap": overlap, "shift": shift}
    _expect_pairs(options)
    opened = begin("overlap", folder, settings, data_dir=data_dir, quiet=quiet, say=say)
    with opened.run.lock():
        model, seconds = _trained(opened, options)
        model.save(folder)
        test = opened.data.test
        pairs = Overlaps(
            test.images,
            labels_of(test),
            len(test),
            random_state=settings["seed"] + TEST,
            **options,
        )
        said = model.predict_top(pairs, 2)
        table = _table(pairs, said, seconds)
        section = Section(
            "overlap", table.title, {"overlap": table}, {"overlap": _caption()}, options
        )
        picture = _picture(model, pairs, said, test.classes)
        finish(opened, section, {"overlap": picture}, LEAD, options)
    return table


def _expect_pairs(options: Mapping[str, Any]) -> None:
    """Raise before any work unless there are pairs with these options."""
    Overlaps(np.zeros((2, 28, 28, 1), dtype=np.float32), np.arange(2), 1, **options)


def _trained(opened: NetworkRun, options: Mapping[str, Any]) -> tuple[CapsNet, float]:
    """A network trained on pairs, all of them once."""
    data, settings = opened.data, opened.settings
    model = settings.network()
    passes = model.n_iter
    labels = labels_of(data.train)
    pairs = Overlaps(
        data.train.images, labels, passes * len(labels), random_state=settings["seed"], **options
    )
    model.set_params(n_iter=1, decay=model.decay**passes)
    there = pairs.indicator(range(len(data.train.classes)))
    training = model.training(pairs, there, alone=Alone(pairs.classes, pairs.alone))
    trial = attempt(training, "overlap", quiet=opened.quiet)
    if trial.stopped:
        raise DivergenceError(trial.stopped)
    opened.run.log("overlap", training.step, **training.health())
    return model, trial.seconds


def found(classes: np.ndarray, said: np.ndarray) -> np.ndarray:
    """How many of the classes (N, 2) are among those said (N, 2): 0, 1 or 2.

    Examples
    --------
    >>> found(np.asarray([[1, 2], [3, 4]]), np.asarray([[2, 1], [4, 5]])).tolist()
    [2, 1]
    """
    return np.sum(np.any(classes[:, :, None] == said[:, None, :], axis=2), axis=1)


def _table(pairs: Overlaps, said: np.ndarray, seconds: float) -> Table:
    n = len(pairs)
    counts = found(pairs.classes, said)
    rows = {
        "both right": {"share": float(np.mean(counts == 2)), "n": n},
        "one right": {"share": float(np.mean(counts == 1)), "n": n},
        "none right": {"share": float(np.mean(counts == 0)), "n": n},
        "images recognised": {"share": float(np.mean(counts / 2)), "n": 2 * n},
        "the longest capsule is there": {
            "share": float(np.mean(np.any(pairs.classes == said[:, :1], axis=1))),
            "n": n,
        },
    }
    return Table("Overlapping images told apart", COLUMNS, rows, (f"Trained in {seconds:.0f} s.",))


def _caption() -> str:
    return (
        "Pairs that were told apart, and pairs that were not. Below the image: the truth, one in "
        "red and one in green, yellow where both are; each rebuilt alone from one capsule, of the "
        "two classes that were said; both rebuilt images together."
    )


def _picture(model: CapsNet, pairs: Overlaps, said: np.ndarray, names: tuple[str, ...]) -> Figure:
    counts = found(pairs.classes, said)
    bands = {}
    for title, rows in (
        ("right", np.flatnonzero(counts == 2)[:SHOWN]),
        ("wrong", np.flatnonzero(counts < 2)[:SHOWN]),
    ):
        if rows.size:
            bands[title] = _band(model, pairs, rows, said[rows], names)
    return plotting.overlaps(bands, title="Two in one image: the truth, and what capsules rebuild")


def _band(
    model: CapsNet, pairs: Overlaps, rows: np.ndarray, said: np.ndarray, names: tuple[str, ...]
) -> dict[str, Any]:
    """Images and labels of some pairs, for `capsnp.plotting.overlaps`."""
    truth = pairs.classes[rows]
    swap = (said[:, 0] == truth[:, 1]) | (said[:, 1] == truth[:, 0])
    said = np.where(swap[:, None], said[:, ::-1], said)  # in the order of what they stand for
    images = pairs[rows]
    v = model.transform(images)
    rebuilt = [model.inverse_transform(v, said[:, part]) for part in (0, 1)]
    labels = [
        f"{names[a]}, {names[b]}" + ("" if {a, b} == {c, d} else f"\n→ {names[c]}, {names[d]}")
        for (a, b), (c, d) in zip(truth.tolist(), said.tolist(), strict=True)
    ]
    alone = [pairs.moved(rows, part) for part in (0, 1)]
    return {"images": images, "truth": alone, "rebuilt": rebuilt, "labels": labels}
