"""How a trained capsule network bears images that are turned, sheared, scaled and shifted."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from capsnp import plotting
from capsnp.evaluation import Column, Table
from capsnp.evaluation.affine import affine_images, affine_map
from capsnp.experiments.data import labels_of
from capsnp.experiments.report import write_report
from capsnp.experiments.runs import NetworkRun, look_into
from capsnp.experiments.sections import Section, keep_section
from capsnp.models import CapsNet
from capsnp.plotting.robustness import Change
from capsnp.reproduce.runs import Say
from capsnp.training import Progress

STEPS = np.arange(-4, 5)
N_IMAGES = 1000
"""Test images by default: 42 looks at each."""

AT_RANDOM = "at random"
_SEED = 40  # of the changes at random, beside the run's


class Kind(NamedTuple):
    """A kind of change: what it is called, its amounts, and (A, t) of an amount."""

    name: str
    amounts: np.ndarray
    change: Callable[[float], tuple[np.ndarray, tuple[float, float]]]


_STAY = (0.0, 0.0)
KINDS = (
    Kind("rotation (degrees)", 15.0 * STEPS, lambda a: (affine_map(rotation=a), _STAY)),
    Kind("shear", 0.2 * STEPS, lambda a: (affine_map(shear=a), _STAY)),
    Kind("scale", 1.0 + 0.125 * STEPS, lambda a: (affine_map(scale=a), _STAY)),
    Kind("shift to the right (pixels)", 2.0 * STEPS, lambda a: (affine_map(), (a, 0.0))),
    Kind("shift upwards (pixels)", 2.0 * STEPS, lambda a: (affine_map(), (0.0, a))),
)


def affine(
    folder: Path,
    *,
    n_images: int | None = None,
    data_dir: str | Path | None = None,
    backend: str | None = None,
    quiet: bool = False,
    say: Say = print,
) -> list[Table]:
    """Recognise changed test images, and keep picture and table in the run's folder.

    Parameters
    ----------
    folder : Path
        Of a run of a capsule network.
    n_images : int, optional
        The first so many of the run's test images, by default 1,000.
    data_dir, backend, quiet, say
        As for `look_into`.

    Returns
    -------
    list of Table

    Raises
    ------
    RunError, DataError
        As `look_into`.
    """
    changes = {} if backend is None else {"backend": backend}
    opened, model = look_into(folder, changes=changes, data_dir=data_dir, quiet=quiet, say=say)
    with opened.run.lock(), Progress(quiet=quiet) as progress:
        section, figure = _looked_at(opened, model, n_images or N_IMAGES, progress)
        keep_section(opened.run, section, {"affine": figure})
        write_report(opened, model)
    return list(section.tables.values())


def at_random(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Maps (n, 2, 2) and shifts (n, 2) that change all at once, as affNIST does.

    Rotation within 20 degrees, shear within 0.2, scale from 0.8 to 1.2, shifts within 4 pixels.
    """
    rng = np.random.default_rng([seed, _SEED])
    rotation, shear, scale = rng.uniform(-1.0, 1.0, size=(3, n))
    maps = [
        affine_map(rotation=20.0 * r, shear=0.2 * s, scale=1.0 + 0.2 * k)
        for r, s, k in zip(rotation, shear, scale, strict=True)
    ]
    return np.asarray(maps), rng.uniform(-4.0, 4.0, size=(n, 2))


def _looked_at(
    opened: NetworkRun, model: CapsNet, n: int, progress: Progress
) -> tuple[Section, Any]:
    test = opened.data.test
    images, labels = test.images[:n], labels_of(test)[:n]

    def accuracy(A: np.ndarray, t: Any) -> float:
        return float(np.mean(model.predict(affine_images(images, A, t)) == labels))

    asked = [(kind, k) for kind in KINDS for k, step in enumerate(STEPS) if step != 0]
    as_it_is = accuracy(affine_map(), _STAY)
    found = {kind.name: np.full(STEPS.size, as_it_is) for kind in KINDS}
    for kind, k in progress.track(asked, "changes"):
        found[kind.name][k] = accuracy(*kind.change(kind.amounts[k]))
    together = accuracy(*at_random(len(images), opened.settings["seed"]))
    shown = images[:1]
    drawn = {
        kind.name: Change(
            kind.amounts,
            found[kind.name],
            np.concatenate([affine_images(shown, *kind.change(a)) for a in kind.amounts]),
        )
        for kind in KINDS
    }
    facts = {
        kind.name: {"amounts": kind.amounts.tolist(), "accuracy": found[kind.name].tolist()}
        for kind in KINDS
    }
    section = Section(
        "affine",
        "Images turned, sheared, scaled, shifted",
        {"affine": affine_table(found, as_it_is, together, len(images))},
        {
            "affine": "Share of test images recognised when all are changed by so much, and the "
            f"first one under it. Trained on images shifted by up to {model.augment} pixels."
        },
        {"accuracy": facts},
    )
    return section, plotting.robustness(drawn)


def affine_table(found: dict[str, np.ndarray], as_it_is: float, together: float, n: int) -> Table:
    """Accuracy by kind and amount."""
    rows: dict[str, dict[str, float]] = {
        "as they are": {"accuracy": as_it_is},
        AT_RANDOM: {"accuracy": together},
    }
    for kind in KINDS:
        for amount, value in zip(kind.amounts, found[kind.name], strict=True):
            name = f"{kind.name} {amount:g}".replace("-", "\N{MINUS SIGN}")
            rows[name] = {"accuracy": float(value)}
    note = (
        f"{n} test images; at random: rotation within 20 degrees, shear within 0.2, scale from 0.8 "
        "to 1.2 and shifts within 4 pixels at once."
    )
    return Table(
        "Test images recognised", (Column("accuracy", "Accuracy", ".1%", "higher"),), rows, (note,)
    )
