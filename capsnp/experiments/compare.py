"""Class capsules with and without backpropagation through the routing, and with none at all."""

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from capsnp import plotting
from capsnp.errors import DivergenceError
from capsnp.evaluation import Column, Table
from capsnp.experiments.data import labels_of
from capsnp.experiments.results import confusions, in_turn
from capsnp.experiments.runs import NetworkRun
from capsnp.experiments.sections import Section
from capsnp.experiments.trials import attempt, begin, finish, resolved
from capsnp.functional._plain_routing import Gradient
from capsnp.models import CapsNet, ConvAutoencoder, ExpertCapsules
from capsnp.reproduce.runs import Say
from capsnp.training import Progress, Watchdog

SHOWN = 20
LEAST_STEPS = 30
"""Of what learns without labels."""

LEAD = (
    "One network whose gradient goes back through every weighting of the routing (full), through "
    "the last agreement (last), or with coefficients held constant (frozen); and class capsules by "
    "routing alone, without any gradient of labels: on the first, random weights, and as expert "
    "capsules on an autoencoder's features. Those without are read by a logistic regression, as "
    "are plain pixels."
)
COLUMNS = (
    Column("wrong", "Wrong", ".2%", "lower"),
    Column("seconds", "Seconds", ".1f", "lower"),
    Column("labels", "Labels train"),
)
CAPTIONS = {
    "compare": "Test images that are wrong, and seconds of training.",
    "confusion": "Test images of each class (rows) by the class they are taken for (columns).",
    "rebuilt": "Test images rebuilt: by each network's decoder from the capsule of the class it "
    "says, and from all capsules by ridge regression where routing is alone.",
}


class Way(NamedTuple):
    """A way to make class capsules, used.

    Attributes
    ----------
    predicted : numpy.ndarray of int, shape (N,)
    rebuilt : numpy.ndarray or None, shape (S, H, W, C)
        Of the shown images.
    seconds : float
    labels : str
        What of it labels have trained.
    """

    predicted: np.ndarray
    rebuilt: np.ndarray | None
    seconds: float
    labels: str


