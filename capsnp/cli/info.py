"""``capsnp info``."""

from pathlib import Path
from typing import Annotated

import typer

from capsnp.cli._options import (
    BackendOption,
    ConfigOption,
    DataDirOption,
    DataOption,
    DebugOption,
    FeatureDtypeOption,
    LimitOption,
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
    backend: BackendOption = None,
    preset: PresetOption = None,
    limit: LimitOption = None,
    feature_dtype: FeatureDtypeOption = None,
    config: ConfigOption = None,
    assignments: SetOption = [],  # noqa: B006  typer copies it
    debug: DebugOption = False,  # noqa: ARG001
) -> None:
    """Say what is installed, and what a run is made of and will take."""
    from capsnp.cli._tables import show
    from capsnp.reproduce import describe, layers

    options = given(
        data=data, backend=backend, preset=preset, limit=limit, feature_dtype=feature_dtype
    )
    chosen = layers(config, options, assignments)
    show(describe(folder, *chosen, data_dir=data_dir, say=note))
