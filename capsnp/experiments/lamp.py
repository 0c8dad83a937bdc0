"""Routing under the lamp: what coefficients do from one weighting to the next."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from capsnp import plotting
from capsnp.blocks import slices
from capsnp.errors import OptionError
from capsnp.evaluation import Column, Table
from capsnp.experiments.data import labels_of
from capsnp.experiments.report import write_report
from capsnp.experiments.runs import NetworkRun, look_into
from capsnp.experiments.sections import Section, keep_section
from capsnp.functional import length, predictions
from capsnp.functional._checks import expect_count
from capsnp.functional.routings import ROUTINGS
from capsnp.models import CapsNet
from capsnp.models._capsnet_network import routing_parameters
from capsnp.reproduce.runs import Say
from capsnp.training import track

TOGETHER = 16
"""Images whose predictions are held at a time."""

SHORT = 0.1
"""A capsule that no image makes longer is called dead: the margin loss's lower margin."""

N_IMAGES = 300
COLUMNS = (
    Column("wrong", "Wrong", ".2%", "lower"),
    Column("entropy", "Entropy of c", ".4f"),
    Column("moved", "Moved", ".5f"),
    Column("ratio", "To the last move", ".2f"),
    Column("agreement", "Agreement, own", ".3f"),
    Column("agreement_others", "others", ".3f"),
    Column("length", "Length, own", ".3f", "higher"),
    Column("length_others", "longest other", ".3f", "lower"),
    Column("dead", "Dead", ".0f", "lower"),
)
CAPTIONS = {
    "lamp": "What routing does from one weighting to the next, on test images; the dotted line is "
    "the number of weightings in training. Entropy: 1 where a capsule gives to all alike. Moved: "
    "the share of the coefficients that a weighting moves. Agreement: cosine of predictions and "
    "their sum, weighted by c."
}


class Weighting(NamedTuple):
    """Sums over images after a number of weightings; the fields of a table's row.

    Attributes
    ----------
    entropy, moved, agreement, agreement_others, length, length_others : float
    right : int
    lengths : numpy.ndarray, shape (J, J)
        Of capsules (columns) in images of each class (rows).
    longest : numpy.ndarray, shape (J,)
        The greatest length of each capsule.
    """

    entropy: float
    moved: float
    agreement: float
    agreement_others: float
    length: float
    length_others: float
    right: int
    lengths: np.ndarray
    longest: np.ndarray


def under_lamp(
    folder: Path,
    *,
    iterations: int = 10,
    changes: Mapping[str, Any] | None = None,
    data_dir: str | Path | None = None,
    quiet: bool = False,
    say: Say = print,
) -> Table:
    """Look at the routing of a trained network, and write it into its run.

    Parameters
    ----------
    folder : Path
        Of a run.
    iterations : int
        Weightings to look at, from 1 on.
    changes : mapping of str to object, optional
        Other settings than the run's, such as ``data`` or ``test_images``; by default the first
        300 test images.
    data_dir : str or Path, optional
        As for `capsnp.datasets.load`.
    quiet : bool, optional
    say : callable, optional

    Returns
    -------
    Table

    Raises
    ------
    RunError, DataError
        As `look_into`.
    OptionError
        If the network's routing has one weighting only.
    """
    expect_count("iterations", iterations)
    changes = {"test_images": N_IMAGES} | dict(changes or {})
    opened, model = look_into(folder, changes=changes, data_dir=data_dir, quiet=quiet, say=say)
    expect_weightings(model)
    found, primary = _look(opened, model, iterations)
    table = _table(opened, model, found, primary)
    names = [opened.data.test.classes[k] for k in model.classes_]
    figure = plotting.routing_course(
        {name: [row[name] for row in table.rows.values()] for name in table.rows["1"]},
        found[min(model.iterations, iterations) - 1].lengths,
        names,
        trained=model.iterations,
    )
    section = Section("lamp", "Routing under the lamp", {"lamp": table}, CAPTIONS)
    with opened.run.lock():
        keep_section(opened.run, section, {"lamp": figure})
        write_report(opened, model)
    return table


def expect_weightings(model: CapsNet) -> None:
    """Raise `OptionError` unless the network's routing goes on from weighting to weighting."""
    if "iterations" not in ROUTINGS[model.routing].options:
        several = [name for name, rule in ROUTINGS.items() if "iterations" in rule.options]
        raise OptionError(
            f"routing: expected one of {', '.join(several)}, whose weightings can be followed, "
            f"got a network of {model.routing!r}"
        )


