"""``capsnp evaluate`` and ``capsnp compare``."""

from typing import Annotated, Any

import typer

from capsnp.cli._options import (
    BackendOption,
    DataDirOption,
    DebugOption,
    QuietOption,
    RunArgument,
    note,
)
from capsnp.errors import OptionError


def evaluate(
    folder: RunArgument,
    data_dir: DataDirOption = None,
    backend: BackendOption = None,
    quiet: QuietOption = False,
    debug: DebugOption = False,  # noqa: ARG001
) -> None:
    """Judge what a run's model draws and rebuilds, anew, and write it into the run's report."""
    from capsnp.cli._tables import show
    from capsnp.reproduce import (
        evaluate_machine,
        evaluate_run,
        is_machine,
        look_into,
        look_into_machine,
    )

    where: dict[str, Any] = {"data_dir": data_dir, "backend": backend, "quiet": quiet, "say": note}
    if is_machine(folder):
        found = evaluate_machine(*look_into_machine(folder, **where))
    else:
        found = evaluate_run(*look_into(folder, **where))
    show(found.tables)


def compare(
    folder: RunArgument,
    iterations: Annotated[
        str,
        typer.Option("--iterations", metavar="LIST", help="Numbers of routing iterations."),
    ] = "1,2,3",
    steps: Annotated[
        int | None,
        typer.Option("--steps", min=1, help="Steps of training W; by default as in the run."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=2, help="Train on the first images only.")
    ] = None,
    data_dir: DataDirOption = None,
    quiet: QuietOption = False,
    debug: DebugOption = False,  # noqa: ARG001
) -> None:
    """Train W and U again with other numbers of routing iterations: quality and seconds."""
    counts = _counts(iterations)
    from capsnp.cli._tables import show
    from capsnp.reproduce import compare_routing, look_into

    opened, model = look_into(folder, data_dir=data_dir, quiet=quiet, say=note)
    show([compare_routing(opened, model, counts, steps=steps, limit=limit)])


def _counts(text: str) -> list[int]:
    """Whole numbers from 1, between commas or spaces."""
    words = text.replace(",", " ").split()
    if not words or not all(word.isdecimal() and int(word) >= 1 for word in words):
        raise OptionError(f"iterations: expected whole numbers like 1,2,3, got {text!r}")
    return [int(word) for word in words]
