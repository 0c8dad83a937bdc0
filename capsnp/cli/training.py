"""``capsnp reproduce`` and ``capsnp train``."""

import contextlib
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from capsnp.cli._app import Stopped
from capsnp.cli._options import (
    BackendOption,
    ConfigOption,
    DataDirOption,
    DataOption,
    DebugOption,
    FeatureDtypeOption,
    LimitOption,
    ModelOption,
    PresetOption,
    QuietOption,
    RunArgument,
    SeedOption,
    SetOption,
    given,
    note,
)


def reproduce(
    data: DataOption = None,
    data_dir: DataDirOption = None,
    model: ModelOption = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="RUN", help="The run's folder; by default runs/DATA-SEED."),
    ] = None,
    backend: BackendOption = None,
    seed: SeedOption = None,
    preset: PresetOption = None,
    limit: LimitOption = None,
    feature_dtype: FeatureDtypeOption = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run that the folder holds.")
    ] = False,
    config: ConfigOption = None,
    assignments: SetOption = [],  # noqa: B006  typer copies it
    quiet: QuietOption = False,
    debug: DebugOption = False,  # noqa: ARG001
) -> None:
    """Train all stages, draw every figure, judge the images, and write index.html."""
    from capsnp.reproduce import default_folder, finish, layers, open_run

    options = given(
        data=data,
        model=model,
        backend=backend,
        seed=seed,
        preset=preset,
        limit=limit,
        feature_dtype=feature_dtype,
    )
    chosen = layers(config, options, assignments)
    folder = out or default_folder(*chosen)
    again = ["capsnp", "reproduce", "--out", str(folder), "--resume", *_data_dir(data_dir)]
    with resumable(folder, again):
        opened = open_run(folder, *chosen, data_dir=data_dir, resume=resume, quiet=quiet, say=note)
        finish(opened)
    typer.echo(f"{folder / 'index.html'}")


def train(
    stage: Annotated[
        str,
        typer.Argument(metavar="STAGE", help="autoencoder, capsules or neurons, decoder; or rbm."),
    ],
    folder: RunArgument,
    data: DataOption = None,
    data_dir: DataDirOption = None,
    model: ModelOption = None,
    backend: BackendOption = None,
    seed: SeedOption = None,
    preset: PresetOption = None,
    limit: LimitOption = None,
    feature_dtype: FeatureDtypeOption = None,
    config: ConfigOption = None,
    assignments: SetOption = [],  # noqa: B006  typer copies it
    quiet: QuietOption = False,
    debug: DebugOption = False,  # noqa: ARG001
) -> None:
    """Train one stage of a run, from where it stands; the first one starts the run."""
    from capsnp.reproduce import (
        MACHINE,
        PARTS,
        expect_stage,
        layers,
        open_run,
        train_machine,
        train_stage,
    )

    machine = stage == MACHINE
    if machine:
        model = model or MACHINE
    else:
        expect_stage(stage, folder)
    options = given(
        data=data,
        model=model,
        backend=backend,
        seed=seed,
        preset=preset,
        limit=limit,
        feature_dtype=feature_dtype,
    )
    chosen = layers(config, options, assignments)
    with resumable(folder, ["capsnp", "train", stage, str(folder), *_data_dir(data_dir)]):
        if machine:
            train_machine(folder, *chosen, data_dir=data_dir, quiet=quiet, say=note)
            typer.echo(f"{folder / 'index.html'}")
            return
        opened = open_run(
            folder,
            *chosen,
            data_dir=data_dir,
            resume=True,
            stages=PARTS[stage],
            quiet=quiet,
            say=note,
        )
        train_stage(opened, stage)
    typer.echo(f"{folder}")


def _data_dir(data_dir: Path | None) -> list[str]:
    return [] if data_dir is None else ["--data-dir", str(data_dir)]


@contextlib.contextmanager
def resumable(folder: Path, command: list[str]) -> Iterator[None]:
    """Turn Ctrl-C into the command that goes on, once the folder keeps the settings of the run."""
    try:
        yield
    except KeyboardInterrupt:
        if not (folder / "config.toml").exists():
            raise
        raise Stopped(f"stopped; go on with: {shlex.join(command)}") from None
