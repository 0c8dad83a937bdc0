"""The page of a run of a capsule network: all its sections, and how to repeat them."""

import html
import math
from pathlib import Path

from capsnp.evaluation import Column, Report, Table
from capsnp.experiments.runs import NetworkRun
from capsnp.experiments.sections import Section, kept_sections
from capsnp.experiments.settings import NetworkSettings, resolve
from capsnp.models import CapsNet
from capsnp.reproduce.figures import Picture
from capsnp.reproduce.given import flat
from capsnp.reproduce.pipeline import read_json
from capsnp.reproduce.report import (
    figure_html,
    page_html,
    seconds_table,
    two_columns,
    versions_table,
)
from capsnp.training import write_atomic

LEAD = (
    '<p class="lead">A capsule network (Sabour, Frosst and Hinton 2017, '
    '<a href="https://arxiv.org/abs/1710.09829">arXiv:1710.09829</a>): x<sub>i</sub> = squash of '
    "convolutions, z<sub>j</sub> = ∑<sub>i</sub> c<sub>ij</sub> W<sub>ij</sub> x<sub>i</sub>, "
    "v<sub>j</sub> = squash(z<sub>j</sub>); the length of v<sub>j</sub> is for class j.</p>"
)


def write_report(opened: NetworkRun, model: CapsNet) -> None:
    """Write ``report.json``, ``report.md`` and ``index.html`` of what the run's folder holds.

    Parameters
    ----------
    opened : NetworkRun
        Its folder held by `RunFolder.lock`.
    model : CapsNet
    """
    run, settings = opened.run, opened.settings
    sections = kept_sections(run)
    closing = [seconds_table(read_json(run, "seconds.json") or {}), sizes_table(model)]
    tables = [table for section in sections for table in section.tables.values()] + closing
    facts = {"settings": settings.nested(), "versions": run.config.get("versions", {})}
    write_atomic(run.path("report.json"), f"{Report(tuple(tables), facts).json()}\n".encode())
    name = Path(settings["data"]).name
    title = f"Capsule network on {name}, seed {settings['seed']}"
    commands = _commands(opened)
    closing += [settings_table(settings), versions_table(run)]
    markdown = [f"# {title}"]
    for section in sections:
        markdown += [f"## {section.title}", *(t.markdown() for t in section.tables.values())]
    markdown += ["## How to repeat", f"```\n{commands}\n```", *(t.markdown() for t in closing)]
    write_atomic(run.path("report.md"), ("\n\n".join(markdown) + "\n").encode())
    links = {section.name: section.title for section in sections} | {"repeat": "How to repeat"}
    body = [
        f"<h1>{html.escape(title)}</h1>",
        LEAD,
        "<nav>" + "".join(f'<a href="#{a}">{t}</a>' for a, t in links.items()) + "</nav>",
        *(_section_html(section) for section in sections),
        '<h2 id="repeat">How to repeat</h2>',
        f"<pre>{html.escape(commands)}</pre>",
        *(table.html() for table in closing),
    ]
    write_atomic(run.path("index.html"), page_html(title, body).encode())


def _section_html(section: Section) -> str:
    pieces = [f'<h2 id="{section.name}">{html.escape(section.title)}</h2>']
    pieces += [table.html() for table in section.tables.values()]
    pieces += [
        figure_html(Picture(name, caption, lambda _: None))
        for name, caption in section.captions.items()
    ]
    return "\n".join(pieces)


def sizes_table(model: CapsNet) -> Table:
    """What is learned, by the paper's letters."""
    I, J, D, P = model.weights_["W"].shape
    height, width, channels = model.image_shape_
    by_part = {
        "convolutions": ("filters1", "bias1", "filters2", "bias2"),
        f"W (I, J, D, P) = {I} × {J} × {D} × {P}": ("W",),
    }
    known = {name for names in by_part.values() for name in names}
    others = tuple(name for name in model.weights_ if name not in known)
    by_part["decoder and what the routing learns"] = others
    rows = {"pixels of an image": {"numbers": height * width * channels}}
    for part, names in by_part.items():
        numbers = sum(math.prod(model.weights_[name].shape) for name in names)
        rows[part] = {"numbers": numbers}
    return Table("Sizes", (Column("numbers", "Numbers", ","),), rows)


def settings_table(settings: NetworkSettings) -> Table:
    """Every setting; a star marks those that are not the data set's default."""
    usual = resolve({"data": settings["data"], "backend": settings["backend"]})
    values = {
        name: f"{value}{' *' if usual[name] != settings[name] else ''}"
        for name, value in flat(settings.nested())
    }
    return two_columns("Settings (*: not the default for these data)", "Value", values)


def _commands(opened: NetworkRun) -> str:
    folder = opened.run.folder
    return "\n".join(
        [
            "# the same run again",
            f"capsnp capsnet train again --config {folder}/config.toml",
            "# what each dimension of the class capsules moves",
            f"capsnp capsnet perturb {folder}",
            "# how it bears images that are turned, sheared, scaled and shifted",
            f"capsnp capsnet affine {folder}",
            "# one image's way through the routing, and the routing weighting by weighting",
            f"capsnp capsnet diagram {folder}",
            f"capsnp capsnet lamp {folder}",
        ]
    )
