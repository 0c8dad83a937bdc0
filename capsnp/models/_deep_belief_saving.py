"""A deep belief network as one file: its learned arrays, and the parameters it was made with."""

import importlib.metadata
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from capsnp.backend import get_backend
from capsnp.errors import CheckpointError
from capsnp.functional.belief import DirectedLayer
from capsnp.functional.harmonium import Harmonium
from capsnp.functional.units import Bernoulli, units_of
from capsnp.models._saving import MODEL, plain_parameters, read_kind
from capsnp.models.rbm import RBM, Visible
from capsnp.training.checkpoint import write_checkpoint
from capsnp.training.files import one_line

if TYPE_CHECKING:
    from capsnp.models.deep_belief import DeepBeliefNetwork


def state_of(model: "DeepBeliefNetwork") -> dict[str, np.ndarray]:
    """Learned arrays by name, on the host; see `DeepBeliefNetwork.state`."""
    arrays = model._values() | {"mean": model.mean_, "h_samples": model.h_samples_}
    if hasattr(model, "scale_"):
        arrays["scale"] = model.scale_
    below = model.layers_[0].visible if model.layers_ else model.top_.visible
    if (log_variance := getattr(below, "log_variance", None)) is not None:
        arrays["log_variance"] = log_variance
    host = model._backend.to_host
    return {name: np.array(host(array), order="C") for name, array in arrays.items()} | {
        "visible": np.asarray(get_args(Visible).index(model.visible_)),
        "n_categories": np.asarray(model._n_categories or 0),
    }


def restore_state(model: "DeepBeliefNetwork", state: Mapping[str, np.ndarray]) -> None:
    """Give a network the arrays of a `state_of`."""
    model._dtype = str(state["top.w"].dtype)
    array = {
        name: model._array(np.array(value))
        for name, value in state.items()
        if value.dtype.kind == "f"
    }
    model.visible_ = get_args(Visible)[int(state["visible"])]
    model._n_categories = int(state["n_categories"]) or None
    below = units_of(
        model.visible_, n_categories=model._n_categories, log_variance=array.get("log_variance")
    )
    model.layers_ = []
    while f"{len(model.layers_)}.r" in array:
        n = len(model.layers_)
        w, b, r, c = (array[f"{n}.{name}"] for name in ("w", "b", "r", "c"))
        model.layers_.append(DirectedLayer(w, b, r, c, below))
        below = Bernoulli()
    w, b, c = (array[f"top.{name}"] for name in ("w", "b", "c"))
    model.top_ = Harmonium(w, b, c, below)
    model.mean_, model.h_samples_ = array["mean"], array["h_samples"]
    if hasattr(model, "scale_"):
        del model.scale_
    if "scale" in array:
        model.scale_ = array["scale"]
    model.n_features_in_ = int(model.mean_.shape[0])


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
