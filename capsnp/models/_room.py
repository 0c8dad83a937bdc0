"""Whether chains fit into memory, before they are made."""

from capsnp.backend import Backend
from capsnp.functional.harmonium import Harmonium
from capsnp.memory import expect_fitting

_HELD = 3
"""Arrays of each layer's states that a sweep holds at its widest: field, noise, state."""


def expect_room_for_chains(
    name: str, n: int, machine: Harmonium, backend: Backend, *, ladders: int = 1
) -> None:
    """Raise unless n chains of a machine fit, on a host; a device speaks for itself.

    Parameters
    ----------
    name : str
        Of the option that says how many.
    n : int
    machine : Harmonium
    backend : Backend
    ladders : int
        Temperatures at which each chain runs.

    Raises
    ------
    MemoryLimitError
    """
    if backend.name == "cupy" or "cuda" in str(backend.device):
        return
    itemsize = 8 if "64" in str(machine.w.dtype) else 4
    I, J = machine.w.shape
    expect_fitting(name, n, itemsize * n * (ladders * (I + J) + _HELD * (I + J)), what="chains")
