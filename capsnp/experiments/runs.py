"""Run folders of capsule networks: opened with settings in layers, looked into."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from capsnp.errors import DataError, RunError
from capsnp.experiments.data import LabelledData
from capsnp.experiments.settings import NetworkSettings, from_config
from capsnp.models import CapsNet
from capsnp.reproduce.pipeline import has_model
from capsnp.reproduce.runs import Say
from capsnp.reproduce.settings import CAPSNET
from capsnp.training import RunFolder


@dataclass(frozen=True)
class NetworkRun:
    """A run of a capsule network with its settings and its data.

    Attributes
    ----------
    run : RunFolder
    settings : NetworkSettings
    data : LabelledData
    quiet : bool
        Show no progress.
    say : callable
        Takes messages that are no errors, one line each.
    """

    run: RunFolder
    settings: NetworkSettings
    data: LabelledData
    quiet: bool
    say: Say


def look_into(
    folder: Path,
    *,
    changes: Mapping[str, Any] | None = None,
    data_dir: str | Path | None = None,
    quiet: bool = False,
    say: Say = print,
) -> tuple[NetworkRun, CapsNet]:
    """A run and its trained network, to use and not to change.

    Parameters
    ----------
    folder : Path
    changes : mapping of str to object, optional
        Other settings than the run's, such as ``data``, ``test_images`` or ``backend``.
    data_dir : str or Path, optional
        As for `capsnp.datasets.load`.
    quiet : bool, optional
    say : callable, optional

    Returns
    -------
    NetworkRun, CapsNet

    Raises
    ------
    RunError
        If there is no run of a capsule network, or its training is not finished.
    DataError
        If the images are not as the network's.
    """
    run = RunFolder.open(folder, report=say)
    settings = from_config(run.config, changes or {})
    if not has_model(folder):
        raise RunError(
            f"{folder}: its training is not finished; go on with: capsnp {CAPSNET} train {folder} "
            "--resume"
        )
    model = CapsNet.load(folder, backend=settings["backend"])
    data = LabelledData(settings, data_dir=data_dir, quiet=quiet)
    found = data.test.images.shape[1:]
    if model.image_shape_ != found:
        raise DataError(
            f"{settings['data']}: expected images of {model.image_shape_} as the network's, "
            f"got {found}"
        )
    return NetworkRun(run, settings, data, quiet, say), model
