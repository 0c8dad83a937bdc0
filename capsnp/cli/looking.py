"""``capsnp capsnet lamp`` and ``capsnp capsnet diagram``: looks into a trained network."""

from typing import Annotated

import typer

from capsnp.cli._options import (
    BackendOption,
    DataDirOption,
    DataOption,
    DebugOption,
    QuietOption,
    RunArgument,
    given,
    note,
)
from capsnp.cli._tables import show
from capsnp.cli.capsnet import TestImagesOption


def lamp(
    folder: RunArgument,
    iterations: Annotated[
        int, typer.Option("--iterations", min=1, metavar="N", help="Weightings to look at.")
    ] = 10,
    data: DataOption = None,
    data_dir: DataDirOption = None,
    test_images: TestImagesOption = None,
    backend: BackendOption = None,
    quiet: QuietOption = False,
    debug: DebugOption = False,  # noqa: ARG001
) -> None:
    """Show what routing does from one weighting to the next: entropy, agreement, change."""
    from capsnp.experiments.lamp import under_lamp

    table = under_lamp(
        folder,
        iterations=iterations,
        changes=given(data=data, test_images=test_images, backend=backend),
        data_dir=data_dir,
        quiet=quiet,
        say=note,
    )
    show([table])
    typer.echo(f"{folder / 'figures' / 'lamp.png'}")
