"""A machine as one file: its learned arrays, and the parameters that it was made with."""

import importlib.metadata
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from capsnp.backend import get_backend
from capsnp.errors import CheckpointError
from capsnp.models._saving import MODEL, plain_parameters, read_kind
from capsnp.training.checkpoint import write_checkpoint
from capsnp.training.files import one_line

if TYPE_CHECKING:
    from capsnp.models.rbm import RBM

LADDER = ("betas_", "exchange_rates_")
"""What parallel tempering found, which is no part of a training's state."""


def save_rbm(model: "RBM", folder: str | Path) -> None:
    """Write a fitted machine; see `RBM.save`."""
    arrays = model.state()
    arrays |= {name: getattr(model, name) for name in LADDER if hasattr(model, name)}
    with one_line(folder, "cannot be made a folder of a model"):
        Path(folder).mkdir(parents=True, exist_ok=True)
    info = {
        "kind": type(model).__name__,
        "version": importlib.metadata.version("capsnp"),
        "parameters": json.dumps(plain_parameters(model)),
    }
    write_checkpoint(Path(folder) / MODEL, arrays, info=info)


def load_rbm(kind: type["RBM"], folder: str | Path, backend: Any) -> "RBM":
    """Read a machine; see `RBM.load`."""
    path = Path(folder) / MODEL
    arrays, info = read_kind(path, kind)
    model = kind(backend=get_backend(backend).name)
    try:
        parameters = json.loads(info["parameters"])
        unknown = sorted(set(parameters) - set(model.get_params()))
        if unknown:
            raise CheckpointError(f"{path}: is of another version of capsnp, with {unknown[0]}")
        model.set_params(**parameters).restore(arrays)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: expected a model of this version ({error!r})") from None
    for name in LADDER:
        if name in arrays:
            setattr(model, name, np.array(arrays[name]))
    return model
