"""Whether a run fits into the memory that this process may have, before it starts."""

import math
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from capsnp.errors import MemoryLimitError
from capsnp.memory import limits, readable_bytes, resident
from capsnp.reproduce.memory import STAGES, features_held, features_of, memory, standing
from capsnp.reproduce.settings import Settings, resolve
from capsnp.reproduce.shapes import shapes_of


class Room(NamedTuple):
    """Bytes that this process may hold in all, and what limits them."""

    total: int
    reason: str


def room(mapped: int = 0) -> Room | None:
    """What this process may hold in all; None where the system tells no limit.

    Parameters
    ----------
    mapped : int
        Bytes of files that will be memory-mapped, which some limits count.
    """
    held = resident()
    rooms = [
        Room(held + limit.room - (mapped if limit.mapped else 0), limit.reason)
        for limit in limits()
    ]
    return min(rooms, default=None)


def expect_room(
    settings: Settings,
    image: tuple[int, int, int],
    n: int,
    n_test: int,
    *,
    stages: Collection[str] = STAGES,
) -> None:
    """Raise unless every stage fits into memory.

    Parameters
    ----------
    settings : Settings
    image : tuple of int
        (H, W, C).
    n, n_test : int
        Images to train on and to test.
    stages : collection of str
        Those that will run.

    Raises
    ------
    MemoryLimitError
        With the sizes and the option with which the run would fit.
    """
    short = _short(settings, image, n, n_test, stages)
    if short is None:
        return
    stage, needed, may = short
    shapes = shapes_of(settings, image)
    images = 4 * (n + n_test) * math.prod(image)
    features = features_held(settings, shapes, n)
    sizes = {"images": images, "features": 0 if stage in STAGES[:2] else features}
    sizes["this stage's arrays"] = needed - round(standing(settings, shapes, n, n_test))
    sizes["this stage's arrays"] -= sizes["features"]
    parts = ", ".join(f"{readable_bytes(size)} of {name}" for name, size in sizes.items() if size)
    raise MemoryLimitError(
        f"the stage {stage!r} needs {readable_bytes(needed)} ({parts}), and "
        f"{readable_bytes(max(0, may.total))} can be had within {may.reason}; "
        f"{_help(settings, image, n, n_test, stages)}"
    )


def _short(
    settings: Settings,
    image: tuple[int, int, int],
    n: int,
    n_test: int,
    stages: Collection[str],
) -> tuple[str, int, Room] | None:
    """The stage that needs most, what it needs and what there is, if that is less."""
    shapes = shapes_of(settings, image)
    needs = {s: b for s, b in memory(settings, shapes, n, n_test).items() if s in stages}
    stored = features_of(settings, shapes, n)
    may = room(mapped=0 if features_held(settings, shapes, n) else stored)
    stage = max(needs, key=needs.__getitem__)
    if may is None or needs[stage] <= may.total:
        return None
    return stage, needs[stage], may


def _help(
    settings: Settings,
    image: tuple[int, int, int],
    n: int,
    n_test: int,
    stages: Collection[str],
) -> str:
    """The first option with which it would fit, cheapest first."""

    def fits(changes: Mapping[str, Any], limit: int | None = None) -> bool:
        counts = (n, n_test) if limit is None else (min(n, limit), min(n_test, limit))
        return _short(resolve(settings.values, changes), image, *counts, stages) is None

    mapped: dict[str, Any] = {"feature_memory": 0}
    options = [
        ("--set feature_memory=0 (memory-mapped features)", mapped),
        ("--feature-dtype float16", {"feature_dtype": "float16"}),
    ]
    for size in (64, 32, 16):
        names = [f"{table}.batch_size" for table in ("autoencoder", settings["model"], "decoder")]
        smaller = {name: size for name in names if settings[name] > size}
        options.append((" ".join(f"--set {k}={v}" for k, v in smaller.items()), smaller))
    for text, changes in options:
        if fits(changes):
            return f"it would fit with {text}"
    few, many = 0, max(n, n_test)  # so few fit, so many do not
    while many - few > 1 + few // 10:
        middle = (few + many) // 2
        few, many = (middle, many) if fits(mapped, middle) else (few, middle)
    if few:
        return f"it would fit with --limit {few} --set feature_memory=0"
    return "even a smaller batch and --limit 1 would not fit: take a smaller model or image"
