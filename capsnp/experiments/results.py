"""What a trained capsule network does with test images: accuracy, confusions, rebuilt images."""

import numpy as np
from matplotlib.figure import Figure

from capsnp import plotting
from capsnp.evaluation import Column, Table
from capsnp.experiments.data import labels_of
from capsnp.experiments.runs import NetworkRun
from capsnp.experiments.sections import Section, keep_section
from capsnp.models import CapsNet
from capsnp.models._capsnet_training import CapsNetTraining

N_SHOWN = 20
N_FILTERS = 256

CAPTIONS = {
    "confusion": "Test images of each class (rows) by the class that is predicted (columns); on "
    "the diagonal those that are right.",
    "reconstructions": "Test images rebuilt from the one capsule of the class that is predicted.",
    "mistakes": "Test images that are taken for another class, the surest ones first: rebuilt from "
    "the capsule of the class that was predicted, and of their own.",
    "filters": "The first convolution.",
    "training": "What was logged: of the last batch (shifted images), and of all test images.",
}


def keep_results(opened: NetworkRun, model: CapsNet) -> None:
    """Predict the test images and write tables and pictures of it into the run's folder.

    Parameters
    ----------
    opened : NetworkRun
        Its folder held by `RunFolder.lock`.
    model : CapsNet
        Trained on the labels' numbers.
    """
    test = opened.data.test
    lengths = model.lengths(test.images)
    counts = confusions(labels_of(test), model.classes_[np.argmax(lengths, axis=1)], model.classes_)
    names = [test.classes[k] for k in model.classes_]
    tables = {"accuracy": accuracy_table(counts, names)}
    if passes := _by_pass(opened):
        tables["passes"] = passes
    figures = _figures(opened, model, lengths, counts, names)
    section = Section(
        "results",
        "Results",
        tables,
        {name: CAPTIONS[name] for name in figures},
        {"confusions": counts.tolist(), "classes": names},
    )
    keep_section(opened.run, section, figures)


def confusions(labels: np.ndarray, predicted: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """How many examples of each class (rows) are taken for each class (columns), (J, J).

    Examples
    --------
    >>> confusions(np.asarray([0, 0, 2]), np.asarray([0, 2, 2]), np.asarray([0, 2])).tolist()
    [[1, 1], [0, 1]]
    """
    counts = np.zeros((classes.size, classes.size), dtype=np.int64)
    np.add.at(counts, (np.searchsorted(classes, labels), np.searchsorted(classes, predicted)), 1)
    return counts


def accuracy_table(counts: np.ndarray, names: list[str]) -> Table:
    """Accuracy in all and by class, with the class that each is most taken for."""
    rows = {"all": _shares(int(np.trace(counts)), int(np.sum(counts)))}
    for j, name in enumerate(names):
        others = np.where(np.arange(len(names)) == j, 0, counts[j])
        worst = int(np.argmax(others))
        taken = f"{names[worst]} ({others[worst]})" if others[worst] else None
        row = _shares(int(counts[j, j]), int(np.sum(counts[j])))
        rows[f"class {name}"] = row | {"taken_for": taken}
    columns = (
        Column("accuracy", "Accuracy", ".2%", "higher"),
        Column("wrong", "Wrong", ",", "lower"),
        Column("n", "Test images", ","),
        Column("taken_for", "Most taken for"),
    )
    return Table("Test images recognised", columns, rows)


def _shares(right: int, n: int) -> dict[str, float | str | None]:
    return {"accuracy": right / n if n else None, "wrong": n - right, "n": n}


def _by_pass(opened: NetworkRun) -> Table | None:
    """The test accuracy after each pass."""
    key = "held-out accuracy"
    looks = [r for r in opened.run.metrics() if r["stage"] == CapsNetTraining.name and key in r]
    if not looks:
        return None
    rows = {f"{n}": {"accuracy": r[key], "step": r["step"]} for n, r in enumerate(looks, start=1)}
    columns = (Column("accuracy", "Accuracy", ".2%", "higher"), Column("step", "Step", ","))
    return Table("Test images recognised after each pass", columns, rows)


def _figures(
    opened: NetworkRun, model: CapsNet, lengths: np.ndarray, counts: np.ndarray, names: list[str]
) -> dict[str, Figure]:
    figures = {"confusion": plotting.confusion_matrices({"": counts}, names)}
    if model.reconstruction:
        figures |= _rebuilt(opened, model, lengths, names)
    filters = model._backend.to_host(model.weights_["filters1"])[..., :N_FILTERS]
    figures["filters"] = plotting.filters(filters, columns=16)
    if records := opened.run.metrics():
        figures["training"] = plotting.training_curves(records)
    return figures


def _rebuilt(
    opened: NetworkRun, model: CapsNet, lengths: np.ndarray, names: list[str]
) -> dict[str, Figure]:
    """Rebuilt images of each class in turn, and those that were mistaken."""
    test = opened.data.test
    labels = np.searchsorted(model.classes_, labels_of(test))
    predicted = np.argmax(lengths, axis=1)
    shown = in_turn(labels, N_SHOWN)
    images = test.images[shown]
    above = [names[k] for k in labels[shown]]
    rebuilt = {"rebuilt": model.reconstruct(images)}
    title = "Test images and what their capsule rebuilds"
    figures = {
        "reconstructions": plotting.reconstructions(images, rebuilt, labels=above, title=title)
    }
    wrong = np.flatnonzero(predicted != labels)
    wrong = wrong[np.argsort(-np.max(lengths[wrong], axis=1), kind="stable")][:N_SHOWN]
    if wrong.size:
        images = test.images[wrong]
        rebuilt = {
            "from the predicted": model.reconstruct(images),
            "from its own": model.reconstruct(images, model.classes_[labels[wrong]]),
        }
        above = [f"{names[labels[n]]} → {names[predicted[n]]}" for n in wrong]
        figures["mistakes"] = plotting.reconstructions(
            images, rebuilt, labels=above, title="Taken for another class"
        )
    return figures


def in_turn(labels: np.ndarray, n: int) -> np.ndarray:
    """The first n examples, of each class in turn.

    Examples
    --------
    >>> in_turn(np.asarray([0, 0, 0, 1, 1]), 4).tolist()
    [0, 3, 1, 4]
    """
    nth = np.zeros(labels.size, dtype=np.int64)  # of its class
    for kind in np.unique(labels):
        mine = np.flatnonzero(labels == kind)
        nth[mine] = np.arange(mine.size)
    return np.lexsort((labels, nth))[:n]
