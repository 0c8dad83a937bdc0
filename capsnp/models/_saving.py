"""A generator as one file: every learned array, and the parameters that it was made with.

There is one file and not a file for each part, so that a kill leaves the old model or the new,
never half of each.
"""

import importlib.metadata
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import clone

from capsnp.backend import Backend, get_backend
from capsnp.errors import CheckpointError, RunError
from capsnp.models.autoencoder import ConvAutoencoder
from capsnp.models.capsule_decoder import CapsuleDecoder
from capsnp.models.expert_capsules import ExpertCapsules
from capsnp.models.expert_neurons import ExpertNeurons
from capsnp.models.mixture import MixtureModel
from capsnp.training.checkpoint import Contents, read_checkpoint, write_checkpoint
from capsnp.training.files import one_line

if TYPE_CHECKING:
    from capsnp.models.generator import CapsuleGenerator

MODEL = "model.safetensors"
"""The file's name in its folder."""

PARTS: dict[str, type] = {
    "autoencoder": ConvAutoencoder,
    "experts": ExpertCapsules,
    "decoder": CapsuleDecoder,
    "mixture": MixtureModel,
}
KINDS: dict[str, type] = {kind.__name__: kind for kind in (ExpertCapsules, ExpertNeurons)}
"""Of the layer "experts", by the name that a file keeps."""
LEARNED = ("visited", "mean_directions", "feature_length")

Arrays = Mapping[str, np.ndarray]


def blank_part(model: "CapsuleGenerator", name: str) -> Any:
    """A part that is not fitted, with the model's parameters for it, dtype and backend."""
    given = getattr(model, name)
    part = clone(given) if given is not None else PARTS[name]()
    shared = {"dtype": model.dtype, "backend": model.backend}
    known = part.get_params(deep=False)
    return part.set_params(**{key: value for key, value in shared.items() if key in known})


def state_of(model: "CapsuleGenerator") -> dict[str, np.ndarray]:
    """Arrays of every part that is fitted, named ``part.array``."""
    arrays: dict[str, np.ndarray] = {}
    for name in PARTS:
        if hasattr(model, f"{name}_"):
            state = getattr(model, f"{name}_").state()
            arrays |= {f"{name}.{array}": value for array, value in state.items()}
    for name in LEARNED:
        if hasattr(model, f"{name}_"):
            arrays[name] = getattr(model, f"{name}_")
    return arrays


def restore_state(model: "CapsuleGenerator", arrays: Arrays) -> None:
    """Give a model the parts of a `state_of`.

    Raises
    ------
    CheckpointError
        If a part lacks one of its arrays.
    """
    for name in PARTS:
        prefix = f"{name}."
        state = {
            key.removeprefix(prefix): value
            for key, value in arrays.items()
            if key.startswith(prefix)
        }
        if not state:
            continue
        setattr(model, f"{name}_", _restored(name, blank_part(model, name), state))
    for name in LEARNED:
        if name in arrays:
            setattr(model, f"{name}_", arrays[name])


def _restored(name: str, part: Any, state: Arrays) -> Any:
    if isinstance(part, MixtureModel):
        return MixtureModel.from_state(state, **part.get_params())
    try:
        return part.restore(state)
    except KeyError as missing:
        raise CheckpointError(f"expected an array {name}.{missing.args[0]}, got none") from None


def save_model(model: "CapsuleGenerator", folder: str | Path) -> None:
    """Write a model with the parts that are fitted; see `CapsuleGenerator.save`."""
    with one_line(folder, "cannot be made a folder of a model"):
        Path(folder).mkdir(parents=True, exist_ok=True)
    parameters = {name: plain_parameters(blank_part(model, name)) for name in PARTS}
    info = {
        "kind": type(model).__name__,
        "experts": type(blank_part(model, "experts")).__name__,
        "version": importlib.metadata.version("capsnp"),
        "parameters": json.dumps({"generator": plain_parameters(model)} | parameters),
    }
    write_checkpoint(Path(folder) / MODEL, state_of(model), info=info)


def load_model(kind: type["CapsuleGenerator"], folder: str | Path, backend: Any) -> Any:
    """Read a model; see `CapsuleGenerator.load`."""
    path = Path(folder) / MODEL
    arrays, info = read_kind(path, kind)
    library = get_backend(backend)
    try:
        layer = KINDS[info.get("experts") or ExpertCapsules.__name__]
        model = _unfitted(kind, layer, json.loads(info["parameters"]), library)
        restore_state(model, arrays)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: expected a model of this version ({error!r})") from None
    return model


def read_kind(path: Path, kind: type) -> Contents:
    """The contents of the file of a model of this kind.

    Raises
    ------
    RunError
        If it is not there.
    CheckpointError
        If it is damaged or of another kind.
    """
    if not path.is_file():
        raise RunError(
            f"{path.parent}: expected a folder with a trained model ({MODEL}), found none"
        )
    contents = read_checkpoint(path)
    if contents.info.get("kind") != kind.__name__:
        raise CheckpointError(f"{path}: expected {kind.__name__}, got {contents.info.get('kind')}")
    return contents


def _unfitted(
    kind: type["CapsuleGenerator"], layer: type, parameters: Mapping[str, Any], backend: Backend
) -> "CapsuleGenerator":
    """A model with saved parameters, and its layer of this kind.

    Raises
    ------
    CheckpointError
        If one of them is unknown here.
    """
    model = kind(experts=layer(), backend=backend.name)
    for name, values in parameters.items():
        part = model if name == "generator" else blank_part(model, name)
        unknown = sorted(set(values) - set(part.get_params(deep=False)))
        if unknown:
            raise CheckpointError(f"is of another version of capsnp, with {name}.{unknown[0]}")
        part.set_params(**_with_tuples(values))
        if part is not model:
            setattr(model, name, part)
    return model


def plain_parameters(estimator: Any) -> dict[str, Any]:
    """Plain parameters: neither the backend, which is a matter of the machine, nor the parts."""
    left_out = ("backend", *PARTS)
    values = estimator.get_params(deep=False)
    return {name: value for name, value in values.items() if name not in left_out}


def _with_tuples(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters as they were before JSON made lists of their tuples."""
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in parameters.items()
    }
