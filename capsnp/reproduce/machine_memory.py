"""What a run of a machine needs in memory, from its sizes alone."""

import math

from capsnp.errors import MemoryLimitError
from capsnp.evaluation import Column, Table
from capsnp.memory import readable_bytes
from capsnp.reproduce.fitting import room
from capsnp.reproduce.memory import LIBRARIES
from capsnp.reproduce.settings import Settings

_MIB = 2**20
_WATCHED = 256 * _MIB  # libraries beyond those of arrays, the monitor, pictures


def memory_of_machine(
    settings: Settings, image: tuple[int, int, int], n: int, n_test: int
) -> dict[str, float]:
    """Bytes by what needs them: images and bits, weights with what goes with them, chains."""
    size = 8 if settings["dtype"] == "float64" else 4
    I, J = math.prod(image), settings["rbm.n_components"]
    batch = settings["rbm.batch_size"]
    chains = settings["rbm.n_chains"] or batch
    if settings["rbm.algorithm"] == "cd":
        chains = min(batch, n)
    ladders = settings["rbm.n_temperatures"] if settings["rbm.algorithm"] == "pt" else 1
    return {
        "libraries": LIBRARIES.get(settings["backend"], 240) * _MIB + _WATCHED,
        "images": 9.0 * (n + n_test) * I,
        "weights": 8.0 * size * I * J,
        "chains": size * (I + J) * (3.0 * min(batch, n) + (3.0 + ladders) * chains),
    }


_TO_LOWER = {"images": "limit", "weights": "rbm.n_components", "chains": "rbm.n_chains"}


def expect_room_for_machine(
    settings: Settings, image: tuple[int, int, int], n: int, n_test: int
) -> None:
    """Raise unless the run fits into memory.

    Raises
    ------
    MemoryLimitError
        With what needs most and the setting to lower.
    """
    needs = memory_of_machine(settings, image, n, n_test)
    may, total = room(), sum(needs.values())
    if may is None or total <= may.total:
        return
    most = max(_TO_LOWER, key=needs.__getitem__)
    raise MemoryLimitError(
        f"the machine needs {readable_bytes(total)}, {readable_bytes(needs[most])} of it for "
        f"{most}, and {readable_bytes(max(0, may.total))} can be had within {may.reason}: lower "
        f"{_TO_LOWER[most]} (now {settings[_TO_LOWER[most]] or 'not set'})"
    )


def memory_table(settings: Settings, image: tuple[int, int, int], n: int, n_test: int) -> Table:
    """What a run of a machine will take."""
    needs = memory_of_machine(settings, image, n, n_test)
    rows = {name: {"memory": readable_bytes(size)} for name, size in needs.items()}
    rows["in all"] = {"memory": readable_bytes(sum(needs.values()))}
    return Table("Expected", (Column("memory", "Memory", ""),), rows)
