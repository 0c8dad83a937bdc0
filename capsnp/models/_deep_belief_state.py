"""A deep belief network as named arrays, and back."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, get_args

import numpy as np

from capsnp.functional.belief import DirectedLayer
from capsnp.functional.harmonium import Harmonium
from capsnp.functional.units import Bernoulli, units_of
from capsnp.models.rbm import Visible

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
