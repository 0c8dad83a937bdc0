"""A machine in a file and back, and what is refused."""

import json

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from capsnp import RBM, CapsuleGenerator
from capsnp.errors import CheckpointError, OptionError, RunError
from capsnp.models import ConvAutoencoder
from capsnp.training import read_checkpoint, write_checkpoint

FILE = "model.safetensors"
BITS = (np.random.default_rng(2).random((60, 9)) < 0.4).astype("float32")


@pytest.fixture
def saved(tmp_path):
    RBM(4, n_iter=2, batch_size=10, algorithm="pcd", k=2).fit(BITS).save(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("options", "X"),
    [
        ({"algorithm": "cd", "l1": 0.01}, BITS),
        ({"algorithm": "pcd", "dtype": "float64", "n_chains": 7}, BITS),
        ({"algorithm": "pt", "n_temperatures": 3, "hidden": "relu"}, BITS),
        ({"visible": "gaussian", "sparsity_target": 0.1}, BITS + np.linspace(0, 5, 9)),
        ({"visible": "categorical", "n_categories": 3}, np.tile(np.eye(3), (20, 3))),
    ],
)
def test_everything_comes_back(tmp_path, options, X):
    model = RBM(4, n_iter=2, batch_size=10, random_state=5, **options).fit(X)
    model.save(tmp_path / "deep" / "folder")
    loaded = RBM.load(tmp_path / "deep" / "folder")
    assert loaded.get_params() | {"backend": None} == model.get_params()
    for name in ("transform", "free_energy", "score_samples", "gibbs"):
        np.testing.assert_array_equal(getattr(loaded, name)(X), getattr(model, name)(X))
    np.testing.assert_array_equal(loaded.sample(5, n_steps=3), model.sample(5, n_steps=3))
    for name in ("betas_", "exchange_rates_"):
        assert hasattr(loaded, name) == (options.get("algorithm") == "pt")
    loaded.save(tmp_path / "again")
    assert (tmp_path / "again" / FILE).read_bytes() == (
        tmp_path / "deep" / "folder" / FILE
    ).read_bytes()


def test_another_library_can_load_it(saved):
    here, strict = RBM.load(saved), RBM.load(saved, backend="array-api-strict")
    np.testing.assert_allclose(strict.transform(BITS), here.transform(BITS), rtol=1e-6)


def test_what_is_not_fitted_is_not_saved(tmp_path):
    with pytest.raises(NotFittedError):
        RBM().save(tmp_path)
    assert not list(tmp_path.iterdir())


def test_files_of_another_kind(saved, tmp_path):
    with pytest.raises(CheckpointError, match=r"expected CapsuleGenerator, got RBM$"):
        CapsuleGenerator.load(saved)
    images = np.random.default_rng(0).random((8, 20, 20, 1), dtype="float32")
    part = CapsuleGenerator(ConvAutoencoder(8, n_steps=1, batch_size=8)).fit_autoencoder(images)
    part.save(tmp_path / "capsules")
    with pytest.raises(CheckpointError, match=r"expected RBM, got CapsuleGenerator$"):
        RBM.load(tmp_path / "capsules")
    with pytest.raises(RunError, match="expected a folder with a trained model"):
        RBM.load(tmp_path / "nothing")


def rewrite(folder, *, without=(), info=None):
    arrays, kept = read_checkpoint(folder / FILE)
    arrays = {name: value for name, value in arrays.items() if name not in without}
    write_checkpoint(folder / FILE, arrays, info=kept | (info or {}))


def test_files_of_another_version(saved):
    parameters = json.loads(read_checkpoint(saved / FILE).info["parameters"])
    rewrite(saved, info={"parameters": json.dumps(parameters | {"charm": 3})})
    with pytest.raises(CheckpointError, match=f"{FILE}: is of another version of capsnp.* charm$"):
        RBM.load(saved)
    rewrite(saved, info={"parameters": "{"})
    with pytest.raises(CheckpointError, match=f"{FILE}: expected a model of this version"):
        RBM.load(saved)


def test_an_array_that_is_missing(saved):
    rewrite(saved, without=("intercept_hidden",))
    with pytest.raises(CheckpointError, match=r"of this version.*intercept_hidden"):
        RBM.load(saved)


def test_a_byte_that_changed(saved):
    data = bytearray((saved / FILE).read_bytes())
    data[-5] ^= 1
    (saved / FILE).write_bytes(data)
    with pytest.raises(CheckpointError, match="cut short or damaged"):
        RBM.load(saved)


def test_an_unknown_backend(saved):
    with pytest.raises(OptionError, match="backend: expected one of numpy"):
        RBM.load(saved, backend="abacus")
