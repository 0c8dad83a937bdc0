"""Images out of a trained model into a file."""

import math
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from capsnp import plotting
from capsnp.errors import OptionError
from capsnp.reproduce.figures import COLUMNS, class_names
from capsnp.reproduce.machine import is_machine
from capsnp.reproduce.machine_samples import sample_machine
from capsnp.reproduce.npz import write_npz
from capsnp.reproduce.runs import load_trained, look_into


def draw_samples(
    folder: Path,
    output: Path,
    *,
    n: int | None = None,
    domain: Any = "codes",
    capsule: int | None = None,
    gibbs: int | None = None,
    seed: int = 0,
    backend: str | None = None,
) -> None:
    """Draw images from the model in a folder into an ``.npz`` or ``.png`` file.

    Parameters
    ----------
    folder : Path
        A run's, or one that `CapsuleGenerator.save` wrote.
    output : Path
        Of a machine also a film of its chains, ``.gif`` or ``.mp4``.
    n : int, optional
        By default 80 images, or 20 chains of a film.
    domain, capsule, seed
        As for `CapsuleGenerator.sample`.
    gibbs : int, optional
        Steps of a machine's chains, by default 1,000, or 100 of a film.
    backend : str, optional

    Raises
    ------
    RunError
        If there is no trained model, or the file cannot be written.
    OptionError
        If an option is wrong.
    """
    if is_machine(folder):
        if domain != "codes" or capsule is not None:
            raise OptionError(f"domain, capsule: expected none for {folder}, which has no capsules")
        sample_machine(folder, output, n=n, gibbs=gibbs, seed=seed, backend=backend)
        return
    if gibbs is not None or output.suffix.lower() in plotting.animation.FORMATS:
        raise OptionError(
            f"output, gibbs: expected .npz or .png and no Gibbs steps for {folder}, which has no "
            "chains: those of machines move (capsnp train rbm)"
        )
    model = load_trained(folder, backend=backend)
    images = model.sample(80 if n is None else n, domain, capsule, random_state=seed)
    if output.suffix.lower() == ".npz":
        write_npz(output, images)
        return
    n_capsules = model.mean_directions_.shape[0]
    if domain == "codes":
        figure = plotting.samples(images, columns=COLUMNS)
    elif capsule is not None:
        title = f"What capsule {capsule} draws ({domain})"
        figure = plotting.samples(images, columns=COLUMNS, title=title)
    else:
        figure = _by_capsule(images, n_capsules, domain)
    plotting.save(figure, output)


def _by_capsule(images: np.ndarray, n_capsules: int, domain: str) -> Figure:
    """A column for each capsule: image k is of capsule k mod J; missing ones are black."""
    rows = math.ceil(len(images) / n_capsules)
    columns = min(n_capsules, len(images))
    grid = np.zeros((rows * columns, *images.shape[1:]), dtype=images.dtype)
    grid[: len(images)] = images
    grid = grid.reshape(rows, columns, *images.shape[1:]).swapaxes(0, 1)
    return plotting.capsule_grid(grid, title=f"What single capsules draw ({domain})")


def rebuild_images(
    folder: Path,
    output: Path,
    *,
    n: int = 20,
    inference: Any = "settle",
    data: str | None = None,
    data_dir: str | Path | None = None,
    backend: str | None = None,
) -> None:
    """Rebuild the first test images from their codes into an ``.npz`` or ``.png`` file.

    Parameters
    ----------
    folder : Path
        A run's.
    output : Path
        A picture has the originals above.
    n : int
        At most so many.
    inference : {"settle", "route"}
    data : str, optional
        By default the run's own.
    data_dir : str or Path, optional
    backend : str, optional

    Raises
    ------
    RunError, DataError, OptionError, ShapeError
        In one line, before anything is written.
    """
    opened, model = look_into(folder, data=data, data_dir=data_dir, backend=backend)
    test = opened.data.test
    images = test.images[:n]
    rebuilt = model.inverse_transform(model.transform(images, inference))
    if output.suffix.lower() == ".npz":
        write_npz(output, rebuilt)
        return
    names = class_names(test, n)
    figure = plotting.reconstructions(images, {inference: rebuilt}, labels=names)
    plotting.save(figure, output)
