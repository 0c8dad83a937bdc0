"""Memory of a machine's run told in advance, against what a process was seen to hold."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from capsnp import memory as system
from capsnp.errors import MemoryLimitError
from capsnp.reproduce import fitting
from capsnp.reproduce.machine_memory import expect_room_for_machine, memory_of_machine
from capsnp.reproduce.settings import resolve

MNIST = (28, 28, 1), 60_000, 10_000
needs_proc = pytest.mark.skipif(
    system.resident() == 0, reason="this system has no /proc that tells what a process holds"
)


@needs_proc
@pytest.mark.parametrize(
    ("n", "own"),
    [
        (40_000, ("rbm.n_components=20",)),
        (500, ("rbm.n_components=400", "rbm.n_chains=20000", "rbm.n_iter=2")),
        (500, ("rbm.n_components=200", "rbm.algorithm=pt", "rbm.n_chains=2000")),
        (500, ("rbm.n_components=8000", "rbm.momentum=0.5")),
    ],
)
def test_a_run_holds_what_was_told(n, own, tmp_path, rng):
    np.save(tmp_path / "mine.npy", rng.integers(0, 255, (n, 28, 28), dtype=np.uint8))
    common = ("rbm.n_iter=1", "rbm.batch_size=500", "monitor.n_rows=50", "monitor.every=100000")
    arguments = [tmp_path / "run", tmp_path / "mine.npy", *common, *own]
    script = Path(__file__).with_name("measured_machine.py")
    threads = {"OPENBLAS_NUM_THREADS": "1", "CAPSNP_NUM_THREADS": "2"}
    result = subprocess.run(
        [sys.executable, script, *map(str, arguments)],
        stdout=subprocess.PIPE,
        env=os.environ | threads,
        check=True,
    )
    found = json.loads(result.stdout)
    assert found["told"] == pytest.approx(found["measured"], rel=0.2)


def limited(monkeypatch, total):
    monkeypatch.setattr(fitting, "resident", lambda: 0)
    monkeypatch.setattr(fitting, "limits", lambda: [system.Limit(total, "a limit", False)])


def test_a_run_that_fits_is_let_through(monkeypatch):
    settings = resolve({"model": "rbm", "data": "mnist"})
    needed = sum(memory_of_machine(settings, *MNIST).values())
    limited(monkeypatch, round(needed) + 1)
    expect_room_for_machine(settings, *MNIST)
    limited(monkeypatch, round(needed) - 1)
    with pytest.raises(MemoryLimitError):
        expect_room_for_machine(settings, *MNIST)


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ({}, "for images, and .* within a limit: lower limit .now not set"),
        ({"limit": 60_000}, "for images, and .* lower limit .now 60000"),
        ({"rbm.n_components": 10**6}, "for weights, .* lower rbm.n_components .now 1000000"),
        ({"rbm.n_chains": 10**6}, "for chains, .* lower rbm.n_chains .now 1000000"),
        ({"rbm.batch_size": 10**6}, "for chains, .* lower rbm.batch_size .now 1000000"),
    ],
)
def test_what_does_not_fit_is_told_with_what_to_lower(monkeypatch, own, words):
    limited(monkeypatch, 100_000_000)
    with pytest.raises(MemoryLimitError, match=words):
        expect_room_for_machine(resolve({"model": "rbm", "data": "mnist"}, own), *MNIST)
