"""The report of a run of a machine: its figures, what was found of it, how to repeat it."""

import html
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from capsnp.evaluation import Column, Report, Table
from capsnp.models import RBM
from capsnp.reproduce.machine_figures import PICTURES, MachineScene, draw_machine
from capsnp.reproduce.pipeline import read_json
from capsnp.reproduce.report import (
    FIGURES,
    figure_html,
    kept_evaluation,
    page_html,
    seconds_table,
    settings_table,
    versions_table,
)
from capsnp.reproduce.runs import OpenRun
from capsnp.reproduce.settings import MACHINE
from capsnp.training import Progress, write_atomic
from capsnp.training.files import one_line

LIKELIHOOD = "likelihood.json"
"""What `capsnp likelihood` found, by split."""

LEAD = (
    '<p class="lead">A restricted Boltzmann machine on pixels, with energy '
    "E(v, h) = −b·v − c·h − ∑<sub>ij</sub> v<sub>i</sub> w<sub>ij</sub> h<sub>j</sub> "
    "where both layers are Bernoulli.</p>"
)
_HELD_OUT = "held-out "


def draw_figures(
    opened: OpenRun, model: RBM, train: np.ndarray, test: np.ndarray, *, progress: Progress
) -> None:
    """Draw every picture into the run's folder ``figures``.

    Parameters
    ----------
    opened : OpenRun
        Held by `RunFolder.lock`.
    model : RBM
    train, test : numpy.ndarray, shape (N, I)
        Rows as the machine takes them.
    progress : Progress
    """
    scene = MachineScene(
        model,
        train,
        test,
        opened.data.test,
        opened.run.metrics(),
        opened.settings["seed"],
        progress,
    )
    folder = opened.run.path(FIGURES)
    with one_line(folder, "cannot be written"):
        folder.mkdir(exist_ok=True)
        draw_machine(scene, folder)


def write_machine_report(opened: OpenRun, model: RBM) -> None:
    """Write ``report.json``, ``report.md`` and ``index.html`` of what the run's folder holds."""
    run, settings = opened.run, opened.settings
    kept = read_json(run, LIKELIHOOD)
    tables = [] if kept is None else [likelihood_table(kept)]
    last = {
        k: v for record in run.metrics() if record["stage"] == MACHINE for k, v in record.items()
    }
    tables += kept_evaluation(run).tables
    if last:
        tables.append(_last_table(last))
    tables += [seconds_table(read_json(run, "seconds.json") or {}), sizes_table(opened, model)]
    facts = {"settings": settings.nested(), "versions": run.config.get("versions", {})}
    write_atomic(run.path("report.json"), f"{Report(tuple(tables), facts).json()}\n".encode())
    title = f"Restricted Boltzmann machine on {_name(opened)}, seed {settings['seed']}"
    closing = [settings_table(settings), versions_table(run)]
    commands = _commands(opened)
    markdown = [f"# {title}", *(table.markdown() for table in tables)]
    markdown += ["### How to repeat", f"```\n{commands}\n```", *(t.markdown() for t in closing)]
    write_atomic(run.path("report.md"), ("\n\n".join(markdown) + "\n").encode())
    pictures = [p for p in PICTURES if run.path(f"{FIGURES}/{p.name}.png").is_file()]
    body = [
        f"<h1>{html.escape(title)}</h1>",
        LEAD,
        *map(figure_html, pictures[:1]),
        '<h2 id="tables">Tables</h2>',
        *(table.html() for table in tables),
        '<h2 id="figures">Figures</h2>',
        *map(figure_html, pictures[1:]),
        '<h2 id="repeat">How to repeat</h2>',
        f"<pre>{html.escape(commands)}</pre>",
        *(table.html() for table in closing),
    ]
    write_atomic(run.path("index.html"), page_html(title, body).encode())


def likelihood_table(kept: Mapping[str, Mapping[str, Any]]) -> Table:
    """Likelihoods by split, as ``likelihood.json`` has them."""
    columns = (
        Column("value", "Nats per image", ".2f", "higher"),
        Column("lower", "Lower end", ".2f"),
        Column("upper", "Upper end", ".2f"),
        Column("stderr", "Standard error", ".2g"),
        Column("method", "log Z"),
        Column("lower_ess", "Effective chains down", ".1f"),
        Column("upper_ess", "Effective chains up", ".1f"),
        Column("seconds", "Seconds", ".1f"),
    )
    rows, notes = {}, []
    for split, found in kept.items():
        partition, data = found["partition"], found["data"]
        ends = {name: found[name] for name in ("value", "lower", "upper", "stderr")}
        # the chains down make the upper end of log Z, and so the lower one here
        turned = {"lower_ess": partition["upper_ess"], "upper_ess": partition["lower_ess"]}
        rows[f"{split} images"] = partition | ends | turned
        seed = "" if data["seed"] is None else f" with seed {data['seed']}"
        note = (
            f"{split}: {data['shape'][0]} images, {found['measure']} measure, made binary by the "
            f"rule {data['rule']!r}{seed}, SHA-256 {data['sha256'][:12]}…"
        )
        notes.append(
            "; ".join([note, *["the bracket is wide"] * found["wide"], *found["problems"]])
        )
    return Table("Log-likelihood", columns, rows, tuple(notes))


def _last_table(last: Mapping[str, Any]) -> Table:
    """The newest value of each quantity that was logged, of both kinds of rows."""
    names = [name.removeprefix(_HELD_OUT) for name in last if name not in ("stage", "step")]
    rows = {
        name: {"train": last.get(name), "held_out": last.get(_HELD_OUT + name)}
        for name in dict.fromkeys(names)
    }
    columns = (Column("train", "Training", ".4g"), Column("held_out", "Held out", ".4g"))
    return Table(f"At step {last['step']}", columns, rows)


def sizes_table(opened: OpenRun, model: RBM) -> Table:
    """What is learned."""
    height, width, channels = opened.data.test.images.shape[1:]
    I, J = math.prod((height, width, channels)), model.n_components
    rows = {
        "visible units (I)": (f"{height} × {width} × {channels}, {model.visible_}", I),
        "hidden units (J)": (model.hidden, J),
        "weights": (f"{I} × {J}", I * J),
        "biases": ("", I + J),
    }
    columns = (Column("shape", "Shape, kind"), Column("numbers", "Numbers", ","))
    return Table("Sizes", columns, {k: {"shape": s, "numbers": n} for k, (s, n) in rows.items()})


def _commands(opened: OpenRun) -> str:
    folder = opened.run.folder
    return "\n".join(
        [
            "# the same run again",
            f"capsnp train {MACHINE} again --config {folder}/config.toml",
            "# its likelihood, exact or between two ends",
            f"capsnp likelihood {folder}",
            "# how good its images are, and what a probe finds in its hidden units",
            f"capsnp evaluate {folder}",
            "# images, and chains that move",
            f"capsnp sample {folder} -n 2000 -o samples.npz",
            f"capsnp sample {folder} --gibbs 200 -o chains.gif",
        ]
    )


def _name(opened: OpenRun) -> str:
    return str(opened.settings["data"]).rsplit("/", 1)[-1]
