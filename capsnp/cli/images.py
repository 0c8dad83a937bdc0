"""``capsnp sample`` and ``capsnp reconstruct``."""

from pathlib import Path
from typing import Annotated

import typer

from capsnp.cli._options import (
    MOVING,
    STILL,
    BackendOption,
    DataDirOption,
    DataOption,
    DebugOption,
    OutputOption,
    RunArgument,
    expect_output,
)

CountOption = Annotated[int, typer.Option("-n", "--number", min=1, help="Number of images.")]


def sample(
    folder: RunArgument,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Where to write: .npz or .png; of a machine's chains also .gif or .mp4.",
        ),
    ],
    n: Annotated[
        int | None,
        typer.Option(
            "-n", "--number", min=1, help="Number of images, by default 80, or of chains, 20."
        ),
    ] = None,
    domain: Annotated[
        str,
        typer.Option(
            "--domain",
            metavar="DOMAIN",
            help="codes (all capsules), or one capsule each: full, half (sphere) or visited.",
        ),
    ] = "codes",
    capsule: Annotated[
        int | None,
        typer.Option("--capsule", metavar="J", help="The one capsule that is on; else in turns."),
    ] = None,
    gibbs: Annotated[
        int | None,
        typer.Option(
            "--gibbs",
            min=1,
            metavar="N",
            help="Steps of a machine's chains, by default 1000, or 100 of a film.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the draws.")] = 0,
    backend: BackendOption = None,
    debug: DebugOption = False,  # noqa: ARG001
) -> None:
    """Draw images from a trained model."""
    expect_output(output, (*STILL, *MOVING))
    from capsnp.reproduce import draw_samples

    draw_samples(
        folder,
        output,
        n=n,
        domain=domain,
        capsule=capsule,
        gibbs=gibbs,
        seed=seed,
        backend=backend,
    )
    typer.echo(f"{output}")


def reconstruct(
    folder: RunArgument,
    output: OutputOption,
    data: DataOption = None,
    data_dir: DataDirOption = None,
    n: CountOption = 20,
    inference: Annotated[
        str,
        typer.Option(
            "--inference", metavar="HOW", help="settle, or route: one pass, the paper's inference."
        ),
    ] = "settle",
    backend: BackendOption = None,
    debug: DebugOption = False,  # noqa: ARG001
) -> None:
    """Rebuild test images from their codes; without --data those of the run's own data."""
    expect_output(output)
    from capsnp.reproduce import rebuild_images

    rebuild_images(
        folder,
        output,
        n=n,
        inference=inference,
        data=data,
        data_dir=data_dir,
        backend=backend,
    )
    typer.echo(f"{output}")
