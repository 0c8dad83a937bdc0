"""Observers that write a training into its run folder."""

import time
from collections.abc import Callable

from capsnp.errors import CheckpointError, OptionError
from capsnp.training.loop import Observer, Training
from capsnp.training.run import RunFolder, Saved
from capsnp.training.watchdog import Watchdog


def record(
    run: RunFolder,
    *,
    watchdog: Watchdog | None = None,
    log_every: int = 50,
    save_seconds: float = 30.0,
    save_every: int | None = None,
) -> tuple[Observer, ...]:
    """Watchdog, metrics and checkpoints in the one order that survives a kill between them.

    A line must be in the metrics before a checkpoint of its step exists, else a run that goes on
    from that checkpoint would never write it.

    Parameters
    ----------
    run : RunFolder
        Held by `RunFolder.lock`.
    watchdog : Watchdog, optional
        By default one with its defaults.
    log_every : int, optional
        Steps between lines of metrics.
    save_seconds, save_every : float, int, optional
        Time and steps between checkpoints, as for `Checkpoints`.

    Returns
    -------
    tuple of Observer
    """
    watchdog = watchdog or Watchdog()
    return (
        watchdog,
        MetricsLog(run, every=log_every),
        Checkpoints(run, every_seconds=save_seconds, every_steps=save_every, watchdog=watchdog),
    )


class MetricsLog(Observer):
    """Writes the health quantities of every so many steps, and of the last one.

    Parameters
    ----------
    run : RunFolder
    every : int, optional
        Steps between lines.
    """

    def __init__(self, run: RunFolder, *, every: int = 50) -> None:
        if every < 1:
            raise OptionError(f"every: expected at least 1, got {every}")
        self.run = run
        self.every = every

    def after_step(self, training: Training) -> None:
        """Write a line if it is time."""
        if training.step % self.every == 0 or training.step == training.n_steps:
            self.run.log(training.name, training.step, **training.health())


class Checkpoints(Observer):
    """Goes on from the stage's last whole checkpoint, and writes new ones.

    Nothing is written that the watchdog objects to. An interrupt at any moment, Ctrl-C or a kill,
    leaves whole checkpoints only.

    Parameters
    ----------
    run : RunFolder
        Held by `RunFolder.lock`.
    every_seconds : float, optional
        Time between checkpoints.
    every_steps : int, optional
        Steps between checkpoints, beside the time.
    watchdog : Watchdog, optional
        Looks at what will be saved; by default one with its defaults.
    clock : callable, optional
        Seconds.
    """

    def __init__(
        self,
        run: RunFolder,
        *,
        every_seconds: float = 30.0,
        every_steps: int | None = None,
        watchdog: Watchdog | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if every_steps is not None and every_steps < 1:
            raise OptionError(f"every_steps: expected at least 1, got {every_steps}")
        self.run = run
        self.every_seconds = every_seconds
        self.every_steps = every_steps
        self.watchdog = watchdog or Watchdog()
        self._clock = clock
        self._saved_at = clock()
        self._saved_step: int | None = None

    def begin(self, training: Training) -> None:
        """Restore the last whole checkpoint, and forget what the run wrote after it.

        Raises
        ------
        CheckpointError
            If it does not fit the training.
        """
        saved = self.run.latest_checkpoint(training.name)
        if saved is not None:
            self._expect_fitting(training, saved)
            training.restore(saved.state)
        self._saved_step = None if saved is None else saved.step
        self._saved_at = self._clock()
        self.run.rewind(training.name, training.step)

    def _expect_fitting(self, training: Training, saved: Saved) -> None:
        """Refuse a checkpoint of other shapes: the settings were changed after it was written."""
        for name, array in training.state().items():
            found = saved.state[name].shape if name in saved.state else "none"
            if found != array.shape:
                raise CheckpointError(
                    f"{self.run.folder}: {training.name}, checkpoint of step {saved.step}: {name}: "
                    f"expected shape {array.shape}, got {found}: were the run's settings changed?"
                )

    def after_step(self, training: Training) -> None:
        """Save if it is time."""
        if (
            self.every_steps is not None and training.step % self.every_steps == 0
        ) or self._clock() - self._saved_at >= self.every_seconds:
            self._save(training)

    def end(self, training: Training) -> None:
        """Save the result."""
        if self._saved_step != training.step:
            self._save(training)

    def _save(self, training: Training) -> None:
        self.watchdog.check(training)
        state = training.state()
        self.watchdog.check_state(training, state)
        self.run.save_checkpoint(training.name, training.step, state)
        self._saved_step = training.step
        self._saved_at = self._clock()
