"""Blocks on a pool of threads: the order, errors, nesting and the number of threads."""

import os
import signal
import threading
import time

import pytest

from capsnp.blocks import _blas, map_blocks, n_threads, slices
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


def test_threads_are_the_cores_this_process_may_use(monkeypatch):
    monkeypatch.delenv("CAPSNP_NUM_THREADS", raising=False)
    if hasattr(os, "sched_getaffinity"):
        assert 1 <= n_threads() <= len(os.sched_getaffinity(0))
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")  # as a control group's limit
    assert n_threads() == 1


@pytest.mark.parametrize("asked", ["0", "-1", "two", "1.5"])
def test_bad_number_of_threads(monkeypatch, asked):
    monkeypatch.setenv("CAPSNP_NUM_THREADS", asked)
    with pytest.raises(OptionError, match="CAPSNP_NUM_THREADS: expected a whole number from 1"):
        n_threads()


def blas_threads():
    return [library["num_threads"] for library in _blas().info() if library["user_api"] == "blas"]


@pytest.mark.usefixtures("threads")
def test_blas_has_one_thread_inside_a_block_and_its_own_again_afterwards():
    before = blas_threads()
    seen = map_blocks(lambda _: blas_threads(), range(3), parallel=True)
    assert seen == [[1] * len(before)] * 3
    assert blas_threads() == before


@pytest.mark.usefixtures("threads")
def test_callers_on_several_threads_take_turns_and_leave_blas_as_it_was():
    before = blas_threads()
    inside, most = [], []

    def block(_):
        inside.append(0)
        most.append(len(inside))
        time.sleep(0.001)
        inside.pop()

    def call():
        for _ in range(5):
            map_blocks(block, range(3), parallel=True)

    callers = [threading.Thread(target=call) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
    assert len(most) == 4 * 5 * 3
    assert max(most) <= 3
    assert blas_threads() == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore:.*fork")
@pytest.mark.usefixtures("threads")
def test_a_child_does_not_wait_for_its_parents_blocks():
    started, forked = threading.Event(), threading.Event()

    def block(_):
        started.set()
        assert forked.wait(60)

    caller = threading.Thread(target=map_blocks, args=(block, range(2)), kwargs={"parallel": True})
    caller.start()
    assert started.wait(30)
    child = os.fork()
    if child == 0:
        signal.alarm(30)  # ends a child that waits
        os._exit(sum(map_blocks(lambda n: n, range(5), parallel=True)))
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    forked.set()
    caller.join(30)
    assert status == 10
