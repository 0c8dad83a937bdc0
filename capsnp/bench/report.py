"""What was measured as tables, and as a page."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from capsnp.bench.cases import Row
from capsnp.bench.introduction import introduction
from capsnp.bench.memory import Peak
from capsnp.bench.running import PARTNERS, Results
from capsnp.bench.scaling import UPPER_END, Growth
from capsnp.bench.timing import Times
from capsnp.evaluation import Column, Table
from capsnp.memory import readable_bytes

COMPARISON = (
    Column("ours", "capsnp"),
    Column("theirs", "theirs"),
    Column("ratio", "theirs / capsnp", ".2f", "higher"),
    Column("floor", "floor"),
    Column("floor_ratio", "capsnp / floor", ".2f", "lower"),
    Column("difference", "results differ by", ".0e"),
)


def tables(results: Results) -> list[Table]:
    """All that was measured."""
    found = [machine_table(results), *comparison_tables(results.rows)]
    if results.rows or results.memory:
        found.append(summary_table(results))
    for case in dict.fromkeys(peak.case for peak in results.memory):
        found.append(memory_table([peak for peak in results.memory if peak.case == case]))
    found += [growth_table(growth) for growth in results.scaling]
    if results.scaling:
        found.append(slope_table(results.scaling))
    if results.pipeline:
        found.append(pipeline_table(results.pipeline))
    return found


def page(results: Results, *, command: str, picture: str | None = None) -> str:
    """A page in Markdown: how it was measured, all tables, the plot.

    Parameters
    ----------
    results : Results
    command : str
        That makes the page.
    picture : str, optional
        Where the plot lies, seen from the page.
    """
    shown = {table.title: table for table in tables(results)}
    machine, short = shown.pop("Machine"), shown.pop("In short", None)
    works = dict.fromkeys(row.work for row in results.rows)
    parts = [
        introduction(works, command=command, machine=machine_line(results), rounds=results.rounds)
    ]
    if short is not None:
        parts.append(short.markdown())
    if picture is not None:
        parts.append(f"![Time against size]({picture})")
    parts += [table.markdown() for table in [*shown.values(), machine]]
    return "\n\n".join(part.strip() for part in parts).replace("\n### ", "\n## ") + "\n"


def relative(target: Path, page_file: Path) -> str:
    """A file's path seen from a page.

    Examples
    --------
    >>> relative(Path("docs/images/time.png"), Path("docs/page.md"))
    'images/time.png'
    >>> relative(Path("time.png"), Path("docs/page.md"))
    '../time.png'
    """
    return Path(os.path.relpath(target, page_file.parent)).as_posix()


def machine_line(results: Results) -> str:
    """The machine in one sentence."""
    machine = results.machine
    return (
        f"{machine}, {machine.threads} thread{'s' * (machine.threads != 1)} each, "
        f"{results.dtype}, backend {results.backend}: {machine.gemm / 1e9:.0f} GFLOP/s in a "
        f"large matrix product, {machine.bandwidth / 1e9:.1f} GB/s read and written in copying."
    )


def machine_table(results: Results) -> Table:
    """The machine, what it can do, and the versions."""
    machine = results.machine
    values = {
        "machine": str(machine),
        "threads, of each": str(machine.threads),
        f"matrix product, {results.dtype}": f"{machine.gemm / 1e9:.0f} GFLOP/s",
        "copying, read and written": f"{machine.bandwidth / 1e9:.1f} GB/s",
        "backend, dtype": f"{results.backend}, {results.dtype}",
        **machine.versions,
    }
    rows = {name: {"value": value} for name, value in values.items()}
    return Table("Machine", (Column("value", ""),), rows)


def comparison_tables(rows: Iterable[Row]) -> list[Table]:
    """A table for each work: capsnp, its partners and the floor."""
    works: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for row in rows:
        name = f"{row.case}, against {row.partner}" if row.partner else row.case
        form = f" ({row.form})" if row.form and row.partner != "numpy" else ""
        works.setdefault((row.work, row.sizes), {})[name + form] = {
            "ours": spread(row.ours),
            "theirs": None if row.theirs is None else spread(row.theirs),
            "ratio": row.ratio,
            "floor": duration(row.floor.seconds),
            "floor_ratio": row.floor_ratio,
            "difference": row.difference,
        }
    return [Table(f"{work}: {sizes}", COMPARISON, found) for (work, sizes), found in works.items()]


def summary_table(results: Results) -> Table:
    """How many times as long, or as much memory, each partner takes."""
    rows: dict[str, dict[str, Any]] = {}
    for row in results.rows:
        values = rows.setdefault(f"{row.work}: {row.case}", {"floor_ratio": row.floor_ratio})
        if row.partner:
            values[row.partner] = row.ratio
    for peak in results.memory:
        step = "a cd-step" if peak.work == "memory" else peak.case
        rows.setdefault(f"memory of {step}", {})[peak.partner] = peak.ratio
    columns = [
        Column(name, f"{name} / capsnp", ".2f", "higher")
        for name in PARTNERS
        if any(name in values for values in rows.values())
    ]
    columns.append(Column("floor_ratio", "capsnp / floor", ".2f", "lower"))
    return Table("In short", tuple(columns), rows)


def memory_table(peaks: Sequence[Peak]) -> Table:
    """Memory of a step beyond its arguments and results."""
    columns = (
        Column("ours", "capsnp"),
        Column("theirs", "theirs"),
        Column("ratio", "theirs / capsnp", ".2f", "higher"),
    )
    rows = {
        f"against {peak.partner}": {
            "ours": readable_bytes(peak.ours),
            "theirs": readable_bytes(peak.theirs),
            "ratio": peak.ratio,
        }
        for peak in peaks
    }
    note = "Growth of the peak of a process's resident memory, each in a process of its own."
    return Table(f"Memory beyond arguments and results: {peaks[0].sizes}", columns, rows, (note,))


def growth_table(growth: Growth) -> Table:
    """Times along one axis."""
    medians = growth.medians()
    rows = {
        f"{growth.axis} = {value:,}": {
            line: None if (at := seconds[n]) is None else duration(at)
            for line, seconds in medians.items()
        }
        for n, value in enumerate(growth.values)
    }
    title = f"cd-step, {growth.axis} from {growth.rows[0].sizes} to {growth.rows[-1].sizes}"
    return Table(title, tuple(Column(line, line) for line in medians), rows)


def slope_table(growths: Sequence[Growth]) -> Table:
    """Exponents of the size in the time."""
    rows = {growth.axis: growth.slopes() for growth in growths}
    lines = dict.fromkeys(line for slopes in rows.values() for line in slopes)
    note = f"Of log time over log size, by least squares over the last {UPPER_END} sizes."
    return Table("Slopes", tuple(Column(line, line) for line in lines), rows, (note,))


def pipeline_table(seconds: Mapping[str, float]) -> Table:
    """Seconds by stage, and of all."""
    rows = {name: {"seconds": value} for name, value in seconds.items()}
    rows["all"] = {"seconds": sum(seconds.values())}
    return Table("capsnp reproduce --data digits", (Column("seconds", "seconds", ".1f"),), rows)


def spread(times: Times) -> str:
    """A median with its quartiles.

    Examples
    --------
    >>> spread(Times((0.051, 0.052, 0.053, 0.054, 0.055)))
    '53.0 ms [52.0, 54.0]'
    """
    unit, scale = _unit(times.median)
    low, high = (_three(value * scale) for value in times.quartiles)
    return f"{_three(times.median * scale)} {unit} [{low}, {high}]"


def duration(seconds: float) -> str:
    """Seconds in the unit that suits them, three digits.

    Examples
    --------
    >>> duration(0.0123456), duration(2.5)
    ('12.3 ms', '2.50 s')
    """
    unit, scale = _unit(seconds)
    return f"{_three(seconds * scale)} {unit}"


def _unit(seconds: float) -> tuple[str, float]:
    for unit, scale in (("s", 1.0), ("ms", 1e3)):
        if seconds * scale >= 1.0:
            return unit, scale
    return "µs", 1e6


def _three(number: float) -> str:
    """Three digits.

    Examples
    --------
    >>> _three(1.0), _three(53.0), _three(250.3)
    ('1.00', '53.0', '250')
    """
    if number >= 100:
        return f"{number:.0f}"
    return f"{number:.1f}" if number >= 10 else f"{number:.2f}"
