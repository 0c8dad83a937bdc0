"""``capsnp verify``."""

from pathlib import Path
from typing import Annotated

import typer

from capsnp.backend import BACKENDS, Backend, get_backend
from capsnp.cli._options import BackendOption, DebugOption, QuietOption, expect_writable, note
from capsnp.errors import BackendError, OptionError


def verify(
    equations: Annotated[
        list[str],
        typer.Option("--equation", metavar="N", help="Such as 12 or 'Algorithm 1'; repeatable."),
    ] = [],  # noqa: B006  typer copies it
    sections: Annotated[
        list[str], typer.Option("--section", metavar="N", help="Such as 3.2; repeatable.")
    ] = [],  # noqa: B006
    names: Annotated[
        list[str], typer.Option("--name", metavar="NAME", help="Of a claim; repeatable.")
    ] = [],  # noqa: B006
    backend: BackendOption = None,
    dtype: Annotated[
        str, typer.Option("--dtype", metavar="DTYPE", help="float64 or float32.")
    ] = "float64",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the random problems.")] = 0,
    thorough: Annotated[bool, typer.Option("--thorough", help="Ten times the cases.")] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the rows as JSON.")
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="FILE", help="Write a page: a .html or .md file."),
    ] = None,
    everywhere: Annotated[
        bool,
        typer.Option(
            "--everywhere", help="On every installed backend in both dtypes, side by side."
        ),
    ] = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,  # noqa: ARG001
) -> None:
    """Check every equation of the papers against an independent computation."""
    _expect_files(json_file, report)
    from capsnp.cli._tables import show
    from capsnp.training import Progress
    from capsnp.verification import (
        table_of,
        table_of_backends,
        to_json,
        write_report,
    )
    from capsnp.verification import verify as check

    found = {}
    with Progress(quiet=quiet) as progress:
        for library, kind in _places(backend, dtype, everywhere):
            found[f"{library.name}, {kind}"] = check(
                equations or None,
                sections=sections or None,
                names=names or None,
                xp=library,
                dtype=kind,
                seed=seed,
                thorough=thorough,
                track=progress.track,
            )
    results = [result for part in found.values() for result in part]
    place = next(iter(found))
    table = table_of_backends(found) if everywhere else table_of(results, title=f"Ledger: {place}")
    if json_file is not None:
        json_file.write_text(to_json(results), encoding="utf-8")
    if report is not None:
        write_report(report, table)
    show([table])
    if any(result.status == "fails" for result in results):
        raise typer.Exit(1)


def _places(backend: str | None, dtype: str, everywhere: bool) -> list[tuple[Backend, str]]:
    """Where to compute: backends with dtypes."""
    if not everywhere:
        return [(get_backend(backend), dtype)]
    places = []
    for name in BACKENDS:
        try:
            places += [(get_backend(name), kind) for kind in ("float64", "float32")]
        except BackendError as error:
            note(str(error))
    return places


def _expect_files(json_file: Path | None, report: Path | None) -> None:
    """Refuse files that cannot be written, before any work."""
    if report is not None and report.suffix not in (".html", ".md"):
        raise OptionError(f"report: expected a name that ends in .html or .md, got {report.name!r}")
    if report is not None and report == json_file:
        raise OptionError(f"report: expected another file than that of json, got {str(report)!r}")
    expect_writable("json", json_file)
    expect_writable("report", report)
