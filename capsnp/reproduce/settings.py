"""The settings of a run: parameters of the estimators by dotted names, checked before any work.

A setting is named as in a run's ``config.toml``: ``seed`` at the top, ``capsules.n_steps`` in a
table. Tables hold the parameters of one estimator each; what all estimators share (seed, dtype,
backend) stands at the top.
"""

import difflib
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, NamedTuple

from capsnp.backend import get_backend
from capsnp.errors import OptionError, RunError
from capsnp.evaluation import Monitor
from capsnp.evaluation.likelihood.data import Rule
from capsnp.models import (
    RBM,
    CapsuleDecoder,
    CapsuleGenerator,
    ConvAutoencoder,
    ExpertCapsules,
    ExpertNeurons,
    MixtureModel,
)
from capsnp.reproduce.given import flat
from capsnp.reproduce.hints import accepts, converted, described, is_union
from capsnp.reproduce.presets import PRESETS, Values, preset_for

TABLES: dict[str, type] = {
    "autoencoder": ConvAutoencoder,
    "capsules": ExpertCapsules,
    "neurons": ExpertNeurons,
    "decoder": CapsuleDecoder,
    "mixture": MixtureModel,
    "rbm": RBM,
}
MODELS = ("capsules", "neurons", "rbm")
"""Tables of which a run takes one, by its setting ``model``."""
MACHINE = "rbm"
"""The model that learns pixels as they are, without features; its run has tables of its own."""
CAPSNET = "capsnet"
"""The model of runs that `capsnp.experiments` makes."""
NO_MATTER = ("checkpoint_seconds", "feature_memory")
"""Settings that do not change a run's result, so that it may go on with others."""

_SHARED = ("random_state", "dtype", "backend", "verbose")
_OF_MACHINES = (MACHINE, "binary", "monitor")
_OF_FEATURES = ("autoencoder", "decoder", "mixture", "feature_dtype", "feature_memory")


class Field(NamedTuple):
    """A setting's type, as an annotation, and its default."""

    hint: Any
    default: Any


@cache
def schema() -> dict[str, Field]:
    """Every setting by its dotted name."""
    fields = {
        "data": Field(str, "digits"),
        "limit": Field(int | None, None),
        "model": Field(Literal[MODELS], MODELS[0]),
        "preset": Field(Literal[tuple(PRESETS)], "small"),
        "seed": Field(int, 0),
        "dtype": Field(Literal["float32", "float64"], "float32"),
        "backend": Field(str, "numpy"),
        "feature_dtype": Field(Literal["float16", "float32"] | None, None),
        "feature_memory": Field(int, 256),
        "checkpoint_seconds": Field(float, 30.0),
        "evaluation.n_images": Field(int, 2000),
        "evaluation.classifier_steps": Field(int | None, None),
        "binary.rule": Field(Rule, "threshold"),
        "binary.seed": Field(int, 0),
        "monitor.every": Field(int | None, None),
        "monitor.n_rows": Field(int, 500),
        "monitor.bracket_every": Field(int | None, None),
    }
    for table, estimator in TABLES.items():
        hints = typing.get_type_hints(vars(estimator)["__init__"])
        for name, default in estimator().get_params(deep=False).items():
            if name not in _SHARED:
                fields[f"{table}.{name}"] = Field(hints[name], default)
    return fields


