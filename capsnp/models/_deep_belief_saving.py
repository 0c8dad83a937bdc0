"""A deep belief network as one file: its learned arrays, and the parameters it was made with."""

import importlib.metadata
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from capsnp.backend import get_backend
from capsnp.errors import CheckpointError
from capsnp.models._saving import MODEL, plain_parameters, read_kind
from capsnp.models.rbm import RBM
from capsnp.training.checkpoint import write_checkpoint
from capsnp.training.files import one_line

if TYPE_CHECKING:
    from capsnp.models.deep_belief import DeepBeliefNetwork


def save_network(model: "DeepBeliefNetwork", folder: str | Path) -> None:
    """Write a fitted network; see `DeepBeliefNetwork.save`."""
    arrays = model.state()
    with one_line(folder, "cannot be made a folder of a model"):
        Path(folder).mkdir(parents=True, exist_ok=True)
    parameters = plain_parameters(model)
    parameters["hidden"] = [_plain(layer) for layer in model.hidden]
    parameters["rbm"] = _plain(model.rbm)
    info = {
        "kind": type(model).__name__,
        "version": importlib.metadata.version("capsnp"),
        "parameters": json.dumps(parameters),
    }
    write_checkpoint(Path(folder) / MODEL, arrays, info=info)


def load_network(
    kind: type["DeepBeliefNetwork"], folder: str | Path, backend: Any
) -> "DeepBeliefNetwork":
    """Read a network; see `DeepBeliefNetwork.load`."""
    path = Path(folder) / MODEL
    arrays, info = read_kind(path, kind)
    model = kind(backend=get_backend(backend).name)
    try:
        parameters = json.loads(info["parameters"])
        parameters["hidden"] = tuple(_made(layer) for layer in parameters["hidden"])
        parameters["rbm"] = _made(parameters["rbm"])
        return model.set_params(**parameters).restore(arrays)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: expected a model of this version ({error!r})") from None


def _plain(part: Any) -> Any:
    """A machine as its parameters; all else as it is."""
    return plain_parameters(part) if isinstance(part, RBM) else part


def _made(part: Any) -> Any:
    """The inverse of `_plain`."""
    return RBM(**part) if isinstance(part, dict) else part
