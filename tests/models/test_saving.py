"""A generator in a file and back: every array, every parameter, and what is refused."""

import json

import numpy as np
import pytest
from sklearn.base import clone

from capsnp.errors import BackendError, CheckpointError, NotFittedError, OptionError, RunError
from capsnp.models import (
    CapsuleDecoder,
    CapsuleGenerator,
    ConvAutoencoder,
    ExpertCapsules,
    ExpertNeurons,
    MixtureModel,
)
from capsnp.training import read_checkpoint, write_checkpoint

FILE = "model.safetensors"


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(3).random((24, 20, 20, 1)).astype(np.float32)


@pytest.fixture(scope="module")
def model(images):
    generator = CapsuleGenerator(
        ConvAutoencoder(8, n_steps=2, batch_size=8, dropout=0.1),
        ExpertCapsules(3, 4, n_steps=3, batch_size=8, rebalance_steps=2, feature_scale=None),
        CapsuleDecoder(winner_steps=2, settled_steps=1, settled_counts=(1, 2), batch_size=8),
        MixtureModel(2, 5),
        random_state=4,
    )
    return generator.fit(images)


@pytest.fixture
def saved(model, tmp_path):
    model.save(tmp_path)
    return tmp_path


def test_everything_comes_back(model, images, saved):
    loaded = CapsuleGenerator.load(saved)
    for name in ("autoencoder", "experts", "decoder", "mixture"):
        before, after = getattr(model, name).get_params(), getattr(loaded, name).get_params()
        before.pop("backend", None)
        after.pop("backend", None)
        assert after == before, name
    assert loaded.random_state == 4
    np.testing.assert_array_equal(loaded.transform(images), model.transform(images))
    for domain in ("full", "half", "visited", "codes"):
        np.testing.assert_array_equal(loaded.sample(5, domain), model.sample(5, domain))


def test_saving_again_gives_the_same_bytes(saved, tmp_path):
    CapsuleGenerator.load(saved).save(tmp_path / "deep" / "folder")
    again = (tmp_path / "deep" / "folder" / FILE).read_bytes()
    assert again == (saved / FILE).read_bytes()


def test_parts_that_are_not_fitted_are_left_out(images, tmp_path):
    part = CapsuleGenerator(ConvAutoencoder(8, n_steps=1, batch_size=8))
    part.fit_autoencoder(images).save(tmp_path)
    loaded = CapsuleGenerator.load(tmp_path)
    assert hasattr(loaded, "autoencoder_")
    assert not hasattr(loaded, "experts_")
    with pytest.raises(NotFittedError):
        loaded.sample(1)


def test_a_state_goes_into_another_model(model, images):
    other = CapsuleGenerator(
        model.autoencoder, model.experts, model.decoder, model.mixture, random_state=4
    ).restore(model.state())
    np.testing.assert_array_equal(other.transform(images), model.transform(images))


def test_another_backend_can_load_it(model, images, saved):
    strict = CapsuleGenerator.load(saved, backend="array-api-strict")
    assert strict.experts_.backend == "array-api-strict"
    np.testing.assert_allclose(
        strict.inverse_transform(strict.transform(images[:3])),
        model.inverse_transform(model.transform(images[:3])),
        atol=1e-4,
    )


def test_a_backend_that_is_not_there(saved, monkeypatch):
    with pytest.raises(OptionError, match="expected one of numpy"):
        CapsuleGenerator.load(saved, backend="abacus")
    monkeypatch.setitem(__import__("sys").modules, "array_api_compat.cupy", None)
    with pytest.raises(BackendError, match="pip install"):
        CapsuleGenerator.load(saved, backend="cupy")


def test_a_folder_without_a_model(tmp_path):
    with pytest.raises(RunError, match=r"expected a folder with a trained model \(model"):
        CapsuleGenerator.load(tmp_path)


def rewrite(folder, *, without=(), info=None):
    arrays, kept = read_checkpoint(folder / FILE)
    arrays = {name: value for name, value in arrays.items() if name not in without}
    write_checkpoint(folder / FILE, arrays, info=kept | (info or {}))


@pytest.mark.parametrize("name", ["experts.W", "autoencoder.bias2", "mixture.means"])
def test_an_array_that_is_missing_is_named(saved, name):
    rewrite(saved, without=(name,))
    with pytest.raises(CheckpointError, match=name.rpartition(".")[2]):
        CapsuleGenerator.load(saved)


def test_a_file_of_another_kind(saved):
    rewrite(saved, info={"kind": "CapsuleNetwork"})
    with pytest.raises(CheckpointError, match="expected CapsuleGenerator, got CapsuleNetwork"):
        CapsuleGenerator.load(saved)


def test_a_parameter_of_another_version_is_named(saved):
    parameters = json.loads(read_checkpoint(saved / FILE).info["parameters"])
    parameters["experts"]["charm"] = 3
    rewrite(saved, info={"parameters": json.dumps(parameters)})
    with pytest.raises(CheckpointError, match=r"another version of capsnp, with experts\.charm"):
        CapsuleGenerator.load(saved)


@pytest.mark.parametrize("text", ["{", "[1]"])
def test_parameters_that_are_none(saved, text):
    rewrite(saved, info={"parameters": text})
    with pytest.raises(
        CheckpointError, match=f"{FILE}: expected a model of this version"
    ) as caught:
        CapsuleGenerator.load(saved)
    assert "\n" not in str(caught.value)


def test_one_changed_byte_is_found(saved):
    data = bytearray((saved / FILE).read_bytes())
    data[-7] ^= 1
    (saved / FILE).write_bytes(data)
    with pytest.raises(CheckpointError, match="cut short or damaged"):
        CapsuleGenerator.load(saved)


def test_a_folder_that_cannot_be_made(model, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match="cannot be made a folder of a model"):
        model.save(tmp_path / "file" / "model")


def test_the_layer_of_a_file_is_of_the_kind_that_was_saved(model, images, tmp_path):
    neurons = ExpertNeurons(3, 4, n_steps=3, batch_size=8, rebalance_steps=2, visible="logistic")
    other = clone(model).set_params(experts=neurons).fit(images)
    other.save(tmp_path)
    twin = CapsuleGenerator.load(tmp_path)
    assert isinstance(twin.experts_, ExpertNeurons)
    assert twin.experts_.visible == "logistic"
    assert np.array_equal(twin.transform(images[:3]), other.transform(images[:3]))
