"""Blocks on a pool of threads: the order, errors, nesting and the number of threads."""

import threading

import pytest

from capsnp.blocks import map_blocks, n_threads, slices
from capsnp.errors import OptionError


@pytest.fixture
def threads(monkeypatch):
    monkeypatch.setenv("CAPSNP_NUM_THREADS", "3")


@pytest.mark.parametrize("parallel", [True, False])
@pytest.mark.usefixtures("threads")
def test_results_come_in_the_blocks_order(parallel):
    assert map_blocks(lambda n: n * n, range(50), parallel=parallel) == [n * n for n in range(50)]


@pytest.mark.usefixtures("threads")
def test_blocks_run_at_the_same_time():
    meeting = threading.Barrier(3, timeout=30)
    arrived = map_blocks(lambda _: meeting.wait(), range(3), parallel=True)
    assert sorted(arrived) == [0, 1, 2]


@pytest.mark.usefixtures("threads")
def test_a_block_may_map_blocks_without_more_threads():
    def outer(n):
        here = threading.current_thread()
        inner = map_blocks(lambda m: (threading.current_thread(), m), range(4), parallel=True)
        assert all(thread is here for thread, _ in inner)
        return n + sum(m for _, m in inner)

    assert map_blocks(outer, range(9), parallel=True) == [n + 6 for n in range(9)]


@pytest.mark.usefixtures("threads")
def test_an_error_in_a_block_is_raised():
    with pytest.raises(ZeroDivisionError):
        map_blocks(lambda n: 1 // n, [1, 0, 2], parallel=True)


def test_slices_cover_everything_once():
    for n in range(20):
        for size in range(1, 7):
            covered = [i for s in slices(n, size) for i in range(n)[s]]
            assert covered == list(range(n))
            assert all(s.stop - s.start <= size for s in slices(n, size))
    with pytest.raises(OptionError, match="size: expected at least 1, got 0"):
        slices(3, 0)


@pytest.mark.parametrize("asked", ["0", "-1", "two", "1.5"])
def test_bad_number_of_threads(monkeypatch, asked):
    monkeypatch.setenv("CAPSNP_NUM_THREADS", asked)
    with pytest.raises(OptionError, match="CAPSNP_NUM_THREADS: expected a whole number from 1"):
        n_threads()
