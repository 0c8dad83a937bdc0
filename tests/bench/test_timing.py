"""Turns, medians, threads."""

import math
import os

import pytest
from threadpoolctl import threadpool_info

from capsnp.bench import timing
from capsnp.blocks import n_threads


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is moved: ``clock.now += 1``."""

    class Clock:
        now = 0.0

    monkeypatch.setattr(timing.time, "perf_counter", lambda: Clock.now)
    return Clock


def test_each_turn_is_timed_after_a_call_that_is_not(clock):
    calls = []

    def work(name, seconds):
        def call():
            calls.append(name)
            clock.now += seconds

        return call

    found = timing.interleave({"a": work("a", 2.0), "b": work("b", 5.0)}, rounds=3)
    assert found["a"].seconds == (2.0, 2.0, 2.0)
    assert found["b"].seconds == (5.0, 5.0, 5.0)
    # two to warm up, then two each round, in an order that changes
    assert "".join(calls) == "aabb" + "aabb" + "bbaa" + "aabb"


def test_short_work_is_repeated_within_its_turn(clock):
    def call():
        clock.now += timing.LEAST_SECONDS / 8

    (found,) = timing.interleave({"short": call}, rounds=1).values()
    assert found.seconds == (pytest.approx(timing.LEAST_SECONDS / 8),)
    started = clock.now
    timing.interleave({"short": call}, rounds=1)
    settling = math.ceil(timing.SETTLING_SECONDS / timing.LEAST_SECONDS * 8)
    calls = 2 + settling + 8  # to warm up, before the turn and in it
    assert clock.now - started == pytest.approx(timing.LEAST_SECONDS / 8 * calls)


def test_threads_are_equal_inside_and_as_before_outside(monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setenv("CAPSNP_NUM_THREADS", "7")
    before = torch.get_num_threads()
    with timing.equal_threads(1, torch):
        assert n_threads() == torch.get_num_threads() == 1
        assert {m["num_threads"] for m in threadpool_info() if m["user_api"] == "blas"} == {1}
    assert os.environ["CAPSNP_NUM_THREADS"] == "7"
    assert torch.get_num_threads() == before
