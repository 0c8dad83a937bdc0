"""``capsnp likelihood``."""

from pathlib import Path
from typing import Annotated

import typer

from capsnp.cli._options import (
    BackendOption,
    DataDirOption,
    DebugOption,
    QuietOption,
    RunArgument,
    expect_writable,
    note,
)


def likelihood(
    folder: RunArgument,
    split: Annotated[
        str, typer.Option("--split", metavar="SPLIT", help="test or train images.")
    ] = "test",
    tolerance: Annotated[
        float,
        typer.Option("--tolerance", min=0, metavar="NATS", help="Width of a bracket at most."),
    ] = 1.0,
    temperatures: Annotated[
        int, typer.Option("--temperatures", min=2, metavar="N", help="Of annealing, each way.")
    ] = 1000,
    chains: Annotated[
        int, typer.Option("--chains", min=2, metavar="N", help="That are annealed, each way.")
    ] = 100,
    burn_in: Annotated[
        int, typer.Option("--burn-in", min=0, metavar="N", help="Gibbs steps of chains down.")
    ] = 100,
    exact: Annotated[
        bool, typer.Option("--exact", help="List all states of a layer, or refuse.")
    ] = False,
    allow_wide: Annotated[
        bool, typer.Option("--allow-wide", help="Take a bracket that is wide or not trusted.")
    ] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the chains.")] = 0,
    data_dir: DataDirOption = None,
    backend: BackendOption = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write it there, too.")
    ] = None,
    quiet: QuietOption = False,
    debug: DebugOption = False,  # noqa: ARG001
) -> None:
    """Log-likelihood of a machine's test images: exact, between two ends, or refused."""
    expect_writable("json", json_file)
    from capsnp.cli._tables import show
    from capsnp.reproduce import look_into_machine, score_run

    opened, model = look_into_machine(
        folder, data_dir=data_dir, backend=backend, quiet=quiet, say=note
    )
    found = score_run(
        opened,
        model,
        split=split,  # type: ignore[arg-type]
        tolerance=tolerance,
        temperatures=temperatures,
        chains=chains,
        burn_in=burn_in,
        exact=exact,
        allow_wide=allow_wide,
        seed=seed,
        json_file=json_file,
    )
    show([found])
