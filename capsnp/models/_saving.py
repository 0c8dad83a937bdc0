"""An estimator as one file: every learned array, and the parameters that it was made with.

There is one file and not a file for each part, so that a kill leaves the old model or the new,
never half of each.
"""

import importlib.metadata
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator

from capsnp.backend import get_backend
from capsnp.errors import CheckpointError, RunError
from capsnp.models._parameters import made, plain_parameters
from capsnp.training.checkpoint import Contents, read_checkpoint, write_checkpoint
from capsnp.training.files import one_line

MODEL = "model.safetensors"
"""The file's name in its folder."""


class Saveable(BaseEstimator):
    """An estimator in a file and back, by its parameters and its `state` and `restore`."""

    _defaults: ClassVar[Mapping[str, Callable[[], Any]]] = {}
    """What makes a parameter that is None. A file keeps what was made, so that a later change of
    defaults does not change an old model."""

    def _given(self, name: str) -> Any:
        """A parameter, or what stands for None."""
        value = getattr(self, name)
        return self._defaults[name]() if value is None else value

    def _kept_parameters(self) -> dict[str, Any]:
        """Parameters as a file keeps them."""
        return self.get_params(deep=False) | {name: self._given(name) for name in self._defaults}

    def save(self, folder: str | Path) -> None:
        """Write parameters and all that is learnt: one file, whole or not at all.

        Parameters
        ----------
        folder : str or Path
            Made if it is not there; ``model.safetensors`` in it is replaced.

        Raises
        ------
        NotFittedError
            Before `fit`; a `CapsuleGenerator` is written with the parts that are fitted.
        OptionError
            If a parameter is nothing that a file can hold.
        RunError
            If it cannot be written; an older model is still there.
        """
        arrays = self.state()
        info = {
            "kind": type(self).__name__,
            "version": importlib.metadata.version("capsnp"),
            "parameters": json.dumps(plain_parameters(self)),
        }
        with one_line(folder, "cannot be made a folder of a model"):
            Path(folder).mkdir(parents=True, exist_ok=True)
        write_checkpoint(Path(folder) / MODEL, arrays, info=info)

    @classmethod
    def load(cls, folder: str | Path, backend: Any = None) -> Self:
        """A model that `save` wrote, with its parameters.

        Parameters
        ----------
        folder : str or Path
        backend : str, Backend or None
            Of the model and its parts, which need not be the one that trained it. A
            `MixtureModel` has none.

        Raises
        ------
        RunError
            If the folder holds no model.
        CheckpointError
            If the file is damaged, or of another kind or version.

        Examples
        --------
        >>> import tempfile
        >>> from capsnp import MixtureModel
        >>> points = np.random.default_rng(0).standard_normal((100, 3))
        >>> model = MixtureModel(2, 2).fit(points)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.save(folder)
        ...     twin = MixtureModel.load(folder)
        >>> twin, bool(twin.score(points) == model.score(points))
        (MixtureModel(n_components=2, n_principal=2), True)
        """
        path = Path(folder) / MODEL
        arrays, info = _read(path, cls)
        get_backend(backend)
        try:
            return made(cls, json.loads(info["parameters"]), backend).restore(arrays)
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {error}") from None
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise CheckpointError(f"{path}: expected a model of this version ({error!r})") from None


def _read(path: Path, kind: type) -> Contents:
    """The contents of the file of a model of this kind."""
    if not path.is_file():
        raise RunError(
            f"{path.parent}: expected a folder with a trained model ({MODEL}), found none"
        )
    contents = read_checkpoint(path)
    if contents.info.get("kind") != kind.__name__:
        raise CheckpointError(f"{path}: expected {kind.__name__}, got {contents.info.get('kind')}")
    return contents


def state_of(parts: Iterable[tuple[str, Any]]) -> dict[str, np.ndarray]:
    """Learned arrays of named parts in one state, named ``part.array``."""
    return {
        f"{name}.{array}": value for name, part in parts for array, value in part.state().items()
    }


def restored(part: Any, state: Mapping[str, np.ndarray], name: str) -> Any:
    """A part with its arrays of a `state_of` parts.

    Raises
    ------
    CheckpointError
        If it lacks one of them.
    """
    prefix = f"{name}."
    own = {
        array.removeprefix(prefix): value
        for array, value in state.items()
        if array.startswith(prefix)
    }
    try:
        return part.restore(own)
    except KeyError as missing:
        raise CheckpointError(f"expected an array {prefix}{missing.args[0]}, got none") from None
    except CheckpointError as error:
        raise CheckpointError(f"{name}: {error}") from None
