import io

import pytest
from rich.console import Console

from capsnp.training import Progress, track, train
from capsnp.training.loop import Observer

HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"  # what a terminal takes for its cursor


class Clock:
    """Time that passes only when told."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Wait(Observer):
    """Each step takes so long."""

    def __init__(self, clock, seconds):
        self.clock = clock
        self.seconds = seconds

    def after_step(self, _training):
        self.clock.now += self.seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(params=[False, True], ids=["lines", "bar"])
def any_console(request):
    return console(terminal=request.param)


def console(*, terminal):
    return Console(file=io.StringIO(), force_terminal=terminal, width=100)


def shown(where):
    return where.file.getvalue()


def run(toy, clock, where, *, n_steps, seconds, **options):
    with Progress(console=where, clock=clock, **options) as progress:
        train(toy["Toy"]("first", n_steps), observers=[Wait(clock, seconds), progress])


def test_nothing_for_short_work(toy, clock, any_console):
    run(toy, clock, any_console, n_steps=10, seconds=0.19)
    assert shown(any_console) == ""


def test_nothing_when_quiet(toy, clock, any_console):
    run(toy, clock, any_console, n_steps=10, seconds=9, quiet=True)
    assert shown(any_console) == ""


def test_lines_at_most_every_five_seconds_each_after_a_tenth(toy, clock):
    where = console(terminal=False)
    run(toy, clock, where, n_steps=50, seconds=0.5)
    lines = shown(where).splitlines()
    assert [line.split(",")[0] for line in lines] == [
        f"first: {done}/50" for done in (10, 20, 30, 40, 50)
    ]
    assert lines[0].startswith("first: 10/50, 2/s, 0:00:20 left, mean ")
    assert lines[-1].startswith("first: 50/50, 2/s, took 0:00:25, mean ")


def test_lines_at_least_every_minute(toy, clock):
    where = console(terminal=False)
    run(toy, clock, where, n_steps=200, seconds=12)
    done = [line.split("/")[0].split()[-1] for line in shown(where).splitlines()]
    assert done[:6] == ["5", "10", "15", "20", "25", "30"]


def test_long_lines_are_not_broken(toy, clock):
    where = Console(file=io.StringIO(), width=20)
    run(toy, clock, where, n_steps=1, seconds=3)
    assert len(shown(where).splitlines()) == 1


def test_rate_counts_only_the_steps_of_this_process(toy, clock):
    where = console(terminal=False)

    class Resumed(Observer):
        def begin(self, training):
            training.step = 90

    with Progress(console=where, clock=clock) as progress:
        training = toy["Toy"]("first", 100)
        train(training, observers=[progress, Resumed(), Wait(clock, 2.0)])
    # the clock moves after each look, so ten steps have taken 18 seconds at the last look
    assert "100/100, 0.5/s, took 0:00:20" in shown(where)


def test_bar_on_a_terminal(toy, clock):
    where = console(terminal=True)
    run(toy, clock, where, n_steps=30, seconds=0.25)
    assert "first" in shown(where)
    assert "8/30, 4/s, 0:00:06 left, mean" in shown(where)
    assert "30/30, 4/s, took 0:00:08, mean" in shown(where)
    assert shown(where).count(HIDE) == shown(where).count(SHOW) == 1


def test_bar_leaves_the_terminal_in_order_after_an_error(toy, clock):
    where = console(terminal=True)

    class Fail(Observer):
        def after_step(self, training):
            if training.step == 20:
                raise KeyboardInterrupt

    with (
        pytest.raises(KeyboardInterrupt),
        Progress(console=where, clock=clock) as progress,
    ):
        train(toy["Toy"]("first", 30), observers=[Wait(clock, 1.0), progress, Fail()])
    assert shown(where).count(HIDE) == shown(where).count(SHOW) == 1


def test_one_stage_after_the_other(toy, clock, any_console):
    with Progress(console=any_console, clock=clock) as progress:
        for name in ("first", "second"):
            train(toy["Toy"](name), observers=[Wait(clock, 2.0), progress])
    assert "5/5, 0.5/s, took 0:00:10" in shown(any_console)
    assert shown(any_console).index("first") < shown(any_console).index("second")


@pytest.mark.parametrize("total", [None, 3])
def test_track(clock, any_console, total):
    items = []
    progress = Progress(console=any_console, clock=clock)
    for item in progress.track(iter("abc") if total else "abc", "features", total=total):
        clock.now += 4
        items.append(item)
    assert items == ["a", "b", "c"]
    assert "3/3, 0.25/s, took 0:00:12" in shown(any_console)


def test_track_without_a_length(clock, any_console):
    for _ in Progress(console=any_console, clock=clock).track((n for n in range(3)), "chains"):
        clock.now += 30
    assert "2, 0.0333/s" in shown(any_console)
    assert "3, 0.0333/s, took 0:01:30" in shown(any_console)


def test_track_that_is_left_early(clock):
    where = console(terminal=True)
    for _ in Progress(console=where, clock=clock).track(range(10), "chains"):
        clock.now += 3
        if clock.now > 110:
            break
    assert shown(where).count(HIDE) == shown(where).count(SHOW) == 1


@pytest.mark.parametrize("quiet", [False, True])
def test_track_on_standard_error_is_silent_for_short_work(capsys, quiet):
    assert list(track([], "nothing", quiet=quiet)) == []
    assert list(track((n for n in range(3)), "chains", quiet=quiet)) == [0, 1, 2]
    assert capsys.readouterr() == ("", "")
