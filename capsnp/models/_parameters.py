"""Parameters of estimators as JSON and back: reading makes estimators of this package alone.

A nested estimator is ``{"kind": name, "parameters": {...}}``, a tuple ``{"tuple": [...]}``. The
backend is left out: it is a matter of the machine.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from capsnp.errors import CheckpointError, OptionError


def plain_parameters(estimator: Any, prefix: str = "") -> dict[str, Any]:
    """Parameters of an estimator and its parts in the words of JSON.

    Raises
    ------
    OptionError
        If one is nothing that a file can hold; it is named with the prefix.
    """
    return {
        name: _plain(value, f"{prefix}{name}")
        for name, value in estimator._kept_parameters().items()
        if name != "backend"
    }


def _plain(value: Any, place: str) -> Any:
    kind = type(value)
    if _kinds().get(kind.__name__) is kind:
        return {"kind": kind.__name__, "parameters": plain_parameters(value, f"{place}.")}
    if isinstance(value, list | tuple):
        items = [_plain(item, f"{place}[{n}]") for n, item in enumerate(value)]
        return items if isinstance(value, list) else {"tuple": items}
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise OptionError(
        f"{place}: expected None, a number, text, a model of capsnp.models, or a list or tuple of "
        f"these, to be saved, got {kind.__name__}"
    )


def made(kind: type, parameters: Mapping[str, Any], backend: Any, prefix: str = "") -> Any:
    """An estimator of this kind by its `plain_parameters`, not fitted.

    Raises
    ------
    CheckpointError
        If a part is of a kind, or has a parameter, that is unknown here.
    """
    known = kind().get_params(deep=False)
    if unknown := sorted(parameters.keys() - known):
        raise CheckpointError(f"is of another version of capsnp, with {prefix}{unknown[0]}")
    values = {name: _made(value, backend, f"{prefix}{name}") for name, value in parameters.items()}
    return kind(**values | ({"backend": backend} if "backend" in known else {}))


def _made(value: Any, backend: Any, place: str) -> Any:
    if isinstance(value, list):
        return [_made(item, backend, f"{place}[{n}]") for n, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    if "tuple" in value:
        return tuple(_made(value["tuple"], backend, place))
    kind = _kinds().get(value["kind"])
    if kind is None:
        raise CheckpointError(f"is of another version of capsnp, with {place} a {value['kind']}")
    return made(kind, value["parameters"], backend, f"{place}.")


def _kinds() -> dict[str, type]:
    """The package's estimators by name."""
    from capsnp import models
    from capsnp.models._saving import Saveable

    public = (getattr(models, name) for name in models.__all__)
    return {
        kind.__name__: kind
        for kind in public
        if isinstance(kind, type) and issubclass(kind, Saveable)
    }
