"""The settings of a run of a capsule network: parameters of `CapsNet` and of its data, by name."""

import typing
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from capsnp.backend import get_backend
from capsnp.errors import OptionError, RunError
from capsnp.models import CapsNet
from capsnp.models._capsnet_presets import PRESETS
from capsnp.reproduce.given import flat
from capsnp.reproduce.settings import CAPSNET, Field, Settings, checked

DEFAULT = "default"
"""The preset that is the estimator's own defaults."""

_NOT_OF_RUNS = ("random_state", "dtype", "backend", "verbose", "image_shape")


@cache
def schema() -> dict[str, Field]:
    """Every setting by its dotted name."""
    fields = {
        "data": Field(str, "digits"),
        "train_images": Field(int | None, None),
        "test_images": Field(int | None, None),
        "model": Field(Literal["capsnet"], CAPSNET),
        "preset": Field(Literal[(DEFAULT, *PRESETS)], DEFAULT),
        "seed": Field(int, 0),
        "dtype": Field(Literal["float32", "float64"], "float32"),
        "backend": Field(str, "numpy"),
        "checkpoint_seconds": Field(float, 30.0),
        "init_from": Field(str | None, None),
    }
    hints = typing.get_type_hints(vars(CapsNet)["__init__"])
    for name, default in CapsNet().get_params(deep=False).items():
        if name not in _NOT_OF_RUNS:
            fields[f"{CAPSNET}.{name}"] = Field(hints[name], default)
    return fields


@dataclass(frozen=True)
class NetworkSettings(Settings):
    """All settings of a run, complete and checked; made by `resolve` or `from_config`.

    Attributes
    ----------
    values : mapping of str to object
        By dotted name, as in `schema`.
    """

    def nested(self) -> dict[str, Any]:
        """As a run's ``config.toml`` has them, where None is the text "none"."""
        nested: dict[str, Any] = {}
        for name, value in self.values.items():
            table, _, key = name.rpartition(".")
            place = nested.setdefault(table, {}) if table else nested
            place[key] = "none" if value is None else value
        return nested

    def network(self) -> CapsNet:
        """The network with these settings, not fitted."""
        return CapsNet(
            **self.table(CAPSNET),
            random_state=self["seed"],
            dtype=self["dtype"],
            backend=self["backend"],
        )


def resolve(*layers: Mapping[str, Any]) -> NetworkSettings:
    """Settings from layers that each change some, over a preset over the defaults.

    Parameters
    ----------
    *layers : mapping of str to object
        By dotted name, the strongest last. The preset is the strongest layer's that names one; by
        default the digits take "small".

    Returns
    -------
    NetworkSettings

    Raises
    ------
    OptionError
        If a name is unknown, with the nearest known ones, or a value does not fit.
    BackendError
        If the backend is not there.

    Examples
    --------
    >>> resolve({"data": "mnist"})["capsnet.filters"], resolve()["capsnet.filters"]
    (256, 32)
    """
    given: dict[str, Any] = {}
    for layer in layers:
        given |= _checked(layer)
    given["backend"] = get_backend(given.get("backend")).name
    usual = "small" if given.get("data", "digits") == "digits" else DEFAULT
    preset = given.setdefault("preset", usual)
    defaults = {name: field.default for name, field in schema().items()}
    settings = NetworkSettings(_checked(defaults | _of_preset(preset)) | given)
    _expect_ranges(settings)
    return settings


def from_config(config: Mapping[str, Any], *layers: Mapping[str, Any]) -> NetworkSettings:
    """The settings of a run, and layers that change some of them.

    Raises
    ------
    OptionError
        As `resolve`.
    RunError
        If the run is none of a capsule network, or its settings are not known here or damaged.
    """
    model = config.get("model")
    if model != CAPSNET:
        raise RunError(f"config.toml: expected a run of {CAPSNET}, got one of {model}")
    stored = {name: value for name, value in flat(config) if not name.startswith("versions.")}
    unknown = [name for name in stored if name not in schema()]
    if unknown:
        raise RunError(f"config.toml: holds {unknown[0]}, a setting of another version of capsnp")
    try:
        resolve(stored | {"backend": "numpy"})  # a backend may be missing here and chosen by layers
    except OptionError as error:
        raise RunError(f"config.toml: {error}") from None
    return resolve(stored, *layers)


def _checked(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: checked(name, value, known=schema()) for name, value in values.items()}


def _of_preset(name: str) -> dict[str, Any]:
    parameters = {} if name == DEFAULT else PRESETS[name].parameters
    return {f"{CAPSNET}.{key}": value for key, value in parameters.items()}


def _expect_ranges(settings: NetworkSettings) -> None:
    if settings["seed"] < 0:
        raise OptionError(f"seed: expected a whole number from 0, got {settings['seed']}")
    for name in ("train_images", "test_images"):
        value = settings[name]
        if value is not None and value < 1:
            raise OptionError(f"{name}: expected a whole number from 1, got {value}")
    if settings["checkpoint_seconds"] < 0:
        raise OptionError(
            f"checkpoint_seconds: expected at least 0, got {settings['checkpoint_seconds']}"
        )
    try:
        settings.network()._expect_options()
    except OptionError as error:
        raise OptionError(f"{CAPSNET}.{error}") from None
