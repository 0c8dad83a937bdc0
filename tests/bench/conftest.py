"""Measurements that were never taken."""

import pytest

from capsnp.bench import Results
from capsnp.bench.cases import Row
from capsnp.bench.machine import Floor, Machine
from capsnp.bench.memory import Peak
from capsnp.bench.scaling import Growth
from capsnp.bench.timing import Times


def row(case="route, then cd_gradient", *, partner="torch", ours=0.1, theirs=0.5, floor=0.05):
    """A row whose medians are these."""
    return Row(
        "cd-step",
        case,
        "100 × 576×8 → 20×16",
        partner,
        "einsum",
        Times((ours, 0.9 * ours, 1.1 * ours)),
        None if theirs is None else Times((theirs,)),
        Floor(floor, floor / 2),
        1e-7,
        1e-4,
    )


@pytest.fixture
def results():
    """Everything, of a machine that there is not."""
    machine = Machine("Abacus 1", 2, 2, "", 1e11, 1e10, {"python": "3.12.0"})
    values = (25, 50, 100, 200, 400, 800)
    growing = tuple(row(ours=0.001 * v, theirs=0.0001 * v**1.5, floor=0.0002 * v) for v in values)
    return Results(
        machine,
        "paper",
        "float32",
        "numpy",
        3,
        rows=[row(), row(partner="numpy", theirs=0.3)],
        scaling=[Growth("B", values, growing)],
        memory=[Peak("100 × 576×8 → 20×16", "torch", "einsum", 10_000_000, 80_000_000)],
        pipeline={"autoencoder": 30.0, "capsules": 12.0},
    )
