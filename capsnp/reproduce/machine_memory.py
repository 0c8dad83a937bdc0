"""What a run of a machine needs in memory, from its sizes alone."""

import math

from capsnp.errors import MemoryLimitError
from capsnp.evaluation import Column, Table
from capsnp.memory import readable_bytes
from capsnp.reproduce.fitting import room
from capsnp.reproduce.memory import LIBRARIES
from capsnp.reproduce.settings import Settings

_MIB = 2**20
_DRAWING = 120 * _MIB  # the plotting library with a sheet of pictures


def memory_of_machine(
    settings: Settings, image: tuple[int, int, int], n: int, n_test: int
) -> dict[str, float]:
    """Bytes by what needs them.

    Parameters
    ----------
    settings : Settings
    image : tuple of int
        (H, W, C).
    n, n_test : int
        Images to train on and to test.

    Returns
    -------
    dict of str to float
        Libraries; images and their bits; weights with all copies of them that a checkpoint makes;
        chains with a batch; pictures, as far as they need more than these two, which are over.
    """
    size = 8 if settings["dtype"] == "float64" else 4
    I, J = math.prod(image), settings["rbm.n_components"]
    batch = min(settings["rbm.batch_size"], n)
    chains = settings["rbm.n_chains"] or settings["rbm.batch_size"]
    if settings["rbm.algorithm"] == "cd":
        chains = batch
    ladders = settings["rbm.n_temperatures"] if settings["rbm.algorithm"] == "pt" else 1
    copies = 14.0 if settings["rbm.momentum"] else 10.0
    weights = copies * size * I * J
    states = size * (I + J) * (3.0 * batch + (3.0 + ladders) * chains)
    return {
        "libraries": LIBRARIES.get(settings["backend"], 240) * _MIB,
        "images": 8.0 * (n + n_test) * I,
        "weights": weights,
        "chains": states,
        "pictures": max(0.0, _DRAWING - weights - states),
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
    option = _TO_LOWER[most]
    if most == "chains" and settings[option] is None:
        option = "rbm.batch_size"
    raise MemoryLimitError(
        f"the machine needs {readable_bytes(total)}, {readable_bytes(needs[most])} of it for "
        f"{most}, and {readable_bytes(max(0, may.total))} can be had within {may.reason}: lower "
        f"{option} (now {'not set' if settings[option] is None else settings[option]})"
    )


def memory_table(settings: Settings, image: tuple[int, int, int], n: int, n_test: int) -> Table:
    """What a run of a machine will take."""
    needs = memory_of_machine(settings, image, n, n_test)
    rows = {name: {"memory": readable_bytes(size)} for name, size in needs.items()}
    rows["in all"] = {"memory": readable_bytes(sum(needs.values()))}
    return Table("Expected", (Column("memory", "Memory", ""),), rows)
