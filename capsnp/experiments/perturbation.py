"""Activity vectors one can read: what each dimension of a class capsule moves in the image.

Each dimension of a capsule is moved from -0.25 to 0.25 in steps of 0.05, and the decoder draws the
image. How much a property of the image changes along is measured by regression.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from sklearn.linear_model import LinearRegression

from capsnp import plotting
from capsnp.errors import OptionError
from capsnp.evaluation import Column, Table
from capsnp.evaluation.properties import PROPERTIES, image_properties
from capsnp.experiments.data import labels_of
from capsnp.experiments.report import write_report
from capsnp.experiments.runs import NetworkRun, look_into
from capsnp.experiments.sections import Section, keep_section, table_csv
from capsnp.models import CapsNet
from capsnp.reproduce.runs import Say
from capsnp.training import Progress, write_atomic

OFFSETS = np.linspace(-0.25, 0.25, 11)
"""Of Sabour, Frosst and Hinton (2017), section 5.1."""

N_MEASURED = 12  # images of a class that are moved
N_SPREAD = 500  # images of a class that its properties' spread is taken from
WEAK = 0.25  # standard deviations: less than this is called little


class Effects(NamedTuple):
    """What each of D dimensions moves.

    Attributes
    ----------
    change : numpy.ndarray, shape (D, 7)
        Of each property of `PROPERTIES` from the lowest to the highest offset, by a line through
        all, in standard deviations of the property, see `spread_of`.
    r2 : numpy.ndarray, shape (D, 7)
        Share of the property's variance along a dimension that the line explains.
    """

    change: np.ndarray
    r2: np.ndarray

    def words(self, d: int) -> str:
        """What a dimension moves most, as "slant +1.3"."""
        q = int(np.argmax(np.abs(self.change[d])))
        change = self.change[d, q]
        if abs(change) < WEAK:
            return "little"
        return f"{PROPERTIES[q]} {change:+.1f}".replace("-", "\N{MINUS SIGN}")


def perturb(
    folder: Path,
    *,
    named: str | None = None,
    data_dir: str | Path | None = None,
    backend: str | None = None,
    quiet: bool = False,
    say: Say = print,
) -> list[Table]:
    """Move the dimensions of class capsules, and keep pictures and a table in the run's folder.

    Parameters
    ----------
    folder : Path
        Of a run of a capsule network.
    named : str, optional
        The one class whose capsule is moved; by default all, one after the other.
    data_dir, backend, quiet, say
        As for `look_into`.

    Returns
    -------
    list of Table

    Raises
    ------
    OptionError
        If there is no such class, or the network has no decoder.
    RunError, DataError
        As `look_into`.
    """
    changes = {} if backend is None else {"backend": backend}
    opened, model = look_into(folder, changes=changes, data_dir=data_dir, quiet=quiet, say=say)
    if not model.reconstruction:
        raise OptionError(f"{folder}: expected a network with a decoder, got reconstruction = 0")
    names = [opened.data.test.classes[k] for k in model.classes_]
    if named is not None and named not in names:
        raise OptionError(f"class: expected one of {', '.join(names)}, got {named!r}")
    chosen = [j for j, name in enumerate(names) if named in (None, name)]
    with opened.run.lock(), Progress(quiet=quiet) as progress:
        section, figures = _looked_at(opened, model, names, chosen, progress)
        keep_section(opened.run, section, figures)
        write_atomic(opened.run.path("perturb_effects.csv"), _long_csv(section).encode())
        write_report(opened, model)
    return list(section.tables.values())


def swept(v: np.ndarray, j: int, offsets: np.ndarray = OFFSETS) -> np.ndarray:
    """Capsules with each dimension of the j-th moved by each offset.

    Parameters
    ----------
    v : array, shape (N, J, D)
    j : int
    offsets : array, shape (V,)

    Returns
    -------
    numpy.ndarray, shape (N, D, V, J, D)

    Examples
    --------
    >>> moved = swept(np.zeros((1, 1, 2)), 0, np.asarray([-1.0, 1.0]))
    >>> moved[0, :, :, 0].tolist()
    [[[-1.0, 0.0], [1.0, 0.0]], [[0.0, -1.0], [0.0, 1.0]]]
    """
    n, J, D = v.shape
    moved = np.broadcast_to(v[:, None, None], (n, D, offsets.size, J, D)).copy()
    for d in range(D):
        moved[:, d, :, j, d] += np.asarray(offsets, dtype=v.dtype)
    return moved


def measured(
    draw: Callable[[np.ndarray], np.ndarray],
    v: np.ndarray,
    j: int,
    spread: np.ndarray,
    offsets: np.ndarray = OFFSETS,
) -> Effects:
    """What the dimensions of the j-th capsule move, by regression over several images.

    Parameters
    ----------
    draw : callable
        From capsules (M, J, D) to images (M, H, W, C).
    v : array, shape (N, J, D)
        Capsules of images of the class.
    j : int
    spread : array, shape (7,)
        Standard deviation of each property over images of the class; a property with 0 is left out.
    offsets : array, shape (V,)

    Returns
    -------
    Effects
    """
    n, _, D = v.shape
    moved = swept(v, j, offsets)
    found = image_properties(draw(moved.reshape(-1, *v.shape[1:])))
    found = found.reshape(n, D, offsets.size, len(PROPERTIES))
    found = found - np.mean(found, axis=2, keepdims=True)  # every image has a level of its own
    at = np.tile(offsets, n)[:, None]
    change, r2 = np.zeros((D, len(PROPERTIES))), np.zeros((D, len(PROPERTIES)))
    for d in range(D):
        along = found[:, d].reshape(n * offsets.size, -1)
        line = LinearRegression().fit(at, along)
        rest = np.sum((along - line.predict(at)) ** 2, axis=0)
        total = np.sum(along**2, axis=0)
        r2[d] = 1.0 - np.divide(rest, total, out=np.ones_like(rest), where=total > 0)
        change[d] = line.coef_[:, 0] * (offsets[-1] - offsets[0])
    return Effects(np.divide(change, spread, out=np.zeros_like(change), where=spread > 0), r2)


def _looked_at(
    opened: NetworkRun, model: CapsNet, names: Sequence[str], chosen: list[int], progress: Progress
) -> tuple[Section, dict[str, Figure]]:
    """The section of some classes, with a picture of each."""
    effects: dict[str, Effects] = {}
    figures, captions = {}, {}
    for j in progress.track(chosen, "capsules"):
        found = _of_class(opened, model, j)
        if found is None:
            opened.say(f"{names[j]}: has no test image, so its capsule is not moved")
            continue
        images, effects[names[j]] = found
        figures[f"perturb-{j}"] = plotting.capsule_sweep(
            images,
            OFFSETS.tolist(),
            moves=[effects[names[j]].words(d) for d in range(len(images))],
            title=f"The capsule of {names[j]}, one dimension at a time",
        )
        captions[f"perturb-{j}"] = (
            f"A test image of {names[j]}, rebuilt with one dimension of its capsule after the "
            "other moved by what stands above."
        )
    facts = {name: found._asdict() for name, found in effects.items()}
    facts = {name: {k: a.tolist() for k, a in found.items()} for name, found in facts.items()}
    section = Section(
        "perturb",
        "What each dimension moves",
        {"perturb": effects_table(effects)},
        captions,
        {"properties": PROPERTIES, "offsets": OFFSETS.tolist(), "effects": facts},
    )
    return section, figures


def _of_class(opened: NetworkRun, model: CapsNet, j: int) -> tuple[np.ndarray, Effects] | None:
    """Images (D, V, H, W, C) of the class's longest capsule among the first, and the effects."""
    test = opened.data.test
    images = test.images[labels_of(test) == model.classes_[j]][:N_SPREAD]
    if not len(images):
        return None
    v = model.transform(images)
    lengths = np.sqrt(np.sum(v * v, axis=2))
    right = np.argmax(lengths, axis=1) == j
    v = v[np.argsort(~right, kind="stable")][:N_MEASURED]  # those that are recognised first

    def draw(capsules: np.ndarray) -> np.ndarray:
        return model.inverse_transform(capsules, np.full(len(capsules), model.classes_[j]))

    effects = measured(draw, v, j, spread_of(images, model.augment))
    best = int(np.argmax(np.sum(v[:, j] ** 2, axis=1)))
    moved = swept(v[best : best + 1], j)[0]  # (D, V, J, D)
    drawn = draw(moved.reshape(-1, *moved.shape[2:]))
    return drawn.reshape(*moved.shape[:2], *drawn.shape[1:]), effects