def routed(
    model: CapsNet, images: np.ndarray, iterations: int
) -> tuple[np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
    """Primary capsules (B, I, P), and c (B, I, J) with z (B, J, D) after 1, 2, ... weightings."""
    network, products = model._ready()
    host = model._backend.to_host
    x = host(network.inputs(model._array(images), products))
    rule, parameters = ROUTINGS[model.routing], model.get_params(deep=False)
    options = {name: parameters[name] for name in rule.options if name in parameters}
    own = {name: host(value) for name, value in routing_parameters(products).items()}
    W = host(products["W"])
    found = []
    for n in range(1, iterations + 1):
        routing = rule.route(x, W, **(options | {"iterations": n}), **own)
        found.append((np.asarray(routing.c), np.asarray(routing.z)))
    return x, found


def _look(
    opened: NetworkRun, model: CapsNet, iterations: int
) -> tuple[list[Weighting], np.ndarray]:
    """What each number of weightings makes of the test images; longest primary capsules (I,)."""
    test = opened.data.test
    numbers = np.searchsorted(model.classes_, labels_of(test))
    sums: list[list[Weighting]] = []
    primary = np.zeros(model.weights_["W"].shape[0])
    blocks = list(slices(len(test), TOGETHER))
    for rows in track(blocks, "routing", quiet=opened.quiet):
        x, found = routed(model, test.images[rows], iterations)
        primary = np.maximum(primary, np.max(length(x), axis=0))
        sums.append(list(_block(model, x, found, numbers[rows])))
    return [_total([block[n] for block in sums]) for n in range(iterations)], primary


def _block(
    model: CapsNet,
    x: np.ndarray,
    found: list[tuple[np.ndarray, np.ndarray]],
    numbers: np.ndarray,
) -> Iterator[Weighting]:
    """Of some images, for each number of weightings."""
    votes = np.asarray(predictions(x, model._backend.to_host(model.weights_["W"])))
    n_votes = length(votes)  # (B, I, J)
    rows = np.arange(len(numbers))
    J = len(model.classes_)
    axis = 1 if model.routing == "dynamic" and model.normalize == "inputs" else 2
    network = model._network()
    before = found[0][0]
    for c, z in found:
        along = np.einsum("bijd,bjd->bij", votes, z)
        norms = n_votes * length(z)[:, None, :]
        cosines = np.divide(along, norms, out=np.zeros_like(along), where=norms > 0)
        total = np.sum(c, axis=1)
        agreed = np.sum(c * cosines, axis=1)
        agreed = np.divide(agreed, total, out=np.zeros_like(agreed), where=total > 0)  # (B, J)
        v = length(model._backend.to_host(network.norm.squash(model._array(z))))
        others = np.where(np.arange(J) == numbers[:, None], -1.0, v)
        by_class = np.zeros((J, J))
        np.add.at(by_class, numbers, v)
        yield Weighting(
            float(np.sum(_entropy(c, axis))),
            float(np.sum(np.mean(0.5 * np.sum(np.abs(c - before), axis=axis), axis=1))),
            float(np.sum(agreed[rows, numbers])),
            float(np.sum(np.sum(agreed, axis=1) - agreed[rows, numbers])) / (J - 1),
            float(np.sum(v[rows, numbers])),
            float(np.sum(np.max(others, axis=1))),
            int(np.sum(np.argmax(v, axis=1) == numbers)),
            by_class,
            np.max(v, axis=0),
        )
        before = c


def _entropy(c: np.ndarray, axis: int) -> np.ndarray:
    """Of coefficients (B, I, J) along an axis, over its greatest value, mean of each image."""
    total = np.sum(c, axis=axis, keepdims=True)
    p = np.divide(c, total, out=np.zeros_like(c), where=total > 0)
    logs = np.log(p, out=np.zeros_like(p), where=p > 0)
    return np.mean(-np.sum(p * logs, axis=axis), axis=1) / np.log(c.shape[axis])


def _total(blocks: list[Weighting]) -> Weighting:
    sums: Any = {
        name: np.sum([getattr(block, name) for block in blocks], axis=0)
        for name in Weighting._fields
    }
    return Weighting(**sums | {"longest": np.max([block.longest for block in blocks], axis=0)})


def _table(
    opened: NetworkRun, model: CapsNet, found: list[Weighting], primary: np.ndarray
) -> Table:
    n = len(opened.data.test)
    counts = np.bincount(
        np.searchsorted(model.classes_, labels_of(opened.data.test)), minlength=len(model.classes_)
    )
    rows: dict[str, dict[str, Any]] = {}
    before = None
    for k, weighting in enumerate(found, start=1):
        row: dict[str, Any] = {
            name: float(getattr(weighting, name)) / n
            for name in Weighting._fields
            if name not in ("right", "lengths", "longest")
        }
        moved = None if k == 1 else row["moved"]
        row |= {
            "wrong": 1 - weighting.right / n,
            "moved": moved,
            "ratio": moved / before if moved is not None and before else None,
            "dead": float(np.sum(weighting.longest <= SHORT)),
        }
        rows[f"{k}"], before = row, moved
    for weighting in found:  # sums by class become means
        weighting.lengths[:] = weighting.lengths / np.maximum(counts, 1)[:, None]
    return Table(
        "Routing by the number of weightings", COLUMNS, rows, _notes(model, rows, n, primary)
    )


def _notes(
    model: CapsNet, rows: Mapping[str, Mapping[str, Any]], n: int, primary: np.ndarray
) -> tuple[str, ...]:
    last = list(rows.values())[-1]
    notes = [
        f"{n} test images; trained with {model.iterations} weightings. Dead: class capsules that "
        f"no image makes longer than {SHORT}.",
        f"{int(np.sum(primary <= SHORT))} of {primary.size} primary capsules are dead by the same "
        "measure.",
    ]
    if last["ratio"] is not None:
        way = "it settles" if last["ratio"] < 1 else "it does not settle"
        notes.append(
            f"Weighting {len(rows)} moves {last['moved']:.2%} of the coefficients, "
            f"{last['ratio']:.2f} of what the one before moved: {way}."
        )
    return tuple(notes)