def compare_gradients(
    folder: Path,
    *chosen: Mapping[str, Any],
    data_dir: str | Path | None = None,
    quiet: bool = False,
    say: Say = print,
) -> Table:
    """Train class capsules with less and less of the gradient, and write how they do.

    Parameters
    ----------
    folder : Path
        Which does not exist or is empty.
    *chosen : mapping of str to object
        Settings by dotted names, the strongest last; without a preset, "small".
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
    settings = resolved(*chosen)
    opened = begin("compare", folder, settings, data_dir=data_dir, quiet=quiet, say=say)
    with opened.run.lock():
        shown = in_turn(labels_of(opened.data.test), SHOWN)
        ways = {}
        for name, make in _ways(opened, shown).items():
            ways[name] = make()
            wrong = float(np.mean(ways[name].predicted != labels_of(opened.data.test)))
            opened.run.log(name, settings["seed"], wrong=wrong, seconds=ways[name].seconds)
        table = _table(opened, ways)
        figures = _figures(opened, ways, table, shown)
        section = Section("compare", table.title, {"compare": table}, CAPTIONS)
        finish(opened, section, figures, LEAD)
    return table


def _ways(opened: NetworkRun, shown: np.ndarray) -> dict[str, Callable[[], Way]]:
    """What makes each way, by its name."""
    return {
        **{name: partial(_trained, opened, name, shown) for name in get_args(Gradient)},
        "routing alone": lambda: _untrained(opened, shown),
        "expert capsules": lambda: _experts(opened, shown),
        "pixels": lambda: _pixels(opened),
    }


def _trained(opened: NetworkRun, gradient: str, shown: np.ndarray) -> Way:
    """A network with this gradient of the routing."""
    data = opened.data
    model = opened.settings.network().set_params(routing_gradient=gradient)
    training = model.training(data.train.images, labels_of(data.train))
    trial = attempt(training, gradient, quiet=opened.quiet)
    if trial.stopped:
        raise DivergenceError(trial.stopped)
    rebuilt = model.reconstruct(data.test.images[shown]) if model.reconstruction else None
    return Way(model.predict(data.test.images), rebuilt, trial.seconds, "all")


def _untrained(opened: NetworkRun, shown: np.ndarray) -> Way:
    """Capsules of a network as it is before training."""
    data, began = opened.data, time.perf_counter()
    model: CapsNet = opened.settings.network()
    model.training(data.train.images, labels_of(data.train))
    return _read_out(opened, model.transform, shown, began)


def _experts(opened: NetworkRun, shown: np.ndarray) -> Way:
    """Expert capsules, one for each class, on features of an autoencoder of the network's size."""
    data, began = opened.data, time.perf_counter()
    network, settings = opened.settings.network(), opened.settings
    steps = max(LEAST_STEPS, network.n_iter * len(data.train) // network.batch_size)
    common = {
        "n_steps": steps,
        "batch_size": network.batch_size,
        "random_state": settings["seed"],
        "dtype": settings["dtype"],
        "backend": settings["backend"],
    }
    channels = network.primary_channels * network.primary_dim
    autoencoder = ConvAutoencoder(channels, network.kernel, network.primary_dim, **common)
    capsules = ExpertCapsules(
        int(np.unique(labels_of(data.train)).size),
        network.capsule_dim,
        rebalance_steps=steps,
        **common,
    )
    with Progress(quiet=opened.quiet) as progress:
        watching = (Watchdog(), progress)
        autoencoder.fit(data.train.images, observers=watching)
        capsules.fit(autoencoder.transform(data.train.images), observers=watching)
    return _read_out(
        opened, lambda images: capsules.transform(autoencoder.transform(images)), shown, began
    )


def _read_out(
    opened: NetworkRun,
    transform: Callable[[np.ndarray], np.ndarray],
    shown: np.ndarray,
    began: float,
) -> Way:
    """Classes by logistic regression, and pixels by ridge regression, of capsules (N, J, D)."""
    train, test = opened.data.train, opened.data.test
    known, new = (_rows(transform(images)) for images in (train.images, test.images))
    classifier = _classifier().fit(known, labels_of(train))
    seconds = time.perf_counter() - began
    draw = make_pipeline(StandardScaler(), Ridge(1.0)).fit(known, _rows(train.images))
    rebuilt = np.clip(draw.predict(new[shown]), 0, 1).reshape(-1, *test.images.shape[1:])
    return Way(classifier.predict(new), rebuilt, seconds, "a linear read-out")


def _pixels(opened: NetworkRun) -> Way:
    """What a linear read-out finds without any capsules."""
    train, test = opened.data.train, opened.data.test
    began = time.perf_counter()
    classifier = _classifier().fit(_rows(train.images), labels_of(train))
    seconds = time.perf_counter() - began
    return Way(classifier.predict(_rows(test.images)), None, seconds, "a linear read-out")


def _classifier() -> Pipeline:
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.1, tol=1e-3, max_iter=3000))


def _rows(values: np.ndarray) -> np.ndarray:
    return np.asarray(values, dtype=np.float64).reshape(len(values), -1)


def _table(opened: NetworkRun, ways: Mapping[str, Way]) -> Table:
    labels, train = labels_of(opened.data.test), opened.data.train
    rows = {
        name: {
            "wrong": float(np.mean(way.predicted != labels)),
            "seconds": way.seconds,
            "labels": way.labels,
        }
        for name, way in ways.items()
    }
    notes = (f"{len(train)} training images, {len(labels)} test images.",)
    return Table("Class capsules with less and less of the gradient", COLUMNS, rows, notes)


def _figures(
    opened: NetworkRun, ways: Mapping[str, Way], table: Table, shown: np.ndarray
) -> dict[str, Any]:
    test = opened.data.test
    labels = labels_of(test)
    known = np.unique(labels_of(opened.data.train))
    names = [test.classes[k] for k in known]
    capsules = {name: way for name, way in ways.items() if name != "pixels"}
    counts = {name: confusions(labels, way.predicted, known) for name, way in capsules.items()}
    rebuilt = {name: way.rebuilt for name, way in capsules.items() if way.rebuilt is not None}
    return {
        "compare": plotting.bars(table, ("wrong", "seconds")),
        "confusion": plotting.confusion_matrices(counts, names),
        "rebuilt": plotting.reconstructions(
            test.images[shown],
            rebuilt,
            labels=[test.classes[k] for k in labels[shown]],
            title="Test images, and what the capsules of each way rebuild",
        ),
    }
