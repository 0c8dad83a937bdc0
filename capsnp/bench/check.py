"""Measured ratios beside those that were committed."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from capsnp.bench.running import Results
from capsnp.errors import OptionError
from capsnp.evaluation import Column, Table

BASELINE = Path(__file__).parents[2] / "docs" / "benchmarks.json"
"""Where a checkout keeps its measurements."""

ALLOWED = 0.2
"""Share of a ratio that may be lost: times on a shared machine vary."""

Key = tuple[str, str, str, str]


@dataclass(frozen=True)
class Change:
    """A ratio then and now.

    Attributes
    ----------
    name : str
    before, now : float
        How many times as long, or as much memory, the partner takes.
    """

    name: str
    before: float
    now: float

    @property
    def loss(self) -> float:
        """Share of the ratio that is lost; negative for a gain."""
        return 1.0 - self.now / self.before

    @property
    def fails(self) -> bool:
        """Whether more is lost than is allowed."""
        return not self.loss <= ALLOWED


def read_baseline(path: Path) -> dict[str, Any]:
    """Measurements that ``capsnp bench --json`` wrote.

    Raises
    ------
    OptionError
        If the file is not there or is something else.
    """
    try:
        found = json.loads(path.read_text("utf-8"))
        ratios_of(found)
    except OSError as error:
        raise OptionError(f"baseline: {path} cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise OptionError(
            f"baseline: expected {path} as --json writes it, got {type(error).__name__}: {error}"
        ) from None
    return found


def ratios_of(measured: Mapping[str, Any]) -> dict[Key, float]:
    """Ratios by work, case, sizes and partner, as JSON has them."""
    return {
        (row["work"], row["case"], row["sizes"], row["partner"]): float(row["ratio"])
        for row in [*measured["rows"], *measured.get("memory", ())]
        if row["ratio"] is not None
    }


def compare(results: Results, baseline: Mapping[str, Any]) -> list[Change]:
    """The ratios that both have.

    Raises
    ------
    OptionError
        If the baseline is of another backend or dtype, or has none of these ratios.
    """
    for name in ("backend", "dtype"):
        if baseline.get(name) != getattr(results, name):
            raise OptionError(
                f"baseline: expected measurements with {name} {getattr(results, name)}, "
                f"got {baseline.get(name)}"
            )
    before, now = ratios_of(baseline), ratios_of(results.plain())
    changes = [
        Change(f"{key[0]}: {key[1]}, {key[2]}, against {key[3]}", before[key], ratio)
        for key, ratio in now.items()
        if key in before
    ]
    if not changes:
        raise OptionError("baseline: expected ratios of the same works and sizes, got none")
    return changes


def change_table(changes: list[Change]) -> Table:
    """Ratios then and now, and what is lost."""
    columns = (
        Column("before", "committed"),
        Column("now", "now"),
        Column("loss", "lost", ".0%", "lower"),
        Column("verdict", ""),
    )
    rows = {
        change.name: {
            "before": change.before,
            "now": change.now,
            "loss": change.loss,
            "verdict": "too slow" if change.fails else "holds",
        }
        for change in changes
    }
    return Table("Ratios against those committed", columns, rows)
