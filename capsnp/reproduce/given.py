"""Settings as they are given: tables, a TOML file, ``name=value``; by dotted names, unchecked."""

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from capsnp.errors import OptionError
from capsnp.reproduce.presets import Values


def flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Settings in tables by dotted names.

    Examples
    --------
    >>> dict(flat({"seed": 0, "capsules": {"n_steps": 5}}))
    {'seed': 0, 'capsules.n_steps': 5}
    """
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def read_settings(path: str | Path) -> Values:
    """The settings in a TOML file, by dotted names; a run's ``config.toml`` is one.

    Raises
    ------
    OptionError
        If it cannot be read or is no TOML.
    """
    try:
        config = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise OptionError(f"config: {path} cannot be read ({error.strerror})") from None
    except ValueError as error:  # not TOML, or not text
        raise OptionError(f"config: {path} is no TOML file ({error})") from None
    config.pop("versions", None)
    return dict(flat(config))


def parse_assignments(assignments: Iterable[str]) -> Values:
    """Settings given as ``name=value``; the value is TOML, or a text without quotes.

    Raises
    ------
    OptionError
        If there is no name or no equals sign.

    Examples
    --------
    >>> parse_assignments(["seed=3", "capsules.agreement=dot", "capsules.n_winners=none"])
    {'seed': 3, 'capsules.agreement': 'dot', 'capsules.n_winners': 'none'}
    """
    values = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals or not name.strip():
            raise OptionError(f"set: expected name=value, got {assignment!r}")
        try:
            values[name.strip()] = tomllib.loads(f"value = {text.strip()}")["value"]
        except tomllib.TOMLDecodeError:
            values[name.strip()] = text.strip()
    return values
