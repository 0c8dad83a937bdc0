"""The report of a run: tables as JSON, as Markdown, and with the pictures as a page."""

import html
import importlib.resources
import json
import string
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from capsnp.backend import found_backends
from capsnp.errors import DataError, RunError
from capsnp.evaluation import Column, Report, Table
from capsnp.reproduce.comparison import comparison_table
from capsnp.reproduce.figures import Picture
from capsnp.reproduce.given import flat
from capsnp.reproduce.pipeline import read_json
from capsnp.reproduce.runs import OpenRun
from capsnp.reproduce.settings import Settings, resolve
from capsnp.reproduce.shapes import Shapes
from capsnp.training import RunFolder, write_atomic

FIGURES = "figures"
LEADS = {
    "capsules": '<p class="lead">A product of expert capsules (Hauser 2019, '
    '<a href="https://arxiv.org/abs/1907.11643">arXiv:1907.11643</a>) with energy '
    "E(x, y) = −∑<sub>j</sub> ‖y<sub>j</sub>‖ log ‖z<sub>j</sub>‖², "
    "z<sub>j</sub> = ∑<sub>i</sub> c<sub>ij</sub> W<sub>ij</sub> x<sub>i</sub>.</p>",
    "neurons": '<p class="lead">A routing-weighted product of expert neurons (a reading of Hauser '
    '2019, <a href="https://arxiv.org/abs/1907.11639">arXiv:1907.11639</a>) with energy '
    "E(v, h) = −∑<sub>ij</sub> c<sub>ij</sub> h<sub>j</sub>ᵀ W<sub>ij</sub> v<sub>i</sub> − "
    "∑<sub>j</sub> a<sub>j</sub>ᵀ h<sub>j</sub> + ½ ∑<sub>i</sub> ‖v<sub>i</sub> − "
    "b<sub>i</sub>‖², or −∑<sub>i</sub> b<sub>i</sub>ᵀ v<sub>i</sub> for bits.</p>",
}


def write_report(opened: OpenRun, shapes: Shapes, pictures: Sequence[Picture]) -> None:
    """Write ``report.json``, ``report.md`` and ``index.html`` of what a run's folder holds.

    Parameters
    ----------
    opened : OpenRun
        Held by `RunFolder.lock`.
    shapes : Shapes
    pictures : sequence of Picture
        Those that lie in the folder's ``figures/``.
    """
    run = opened.run
    routing = read_json(run, "routing.json")
    seconds = read_json(run, "seconds.json") or {}
    tables = list(kept_evaluation(run).tables)
    if routing is not None:
        tables.append(comparison_table(routing))
    tables += [seconds_table(seconds), shapes_table(shapes)]
    facts = {"settings": opened.settings.nested(), "versions": run.config.get("versions", {})}
    report = Report(tuple(tables), facts)
    write_atomic(run.path("report.json"), f"{report.json()}\n".encode())
    write_atomic(run.path("report.md"), _markdown(opened, tables).encode())
    write_atomic(run.path("index.html"), _page(opened, tables, pictures).encode())


def kept_evaluation(run: RunFolder) -> Report:
    """What `evaluate` found and the run keeps; without tables if there is nothing."""
    kept = read_json(run, "evaluation.json")
    try:
        return Report(()) if kept is None else Report.from_json(json.dumps(kept))
    except DataError as error:
        path = run.path("evaluation.json")
        raise RunError(f"{path}: damaged ({error}); delete it, and it is made anew") from None


def seconds_table(seconds: Mapping[str, float]) -> Table:
    """Wall times by stage."""
    rows = {name: {"seconds": value} for name, value in seconds.items()}
    rows["in all"] = {"seconds": sum(seconds.values())}
    note = "A stage that was interrupted counts from where it went on."
    return Table("Wall times", (Column("seconds", "Seconds", ".1f"),), rows, (note,))


def shapes_table(shapes: Shapes) -> Table:
    """What is learned, by the paper's letters."""
    height, width, channels = shapes.image
    I, P, J, D = shapes.I, shapes.P, shapes.J, shapes.D
    cells = f"{shapes.grid[0]} × {shapes.grid[1]}"
    rows = {
        "images": (f"{height} × {width} × {channels}", height * width * channels),
        "autoencoder's filters and biases": ("", shapes.autoencoder),
        "input capsules (I, P)": (f"{I} × {P}, on a grid of {cells}", I * P),
        "W (I, J, D, P)": (f"{I} × {J} × {D} × {P}", shapes.W),
        "output capsules (J, D)": (f"{J} × {D}", J * D),
        "U (J, I, P, D)": (f"{J} × {I} × {P} × {D}", shapes.U),
    }
    columns = (Column("shape", "Shape"), Column("numbers", "Numbers", ","))
    named = {name: {"shape": shape, "numbers": n} for name, (shape, n) in rows.items()}
    return Table("Sizes", columns, named)


