"""Values of TOML against the annotations of parameters."""

import math
import types
import typing
from typing import Any, Literal


def is_union(hint: Any) -> bool:
    """Whether an annotation names several types."""
    return typing.get_origin(hint) in (typing.Union, types.UnionType)


def accepts(hint: Any, value: Any) -> bool:
    """Whether a value of TOML, or None, fits an annotation."""
    kind = typing.get_origin(hint)
    if is_union(hint):
        return any(accepts(option, value) for option in typing.get_args(hint))
    if kind is Literal:
        return value in typing.get_args(hint)
    if kind is tuple:
        item = typing.get_args(hint)[0]
        return isinstance(value, list | tuple) and all(accepts(item, entry) for entry in value)
    if hint is float:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and math.isfinite(value)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint)


def converted(hint: Any, value: Any) -> Any:
    """A value that fits an annotation in its very type: a tuple for a list, a float for an int."""
    if typing.get_origin(hint) is tuple:
        return tuple(value)
    return float(value) if hint is float else value


def described(hint: Any) -> str:
    """An annotation in words.

    Examples
    --------
    >>> described(int | None)
    "a whole number or 'none'"
    """
    if is_union(hint):
        return " or ".join(described(option) for option in typing.get_args(hint))
    if typing.get_origin(hint) is Literal:
        return "one of " + ", ".join(map(repr, typing.get_args(hint)))
    if typing.get_origin(hint) is tuple:
        return "a list like [1, 3]"
    words = {int: "a whole number", float: "a finite number", bool: "true or false"}
    return words.get(hint, "'none'" if hint is types.NoneType else "a text")