@dataclass(frozen=True)
class Settings:
    """All settings of a run, complete and checked; made by `resolve` or `from_config`.

    Attributes
    ----------
    values : mapping of str to object
        By dotted name, as in `schema`.
    """

    values: Mapping[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def table(self, name: str) -> Values:
        """The settings of one table, without its name."""
        prefix = f"{name}."
        return {
            key.removeprefix(prefix): value
            for key, value in self.values.items()
            if key.startswith(prefix)
        }

    @property
    def layer(self) -> Values:
        """The settings of the run's own model, whichever it is."""
        return self.table(self["model"])

    def nested(self) -> dict[str, Any]:
        """As a run's ``config.toml`` has them, where None is the text "none".

        What the run's model has no use for is left out.
        """
        nested: dict[str, Any] = {}
        left_out = {*MODELS, *_OF_MACHINES} - {self["model"]}
        if self["model"] == MACHINE:
            left_out = left_out.difference(_OF_MACHINES).union(_OF_FEATURES)
        for name, value in self.values.items():
            table, _, key = name.rpartition(".")
            if (table or key) in left_out:
                continue
            place = nested.setdefault(table, {}) if table else nested
            place[key] = "none" if value is None else value
        return nested

    def estimator(self, name: str) -> Any:
        """An estimator of `TABLES` with these settings, not fitted."""
        return TABLES[name](**self.table(name)).set_params(
            **{
                shared: value
                for shared, value in {
                    "random_state": self["seed"],
                    "dtype": self["dtype"],
                    "backend": self["backend"],
                }.items()
                if shared in TABLES[name]().get_params(deep=False)
            }
        )

    def generator(self) -> CapsuleGenerator:
        """The whole model with these settings, not fitted."""
        return CapsuleGenerator(
            autoencoder=self.estimator("autoencoder"),
            experts=self.estimator(self["model"]),
            decoder=self.estimator("decoder"),
            mixture=self.estimator("mixture"),
            random_state=self["seed"],
            dtype=self["dtype"],
            backend=self["backend"],
        )


def resolve(*layers: Mapping[str, Any]) -> Settings:
    """Settings from layers that each change some, over a preset over the defaults.

    Parameters
    ----------
    *layers : mapping of str to object
        By dotted name, the strongest last. The preset is the strongest layer's that names one,
        or else the data set's.

    Returns
    -------
    Settings

    Raises
    ------
    OptionError
        If a name is unknown, with the nearest known ones, or a value does not fit.
    BackendError
        If the backend is not there.

    Examples
    --------
    >>> resolve({"data": "mnist"}, {"capsules.n_capsules": 30})["capsules.n_capsules"]
    30
    """
    given: Values = {}
    for layer in layers:
        given |= {name: checked(name, value) for name, value in layer.items()}
    given["backend"] = get_backend(given.get("backend")).name
    data = given.get("data", schema()["data"].default)
    preset = given.setdefault("preset", preset_for(data))
    defaults = {name: field.default for name, field in schema().items()}
    settings = Settings(defaults | PRESETS[preset] | given)
    _expect_ranges(settings)
    return settings


def from_config(config: Mapping[str, Any], *layers: Mapping[str, Any]) -> Settings:
    """The settings of a run, and layers that change some of them.

    Parameters
    ----------
    config : mapping
        A run's ``config.toml``.
    *layers : mapping of str to object
        As for `resolve`.

    Returns
    -------
    Settings

    Raises
    ------
    OptionError
        As `resolve`.
    RunError
        If the run was made with settings that are not known here, or they were damaged.
    """
    if config.get("model") == CAPSNET:
        raise RunError(
            f"config.toml: expected a run of capsules, neurons or a machine, got one of {CAPSNET}, "
            f"which the commands of capsnp {CAPSNET} take"
        )
    stored = {name: value for name, value in flat(config) if not name.startswith("versions.")}
    unknown = [name for name in stored if name not in schema()]
    if unknown:
        raise RunError(f"config.toml: holds {unknown[0]}, a setting of another version of capsnp")
    try:
        resolve(stored | {"backend": "numpy"})  # a backend may be missing here and chosen by layers
    except OptionError as error:
        raise RunError(f"config.toml: {error}") from None
    return resolve(stored, *layers)


def checked(name: str, value: Any, *, known: Mapping[str, Field] | None = None) -> Any:
    """The value of a setting in its own type.

    Parameters
    ----------
    name : str
    value : object
    known : mapping of str to Field, optional
        By default those of `schema`.

    Raises
    ------
    OptionError
        If there is no such setting, or it cannot have this value.

    Examples
    --------
    >>> checked("capsules.learning_rate", 2)
    2.0
    """
    known = schema() if known is None else known
    if name not in known:
        raise OptionError(f"{name}: no such setting; nearest: {', '.join(_nearest(name, known))}")
    hint = known[name].hint
    for option in (None, value) if value == "none" else (value,):
        for kind in typing.get_args(hint) if is_union(hint) else (hint,):
            if accepts(kind, option):
                return converted(kind, option)
    raise OptionError(f"{name}: expected {described(hint)}, got {value!r}")


def _nearest(name: str, known: Iterable[str]) -> list[str]:
    """Known settings that look like a name, those with its last part first."""
    last = name.rpartition(".")[2]
    parts = {setting: setting.rpartition(".")[2] for setting in known}
    close = difflib.get_close_matches(name, parts, n=len(parts), cutoff=0.0)
    like = difflib.get_close_matches(last, set(parts.values()), n=1, cutoff=0.8)
    same = [setting for setting in close if parts[setting] == last]
    similar = [setting for setting in close if parts[setting] in like][:1]
    return list(dict.fromkeys(same + similar + close))[:3]


def _expect_ranges(settings: Settings) -> None:
    """Let every estimator look at its parameters now, not when its turn comes."""
    for name in ("seed", "binary.seed"):
        if settings[name] < 0:
            raise OptionError(f"{name}: expected a whole number from 0, got {settings[name]}")
    for name in ("limit", "evaluation.n_images", "evaluation.classifier_steps"):
        value = settings[name]
        if value is not None and value < 1:
            raise OptionError(f"{name}: expected a whole number from 1, got {value}")
    for name in ("checkpoint_seconds", "feature_memory"):
        if settings[name] < 0:
            raise OptionError(f"{name}: expected at least 0, got {settings[name]}")
    for table in TABLES:
        part = settings.estimator(table)
        try:
            part._expect_options()
        except OptionError as error:
            raise OptionError(f"{table}.{error}") from None
    try:
        Monitor(**settings.table("monitor"))
    except OptionError as error:
        raise OptionError(f"monitor.{error}") from None
