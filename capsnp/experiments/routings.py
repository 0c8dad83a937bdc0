"""Every way to route and every squash on one small problem."""

import tracemalloc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from capsnp import plotting
from capsnp.errors import OptionError
from capsnp.evaluation import Column, Table, brier_score, calibration_error
from capsnp.experiments.conventions import told
from capsnp.experiments.data import labels_of
from capsnp.experiments.runs import NetworkRun
from capsnp.experiments.sections import Section
from capsnp.experiments.trials import attempt, begin, finish, resolved, summary
from capsnp.functional.routings import ROUTINGS
from capsnp.functional.squashes import SQUASHES
from capsnp.models import CapsNet
from capsnp.models._capsnet_network import routing_parameters
from capsnp.reproduce.runs import Say
from capsnp.reproduce.settings import CAPSNET

USUAL = {"routing": "dynamic", "squash": "sabour"}
LEAD = (
    "Networks of one size that route in other ways, or squash by another law, trained alike from "
    "several seeds. Probabilities are the lengths divided by their sum."
)
COLUMNS = (
    Column("wrong", "Wrong", ".2%", "lower"),
    Column("spread", "± over seeds", ".2%"),
    Column("per_step", "ms per step", ".1f", "lower"),
    Column("peak", "MB to route", ".1f", "lower"),
    Column("ece", "Calibration error", ".3f", "lower"),
    Column("brier", "Brier score", ".3f", "lower"),
    Column("stopped", "Stopped"),
)


def ways() -> dict[str, dict[str, str]]:
    """What each network changes, by its row's name.

    Examples
    --------
    >>> list(ways())[:3]
    ['dynamic, sabour', 'routing leaky', 'routing kmeans']
    """
    found = {", ".join(USUAL.values()): dict(USUAL)}
    for key, names in (("routing", ROUTINGS), ("squash", SQUASHES)):
        for name in names:
            if name != USUAL[key]:
                found[f"{key} {name}"] = USUAL | {key: name}
    return found


def compare_routings(
    folder: Path,
    *chosen: Mapping[str, Any],
    seeds: int = 3,
    data_dir: str | Path | None = None,
    quiet: bool = False,
    say: Say = print,
) -> Table:
    """Train a network for each way to route and each squash, and write what each is worth.

    Parameters
    ----------
    folder : Path
        Which does not exist or is empty.
    *chosen : mapping of str to object
        Settings by dotted names, the strongest last; without a preset, "small".
    seeds : int
        Networks for each, from the settings' seed on.
    data_dir : str or Path, optional
        As for `capsnp.datasets.load`.
    quiet : bool, optional
    say : callable, optional

    Returns
    -------
    Table
        A network whose numbers are not finite counts in the column "Stopped" only.

    Raises
    ------
    OptionError, DataError, ShapeError
        Before anything is made, if a setting or the data are wrong.
    RunError
        If the folder holds something.
    """
    settings = resolved(*chosen)
    for name, usual in (USUAL | {"norm": "exact"}).items():
        if settings[f"{CAPSNET}.{name}"] != usual:
            raise OptionError(
                f"{CAPSNET}.{name}: expected {usual!r}, which the rows change, "
                f"got {settings[f'{CAPSNET}.{name}']!r}"
            )
    opened = begin("routings", folder, settings, data_dir=data_dir, quiet=quiet, say=say)
    with opened.run.lock():
        rows = {name: _row(opened, name, changes, seeds) for name, changes in ways().items()}
        n = len(opened.data.test)
        notes = (
            f"{len(opened.data.train)} training images, {settings[f'{CAPSNET}.n_iter']} passes, "
            f"{n} test images, {seeds} seed{'s' if seeds > 1 else ''}. MB: the most that "
            "routing a batch there and back holds beside its inputs and W, NumPy only.",
        )
        table = Table("Ways to route, and to squash", COLUMNS, rows, notes)
        keys = ("wrong", "per_step", "peak", "ece")
        figure = plotting.bars(table, keys, spreads={"wrong": "spread"}, missing="stopped")
        caption = "Test images that are wrong, time and memory of a step, calibration."
        section = Section("routings", table.title, {"routings": table}, {"routings": caption})
        finish(opened, section, {"routings": figure}, LEAD, {"seeds": seeds})
    return table


def _row(opened: NetworkRun, name: str, changes: Mapping[str, str], seeds: int) -> dict[str, Any]:
    """Of all seeds."""
    data, settings = opened.data, opened.settings
    looks: list[dict[str, float]] = []
    per_step, stopped = [], []
    for seed in range(settings["seed"], settings["seed"] + seeds):
        model = settings.network().set_params(random_state=seed, **changes)
        training = model.training(data.train.images, labels_of(data.train))
        trial = attempt(training, name, quiet=opened.quiet)
        per_step.append(1e3 * trial.per_step)
        if trial.stopped:
            stopped.append(trial.stopped)
        else:
            looks.append(_look(opened, trial.model))
    wrong, spread = summary([look["wrong"] for look in looks])
    row: dict[str, Any] = {
        "wrong": wrong,
        "spread": spread,
        "per_step": summary(per_step)[0],
        "peak": _peak(opened, changes),
        "ece": summary([look["ece"] for look in looks])[0],
        "brier": summary([look["brier"] for look in looks])[0],
    }
    numbers = {key: value for key, value in row.items() if value is not None}
    opened.run.log(name, settings["seed"], **numbers)
    return row | {"stopped": told(stopped, seeds)}


def _look(opened: NetworkRun, model: CapsNet) -> dict[str, float]:
    """Scores of a network on the test images."""
    test = opened.data.test
    p = model.predict_proba(test.images)
    numbers = np.searchsorted(model.classes_, labels_of(test))
    return {
        "wrong": float(np.mean(np.argmax(p, axis=1) != numbers)),
        "ece": calibration_error(p, numbers),
        "brier": brier_score(p, numbers),
    }


def _peak(opened: NetworkRun, changes: Mapping[str, str]) -> float | None:
    """The most megabytes that routing a batch holds beside inputs and weights, there and back."""
    if opened.settings["backend"] != "numpy":
        return None
    data = opened.data
    model = opened.settings.network().set_params(**changes)
    model.training(data.train.images, labels_of(data.train))
    network, products = model._ready()
    images = model._array(data.train.images[: model.batch_size])
    x, own = network.inputs(images, products), routing_parameters(products)
    tracemalloc.start()
    try:
        z, record = network.router.route(x, products["W"], **own)
        network.router.back(x, products["W"], z, record, **own)
        return tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()
