"""Ross's diagram of a trained layer of class capsules: every number of the routing of an image."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from capsnp import plotting
from capsnp.errors import OptionError
from capsnp.evaluation import Column, Table
from capsnp.experiments.data import labels_of
from capsnp.experiments.lamp import expect_weightings, routed
from capsnp.experiments.report import write_report
from capsnp.experiments.runs import look_into
from capsnp.experiments.sections import Section, keep_section
from capsnp.functional import length, predictions
from capsnp.functional._checks import expect_count
from capsnp.models import CapsNet
from capsnp.models._convolutional import STRIDE
from capsnp.plotting.flow import Flow
from capsnp.reproduce.runs import Say

CAPTIONS = {
    "diagram": "One image through the routing, as Mike Ross drew capsule networks: some primary "
    "capsules with the pixels they see, their weights and predictions, their coefficients at each "
    "weighting, the others summed, the weighted sum and its squash. Violet numbers are positive, "
    "orange ones negative."
}


def draw_diagram(
    folder: Path,
    *,
    image: int = 0,
    inputs: int = 3,
    outputs: int = 3,
    changes: Mapping[str, Any] | None = None,
    data_dir: str | Path | None = None,
    quiet: bool = False,
    say: Say = print,
) -> Table:
    """Draw the routing of one image in a trained network, into its run.

    Parameters
    ----------
    folder : Path
        Of a run.
    image : int
        Number of a test image, from 0.
    inputs, outputs : int
        Primary and class capsules to show: the class capsules that are longest, with the image's
        own; the primary capsules that add most to the first of them, and of two or more the last
        one that which loses most of its coefficient to others.
    changes : mapping of str to object, optional
        Other settings than the run's.
    data_dir : str or Path, optional
    quiet : bool, optional
    say : callable, optional

    Returns
    -------
    Table
        Lengths and coefficients of the class capsules by weighting.

    Raises
    ------
    RunError, DataError
        As `look_into`.
    OptionError
        If there is no such image, or not so many capsules, or no weightings to follow.
    """
    for name, count in (("inputs", inputs), ("outputs", outputs)):
        expect_count(name, count)
    opened, model = look_into(folder, changes=changes, data_dir=data_dir, quiet=quiet, say=say)
    expect_weightings(model)
    test = opened.data.test
    if not 0 <= image < len(test):
        raise OptionError(f"image: expected a test image from 0 to {len(test) - 1}, got {image}")
    I, J = model.weights_["W"].shape[:2]
    for name, count, most in (("inputs", inputs, I), ("outputs", outputs, J)):
        if count > most:
            raise OptionError(f"{name}: expected at most {most} capsules, got {count}")
    names = [test.classes[k] for k in model.classes_]
    own = int(np.searchsorted(model.classes_, labels_of(test)[image]))
    flow = flow_of(model, test.images[image], own, names, inputs, outputs)
    table = _table(flow)
    title = f"Routing of test image {image}, {names[own]}"
    section = Section("diagram", "Ross's diagram", {"diagram": table}, CAPTIONS)
    with opened.run.lock():
        keep_section(opened.run, section, {"diagram": plotting.flow_diagram(flow, title=title)})
        write_report(opened, model)
    return table


def flow_of(
    model: CapsNet, image: np.ndarray, own: int, names: list[str], inputs: int, outputs: int
) -> Flow:
    """What flows from some primary capsules to some class capsules.

    Parameters
    ----------
    model : CapsNet
    image : numpy.ndarray, shape (H, W, C)
    own : int
        The image's class, by its number.
    names : list of str
        Of the classes.
    inputs, outputs : int
        How many capsules.

    Returns
    -------
    capsnp.plotting.flow.Flow
    """
    x, found = routed(model, image[None], model.iterations)
    W = model._backend.to_host(model.weights_["W"])
    votes = np.asarray(predictions(x, W))[0]  # (I, J, D)
    c = np.stack([c[0] for c, _ in found])  # (R, I, J)
    z = np.stack([z[0] for _, z in found])  # (R, J, D)
    squash = model._network().norm.squash
    v = model._backend.to_host(squash(model._array(z)))
    lengths = length(v[-1])
    some_j = np.argsort(-lengths, kind="stable")[:outputs]
    if own not in some_j:
        some_j[-1] = own
    some_i = _inputs(votes[:, some_j[0]], c[..., some_j[0]], z[-1, some_j[0]], inputs)
    rest = np.setdiff1d(np.arange(len(votes)), some_i)
    return Flow(
        image,
        tuple(_seen(model, int(i)) for i in some_i),
        tuple(int(i) for i in some_i),
        tuple(names[j] for j in some_j),
        x[0, some_i],
        W[np.ix_(some_i, some_j)],
        votes[np.ix_(some_i, some_j)],
        c[:, some_i][:, :, some_j],
        np.sum(c[:, rest][:, :, some_j], axis=1),
        np.einsum("ij,ijd->jd", c[-1][np.ix_(rest, some_j)], votes[np.ix_(rest, some_j)]),
        len(rest),
        z[:, some_j],
        v[:, some_j],
    )


def _inputs(votes: np.ndarray, c: np.ndarray, z: np.ndarray, n: int) -> np.ndarray:
    """Inputs that add most to z, and of two or more the one whose coefficient falls most."""
    added = c[-1] * (votes @ z)
    order = np.argsort(-added, kind="stable")
    if n == 1:
        return order[:1]
    fallen = (c[-1] - c[0]) * length(votes)
    chosen = order[: n - 1]
    losers = [i for i in np.argsort(fallen, kind="stable") if i not in set(chosen.tolist())]
    return np.append(chosen, losers[:1])


def _seen(model: CapsNet, i: int) -> tuple[int, int, int, int] | None:
    """Top, left, height and width of the pixels that a primary capsule sees."""
    if model.primary_layout != "channels":
        return None
    _, columns = model._shapes.grid
    row, column = divmod(i // model.primary_channels, columns)
    side = 2 * model.kernel - 1
    return STRIDE * row, STRIDE * column, side, side


def _table(flow: Flow) -> Table:
    columns = [Column("capsule", "Class")]
    weightings = range(1, len(flow.z) + 1)
    columns += [Column(f"length_{n}", f"Length {n}", ".3f") for n in weightings]
    columns += [Column(f"sum_{n}", f"∑ c {n}", ".2f") for n in weightings]
    rows: dict[str, dict[str, Any]] = {}
    lengths, total = length(flow.v), np.sum(flow.c, axis=1) + flow.c_others  # (R, m)
    for j, name in enumerate(flow.classes):
        row: dict[str, Any] = {"capsule": name}
        for n in weightings:
            row |= {
                f"length_{n}": float(lengths[n - 1, j]),
                f"sum_{n}": float(total[n - 1, j]),
            }
        rows[f"{j + 1}"] = row
    return Table("Class capsules by weighting", tuple(columns), rows)
