"""Runs of a restricted Boltzmann machine on the pixels of images, as bits or as they come."""

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from capsnp.datasets import Dataset
from capsnp.errors import OptionError, RunError
from capsnp.evaluation import Binarized, Monitor, binarize
from capsnp.evaluation.likelihood.data import record_of
from capsnp.models import RBM
from capsnp.reproduce.estimate import readable_seconds
from capsnp.reproduce.machine_memory import expect_room_for_machine
from capsnp.reproduce.machine_report import draw_figures, write_machine_report
from capsnp.reproduce.pipeline import Data, has_model, write_json
from capsnp.reproduce.runs import OpenRun, Say, settings_of, start_or_resume
from capsnp.reproduce.settings import CAPSNET, MACHINE, Settings, from_config
from capsnp.training import Progress, RunFolder, Training, Watchdog, record, train

IMAGE = "image.json"
"""Height, width and channels of what the rows are."""


def train_machine(
    folder: Path,
    *chosen: Mapping[str, Any],
    data_dir: str | Path | None = None,
    quiet: bool = False,
    say: Say = print,
) -> RBM:
    """Train a machine from where its run stands, draw its figures, write its report.

    Parameters
    ----------
    folder : Path
        Of a run, or of one to start.
    *chosen : mapping of str to object
        Settings by dotted names, the strongest last.
    data_dir : str or Path, optional
        As for `capsnp.datasets.load`.
    quiet : bool, optional
    say : callable, optional

    Returns
    -------
    RBM
        Which is also in the run's folder.

    Raises
    ------
    OptionError, DataError, DomainError, MemoryLimitError
        Before anything is made, if a setting or the data are wrong, or a new run cannot fit.
    RunError
        If the folder holds a run of another kind or other settings, or another process holds it.
    DivergenceError
        If a number ran away.
    """
    settings, going_on = settings_of(folder, *chosen, resume=True, say=say)
    if going_on:
        _expect_machine(folder, say)
    elif settings["model"] != MACHINE:
        raise OptionError(f"model: expected {MACHINE!r}, got {settings['model']!r}")
    data = Data(settings, data_dir=data_dir, quiet=quiet)
    if not going_on:
        data.check()
        expect_room_for_machine(settings, *data.sizes)
    rows, model = pixels(settings, data.train), settings.estimator(MACHINE)
    done = going_on and has_model(folder)
    training = None if done else model.training(rows.rows)
    run = start_or_resume(folder, settings, resume=going_on, say=say)
    opened = OpenRun(run, settings, data, quiet, say)
    with run.lock(), Progress(quiet=quiet) as progress:
        if training is None:
            say(f"{folder}: the machine is trained already")
            model = RBM.load(folder, backend=settings["backend"])
        else:
            _train(opened, training, progress)
            model.save(folder)
        write_json(run, IMAGE, {"shape": list(data.image)})
        draw_figures(opened, model, rows.rows, pixels(settings, data.test).rows, progress=progress)
        write_machine_report(opened, model)
    return model


def _train(opened: OpenRun, training: Training, progress: Progress) -> None:
    """Train from the last checkpoint to the end, watched and recorded."""
    run, settings = opened.run, opened.settings
    began = time.perf_counter()
    watchdog, log, checkpoints = record(
        run, watchdog=Watchdog(limit=math.inf), save_seconds=settings["checkpoint_seconds"]
    )
    monitor = Monitor(
        pixels(settings, opened.data.test).rows,
        **settings.table("monitor"),
        random_state=settings["seed"],
        log=run.log,
    )
    with np.errstate(over="ignore", invalid="ignore"):  # the watchdog says it in a line
        train(training, observers=(watchdog, log, monitor, checkpoints, progress))
    took = round(time.perf_counter() - began, 2)
    write_json(run, "seconds.json", {"training": took})
    if not opened.quiet:
        opened.say(f"{run.folder}: trained in {readable_seconds(took)}")


def look_into_machine(
    folder: Path,
    *,
    data_dir: str | Path | None = None,
    backend: str | None = None,
    quiet: bool = False,
    say: Say = print,
) -> tuple[OpenRun, RBM]:
    """A run of a machine and what it has learnt, to use and not to change.

    Raises
    ------
    RunError
        If there is no run, it is none of a machine, or it is not trained to its end.
    """
    run = RunFolder.open(folder, report=say)
    _expect_machine(folder, say)
    settings = from_config(run.config, {} if backend is None else {"backend": backend})
    data = Data(settings, data_dir=data_dir, quiet=quiet)
    return OpenRun(run, settings, data, quiet, say), load_machine(folder, backend=backend)


def load_machine(folder: Path, *, backend: str | None = None) -> RBM:
    """The machine in a folder.

    Raises
    ------
    RunError
        If its training is not finished.
    """
    if not has_model(folder):
        raise RunError(
            f"{folder}: its training is not finished; go on with: capsnp train {MACHINE} {folder}"
        )
    return RBM.load(folder, backend=backend)


def is_machine(folder: Path) -> bool:
    """Whether a folder holds a run of a machine."""
    if not (folder / "config.toml").is_file():
        return False
    return RunFolder.open(folder).config.get("model") == MACHINE


def _expect_machine(folder: Path, say: Say) -> None:
    model = RunFolder.open(folder, report=say).config.get("model", "capsules")
    if model == CAPSNET:
        raise RunError(
            f"{folder}: expected a run of a machine ({MACHINE}), got one of {CAPSNET}, which "
            "recognises images and has no likelihood"
        )
    if model != MACHINE:
        raise RunError(
            f"{folder}: expected a run of a machine ({MACHINE}), got one of {model}: a product of "
            f"{model} on learned features, whose likelihood is not known; "
            f"capsnp evaluate {folder} judges its images"
        )


def pixels(settings: Settings, data: Dataset) -> Binarized:
    """Rows of a data set as the machine takes them, with their record.

    By the setting ``binary.rule``: bits by a threshold or by chance, or the numbers as they come,
    which Bernoulli units take as probabilities.
    """
    rule = settings["binary.rule"]
    if rule == "none":
        rows = data.images.reshape(len(data), -1)
        return Binarized(rows, record_of(rows))
    return binarize(data.images, rule=rule, random_state=settings["binary.seed"])
