"""Progress of anything that takes more than two seconds: a bar on a terminal, else plain lines."""

import operator
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as RichProgress

from capsnp.training.loop import Observer, Training

Item = TypeVar("Item")
Clock = Callable[[], float]
Health = Callable[[], Mapping[str, float]]

_PATIENCE = 2.0  # seconds of work that need no progress
_BAR_SECONDS = 0.2  # between two drawings of the bar
_LINE_SECONDS = 5.0  # between two plain lines, each after another tenth of the work ...
_SILENCE_SECONDS = 60.0  # ... or after this long


class Progress(Observer):
    """Shows the rate, the time left and the health of one training after the other.

    On standard error: a bar on a terminal, plain lines elsewhere, nothing for work under two
    seconds. Use it in a ``with`` statement, so that a training which stops early leaves the
    terminal in order.

    Parameters
    ----------
    quiet : bool, optional
        Show nothing.
    console : rich.console.Console, optional
        Where to show it instead.
    clock : callable, optional
        Seconds.

    Examples
    --------
    >>> with Progress() as progress:
    ...     sum(progress.track(range(4), "features"))
    6
    """

    def __init__(
        self,
        *,
        quiet: bool = False,
        console: Console | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        self.quiet = quiet
        self._console = console or Console(stderr=True)
        self._clock = clock
        self._meter: _Meter | None = None

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *exception: object) -> None:
        if self._meter is not None:
            self._meter.close()
            self._meter = None

    def begin(self, training: Training) -> None:
        """Start the clock of a training."""
        if not self.quiet:
            self._meter = self._new_meter(training.name, training.n_steps)

    def after_step(self, training: Training) -> None:
        """Show the training if it is time."""
        if self._meter is not None:
            self._meter.advance(training.step, training.health)

    def end(self, training: Training) -> None:
        """Show how long the training took, and its last health."""
        if self._meter is not None:
            self._meter.finish(training.health)
            self._meter = None

    def track(
        self, items: Iterable[Item], description: str, *, total: int | None = None
    ) -> Iterator[Item]:
        """The items one by one, while their progress is shown.

        Parameters
        ----------
        items : iterable
        description : str
            What is being done.
        total : int, optional
            Number of items; by default their length, if they have one.

        Yields
        ------
        object
            Each item.
        """
        if self.quiet:
            yield from items
            return
        meter = self._new_meter(description, total or operator.length_hint(items) or None)
        try:
            for done, item in enumerate(items, start=1):
                yield item
                meter.advance(done, dict)
            meter.finish(dict)
        finally:
            meter.close()

    def _new_meter(self, description: str, total: int | None) -> "_Meter":
        kind = _Bar if self._console.is_terminal else _Lines
        return kind(description, total, self._console, self._clock)


def track(
    items: Iterable[Item], description: str, *, total: int | None = None, quiet: bool = False
) -> Iterator[Item]:
    """The items one by one, while their progress is shown: `Progress.track` on standard error.

    Parameters
    ----------
    items : iterable
    description : str
        What is being done.
    total : int, optional
        Number of items; by default their length, if they have one.
    quiet : bool, optional
        Show nothing.

    Returns
    -------
    iterator
        Of the items.

    Examples
    --------
    >>> [item**2 for item in track([1, 2, 3], "squares")]
    [1, 4, 9]
    """
    return Progress(quiet=quiet).track(items, description, total=total)


class _Meter(ABC):
    """How far one piece of work is and how fast it goes; shown when it is due."""

    def __init__(self, description: str, total: int | None, console: Console, clock: Clock) -> None:
        self.description = description
        self.total = total
        self.console = console
        self.clock = clock
        self.started = self.shown = clock()
        self.first: int | None = None  # done before this process began, known after one step
        self.done = 0

    @abstractmethod
    def is_due(self, now: float) -> bool: ...

    @abstractmethod
    def show(self, status: str) -> None: ...

    @abstractmethod
    def close(self) -> None: ...

    def advance(self, done: int, health: Health) -> None:
        now = self.clock()
        self.done = done
        if self.first is None:
            self.first = done - 1
        ended = done == self.total  # and `finish` will tell
        if not ended and now - self.started >= _PATIENCE and self.is_due(now):
            self.shown = now
            self.show(self.status(now, health(), ended=False))

    def finish(self, health: Health) -> None:
        now = self.clock()
        if self.first is not None and now - self.started >= _PATIENCE:
            self.show(self.status(now, health(), ended=True))
        self.close()

    def status(self, now: float, health: Mapping[str, float], *, ended: bool) -> str:
        seconds = now - self.started
        rate = (self.done - (self.first or 0)) / seconds
        parts = [f"{self.done}" if self.total is None else f"{self.done}/{self.total}"]
        parts.append(f"{rate:.3g}/s")
        if ended:
            parts.append(f"took {timedelta(seconds=round(seconds))}")
        elif self.total is not None:
            parts.append(f"{timedelta(seconds=round((self.total - self.done) / rate))} left")
        return ", ".join(parts + [f"{name} {value:.3g}" for name, value in health.items()])


class _Bar(_Meter):
    """A bar that is drawn over itself."""

    def __init__(self, description: str, total: int | None, console: Console, clock: Clock) -> None:
        super().__init__(description, total, console, clock)
        self.bar = RichProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[status]}", markup=False),
            console=console,
            auto_refresh=False,
        )
        self.task = self.bar.add_task(description, total=total, status="")

    def is_due(self, now: float) -> bool:
        return now - self.shown >= _BAR_SECONDS

    def show(self, status: str) -> None:
        self.bar.start()  # does nothing the second time
        self.bar.update(self.task, completed=self.done, status=status, refresh=True)

    def close(self) -> None:
        self.bar.stop()


class _Lines(_Meter):
    """A line now and then, for logs."""

    tenth = 0

    def is_due(self, now: float) -> bool:
        tenth = 0 if self.total is None else 10 * self.done // self.total
        waited = now - self.shown
        due = waited >= _SILENCE_SECONDS or (waited >= _LINE_SECONDS and tenth > self.tenth)
        if due:
            self.tenth = tenth
        return due

    def show(self, status: str) -> None:
        self.console.out(f"{self.description}: {status}", highlight=False)

    def close(self) -> None:
        """The lines stay."""
