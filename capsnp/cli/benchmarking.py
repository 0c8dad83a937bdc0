"""``capsnp bench``."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from capsnp.cli._options import BackendOption, DebugOption, QuietOption, expect_writable, note
from capsnp.errors import OptionError

if TYPE_CHECKING:
    from capsnp.bench import Plan, Results


def bench(
    works: Annotated[
        list[str],
        typer.Argument(
            metavar="[WORK]...",
            help="cd-step, routing, autoencoder, decoder, rbm, capsnet, pipeline, scaling, "
            "memory or all.",
        ),
    ] = ["all"],  # noqa: B006  typer copies it
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            metavar="LIST",
            help="Of torch, torch-compile, numpy and sklearn (of rbm); by default all of them, "
            "with small sizes those that need no compiling.",
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
    plot: Annotated[
        Path | None,
        typer.Option("--plot", metavar="FILE.png", help="Draw time against size; needs scaling."),
    ] = None,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE.md", help="Write a page.")
    ] = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Fail where over 20 % of a ratio of the baseline's is lost."),
    ] = False,
    baseline: Annotated[
        Path | None,
        typer.Option(
            "--baseline",
            metavar="FILE",
            help="Of --check, as --json writes it; by default docs/benchmarks.json of a checkout.",
        ),
    ] = None,
    quiet: QuietOption = False,
    debug: DebugOption = False,  # noqa: ARG001
) -> None:
    """Time the work beside PyTorch, NumPy and scikit-learn: same data, same result, in turns."""
    _expect_files(json_file, plot, report)
    from capsnp.bench import BASELINE, change_table, compare, plan, read_baseline, run, tables
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
    if plot is not None and "scaling" not in chosen.works:
        raise OptionError("plot: expected the work scaling, which it draws, among those asked for")
    kept = read_baseline(baseline or BASELINE) if check else None
    with Progress(quiet=quiet) as progress:
        results = run(chosen, say=note, track=progress.track)
    _write(results, chosen, json_file, plot, report)
    show(tables(results))
    if kept is not None:
        changes = compare(results, kept)
        show([change_table(changes)])
        lost = [change for change in changes if change.fails]
        for change in lost:
            note(f"{change.name}: {change.before:.2f} before, {change.now:.2f} now")
        raise typer.Exit(1 if lost else 0)


def _expect_files(json_file: Path | None, plot: Path | None, report: Path | None) -> None:
    """Refuse files that cannot be written, before any work."""
    for name, path, suffix in (("plot", plot, ".png"), ("report", report, ".md")):
        if path is not None and path.suffix.lower() != suffix:
            raise OptionError(f"{name}: expected a name that ends in {suffix}, got {path.name!r}")
    for name, path in (("json", json_file), ("plot", plot), ("report", report)):
        expect_writable(name, path)


def _write(
    results: "Results",
    chosen: "Plan",
    json_file: Path | None,
    plot: Path | None,
    report: Path | None,
) -> None:
    from capsnp.bench.report import page, relative
    from capsnp.training import write_atomic

    if json_file is not None:
        write_atomic(json_file, results.json().encode())
    if plot is not None:
        from capsnp.bench.plot import scaling_plot
        from capsnp.plotting import save

        save(scaling_plot(results.scaling), plot)
    if report is not None:
        command = ["capsnp", "bench", *chosen.words()]
        for option, path in (("--json", json_file), ("--plot", plot), ("--report", report)):
            command += [] if path is None else [option, str(path)]
        picture = None if plot is None else relative(plot, report)
        text = page(results, command=shlex.join(command), picture=picture)
        write_atomic(report, text.encode())
