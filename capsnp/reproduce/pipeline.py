"""The stages of a run, one after the other: autoencoder, features, capsules, decoder.

Everything random is drawn from the run's seed and nothing depends on when a run was interrupted,
so a run that was killed and went on ends with the same bytes as one that was not.
"""

import contextlib
import json
import os
import time
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from capsnp.blocks import slices
from capsnp.datasets import Dataset, load
from capsnp.datasets.own import n_test, npy_shape
from capsnp.errors import CheckpointError, DataError, DomainError, OptionError, RunError
from capsnp.evaluation import Monitor
from capsnp.memory import give_back
from capsnp.models import CapsuleGenerator
from capsnp.reproduce.settings import MODELS, Settings
from capsnp.training import Observer, Progress, RunFolder, record, write_atomic
from capsnp.training.files import one_line

Stage = Literal["autoencoder", "capsules", "neurons", "decoder"]
STAGES: tuple[Stage, ...] = ("autoencoder", "capsules", "neurons", "decoder")
"""All that there are; a run has either capsules or neurons, see `stages_of`."""
_FITTED = {
    "autoencoder": "autoencoder_",
    "capsules": "experts_",
    "neurons": "experts_",
    "decoder": "mixture_",
}
_FEATURES_BLOCK = 512  # images between two looks at the progress
_WATCHED, _LOOKS = 100, 20  # images that the monitor asks about, and how often: a few % of the time


def stages_of(settings: Settings) -> tuple[Stage, ...]:
    """The stages of a run, in their order."""
    return tuple(stage for stage in STAGES if stage == settings["model"] or stage not in MODELS)


class Data:
    """The images of a run, read when they are first asked for.

    Parameters
    ----------
    settings : Settings
    data_dir : str or Path, optional
        As for `capsnp.datasets.load`.
    quiet : bool, optional
        Show no progress of what takes longer.
    """

    def __init__(
        self, settings: Settings, *, data_dir: str | Path | None = None, quiet: bool = False
    ) -> None:
        self.settings = settings
        self.data_dir = data_dir
        self.quiet = quiet

    @cached_property
    def train(self) -> Dataset:
        """The images to train on."""
        return self._load("train")

    @cached_property
    def test(self) -> Dataset:
        """The images kept from training."""
        return self._load("test")

    @property
    def image(self) -> tuple[int, int, int]:
        """Height, width and channels of an image."""
        height, width, channels = self.train.images.shape[1:]
        return height, width, channels

    @property
    def sizes(self) -> tuple[tuple[int, int, int], int, int]:
        """(H, W, C) of an image, images to train on, images to test."""
        return self.image, len(self.train), len(self.test)

    @property
    def sizes_told(self) -> tuple[tuple[int, int, int], int, int] | None:
        """`sizes` of a file that tells them before it is read, as an NPY file does."""
        path = Path(self.settings["data"]).expanduser()
        if path.suffix.lower() != ".npy" or not path.is_file():
            return None
        n, height, width, channels = npy_shape(path)
        test, limit = n_test(n), self.settings["limit"] or n
        return (height, width, channels), min(n - test, limit), min(test, limit)

    def check(self) -> None:
        """Read both splits now, to fail before any work if they are not as they should be.

        Raises
        ------
        OptionError, DataError
            As `capsnp.datasets.load`, or if images have 2 or 4 channels or another size.
        """
        train, test = self.train.images.shape[1:], self.test.images.shape[1:]
        if train != test:
            raise DataError(f"{self.settings['data']}: expected test images of {train}, got {test}")
        images = self.train.images
        if all(np.array_equal(image, images[0]) for image in images):
            raise DataError(
                f"{self.settings['data']}: expected at least two training images that differ, "
                f"found {len(images)} equal"
            )

    def _limit(self, split: Literal["train", "test"]) -> int | None:  # noqa: ARG002
        """Images to take of a split."""
        return self.settings["limit"]

    def _load(self, split: Literal["train", "test"]) -> Dataset:
        name, limit = self.settings["data"], self._limit(split)
        found = load(
            name, data_dir=self.data_dir, split=split, limit=limit, progress=not self.quiet
        )
        channels = found.images.shape[3]
        if channels not in (1, 3):
            raise DataError(f"{name}: expected images of 1 or 3 channels, got {channels}")
        return found


