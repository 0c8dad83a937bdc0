"""Options that several commands share, and how they say what they do."""

from pathlib import Path
from typing import Annotated, Any

import typer

from capsnp.errors import OptionError


def _remember_debug(ctx: typer.Context, value: bool) -> None:
    if value:
        ctx.find_root().obj = "debug"


RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")]
DataOption = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="DATA",
        help="digits, mnist, fashion-mnist, rgb, or the path of an .npz or .npy file or of a "
        "folder of PNG or JPEG files.",
    ),
]
DataDirOption = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        metavar="FOLDER",
        help="Where mnist/, fashion/ and rgb/ are; by default CAPSNP_DATA, else downloaded.",
    ),
]
BackendOption = Annotated[
    str | None,
    typer.Option(
        "--backend",
        metavar="BACKEND",
        help="numpy, array-api-strict, torch, jax or cupy; by default CAPSNP_BACKEND, else numpy.",
    ),
]
SeedOption = Annotated[int | None, typer.Option("--seed", help="Of everything random.")]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="MODEL",
        help="What learns the codes of features: capsules (by default) or neurons.",
    ),
]
PresetOption = Annotated[
    str | None,
    typer.Option(
        "--preset",
        metavar="PRESET",
        help="small (for the digits), colour (for rgb), default (for all else) or paper (to the "
        "letter).",
    ),
]
LimitOption = Annotated[
    int | None,
    typer.Option("--limit", min=1, metavar="N", help="Take the first N images only."),
]
FeatureDtypeOption = Annotated[
    str | None,
    typer.Option(
        "--feature-dtype",
        metavar="DTYPE",
        help="Store features as float16 or float32; by default in the dtype of the run.",
    ),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE.toml", help="Settings as a run's config.toml has them."),
]
SetOption = Annotated[
    list[str],
    typer.Option("--set", metavar="NAME=VALUE", help="One setting, such as capsules.n_steps=100."),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]
DebugOption = Annotated[
    bool,
    typer.Option(
        "--debug", callback=_remember_debug, is_eager=True, help="Show the traceback of an error."
    ),
]
OutputOption = Annotated[
    Path,
    typer.Option("--output", "-o", metavar="FILE", help="Where to write: a .npz or a .png file."),
]


def note(message: str) -> None:
    """Say something that is no error, on standard error."""
    typer.echo(f"capsnp: {message}", err=True)


STILL, MOVING = (".npz", ".png"), (".gif", ".mp4")


def expect_output(path: Path, suffixes: tuple[str, ...] = STILL) -> None:
    """Refuse a file that cannot be written, before any work.

    Raises
    ------
    OptionError
        If it ends in none of the suffixes, or its folder is not there.
    """
    if path.suffix.lower() not in suffixes:
        names = f"{', '.join(suffixes[:-1])} or {suffixes[-1]}"
        raise OptionError(f"output: expected a name that ends in {names}, got {path.name!r}")
    if not path.parent.is_dir():
        raise OptionError(f"output: expected a folder that is there, got {str(path.parent)!r}")


def expect_writable(name: str, path: Path | None) -> None:
    """Refuse a file that cannot be written, before any work; None is no file.

    Raises
    ------
    OptionError
        If it is a folder, its folder is not there, or the system says no.
    """
    if path is None:
        return
    if not path.parent.is_dir():
        raise OptionError(f"{name}: expected a folder that is there, got {str(path.parent)!r}")
    if path.is_dir():
        raise OptionError(f"{name}: expected a file, got the folder {str(path)!r}")
    there = path.exists()
    try:
        path.open("ab").close()
    except OSError as error:
        raise OptionError(f"{name}: {path} cannot be written ({error.strerror})") from None
    if not there:
        path.unlink()


def given(**settings: Any) -> dict[str, Any]:
    """Settings of which the options were given."""
    return {name: value for name, value in settings.items() if value is not None}
