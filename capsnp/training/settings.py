"""Settings of a run: plain for TOML, compared by name, with the versions they ran with."""

import importlib.metadata
import os
import platform
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import tomli_w

BACKEND_LIBRARIES = ("torch", "jax", "cupy-cuda12x", "cupy-cuda13x")
"""Begin with the name of the backend that they serve; under others they change nothing."""

_RECORDED = ("capsnp", "numpy", "scipy", "scikit-learn", *BACKEND_LIBRARIES)


class Difference(NamedTuple):
    """A setting by its dotted name with its two values, None where it is absent."""

    name: str
    first: Any
    second: Any


def plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as they come back from TOML: no None, lists for tuples, text for paths.

    Examples
    --------
    >>> plain({"seed": None, "capsules": {"sizes": (20, 16)}})
    {'capsules': {'sizes': [20, 16]}}
    """
    return tomllib.loads(tomli_w.dumps(_without_none(settings)))


def _without_none(settings: Mapping[str, Any]) -> dict[str, Any]:
    values = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            values[name] = _without_none(value)
        elif value is not None:
            values[name] = os.fspath(value) if isinstance(value, os.PathLike) else value
    return values


def differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[Difference]:
    """The settings that are not equal, those in tables by dotted names.

    Examples
    --------
    >>> differences({"seed": 0, "capsules": {"k": 1}}, {"seed": 0, "capsules": {"k": 3}})
    [Difference(name='capsules.k', first=1, second=3)]
    """
    one, two = dict(_flat(first)), dict(_flat(second))
    return [
        Difference(name, one.get(name), two.get(name))
        for name in one | two
        if one.get(name) != two.get(name)
    ]


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def versions() -> dict[str, str]:
    """Versions of Python, of this package and of the array libraries that are installed."""
    found = {"python": platform.python_version()}
    for name in _RECORDED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
