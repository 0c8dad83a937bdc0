"""``metrics.jsonl``: one JSON object per line, read line by line even after a kill mid-line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from capsnp.training.files import append, one_line, write_atomic

Record = dict[str, Any]


class MetricsFile:
    """The metrics of a run. Lines hold no wall-clock times, so the same run has the same bytes.

    Parameters
    ----------
    path : Path
        The file; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, record: Record) -> None:
        """Add a line and wait until it is on the disk."""
        append(self.path, f"{json.dumps(record)}\n".encode())

    def read(self) -> list[Record]:
        """Every whole line."""
        return [record for line in self._lines() if (record := _parsed(line))]

    def keep(self, wanted: Callable[[Record], bool]) -> None:
        """Drop the lines that are not wanted, and those that are not whole."""
        lines = self._lines()
        kept = [line for line in lines if (record := _parsed(line)) and wanted(record)]
        if kept != lines:
            write_atomic(self.path, b"".join(kept))

    def _lines(self) -> list[bytes]:
        with one_line(self.path, "cannot be read"):
            if not self.path.exists():
                return []
            return self.path.read_bytes().splitlines(keepends=True)


def _parsed(line: bytes) -> Record | None:
    if not line.endswith(b"\n"):
        return None
    try:
        record = json.loads(line)
    except ValueError:  # not JSON, or not text
        return None
    return record if isinstance(record, dict) and {"stage", "step"} <= record.keys() else None
