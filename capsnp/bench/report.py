"""What was measured as tables, and as a page."""

from collections.abc import Iterable

from capsnp.bench.cases import Row
from capsnp.bench.machine import Machine
from capsnp.bench.running import Results
from capsnp.bench.timing import Times
from capsnp.evaluation import Column, Table

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
    return [machine_table(results), *comparison_tables(results.rows)]


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
    works: dict[tuple[str, str], dict[str, dict]] = {}
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
    return [
        Table(f"{work}, {sizes}", COMPARISON, found, ("Medians, quartiles in brackets.",))
        for (work, sizes), found in works.items()
    ]


def spread(times: Times) -> str:
    """A median with its quartiles.

    Examples
    --------
    >>> spread(Times((0.051, 0.052, 0.053, 0.054, 0.055)))
    '53.0 ms [52.0, 54.0]'
    """
    low, high = times.quartiles
    unit, scale = _unit(times.median)
    texts = (_three(value * scale) for value in (low, high))
    return f"{_three(times.median * scale)} {unit} [{', '.join(texts)}]"


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


def machine_line(machine: Machine, dtype: str) -> str:
    """The machine in one sentence."""
    return (
        f"{machine}, {machine.threads} thread{'s' * (machine.threads != 1)} each, {dtype}: "
        f"{machine.gemm / 1e9:.0f} GFLOP/s in a matrix product, "
        f"{machine.bandwidth / 1e9:.1f} GB/s in copying."
    )
