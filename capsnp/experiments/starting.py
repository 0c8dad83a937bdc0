"""An unsupervised start: a capsule network that begins with another run's filters."""

from pathlib import Path

from capsnp.errors import OptionError, RunError
from capsnp.models import CapsNet, CapsuleGenerator, ConvAutoencoder
from capsnp.reproduce.pipeline import has_model
from capsnp.reproduce.settings import CAPSNET, MACHINE
from capsnp.training import RunFolder


def begin_with(model: CapsNet, folder: Path) -> tuple[str, ...]:
    """Take over what a run of expert capsules has learnt and a new network has room for.

    The first convolution must fit, and its filters and biases are taken. The second's are taken,
    too, if its channels are as many as the autoencoder's. The rest stays new: expert capsules stand
    for parts of the distribution and not for classes, and images are rebuilt in another way.

    Parameters
    ----------
    model : CapsNet
        With the weights that a training begins with; they are replaced.
    folder : Path
        Of a run by ``capsnp reproduce`` or ``capsnp train`` whose autoencoder is trained.

    Returns
    -------
    tuple of str
        Names of the weights that were taken over.

    Raises
    ------
    RunError
        If there is no such run.
    OptionError
        If the first convolution has other sizes, with the settings that fit.
    """
    autoencoder = _autoencoder(folder)
    host = autoencoder._backend.to_host
    learnt = {name: host(value) for name, value in autoencoder.weights_.items()}
    kernel, _, channels, filters = learnt["filters1"].shape
    wanted = (model.kernel, model.image_shape_[2], model.filters)
    if wanted != (kernel, channels, filters):
        raise OptionError(
            f"init_from: expected {CAPSNET}.kernel={kernel}, {CAPSNET}.filters={filters} and "
            f"images of {channels} channels as the autoencoder's of {folder}, got {wanted[0]}, "
            f"{wanted[2]} and {wanted[1]}"
        )
    taken: tuple[str, ...] = ("filters1", "bias1")
    if learnt["filters2"].shape == tuple(model.weights_["filters2"].shape):
        taken += ("filters2", "bias2")
    model.weights_ = model.weights_ | {name: model._array(learnt[name]) for name in taken}
    return taken


def _autoencoder(folder: Path) -> ConvAutoencoder:
    kind = RunFolder.open(folder).config.get("model", "capsules")
    if kind in (CAPSNET, MACHINE):
        raise RunError(
            f"{folder}: expected a run of capsules or neurons on an autoencoder, got one of {kind}"
        )
    if has_model(folder):
        generator = CapsuleGenerator.load(folder)
        if hasattr(generator, "autoencoder_"):
            return generator.autoencoder_
    raise RunError(f"{folder}: its autoencoder is not trained: capsnp train autoencoder {folder}")
