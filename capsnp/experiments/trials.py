"""Networks trained one after the other in one folder, with a page of what came out.

The folder has the files of a run: ``config.toml`` with all settings, ``metrics.jsonl`` with a line
for each network, a JSON file, tables as CSV, pictures and ``index.html``.
"""

import html
import math
import shlex
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from capsnp.errors import DivergenceError
from capsnp.experiments.data import LabelledData, labels_of
from capsnp.experiments.report import settings_table
from capsnp.experiments.runs import NetworkRun
from capsnp.experiments.sections import Section, keep_section
from capsnp.experiments.settings import NetworkSettings, resolve
from capsnp.models import CapsNet
from capsnp.models._capsnet_training import CapsNetTraining
from capsnp.reproduce.figures import Picture
from capsnp.reproduce.report import figure_html, page_html, versions_table
from capsnp.reproduce.runs import Say
from capsnp.training import Progress, RunFolder, Watchdog, train, write_atomic


class Trial(NamedTuple):
    """A network that was trained, as far as it came.

    Attributes
    ----------
    model : CapsNet
    seconds : float
        Of the training.
    per_step : float
        Seconds.
    stopped : str
        Why training stopped before its end; empty if it did not.
    """

    model: CapsNet
    seconds: float
    per_step: float
    stopped: str


def attempt(training: CapsNetTraining, name: str, *, quiet: bool = False) -> Trial:
    """Train to the end, or until a number is not finite; `name` is what the progress shows.

    Parameters
    ----------
    training : CapsNetTraining
        As `CapsNet.training` makes it.
    name : str
    quiet : bool, optional

    Returns
    -------
    Trial

    Examples
    --------
    >>> images = np.random.default_rng(0).random((8, 3, 3, 1))
    >>> model = CapsNet(2, 2, 2, 2, kernel=2, augment=0, batch_size=4, n_iter=1)
    >>> attempt(model.training(images, np.arange(8) % 2), "two").stopped
    ''
    """
    training.name = name
    stopped, began = "", time.perf_counter()
    with Progress(quiet=quiet) as progress, warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # in threads too; the watchdog tells
        try:
            train(training, observers=(Watchdog(limit=math.inf), progress))
        except DivergenceError as error:
            stopped = str(error)
    seconds = time.perf_counter() - began
    return Trial(training.model, seconds, seconds / max(1, training.step), stopped)


def begin(
    name: str,
    folder: Path,
    settings: NetworkSettings,
    *,
    data_dir: str | Path | None = None,
    quiet: bool = False,
    say: Say = print,
) -> NetworkRun:
    """A new folder for an experiment, once its settings and data are known to fit.

    Parameters
    ----------
    name : str
        Of the experiment; what ``config.toml`` has as its model.
    folder : Path
        Which does not exist or is empty.
    settings : NetworkSettings
    data_dir, quiet, say
        Of `NetworkRun` and its data.

    Returns
    -------
    NetworkRun

    Raises
    ------
    OptionError, DataError, ShapeError
        Before anything is made, if the data or the settings do not fit.
    RunError
        If the folder holds something.
    """
    data = LabelledData(settings, data_dir=data_dir, quiet=quiet)
    data.check()
    settings.network().training(data.train.images[:], labels_of(data.train))
    run = RunFolder.create(folder, settings.nested() | {"model": name}, report=say)
    return NetworkRun(run, settings, data, quiet, say)


def resolved(*chosen: Mapping[str, Any]) -> NetworkSettings:
    """Settings of an experiment, `capsnp.experiments.settings.resolve` with a quicker default.

    Without a preset the network is "small", as it is trained several times.

    Examples
    --------
    >>> resolved({"data": "mnist"})["capsnet.filters"]
    32
    """
    return resolve({"preset": "small"}, *chosen)


def finish(
    opened: NetworkRun,
    section: Section,
    figures: Mapping[str, Figure],
    lead: str,
    options: Mapping[str, Any] | None = None,
) -> None:
    """Write tables, pictures and the page of an experiment.

    Parameters
    ----------
    opened : NetworkRun
    section : Section
    figures : mapping of str to Figure
        A picture for each of the section's captions.
    lead : str
        What was done, in a sentence or two.
    options : mapping of str to object, optional
        Of the command, beside the settings.
    """
    run, settings = opened.run, opened.settings
    keep_section(run, section, figures)
    title = f"{section.title}, on {Path(settings['data']).name}"
    body = [
        f"<h1>{html.escape(title)}</h1>",
        f'<p class="lead">{html.escape(lead)}</p>',
        *(table.html() for table in section.tables.values()),
        *(
            figure_html(Picture(name, text, lambda _: None))
            for name, text in section.captions.items()
        ),
        "<h2>How to repeat</h2>",
        f"<pre>{html.escape(command(section.name, settings, options or {}))}</pre>",
        settings_table(settings).html(),
        versions_table(run).html(),
    ]
    write_atomic(run.path("index.html"), page_html(title, body).encode())


def command(name: str, settings: NetworkSettings, options: Mapping[str, Any]) -> str:
    """The command that repeats an experiment.

    Examples
    --------
    >>> command("compare", resolved({"data": "mnist", "seed": 3}), {"seeds": 2})
    'capsnp capsnet compare --out again --data mnist --seeds 2 --set seed=3'
    """
    usual = resolved({"data": settings["data"], "backend": settings["backend"]})
    words = ["capsnp", "capsnet", name, "--out", "again", "--data", settings["data"]]
    for option, value in options.items():
        words += [f"--{option}", f"{value}"]
    for setting, value in settings.values.items():
        if value != usual[setting]:
            shown = "none" if value is None else list(value) if isinstance(value, tuple) else value
            words += ["--set", f"{setting}={shown}"]
    return shlex.join(words)


def summary(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Mean and standard deviation over seeds; None where there are none, or of one the second.

    Examples
    --------
    >>> summary([1.0, 3.0]), summary([2.0]), summary([])
    ((2.0, 1.4142135623730951), (2.0, None), (None, None))
    """
    mean = float(np.mean(values)) if len(values) else None
    return mean, float(np.std(values, ddof=1)) if len(values) > 1 else None
