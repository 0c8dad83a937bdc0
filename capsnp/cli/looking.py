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


def diagram(
    folder: RunArgument,
    image: Annotated[
        int, typer.Option("--image", min=0, metavar="N", help="Number of a test image.")
    ] = 0,
    inputs: Annotated[
        int, typer.Option("--inputs", min=1, max=6, help="Primary capsules to draw.")
    ] = 3,
    outputs: Annotated[
        int, typer.Option("--outputs", min=1, max=6, help="Class capsules to draw.")
    ] = 3,
    data: DataOption = None,
    data_dir: DataDirOption = None,
    backend: BackendOption = None,
    quiet: QuietOption = False,
    debug: DebugOption = False,  # noqa: ARG001
) -> None:
    """Draw one image's way through the routing, with its numbers."""
    from capsnp.experiments.diagram import draw_diagram

    table = draw_diagram(
        folder,
        image=image,
        inputs=inputs,
        outputs=outputs,
        changes=given(data=data, backend=backend),
        data_dir=data_dir,
        quiet=quiet,
        say=note,
    )
    show([table])
    typer.echo(f"{folder / 'figures' / 'diagram.png'}")
