"""What conventions and slips cost: networks that differ in one choice, trained alike."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from capsnp import plotting
from capsnp.errors import OptionError
from capsnp.evaluation import Column, Table
from capsnp.experiments.data import labels_of
from capsnp.experiments.runs import NetworkRun
from capsnp.experiments.sections import Section
from capsnp.experiments.trials import Trial, attempt, begin, finish, resolved, summary
from capsnp.models._capsnet_presets import PRESETS, SABOUR
from capsnp.reproduce.runs import Say
from capsnp.reproduce.settings import CAPSNET

SIZES = (
    "filters",
    "primary_channels",
    "primary_dim",
    "capsule_dim",
    "kernel",
    "augment",
    "n_iter",
    "batch_size",
    "learning_rate",
    "decay",
)
"""Parameters of presets that are no conventions: all networks have those of the settings."""

PAPERS = ("default", "small", "sabour2017")
"""Presets with the conventions of the paper, from which the others depart."""

LEAD = (
    "Networks of one size, from one seed on the same batches, that differ in one convention or one "
    "slip of public programs. sabour2017 is what the settings say, the paper's conventions."
)
COLUMNS = (
    Column("changes", "Differs in"),
    Column("wrong", "Wrong", ".2%", "lower"),
    Column("spread", "± over seeds", ".2%"),
    Column("company", "Depends on its batch", ".2%", "lower"),
    Column("stopped", "Stopped"),
    Column("blank", "A blank image"),
    Column("seconds", "Seconds", ".1f", "lower"),
    Column("per_step", "ms per step", ".1f", "lower"),
)


def conventions() -> dict[str, dict[str, Any]]:
    """What each preset changes in the paper's conventions, by its name.

    Examples
    --------
    >>> conventions()["hauser2019"]
    {'agreement': 'cosine', 'normalize': 'inputs', 'init_scale': 1.0}
    """
    found: dict[str, dict[str, Any]] = {}
    for name, preset in PRESETS.items():
        changes = {
            key: value
            for key, value in preset.parameters.items()
            if key not in SIZES and SABOUR.get(key) != value
        }
        if changes not in found.values():  # "small" is the paper's but for its size
            found[name] = changes
    return found


def compare_conventions(
    folder: Path,
    *chosen: Mapping[str, Any],
    seeds: int = 1,
    data_dir: str | Path | None = None,
    quiet: bool = False,
    say: Say = print,
) -> Table:
    """Train a network for each convention and each slip, and write what each costs.

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
        A network whose numbers are not finite is a row that tells at which step it stopped.

    Raises
    ------
    OptionError, DataError, ShapeError
        Before anything is made, if a setting or the data are wrong.
    RunError
        If the folder holds something.
    """
    settings = resolved(*chosen)
    if settings["preset"] not in PAPERS:
        names = ", ".join(map(repr, PAPERS))
        raise OptionError(
            f"preset: expected one of {names}, with the paper's conventions, "
            f"got {settings['preset']!r}"
        )
    opened = begin("conventions", folder, settings, data_dir=data_dir, quiet=quiet, say=say)
    with opened.run.lock():
        rows = {name: _row(opened, name, changes, seeds) for name, changes in conventions().items()}
        table = Table("What conventions and slips cost", COLUMNS, rows, _notes(opened, seeds))
        figure = plotting.bars(
            table, ("wrong", "company", "per_step"), spreads={"wrong": "spread"}, missing="stopped"
        )
        caption = "Test images that are wrong, that change with who else is in the batch, and time."
        section = Section(
            "conventions", table.title, {"conventions": table}, {"conventions": caption}
        )
        finish(opened, section, {"conventions": figure}, LEAD, {"seeds": seeds})
    return table


def _row(opened: NetworkRun, name: str, changes: Mapping[str, Any], seeds: int) -> dict[str, Any]:
    """Of all seeds."""
    data, settings = opened.data, opened.settings
    trials = []
    for seed in range(settings["seed"], settings["seed"] + seeds):
        model = settings.network().set_params(random_state=seed, **changes)
        training = model.training(data.train.images, labels_of(data.train))
        trials.append(attempt(training, name, quiet=opened.quiet))
    whole = [_look(opened, trial) for trial in trials if not trial.stopped]
    stopped = [trial.stopped for trial in trials if trial.stopped]
    wrong, spread = summary([wrong for wrong, _ in whole])
    row = {
        "wrong": wrong,
        "spread": spread,
        "company": summary([company for _, company in whole])[0],
        "seconds": summary([trial.seconds for trial in trials])[0],
        "per_step": summary([1e3 * trial.per_step for trial in trials])[0],
    }
    numbers = {key: value for key, value in row.items() if value is not None}
    opened.run.log(name, settings["seed"], **numbers)
    words = ", ".join(f"{key} {value}" for key, value in changes.items())
    return row | {
        "changes": words or "nothing",
        "stopped": told(stopped, seeds),
        "blank": _blank(opened, changes),
    }


def _look(opened: NetworkRun, trial: Trial) -> tuple[float, float]:
    """Share of test images that are wrong, and of those predicted otherwise in other batches."""
    test = opened.data.test
    predicted = trial.model.predict(test.images)
    order = np.random.default_rng(opened.settings["seed"]).permutation(len(test))
    again = trial.model.predict(test.images[order])
    wrong = float(np.mean(predicted != labels_of(test)))
    return wrong, float(np.mean(again != predicted[order]))


def _blank(opened: NetworkRun, changes: Mapping[str, Any]) -> str:
    """What the first step makes of a batch with a blank image."""
    data, settings = opened.data, opened.settings
    model = settings.network().set_params(**(dict(changes) | {"n_iter": 1}))
    first = slice(model.batch_size)
    images, labels = data.train.images[first].copy(), labels_of(data.train)
    images[0] = 0.0
    training = model.training(images, np.arange(len(images)) % np.unique(labels).size)
    return told([stopped] if (stopped := attempt(training, "blank", quiet=True).stopped) else [], 1)


def told(stopped: list[str], seeds: int) -> str:
    """Why trainings stopped, shortly; a dash if none did.

    Examples
    --------
    >>> told(["capsnet, step 3: expected a finite number in W, got nan"], 1)
    'NaN at step 3'
    """
    if not stopped:
        return "–"
    number, where = ("NaN" if "nan" in stopped[0].lower() else "inf"), stopped[0].split(":")[0]
    times = f" ({len(stopped)} of {seeds})" if seeds > 1 else ""
    return f"{number} at {where.partition(', ')[2] or where}{times}"


def _notes(opened: NetworkRun, seeds: int) -> tuple[str, ...]:
    n = len(opened.data.test)
    return (
        f"{len(opened.data.train)} training images, {opened.settings[f'{CAPSNET}.n_iter']} passes, "
        f"{n} test images, {seeds} seed{'s' if seeds > 1 else ''}; a share of 5 % wrong is known "
        f"to ± {np.sqrt(0.05 * 0.95 / n):.1%}.",
    )
