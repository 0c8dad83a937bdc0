"""``capsnp capsnet conventions`` and the other experiments with several networks."""

from pathlib import Path
from typing import Annotated

import typer

from capsnp.cli._options import (
    BackendOption,
    ConfigOption,
    DataDirOption,
    DataOption,
    DebugOption,
    QuietOption,
    SeedOption,
    SetOption,
    given,
    note,
)
from capsnp.cli._tables import show
from capsnp.cli.capsnet import NetworkPresetOption, TestImagesOption, TrainImagesOption
from capsnp.reproduce.settings import CAPSNET

OutFolder = Annotated[
    Path,
    typer.Option("--out", metavar="FOLDER", help="A new folder for tables and pictures."),
]
PassesOption = Annotated[
    int | None,
    typer.Option("--n-iter", min=1, metavar="K", help="Passes over the training images."),
]
SeedsOption = Annotated[
    int, typer.Option("--seeds", min=1, metavar="N", help="Train each network from N seeds.")
]


def conventions(
    out: OutFolder,
    data: DataOption = None,
    data_dir: DataDirOption = None,
    preset: NetworkPresetOption = None,
    train_images: TrainImagesOption = None,
    test_images: TestImagesOption = None,
    n_iter: PassesOption = None,
    seeds: SeedsOption = 1,
    backend: BackendOption = None,
    seed: SeedOption = None,
    config: ConfigOption = None,
    assignments: SetOption = [],  # noqa: B006  typer copies it
    quiet: QuietOption = False,
    debug: DebugOption = False,  # noqa: ARG001
) -> None:
    """Train a network for each convention and each common slip, and show what each costs."""
    from capsnp.experiments.conventions import compare_conventions
    from capsnp.reproduce import layers

    options = _options(data, preset, train_images, test_images, n_iter, backend, seed)
    table = compare_conventions(
        out,
        *layers(config, options, assignments),
        seeds=seeds,
        data_dir=data_dir,
        quiet=quiet,
        say=note,
    )
    show([table])
    typer.echo(f"{out / 'index.html'}")


def overlap(
    out: OutFolder,
    data: DataOption = None,
    data_dir: DataDirOption = None,
    preset: NetworkPresetOption = None,
    train_images: TrainImagesOption = None,
    test_images: TestImagesOption = None,
    n_iter: PassesOption = None,
    share: Annotated[
        float,
        typer.Option("--overlap", min=0, max=1, help="What both boxes share at least."),
    ] = 0.8,
    shift: Annotated[
        int, typer.Option("--shift", min=0, help="Pixels that each is moved by at most.")
    ] = 4,
    backend: BackendOption = None,
    seed: SeedOption = None,
    config: ConfigOption = None,
    assignments: SetOption = [],  # noqa: B006  typer copies it
    quiet: QuietOption = False,
    debug: DebugOption = False,  # noqa: ARG001
) -> None:
    """Train a network on two images over each other, and rebuild each alone."""
    from capsnp.experiments.overlap import separate
    from capsnp.reproduce import layers

    options = _options(data, preset, train_images, test_images, n_iter, backend, seed)
    table = separate(
        out,
        *layers(config, options, assignments),
        overlap=share,
        shift=shift,
        data_dir=data_dir,
        quiet=quiet,
        say=note,
    )
    show([table])
    typer.echo(f"{out / 'index.html'}")


def compare(
    out: OutFolder,
    data: DataOption = None,
    data_dir: DataDirOption = None,
    preset: NetworkPresetOption = None,
    train_images: TrainImagesOption = None,
    test_images: TestImagesOption = None,
    n_iter: PassesOption = None,
    backend: BackendOption = None,
    seed: SeedOption = None,
    config: ConfigOption = None,
    assignments: SetOption = [],  # noqa: B006  typer copies it
    quiet: QuietOption = False,
    debug: DebugOption = False,  # noqa: ARG001
) -> None:
    """Train class capsules with less and less of the gradient; by default on Fashion-MNIST."""
    from capsnp.experiments.compare import compare_gradients
    from capsnp.reproduce import layers

    options = _options(data, preset, train_images, test_images, n_iter, backend, seed)
    table = compare_gradients(
        out,
        {"data": "fashion-mnist"},
        *layers(config, options, assignments),
        data_dir=data_dir,
        quiet=quiet,
        say=note,
    )
    show([table])
    typer.echo(f"{out / 'index.html'}")


def routings(
    out: OutFolder,
    data: DataOption = None,
    data_dir: DataDirOption = None,
    preset: NetworkPresetOption = None,
    train_images: TrainImagesOption = None,
    test_images: TestImagesOption = None,
    n_iter: PassesOption = None,
    seeds: SeedsOption = 3,
    backend: BackendOption = None,
    seed: SeedOption = None,
    config: ConfigOption = None,
    assignments: SetOption = [],  # noqa: B006  typer copies it
    quiet: QuietOption = False,
    debug: DebugOption = False,  # noqa: ARG001
) -> None:
    """Train a network for each way to route and each squash, and show what each is worth."""
    from capsnp.experiments.routings import compare_routings
    from capsnp.reproduce import layers

    options = _options(data, preset, train_images, test_images, n_iter, backend, seed)
    table = compare_routings(
        out,
        *layers(config, options, assignments),
        seeds=seeds,
        data_dir=data_dir,
        quiet=quiet,
        say=note,
    )
    show([table])
    typer.echo(f"{out / 'index.html'}")


def _options(
    data: str | None,
    preset: str | None,
    train_images: int | None,
    test_images: int | None,
    n_iter: int | None,
    backend: str | None,
    seed: int | None,
) -> dict[str, object]:
    """Settings by dotted names of the options that were given."""
    options = given(
        data=data,
        preset=preset,
        train_images=train_images,
        test_images=test_images,
        backend=backend,
        seed=seed,
    )
    return options if n_iter is None else options | {f"{CAPSNET}.n_iter": n_iter}
