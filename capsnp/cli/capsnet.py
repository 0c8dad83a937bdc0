"""``capsnp capsnet``: capsule networks, and the experiments with them.

A command of its own file is registered in `capsnp.cli` like those of ``capsnp`` itself.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from capsnp.cli._options import (
    BackendOption,
    ConfigOption,
    DataDirOption,
    DataOption,
    DebugOption,
    QuietOption,
    RunArgument,
    SeedOption,
    SetOption,
    given,
    note,
)
from capsnp.cli.training import resumable

app = typer.Typer(
    no_args_is_help=True, help="Capsule networks (Sabour, Frosst and Hinton): train, look, compare."
)

NetworkPresetOption = Annotated[
    str | None,
    typer.Option(
        "--preset",
        metavar="PRESET",
        help="default, small (for a minute on two cores), sabour2017, hauser2019, or a slip by "
        "its name.",
    ),
]
TrainImagesOption = Annotated[
    int | None,
    typer.Option("--train-images", min=1, metavar="N", help="Train on the first N images only."),
]
TestImagesOption = Annotated[
    int | None,
    typer.Option("--test-images", min=1, metavar="N", help="Test on the first N images only."),
]


def train(
    folder: RunArgument,
    data: DataOption = None,
    data_dir: DataDirOption = None,
    preset: NetworkPresetOption = None,
    train_images: TrainImagesOption = None,
    test_images: TestImagesOption = None,
    init_from: Annotated[
        Path | None,
        typer.Option("--init-from", metavar="RUN", help="Begin with filters of another run."),
    ] = None,
    backend: BackendOption = None,
    seed: SeedOption = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run that the folder holds.")
    ] = False,
    config: ConfigOption = None,
    assignments: SetOption = [],  # noqa: B006  typer copies it
    quiet: QuietOption = False,
    debug: DebugOption = False,  # noqa: ARG001
) -> None:
    """Train a capsule network on labelled images, and show what it does with others."""
    from capsnp.experiments import train_network
    from capsnp.reproduce import layers

    options = given(
        data=data,
        preset=preset,
        train_images=train_images,
        test_images=test_images,
        init_from=None if init_from is None else str(init_from.expanduser().resolve()),
        backend=backend,
        seed=seed,
    )
    where = [] if data_dir is None else ["--data-dir", str(data_dir)]
    with resumable(folder, ["capsnp", "capsnet", "train", str(folder), "--resume", *where]):
        train_network(
            folder,
            *layers(config, options, assignments),
            resume=resume,
            data_dir=data_dir,
            quiet=quiet,
            say=note,
        )
    typer.echo(f"{folder / 'index.html'}")


def perturb(
    folder: RunArgument,
    named: Annotated[
        str | None,
        typer.Option("--class", metavar="NAME", help="Of one class only; by default of all."),
    ] = None,
    data_dir: DataDirOption = None,
    backend: BackendOption = None,
    quiet: QuietOption = False,
    debug: DebugOption = False,  # noqa: ARG001
) -> None:
    """Show what each dimension of the class capsules moves in the image, and measure it."""
    from capsnp.cli._tables import show
    from capsnp.experiments import perturb as move

    show(move(folder, named=named, data_dir=data_dir, backend=backend, quiet=quiet, say=note))


def affine(
    folder: RunArgument,
    test_images: Annotated[
        int | None,
        typer.Option(
            "--test-images", min=1, metavar="N", help="The first N test images, by default 1000."
        ),
    ] = None,
    data_dir: DataDirOption = None,
    backend: BackendOption = None,
    quiet: QuietOption = False,
    debug: DebugOption = False,  # noqa: ARG001
) -> None:
    """Test a network on images that are turned, sheared, scaled and shifted."""
    from capsnp.cli._tables import show
    from capsnp.experiments import affine as change

    where: dict[str, Any] = {"data_dir": data_dir, "backend": backend}
    show(change(folder, n_images=test_images, **where, quiet=quiet, say=note))


app.command()(train)
app.command()(perturb)
app.command()(affine)
