"""A training run is a folder: settings, metrics, checkpoints, and a lock while it is written."""

import contextlib
import logging
import os
import re
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import filelock
import numpy as np
import tomli_w

from capsnp.errors import CheckpointError, RunError
from capsnp.training.checkpoint import read_checkpoint, write_checkpoint
from capsnp.training.files import one_line, write_atomic
from capsnp.training.metrics import MetricsFile
from capsnp.training.settings import BACKEND_LIBRARIES, differences, plain, versions

Config = Mapping[str, Any]
Report = Callable[[str], None]

_KEPT_CHECKPOINTS = 2
_warn = logging.getLogger("capsnp").warning


class Saved(NamedTuple):
    """A checkpoint of a stage.

    Attributes
    ----------
    step : int
        Steps done when it was written.
    state : dict of str to numpy.ndarray
        What `Training.restore` takes.
    """

    step: int
    state: dict[str, np.ndarray]


class RunFolder:
    """The files of one run; made by `create`, `resume` or `open`.

    Only who holds `lock` may write; anyone may read at any time.

    Attributes
    ----------
    folder : Path
    config : dict
        All settings, and a table ``versions`` of what they ran with.
    report : callable
        Takes the messages that are no errors, one line each.
    """

    def __init__(self, folder: str | Path, config: Config, *, report: Report = _warn) -> None:
        self.folder = Path(folder)
        self.config = dict(config)
        self.report = report
        self._metrics = MetricsFile(self.path("metrics.jsonl"))

    @classmethod
    def create(cls, folder: str | Path, config: Config, *, report: Report = _warn) -> "RunFolder":
        """Start a run in a folder that does not exist or is empty.

        Parameters
        ----------
        folder : str or Path
        config : mapping
            Settings, in tables as deep as you like; None means the same as absent.
        report : callable, optional
            Takes each message; by default they are logged as warnings.

        Returns
        -------
        RunFolder

        Raises
        ------
        RunError
            If the folder holds something already, is in use or cannot be written.
        """
        run = cls(folder, plain(config) | {"versions": versions()}, report=report)
        with one_line(folder, "cannot be made a run folder"):
            run.folder.mkdir(parents=True, exist_ok=True)
            if not run.path("config.toml").exists():
                run._expect_empty()  # or else the lock would lie among other files
        with run.lock():
            if run.path("config.toml").exists():
                raise RunError(
                    f"{folder}: holds a run already; go on with --resume or choose another folder"
                )
            run._expect_empty()
            write_atomic(run.path("config.toml"), tomli_w.dumps(run.config).encode())
        return run

    @classmethod
    def open(cls, folder: str | Path, *, report: Report = _warn) -> "RunFolder":
        """Look into a run, going on or ended.

        Parameters
        ----------
        folder : str or Path
        report : callable, optional
            As for `create`.

        Returns
        -------
        RunFolder

        Raises
        ------
        RunError
            If there is no run or its ``config.toml`` is damaged.
        """
        path = Path(folder) / "config.toml"
        with one_line(path, "cannot be read, so there is no run here"):
            text = path.read_bytes()
        try:
            config = tomllib.loads(text.decode())
        except ValueError as error:  # not TOML, or not text
            raise RunError(f"{path}: damaged ({error})") from None
        return cls(folder, config, report=report)

    @classmethod
    def resume(
        cls,
        folder: str | Path,
        config: Config,
        *,
        may_differ: Collection[str] = ("data_dir", "quiet"),
        report: Report = _warn,
    ) -> "RunFolder":
        """Go on with a run under the same settings; start it if it never got to its first file.

        Parameters
        ----------
        folder : str or Path
        config : mapping
            As for `create`.
        may_differ : collection of str, optional
            Settings that do not change the result; those in tables dotted: ``"capsules.quiet"``.
        report : callable, optional
            As for `create`; versions that are not the run's are told here.

        Returns
        -------
        RunFolder

        Raises
        ------
        RunError
            If settings differ from the run's: all of them by name, with both values.
        """
        if not (Path(folder) / "config.toml").exists():
            run = cls.create(folder, config, report=report)
            report(f"{folder}: holds nothing to resume, so the run starts here")
            return run
        run = cls.open(folder, report=report)
        asked = plain(config) | {"versions": versions()}
        changed = differences(run.config, asked)
        refused = [
            f"{name} = {new!r} (the run has {old!r})"
            for name, old, new in changed
            if name not in may_differ and not name.startswith("versions.")
        ]
        if refused:
            raise RunError(f"{folder}: settings differ from the run's: {', '.join(refused)}")
        backend = str(run.config.get("backend", ""))
        for name, old, new in changed:
            library = name.removeprefix("versions.")
            unused = library in BACKEND_LIBRARIES and not library.startswith(backend or "-")
            if library != name and not unused:
                report(f"{name}: {new} now, {old} when the run began; its last bits may differ")
        return run

    def _expect_empty(self) -> None:
        if any(not entry.name.startswith(".") for entry in self.folder.iterdir()):
            raise RunError(f"{self.folder}: expected an empty folder, got one with other files")

    def path(self, name: str) -> Path:
        """A file of the run by its name."""
        return self.folder / name

    @contextlib.contextmanager
    def lock(self) -> Iterator["RunFolder"]:
        """Hold the run while writing; first clears away what a killed holder left half-done.

        The operating system lets go of the lock when its holder ends, however it ends.

        Raises
        ------
        RunError
            At once, if another holds it or the folder cannot be written.
        """
        holder = self.path(".pid")
        with one_line(self.folder, "cannot be locked"):
            try:
                held = filelock.FileLock(self.path(".lock")).acquire(timeout=0)
            except filelock.Timeout:
                raise RunError(
                    f"{self.folder}: in use by {_process(holder)}; wait for its end or choose "
                    "another folder"
                ) from None
        with held:
            with one_line(self.folder, "cannot be written"):
                for leftover in self.folder.rglob(".*.tmp"):
                    leftover.unlink(missing_ok=True)
            self._metrics.keep(lambda _record: True)
            write_atomic(holder, str(os.getpid()).encode())
            try:
                yield self
            finally:
                with contextlib.suppress(OSError):
                    holder.unlink()

    def save_checkpoint(self, stage: str, step: int, state: Mapping[str, np.ndarray]) -> Path:
        """Write a checkpoint; the one before it is kept, older ones go.

        Parameters
        ----------
        stage : str
        step : int
            Steps done.
        state : mapping of str to numpy.ndarray

        Returns
        -------
        Path
            The file.

        Raises
        ------
        RunError
            If it cannot be written; the older ones are still there.
        """
        path = self.path(f"checkpoint-{stage}-{step:08d}.safetensors")
        write_checkpoint(path, state, info={"stage": stage, "step": str(step)})
        with one_line(self.folder, "cannot be written"):
            for _, old in self._checkpoints(stage)[_KEPT_CHECKPOINTS:]:
                old.unlink()
        return path

    def latest_checkpoint(self, stage: str) -> Saved | None:
        """The newest whole checkpoint of a stage; damaged ones are passed over and reported.

        Parameters
        ----------
        stage : str

        Returns
        -------
        Saved or None
            None if the stage has no whole checkpoint.
        """
        checkpoints = self._checkpoints(stage)
        for step, path in checkpoints:
            try:
                state, info = read_checkpoint(path)
                if info != {"stage": stage, "step": str(step)}:
                    raise CheckpointError(f"{path}: expected what its name says, got {info}")
            except CheckpointError as error:
                self.report(str(error))
                continue
            if step != checkpoints[0][0]:
                self.report(f"{stage}: goes on from its last whole checkpoint, of step {step}")
            return Saved(step, state)
        if checkpoints:
            self.report(f"{stage}: has no whole checkpoint and starts again")
        return None

    def rewind(self, stage: str, step: int) -> None:
        """Forget what a stage wrote after a step, so that it can be done again.

        Parameters
        ----------
        stage : str
        step : int
            Later metrics go, and later checkpoints, which are damaged ones.
        """
        self._metrics.keep(lambda record: record["stage"] != stage or record["step"] <= step)
        with one_line(self.folder, "cannot be written"):
            for later, path in self._checkpoints(stage):
                if later > step:
                    path.unlink()

    def log(self, stage: str, step: int, **values: float) -> None:
        """Append a line to ``metrics.jsonl``.

        Parameters
        ----------
        stage : str
        step : int
            Steps done.
        **values : float
            The quantities by name.

        Raises
        ------
        RunError
            If it cannot be written.
        """
        numbers = {name: float(value) for name, value in values.items()}
        self._metrics.append({"stage": stage, "step": step} | numbers)

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of ``metrics.jsonl``: stage, step and quantities."""
        return self._metrics.read()

    def _checkpoints(self, stage: str) -> list[tuple[int, Path]]:
        """Steps and files of a stage, newest first."""
        pattern = re.compile(rf"checkpoint-{re.escape(stage)}-(\d+)\.safetensors")
        found = (
            (int(match[1]), entry)
            for entry in self.folder.iterdir()
            if (match := pattern.fullmatch(entry.name))
        )
        return sorted(found, reverse=True)


def _process(holder: Path) -> str:
    try:
        return f"process {holder.read_text()}"
    except OSError:  # it holds the lock and has not written its number yet
        return "another process"