def spread_of(images: np.ndarray, shift: int) -> np.ndarray:
    """Standard deviation of each property over images that are shifted as in training, (7,).

    A shift by up to `shift` pixels each way, all alike, adds shift (shift + 1) / 3 to the variances
    of x and y.

    Examples
    --------
    >>> spread_of(np.ones((2, 4, 4, 1)), 1).round(2).tolist()
    [0.0, 0.82, 0.82, 0.0, 0.0, 0.0, 0.0]
    """
    variance = np.var(image_properties(images), axis=0)
    moved = np.asarray([name in ("x", "y") for name in PROPERTIES])
    return np.sqrt(variance + moved * shift * (shift + 1) / 3.0)


def effects_table(effects: dict[str, Effects]) -> Table:
    """What each dimension moves most, a column for each class."""
    D = max((len(found.change) for found in effects.values()), default=0)
    rows: dict[str, dict[str, Any]] = {
        f"dimension {d}": {name: found.words(d) for name, found in effects.items()}
        for d in range(D)
    }
    columns = tuple(Column(name, name) for name in effects)
    note = (
        f"The property that changes most from {OFFSETS[0]:g} to {OFFSETS[-1]:g}, in standard "
        "deviations of it over test images of the class that are shifted as in training, by a line "
        f"through {N_MEASURED} images; 'little' is less than {WEAK:g}. All numbers are in "
        "perturb_effects.csv."
    )
    return Table("What each dimension moves most", columns, rows, (note,))


def _long_csv(section: Section) -> str:
    """A line for each class, dimension and property."""
    rows = {}
    for name, found in section.facts["effects"].items():
        for d, (changes, shares) in enumerate(zip(found["change"], found["r2"], strict=True)):
            for q, prop in enumerate(PROPERTIES):
                rows[f"{name}/{d}/{prop}"] = {
                    "class": name,
                    "dimension": d,
                    "property": prop,
                    "change": changes[q],
                    "r2": shares[q],
                }
    keys = ("class", "dimension", "property", "change", "r2")
    return table_csv(Table("", tuple(Column(key, key) for key in keys), rows))
