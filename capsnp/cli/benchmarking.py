"""``capsnp bench``."""

from pathlib import Path
from typing import Annotated

import typer

from capsnp.cli._options import BackendOption, DebugOption, QuietOption, expect_writable, note


def bench(
    works: Annotated[
        list[str],
        typer.Argument(
            metavar="[WORK]...",
            help="cd-step, routing, autoencoder, decoder, pipeline, scaling, memory or all.",
        ),
    ] = ["all"],  # noqa: B006  typer copies it
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            metavar="LIST",
            help="Of torch, torch-compile and numpy; by default all of them, with small sizes "
            "those that need no compiling.",
        ),
    ] = None,
    sizes: Annotated[
        str, typer.Option("--sizes", metavar="SIZES", help="paper, small or large.")
    ] = "paper",
    backend: BackendOption = None,
    device: Annotated[
        str | None,
        typer.Option("--device", metavar="DEVICE", help="Of the backend, such as cuda of torch."),
    ] = None,
    dtype: Annotated[
        str, typer.Option("--dtype", metavar="DTYPE", help="float32 or float64.")
    ] = "float32",
    repeat: Annotated[
        int | None, typer.Option("--repeat", min=1, help="Turns that each takes.")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write every time as JSON.")
    ] = None,
    quiet: QuietOption = False,
    debug: DebugOption = False,  # noqa: ARG001
) -> None:
    """Time the work beside PyTorch and NumPy: same data, same result, in turns."""
    expect_writable("json", json_file)
    from capsnp.bench import plan, run, tables
    from capsnp.cli._tables import show
    from capsnp.training import Progress

    chosen = plan(
        works,
        against=None if against is None else against.replace(",", " ").split(),
        sizes=sizes,
        backend=backend,
        device=device,
        dtype=dtype,
        repeat=repeat,
    )
    with Progress(quiet=quiet) as progress:
        results = run(chosen, say=note, track=progress.track)
    if json_file is not None:
        json_file.write_text(results.json(), encoding="utf-8")
    show(tables(results))
