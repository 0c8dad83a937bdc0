"""How the time of a step grows with the batch and with the numbers of capsules."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import log2
from pathlib import Path
from typing import Any

from scipy.stats import linregress

from capsnp.bench.cases import Row, measure
from capsnp.bench.layers import Layer
from capsnp.bench.machine import Machine
from capsnp.bench.sides import Ours, Side
from capsnp.bench.sizes import LayerSizes

AXES = {"B": "batch", "I": "n_in", "J": "n_out"}
DOUBLINGS = 5

UPPER_END = 4
"""Points of which the slope is taken: the last three doublings."""

COPIES = 8
"""PyTorch holds about so many arrays as large as all predictions at a time."""


@dataclass(frozen=True)
class Point:
    """One size along one axis, to be measured."""

    axis: str
    doublings: int
    sizes: LayerSizes

    @property
    def value(self) -> int:
        """Of the axis."""
        return getattr(self.sizes, AXES[self.axis])


@dataclass(frozen=True)
class Growth:
    """Times of a step of contrastive divergence along one axis.

    Attributes
    ----------
    axis : {"B", "I", "J"}
    values : tuple of int
        Of the axis.
    rows : tuple of Row
        One for each value.
    """

    axis: str
    values: tuple[int, ...]
    rows: tuple[Row, ...]

    def medians(self) -> dict[str, list[float | None]]:
        """Seconds by line: capsnp, its partner, the floor; None where the partner had no room."""
        lines: dict[str, list[float | None]] = {"capsnp": [row.ours.median for row in self.rows]}
        partners = [row.partner for row in self.rows if row.partner]
        if partners:
            lines[partners[0]] = [r.theirs.median if r.theirs else None for r in self.rows]
        return lines | {"floor": [row.floor.seconds for row in self.rows]}

    def slopes(self) -> dict[str, float | None]:
        """Of the logarithm of the time over that of the size at the upper end, by line.

        By least squares over the last `UPPER_END` points; None with fewer than two.
        """
        return {line: _slope(self.values, seconds) for line, seconds in self.medians().items()}

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "axis": self.axis,
            "values": list(self.values),
            "medians": self.medians(),
            "slopes": self.slopes(),
            "rows": [row.plain() for row in self.rows],
        }


def points(sizes: LayerSizes) -> list[Point]:
    """Each axis from a quarter of its size, doubled five times, the others as they are."""
    return [
        Point(axis, k, sizes.doubled(name, k))
        for axis, name in AXES.items()
        for k in range(DOUBLINGS + 1)
    ]


def measure_point(
    point: Point, *, dtype: str, machine: Machine, sides: Sequence[Side], rounds: int
) -> Row:
    """A step at one size by capsnp and, if its predictions have room, by PyTorch."""
    itemsize = 8 if dtype == "float64" else 4
    needed = COPIES * point.sizes.predictions * itemsize
    free = free_memory()
    taking_part = [
        side
        for side in sides
        if isinstance(side, Ours) or (side.name == "torch" and (free is None or needed < free))
    ]
    layer = Layer(point.sizes, dtype=dtype, machine=machine, sides=taking_part)
    return measure(layer.public_step(), rounds=rounds)[0]


def growths(measured: Sequence[tuple[Point, Row]]) -> list[Growth]:
    """Points put together by their axes."""
    found = []
    for axis in AXES:
        pairs = [(point.value, row) for point, row in measured if point.axis == axis]
        if pairs:
            values, rows = zip(*pairs, strict=True)
            found.append(Growth(axis, values, rows))
    return found


def free_memory() -> int | None:
    """Bytes that are free, where the system tells."""
    meminfo = Path("/proc/meminfo")
    found = meminfo.is_file() and re.search(r"MemAvailable:\s*(\d+) kB", meminfo.read_text("utf-8"))
    return int(found[1]) * 1024 if found else None


def _slope(values: Sequence[int], seconds: Sequence[float | None]) -> float | None:
    pairs = [
        (log2(value), log2(time))
        for value, time in zip(values, seconds, strict=True)
        if time is not None
    ][-UPPER_END:]
    return float(linregress(*zip(*pairs, strict=True)).slope) if len(pairs) > 1 else None
