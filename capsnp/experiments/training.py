"""Training of a capsule network as a run: resumable, watched, with its results."""

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from capsnp.errors import RunError
from capsnp.experiments.data import LabelledData, labels_of
from capsnp.experiments.report import write_report
from capsnp.experiments.results import keep_results
from capsnp.experiments.runs import NetworkRun
from capsnp.experiments.settings import NetworkSettings, from_config, resolve
from capsnp.experiments.starting import begin_with
from capsnp.models import CapsNet
from capsnp.models._capsnet_training import CapsNetTraining
from capsnp.reproduce.estimate import readable_seconds
from capsnp.reproduce.pipeline import has_model, write_json
from capsnp.reproduce.runs import Say, start_or_resume
from capsnp.training import (
    Adam,
    Observer,
    Progress,
    RunFolder,
    Training,
    Watchdog,
    record,
    train,
)

LOG_EVERY = 50
TRIED = 64
"""Test images of the trial that the expected time is measured by."""


def train_network(
    folder: Path,
    *chosen: Mapping[str, Any],
    resume: bool = False,
    data_dir: str | Path | None = None,
    quiet: bool = False,
    say: Say = print,
) -> CapsNet:
    """Train a capsule network, or go on with it; draw its results, write its page.

    Parameters
    ----------
    folder : Path
        Of a run to start, or with `resume` of one that is there.
    *chosen : mapping of str to object
        Settings by dotted names, the strongest last.
    resume : bool, optional
    data_dir : str or Path, optional
        As for `capsnp.datasets.load`.
    quiet : bool, optional
    say : callable, optional

    Returns
    -------
    CapsNet
        Which is also in the run's folder.

    Raises
    ------
    OptionError, DataError, ShapeError
        Before anything is made, if a setting or the data are wrong.
    RunError
        If the folder holds a run and it is not resumed, or one of another kind or with other
        settings, or another process holds it.
    DivergenceError
        If a number ran away.
    """
    settings, going_on = _settings_of(folder, *chosen, resume=resume, say=say)
    data = LabelledData(settings, data_dir=data_dir, quiet=quiet)
    data.check()
    training = settings.network().training(data.train.images, labels_of(data.train))
    if not going_on:
        _begin(training, settings, say)
    run = start_or_resume(folder, settings, resume=resume, say=say)
    opened = NetworkRun(run, settings, data, quiet, say)
    with run.lock(), Progress(quiet=quiet) as progress:
        if has_model(folder):
            say(f"{folder}: the network is trained already")
            model = CapsNet.load(folder, backend=settings["backend"])
        else:
            model = training.model
            if going_on and run.latest_checkpoint(training.name) is None:
                _begin(training, settings, say)
            _train(opened, training, progress)
            model.save(folder)
        keep_results(opened, model)
        write_report(opened, model)
    return model


def _begin(training: CapsNetTraining, settings: NetworkSettings, say: Say) -> None:
    """Take over what another run has learnt, if the settings name one."""
    if settings["init_from"] is not None:
        taken = begin_with(training.model, Path(settings["init_from"]))
        say(f"begins with {', '.join(taken)} of {settings['init_from']}")


def _settings_of(
    folder: Path, *chosen: Mapping[str, Any], resume: bool, say: Say
) -> tuple[NetworkSettings, bool]:
    """Settings of a run that is there and is to go on, or of a new one; and whether it is there."""
    if (folder / "config.toml").is_file():
        if not resume:
            raise RunError(
                f"{folder}: holds a run already; go on with --resume or choose another folder"
            )
        return from_config(RunFolder.open(folder, report=say).config, *chosen), True
    return resolve(*chosen), False


def _train(opened: NetworkRun, training: CapsNetTraining, progress: Progress) -> None:
    """Train from the last checkpoint to the end, watched and recorded."""
    run, test = opened.run, opened.data.test
    watchdog, log, checkpoints = record(
        run,
        watchdog=Watchdog(limit=math.inf),
        log_every=min(LOG_EVERY, training.per_epoch),
        save_seconds=opened.settings["checkpoint_seconds"],
    )
    watching = [watchdog, log, TestAccuracy(test.images, labels_of(test), run), checkpoints]
    if not opened.quiet:
        opened.say(_expectation(opened, training))
    began = time.perf_counter()
    with np.errstate(over="ignore", invalid="ignore"):  # the watchdog says it in a line
        train(training, observers=(*watching, progress))
    took = round(time.perf_counter() - began, 2)
    write_json(run, "seconds.json", {"training": took})
    if not opened.quiet:
        opened.say(f"{run.folder}: trained in {readable_seconds(took)}")


class TestAccuracy(Observer):
    """Logs, after each pass over the data, the share of test images that are recognised.

    Parameters
    ----------
    images : numpy.ndarray, shape (N, H, W, C)
    labels : numpy.ndarray, shape (N,)
    run : RunFolder
        Held by `RunFolder.lock`.
    """

    __test__ = False  # no test of pytest's

    def __init__(self, images: np.ndarray, labels: np.ndarray, run: RunFolder) -> None:
        self.images, self.labels, self.run = images, labels, run

    def after_step(self, training: Training) -> None:
        """Look at the end of a pass."""
        assert isinstance(training, CapsNetTraining)
        if training.step % training.per_epoch == 0 or training.step == training.n_steps:
            right = training.model.predict(self.images) == self.labels
            accuracy = {"held-out accuracy": float(np.mean(right))}
            self.run.log(training.name, training.step, **accuracy)


def _expectation(opened: NetworkRun, training: CapsNetTraining) -> str:
    """How long the training will take, by a step and a look at test images that change nothing."""
    saved = opened.run.latest_checkpoint(training.name)
    left = training.n_steps - (0 if saved is None else saved.step)
    model, test = training.model, opened.data.test
    some = test.images[:TRIED]

    def step() -> None:
        gradient = training.gradient()
        updated = Adam().update(model.weights_, gradient, model.learning_rate)
        model._backend.to_host(updated["bias1"])

    per_step = _fastest(step)
    per_look = _fastest(lambda: model.predict(some)) * len(test.images) / len(some)
    seconds = left * per_step + left / training.per_epoch * per_look
    return (
        f"{opened.run.folder}: expected: {readable_seconds(seconds)} on "
        f"{opened.settings['backend']}: {left} steps of {per_step:.2g} s, and "
        f"{per_look:.2g} s for the test images after each pass of {training.per_epoch}"
    )


def _fastest(work: Any) -> float:
    """Seconds of the faster of two runs after a first one, which sets things up."""
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return min(seconds[1:])
