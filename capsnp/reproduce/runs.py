"""Run folders: opened with settings in layers, made whole, looked into."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from capsnp.datasets import NAMES
from capsnp.errors import DataError, OptionError, RunError
from capsnp.models import CapsuleGenerator
from capsnp.reproduce.fitting import expect_room
from capsnp.reproduce.given import parse_assignments, read_settings
from capsnp.reproduce.memory import STAGES as PARTS_IN_ALL
from capsnp.reproduce.pipeline import STAGES, Data, has_model
from capsnp.reproduce.settings import (
    MACHINE,
    MODELS,
    NO_MATTER,
    Settings,
    from_config,
    resolve,
)
from capsnp.training import RunFolder

Say = Callable[[str], None]


@dataclass(frozen=True)
class OpenRun:
    """A run with its settings and its data.

    Attributes
    ----------
    run : RunFolder
    settings : Settings
    data : Data
    quiet : bool
        Show no progress.
    say : callable
        Takes messages that are no errors, one line each.
    """

    run: RunFolder
    settings: Settings
    data: Data
    quiet: bool
    say: Say


def layers(
    config: str | Path | None, options: Mapping[str, Any], assignments: Iterable[str]
) -> list[dict[str, Any]]:
    """Settings from a file, from options and from ``name=value``, the strongest last.

    A path of the user's own data is made absolute, so that the run finds it again from elsewhere.

    Examples
    --------
    >>> layers(None, {"seed": 1}, ["seed=2"])
    [{'seed': 1}, {'seed': 2}]
    """
    found = [] if config is None else [read_settings(config)]
    found += [dict(options), parse_assignments(assignments)]
    for layer in found:
        name = layer.get("data")
        if isinstance(name, str) and name not in ("", *NAMES):
            path = Path(name).expanduser()
            layer["data"] = str(path.resolve()) if path.exists() else name
    return found


def default_folder(*chosen: Mapping[str, Any]) -> Path:
    """Where a run goes that is not told where: ``runs/DATA-SEED``, or ``runs/DATA-neurons-SEED``.

    Examples
    --------
    >>> default_folder({"data": "mnist"}, {"seed": 2}).as_posix()
    'runs/mnist-2'
    >>> default_folder({"model": "neurons"}).as_posix()
    'runs/digits-neurons-0'
    """
    settings = resolve(*chosen)
    other = "" if settings["model"] == MODELS[0] else f"-{settings['model']}"
    return Path("runs") / f"{Path(settings['data']).stem}{other}-{settings['seed']}"


def open_run(
    folder: Path,
    *chosen: Mapping[str, Any],
    data_dir: str | Path | None = None,
    resume: bool = False,
    stages: Collection[str] | None = None,
    quiet: bool = False,
    say: Say = print,
) -> OpenRun:
    """Start a run, or go on with it.

    Parameters
    ----------
    folder : Path
    *chosen : mapping of str to object
        Settings by dotted names, the strongest last.
    data_dir : str or Path, optional
        As for `capsnp.datasets.load`.
    resume : bool, optional
        Go on with the run that is there; its own settings hold where none are chosen.
    stages : collection of str, optional
        Stages that memory is needed for, as in `capsnp.reproduce.memory`; by default all.
    quiet : bool, optional
    say : callable, optional

    Returns
    -------
    OpenRun

    Raises
    ------
    OptionError, DataError
        Before anything is made, if a setting or the data are wrong.
    MemoryLimitError
        Likewise, if a new run cannot fit into memory.
    RunError
        If the folder holds a run and it is not resumed, or with other settings.
    """
    settings, going_on = settings_of(folder, *chosen, resume=resume, say=say)
    expect_generator(settings, folder)
    data = Data(settings, data_dir=data_dir, quiet=quiet)
    wanted = PARTS_IN_ALL if stages is None else stages
    if (told := data.sizes_told) is not None:
        expect_room(settings, *told, stages=wanted)
    if not going_on:
        data.check()
        expect_room(settings, *data.sizes, stages=wanted)
    run = start_or_resume(folder, settings, resume=going_on, say=say)
    return OpenRun(run, settings, data, quiet, say)


def settings_of(
    folder: Path, *chosen: Mapping[str, Any], resume: bool, say: Say
) -> tuple[Settings, bool]:
    """Settings of a run that is there and is to go on, or of a new one; and whether it is there."""
    if resume and (folder / "config.toml").is_file():
        return from_config(RunFolder.open(folder, report=say).config, *chosen), True
    return resolve(*chosen), False


def start_or_resume(folder: Path, settings: Settings, *, resume: bool, say: Say) -> RunFolder:
    """The folder of a new run, or of one that goes on under the same settings."""
    if resume:
        return RunFolder.resume(folder, settings.nested(), may_differ=NO_MATTER, report=say)
    return RunFolder.create(folder, settings.nested(), report=say)


def expect_generator(settings: Settings, folder: Path) -> None:
    """Refuse a machine where capsules or neurons on features are wanted.

    Raises
    ------
    RunError
        If the folder holds a run of a machine.
    OptionError
        If the settings are those of one.
    """
    if settings["model"] != MACHINE:
        return
    if (folder / "config.toml").is_file():
        raise RunError(
            f"{folder}: expected a run of capsules or neurons, got one of a machine ({MACHINE}), "
            f"which capsnp train {MACHINE}, likelihood, evaluate and sample take"
        )
    raise OptionError(
        f"model: expected 'capsules' or 'neurons', got {MACHINE!r}, which is trained by: "
        f"capsnp train {MACHINE} {folder}"
    )


def look_into(
    folder: Path,
    *,
    data: str | None = None,
    data_dir: str | Path | None = None,
    backend: str | None = None,
    quiet: bool = False,
    say: Say = print,
) -> tuple[OpenRun, CapsuleGenerator]:
    """A run and its trained model, to use and not to change.

    Parameters
    ----------
    folder : Path
    data : str, optional
        Other images than the run's own.
    data_dir : str or Path, optional
    backend : str, optional
        By default the run's.
    quiet : bool, optional
    say : callable, optional

    Returns
    -------
    OpenRun, CapsuleGenerator

    Raises
    ------
    RunError
        If there is no run, or not yet a model.
    DataError
        If the images are not as the model's.
    """
    run = RunFolder.open(folder, report=say)
    other = {"backend": backend, "data": data}
    settings = from_config(run.config, {k: v for k, v in other.items() if v is not None})
    expect_generator(settings, folder)
    model = load_trained(folder, backend=settings["backend"])
    images = Data(settings, data_dir=data_dir, quiet=quiet)
    wanted, found = model.autoencoder_.image_shape_, images.test.images.shape[1:]
    if wanted != found:
        raise DataError(
            f"{settings['data']}: expected images of {wanted} as the model's, got {found}"
        )
    return OpenRun(run, settings, images, quiet, say), model


def load_trained(folder: Path, *, backend: str | None = None) -> CapsuleGenerator:
    """The model in a folder, if every stage of it is trained.

    Raises
    ------
    RunError
        If the folder holds none, or lacks a stage.
    """
    if not folder.is_dir():
        raise RunError(f"{folder}: expected the folder of a run, found none")
    if not has_model(folder):
        going_on = "train it: capsnp reproduce --resume --out"
        hint = f"; {going_on} {folder}" if (folder / "config.toml").is_file() else ""
        raise RunError(f"{folder}: holds no trained model{hint}")
    model = CapsuleGenerator.load(folder, backend=backend)
    if not hasattr(model, "mixture_"):
        raise RunError(
            f"{folder}: its training is not finished; go on with: "
            f"capsnp reproduce --resume --out {folder}"
        )
    return model


def expect_stage(stage: str, folder: Path) -> None:
    """Refuse a stage that there is not, or that cannot be the first of a run."""
    if stage not in STAGES:
        names = ", ".join((*STAGES, MACHINE))
        raise OptionError(f"stage: expected one of {names}, got {stage!r}")
    if stage != STAGES[0] and not (folder / "config.toml").exists():
        raise RunError(f"{folder}: no run here; start one: capsnp train {STAGES[0]} {folder}")