def two_columns(title: str, heading: str, values: Mapping[str, Any]) -> Table:
    """A table of texts by name."""
    rows = {name: {"value": _text(value)} for name, value in values.items()}
    return Table(title, (Column("value", heading),), rows)


def settings_table(settings: Settings) -> Table:
    """Every setting; a star marks those that are not the data set's default."""
    usual = resolve({"data": settings["data"], "backend": settings["backend"]})
    values = {
        name: f"{_text(settings[name])}{' *' if usual[name] != settings[name] else ''}"
        for name, _ in flat(settings.nested())
    }
    return two_columns("Settings (*: not the default for these data)", "Value", values)


def versions_table(run: RunFolder) -> Table:
    """What the run began with."""
    return two_columns("Versions", "Version", run.config.get("versions", {}))


def backends_table() -> Table:
    """Which array libraries are here, and what each other one needs."""
    return two_columns("Array libraries", "Version, or what it needs", found_backends())


def commands(opened: OpenRun) -> str:
    """How to repeat the run, and what to do with it."""
    folder = opened.run.folder
    return "\n".join(
        [
            "# the same run again",
            f"capsnp reproduce --config {folder}/config.toml --out again",
            "# images from the model, and images rebuilt by it",
            f"capsnp sample {folder} -n 2000 --domain half -o samples.npz",
            f"capsnp reconstruct {folder} -n 2000 -o rebuilt.npz",
            "# what routing brings: W and U trained again with 1, 2 and 3 iterations",
            f"capsnp compare {folder} --iterations 1,2,3",
        ]
    )


def _markdown(opened: OpenRun, tables: Iterable[Table]) -> str:
    parts = [f"# {_title(opened.settings)}"]
    parts += [table.markdown() for table in tables]
    parts += ["### How to repeat", f"```\n{commands(opened)}\n```"]
    parts += [settings_table(opened.settings).markdown(), versions_table(opened.run).markdown()]
    return "\n\n".join(parts) + "\n"


def _page(opened: OpenRun, tables: Iterable[Table], pictures: Sequence[Picture]) -> str:
    settings, tables = opened.settings, list(tables)
    links = {"tables": "Tables", "figures": "Figures", "repeat": "How to repeat"}
    body = [
        f"<h1>{html.escape(_title(settings))}</h1>",
        LEADS[settings["model"]],
        "<nav>" + "".join(f'<a href="#{a}">{t}</a>' for a, t in links.items()) + "</nav>",
        figure_html(pictures[0]) if pictures else "",
        '<h2 id="tables">Tables</h2>',
        *(table.html() for table in tables),
        '<h2 id="figures">Figures</h2>',
        *map(figure_html, pictures[1:]),
        '<h2 id="repeat">How to repeat</h2>',
        f"<pre>{html.escape(commands(opened))}</pre>",
        settings_table(settings).html(),
        versions_table(opened.run).html(),
    ]
    return page_html(_title(settings), body)


def page_html(title: str, body: Iterable[str]) -> str:
    """A page of pieces of HTML."""
    template = importlib.resources.files("capsnp.reproduce").joinpath("page.html")
    page = string.Template(template.read_text(encoding="utf-8"))
    return page.substitute(title=html.escape(title), body="\n".join(body))


def figure_html(picture: Picture) -> str:
    """A picture in the folder `FIGURES` with its caption."""
    file = f"{FIGURES}/{picture.name}.png"
    caption = html.escape(picture.caption)
    return (
        f'<figure id="{picture.name}"><figcaption>{caption}</figcaption>'
        f'<a href="{file}"><img src="{file}" alt="{caption}" loading="lazy"></a></figure>'
    )


def _title(settings: Settings) -> str:
    name = settings["data"].rsplit("/", 1)[-1]
    return f"Expert {settings['model']} on {name}, seed {settings['seed']}"


def _text(value: Any) -> str:
    return "none" if value is None else str(value)
