"""``capsnp info``."""

from pathlib import Path
from typing import Annotated

import typer

from capsnp.cli._options import (
    ConfigOption,
    DataDirOption,
    DataOption,
    DebugOption,
    PresetOption,
    SetOption,
    given,
    note,
)


def info(
    folder: Annotated[
        Path | None, typer.Argument(metavar="[RUN]", help="A run; without it, of the options.")
    ] = None,
    data: DataOption = None,
    data_dir: DataDirOption = None,
    preset: PresetOption = None,
    config: ConfigOption = None,
    assignments: SetOption = [],  # noqa: B006  typer copies it
    debug: DebugOption = False,  # noqa: ARG001
) -> None:
    """Say what is installed, and what a run is made of and will take."""
    from capsnp.cli._tables import show
    from capsnp.reproduce import describe, layers

    chosen = layers(config, given(data=data, preset=preset), assignments)
    show(describe(folder, *chosen, data_dir=data_dir, say=note))
