"""Settings of a capsule network: layers, presets, and the way through a file."""

import pytest

from capsnp import CapsNet
from capsnp.errors import OptionError, RunError
from capsnp.experiments.settings import from_config, resolve
from capsnp.training.settings import plain


def test_a_file_gives_the_same_settings_in_the_same_types():
    for chosen in ({}, {"data": "mnist", "init_from": "runs/a", "capsnet.decoder_hidden": [5, 6]}):
        settings = resolve(chosen, {"train_images": 7})
        again = from_config(plain(settings.nested()))
        assert again.values == settings.values
        kinds = [{name: type(v) for name, v in s.values.items()} for s in (settings, again)]
        assert kinds[0] == kinds[1]


def test_the_network_has_what_is_set_over_the_preset():
    settings = resolve({"preset": "hauser2019", "seed": 4}, {"capsnet.filters": 16})
    model = settings.network()
    expected = CapsNet.preset("hauser2019", filters=16, random_state=4, backend="numpy")
    assert model.get_params() == expected.get_params()


def test_every_parameter_of_the_network_can_be_set():
    shared = {"random_state", "dtype", "backend", "verbose", "image_shape"}
    names = {f"capsnet.{name}" for name in CapsNet().get_params() if name not in shared}
    assert names == {name for name in resolve().values if name.startswith("capsnet.")}


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ({"seed": -1}, "seed: expected a whole number from 0"),
        ({"train_images": 0}, "train_images: expected a whole number from 1, got 0"),
        ({"checkpoint_seconds": -1}, "checkpoint_seconds: expected at least 0"),
        ({"capsnet.kernel": 0}, "capsnet.kernel: "),
        ({"capsules.n_steps": 1}, "capsules.n_steps: no such setting"),
    ],
)
def test_wrong_settings_are_named(chosen, said):
    with pytest.raises(OptionError, match=said):
        resolve(chosen)


def test_damaged_files_and_those_of_other_runs_are_refused():
    config = plain(resolve().nested())
    with pytest.raises(RunError, match="expected a run of capsnet, got one of rbm"):
        from_config(config | {"model": "rbm"})
    with pytest.raises(RunError, match="holds new, a setting of another version"):
        from_config(config | {"new": 1})
    with pytest.raises(RunError, match=r"config.toml: seed: expected"):
        from_config(config | {"seed": "x"})