class Pipeline:
    """A run that is being made: trains what is not trained yet.

    Parameters
    ----------
    run : RunFolder
        Held by `RunFolder.lock`.
    settings : Settings
        The run's.
    data : Data
        The run's.
    progress : Progress

    Attributes
    ----------
    model : CapsuleGenerator
        With the parts that are trained.
    seconds : dict of str to float
        Wall time of each stage; of a stage that was interrupted, since it went on.
    """

    def __init__(
        self, run: RunFolder, settings: Settings, data: Data, *, progress: Progress
    ) -> None:
        self.run = run
        self.settings = settings
        self.data = data
        self.progress = progress
        self.model = self._stored_model()
        self.seconds = read_json(run, "seconds.json") or {}

    def is_done(self, stage: Stage) -> bool:
        """Whether the stage is trained and its result is kept."""
        return hasattr(self.model, _FITTED[stage])

    def expect_forerunners(self, stage: Stage) -> None:
        """Raise `RunError` if a stage before this one is not trained yet."""
        stages = stages_of(self.settings)
        if stage not in stages:
            raise OptionError(
                f"stage: expected one of {', '.join(stages)} in a run of {self.settings['model']}, "
                f"got {stage!r}"
            )
        for earlier in stages[: stages.index(stage)]:
            if not self.is_done(earlier):
                raise RunError(
                    f"{self.run.folder}: the stage {stage!r} needs the stage {earlier!r}, which "
                    f"is not trained yet: capsnp train {earlier} {self.run.folder}"
                )

    def train_all(self) -> CapsuleGenerator:
        """Train every stage that is not trained yet.

        Returns
        -------
        CapsuleGenerator
            The whole model, which is also in the run's folder.
        """
        for stage in stages_of(self.settings):
            if not self.is_done(stage):
                self.train(stage)
        return self.model

    def train(self, stage: Stage) -> None:
        """Train one stage from its last checkpoint, or from its start.

        Raises
        ------
        OptionError
            If the run's model has no such stage.
        RunError
            If a stage before it is not trained yet.
        DivergenceError
            If a number ran away.
        """
        self.expect_forerunners(stage)
        if stage == "autoencoder":
            with self.timed(stage):
                self.model.fit_autoencoder(self.data.train.images, observers=self._observers)
        else:
            features = self.features()
            with self.timed(stage):
                if stage in MODELS:
                    self.model.fit_capsules(features, observers=self._observers)
                else:
                    self.model.fit_decoder(features, observers=self._observers)
        self.model.save(self.run.folder)

    def features(self) -> np.ndarray:
        """Input capsules (N, I, P) of the training images, computed once.

        In memory up to the setting ``feature_memory``, memory-mapped above.

        Raises
        ------
        DomainError
            If a feature is too large for the setting ``feature_dtype``.
        """
        path = self.run.path("cache/features.npy")
        autoencoder, images = self.model.autoencoder_, self.data.train.images
        shape = (len(images), autoencoder.n_capsules_, autoencoder.capsule_dim)
        dtype = np.dtype(self.settings["feature_dtype"] or self.settings["dtype"])
        if (kept := _mapped(path, shape, dtype)) is not None:
            return self._held(kept)
        with self.timed("features"), one_line(path, "cannot be written"):
            path.parent.mkdir(exist_ok=True)
            partial = path.with_name(f".{path.name}.tmp")
            blocks = self.progress.track(slices(len(images), _FEATURES_BLOCK), "features")
            parts = (autoencoder.transform(images[rows]) for rows in blocks)
            _write_npy(partial, parts, shape=shape, dtype=dtype)
            partial.replace(path)
        return self._held(np.load(path, mmap_mode="r"))

    def _held(self, mapped: np.ndarray) -> np.ndarray:
        """Features in memory, or memory-mapped if there are many."""
        few = mapped.nbytes <= self.settings["feature_memory"] * 1_000_000
        return np.array(mapped) if few else mapped

    @contextlib.contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Keep the wall time of what is done inside, and give back its memory."""
        started = time.perf_counter()
        yield
        give_back()
        self.seconds[name] = round(time.perf_counter() - started, 2)
        write_json(self.run, "seconds.json", self.seconds)

    def _stored_model(self) -> CapsuleGenerator:
        try:
            if has_model(self.run.folder):
                return CapsuleGenerator.load(self.run.folder, backend=self.settings["backend"])
        except CheckpointError as error:
            self.run.report(f"{error}; its stages go on from their checkpoints")
        return self.settings.generator()

    def _observers(self, stage: str) -> tuple[Observer, ...]:
        seconds = self.settings["checkpoint_seconds"]
        watchdog, *recording = record(self.run, save_seconds=seconds)
        return (watchdog, *self._monitors(stage), *recording, self.progress)

    def _monitors(self, stage: str) -> Iterator[Observer]:
        """What watches capsules or neurons, held-out features of test images beside their own."""
        if stage in MODELS:
            held_out = self.model.autoencoder_.transform(self.data.test.images[:_WATCHED])
            every = max(1, self.settings.layer["n_steps"] // _LOOKS)
            yield Monitor(held_out, every=every, n_rows=_WATCHED, log=self.run.log)


def has_model(folder: Path) -> bool:
    """Whether a folder holds a model, perhaps with some stages only."""
    return (folder / "model.safetensors").is_file()


def _write_npy(
    path: Path, parts: Iterable[np.ndarray], *, shape: tuple[int, ...], dtype: np.dtype
) -> None:
    """Write an array part by part: on a full disk this fails, where a memory map would crash."""
    header = {
        "descr": np.lib.format.dtype_to_descr(dtype),
        "fortran_order": False,
        "shape": shape,
    }
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for part in parts:
            file.write(_narrowed(part, dtype).data)
        file.flush()
        os.fsync(file.fileno())


def _narrowed(part: np.ndarray, dtype: np.dtype) -> np.ndarray:
    try:
        with np.errstate(over="raise"):
            return np.ascontiguousarray(part, dtype=dtype)
    except FloatingPointError:
        raise DomainError(
            f"feature_dtype: expected features up to {np.finfo(dtype).max:g} for {dtype}, got "
            f"{np.max(np.abs(part)):g}: take float32"
        ) from None


def _mapped(path: Path, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray | None:
    """The array in a file if it is there, whole, of this shape and dtype."""
    if not path.is_file():
        return None
    try:
        array = np.lib.format.open_memmap(path, mode="r")
    except ValueError:  # cut short, or no array
        return None
    return array if (array.shape, array.dtype) == (shape, dtype) else None


def read_json(run: RunFolder, name: str) -> dict | None:
    """The contents of a JSON file of a run, or None if it is not there."""
    path = run.path(name)
    with one_line(path, "cannot be read"):
        if not path.exists():
            return None
        text = path.read_text(encoding="utf-8")
    try:
        contents = json.loads(text)
    except ValueError as error:
        raise RunError(f"{path}: damaged ({error}); delete it, and it is made anew") from None
    if not isinstance(contents, dict):
        raise RunError(f"{path}: damaged (it holds no table); delete it, and it is made anew")
    return contents


def write_json(run: RunFolder, name: str, contents: object) -> None:
    """Write a JSON file of a run, whole or not at all."""
    text = json.dumps(contents, indent=1, ensure_ascii=False)
    write_atomic(run.path(name), f"{text}\n".encode())
