"""Images out of a machine into a file: ends of its chains, or all that they go through."""

from pathlib import Path

from capsnp import plotting
from capsnp.errors import RunError
from capsnp.reproduce.figures import COLUMNS
from capsnp.reproduce.machine import IMAGE, load_machine
from capsnp.reproduce.machine_chains import walk_from_training
from capsnp.reproduce.npz import write_npz
from capsnp.reproduce.pipeline import read_json
from capsnp.training import RunFolder, track

N_IMAGES, N_CHAINS = 80, 20
N_STEPS, N_FRAMES = 1000, 100
ROW = 10  # chains side by side in a film


def sample_machine(
    folder: Path,
    output: Path,
    *,
    n: int | None = None,
    gibbs: int | None = None,
    seed: int = 0,
    backend: str | None = None,
) -> None:
    """Chains that go on from those of the training, into a file.

    Parameters
    ----------
    folder : Path
        Of a run of a machine.
    output : Path
        ``.npz`` of states at the ends; ``.png`` of pixels' means at the ends, given the hidden
        units; ``.gif`` or ``.mp4`` of these means at every step.
    n, gibbs : int, optional
        Chains and their Gibbs steps: by default 80 and 1,000, in a film 20 and 100.
    seed : int
    backend : str, optional

    Raises
    ------
    OptionError
        If a film cannot be written under this name.
    MemoryLimitError
        If so many chains do not fit into memory.
    RunError
        If there is no trained machine, or the file cannot be written.
    """
    suffix = output.suffix.lower()
    moving = suffix in plotting.animation.FORMATS
    if moving:
        plotting.animation.expect_film(output, name="output")
    model = load_machine(folder, backend=backend)
    n = n or (N_CHAINS if moving else N_IMAGES)
    steps = gibbs or (N_FRAMES if moving else N_STEPS)
    shape = _image_shape(folder)
    chains = track(
        walk_from_training(model, n, n_steps=steps, seed=seed), "chains", total=steps + 1
    )
    to_host = model._backend.to_host
    if moving:
        frames = (to_host(at.mean).reshape(n, *shape) for at in chains)
        plotting.film(frames, output, columns=ROW, title=f"{n} chains")
        return
    for at in chains:
        last = at
    if suffix == ".npz":
        write_npz(output, to_host(last.v).reshape(n, *shape))
        return
    title = f"Samples: ends of {steps} Gibbs steps"
    images = to_host(last.mean).reshape(n, *shape)
    plotting.save(plotting.samples(images, columns=COLUMNS, title=title), output)


def _image_shape(folder: Path) -> tuple[int, int, int]:
    kept = (read_json(RunFolder.open(folder), IMAGE) or {}).get("shape")
    if not isinstance(kept, list) or len(kept) != 3:
        raise RunError(
            f"{folder}: expected the images' shape in {IMAGE}, got {kept}; it is written anew by: "
            f"capsnp train rbm {folder}"
        )
    height, width, channels = kept
    return height, width, channels
