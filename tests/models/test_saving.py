"""Every estimator in a file and back: arrays, parameters, and what is refused."""

import errno
import os

import numpy as np
import pytest
from sklearn.base import clone

from capsnp import (
    RBM,
    CapsuleDecoder,
    CapsuleGenerator,
    CapsuleStack,
    ConvAutoencoder,
    DeepBeliefNetwork,
    ExpertCapsules,
    ExpertNeurons,
    MixtureModel,
)
from capsnp.errors import BackendError, CheckpointError, NotFittedError, OptionError, RunError
from capsnp.training import read_checkpoint, write_checkpoint
from tests.models.kinds import AUTOENCODER, DECODER, KINDS, LAYER, MIXTURE, Kind, rows

FILE = "model.safetensors"
NEURONS = ExpertNeurons(3, 4, n_steps=4, batch_size=8, rebalance_steps=2, visible="logistic")
BITS = rows(9).round()


def machine(X=BITS, **options):
    return Kind(RBM(4, n_iter=2, batch_size=8, random_state=5, **options), X, "k", (1, 2))


MORE = {
    "RBM, kept chains": machine(algorithm="pcd", dtype="float64", n_chains=7),
    "RBM, tempered": machine(algorithm="pt", n_temperatures=3, hidden="relu"),
    "RBM, gaussian": machine(rows(9) + np.linspace(0, 5, 9), sparsity_target=0.1),
    "RBM, categorical": machine(np.tile(np.eye(3), (8, 3)), visible="categorical", n_categories=3),
    "DeepBeliefNetwork, gaussian": Kind(
        DeepBeliefNetwork([RBM(3, n_iter=2, batch_size=8), 2], rbm=RBM(n_iter=2), batch_size=8),
        rows(5) + np.linspace(0, 5, 5),
        "rbm__n_iter",
        (1, 2),
    ),
    "CapsuleGenerator, neurons": KINDS["CapsuleGenerator"]._replace(
        estimator=CapsuleGenerator(AUTOENCODER, NEURONS, DECODER, MIXTURE, random_state=4)
    ),
    "CapsuleStack, experts": KINDS["CapsuleStack"]._replace(
        estimator=CapsuleStack([("low", NEURONS), ("high", LAYER)], MIXTURE, dtype="float64")
    ),
}


def fitted(kind):
    return clone(kind.estimator).fit(kind.X, kind.y)


@pytest.fixture(scope="module", params=KINDS)
def model(request):
    return fitted(KINDS[request.param])


@pytest.fixture
def saved(model, tmp_path):
    model.save(tmp_path)
    return tmp_path


def learned(model):
    """Names of what `fit` has found."""
    return {name for name in vars(model) if name.endswith("_")}


def expect_same(twin, model):
    state, found = model.state(), twin.state()
    assert found.keys() == state.keys()
    for name, array in state.items():
        assert found[name].dtype == array.dtype, name
        np.testing.assert_array_equal(found[name], array, err_msg=name)


@pytest.mark.parametrize("kind", (KINDS | MORE).values(), ids=(KINDS | MORE).keys())
def test_everything_comes_back(kind, tmp_path):
    model = fitted(kind)
    model.save(tmp_path / "deep" / "folder")
    twin = type(model).load(tmp_path / "deep" / "folder")
    assert repr(twin.get_params()) == repr(model.get_params())
    assert learned(twin) == learned(model)
    expect_same(twin, model)
    for name in ("transform", "free_energy", "score_samples"):
        if hasattr(model, name):
            of_both = (getattr(one, name)(kind.X) for one in (twin, model))
            np.testing.assert_array_equal(*of_both, err_msg=name)
    twin.save(tmp_path / "again")
    again, before = (tmp_path / folder / FILE for folder in ("again", "deep/folder"))
    assert again.read_bytes() == before.read_bytes()


@pytest.mark.parametrize("kind", (KINDS | MORE).values(), ids=(KINDS | MORE).keys())
def test_another_library_can_load_it(kind, tmp_path):
    pytest.importorskip("array_api_strict")
    model = fitted(kind)
    model.save(tmp_path)
    strict = type(model).load(tmp_path, backend="array-api-strict")
    expect_same(strict, model)
    backends = {value for name, value in strict.get_params().items() if name.endswith("backend")}
    assert backends == (set() if isinstance(model, MixtureModel) else {"array-api-strict"})
    if hasattr(model, "transform"):
        codes = (one.transform(kind.X) for one in (strict, model))
        np.testing.assert_allclose(*codes, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["ConvAutoencoder", "ExpertCapsules", "ExpertNeurons", "RBM"])
def test_what_is_loaded_learns_on(name, tmp_path):
    kind = KINDS[name]
    model = fitted(kind)
    model.save(tmp_path)
    loaded = type(model).load(tmp_path).partial_fit(kind.X[:8])
    restored = clone(model).restore(model.state()).partial_fit(kind.X[:8])
    expect_same(loaded, restored)
    assert any(np.any(loaded.state()[name] != array) for name, array in model.state().items())


# --- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_a_damaged_file(model, saved, damage):
    data = bytearray((saved / FILE).read_bytes())
    data[-7] ^= 1
    (saved / FILE).write_bytes({"cut": data[:100], "flipped": data, "empty": b""}[damage])
    with pytest.raises(CheckpointError, match=f"{FILE}: expected a whole checkpoint"):
        type(model).load(saved)


def test_a_file_of_another_kind(model, saved):
    name, other = type(model).__name__, MixtureModel if isinstance(model, RBM) else RBM
    with pytest.raises(CheckpointError, match=f"{FILE}: expected {other.__name__}, got {name}$"):
        other.load(saved)


def test_a_folder_without_a_model(model, tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(RunError, match=r"expected a folder with a trained model \(model\."):
            type(model).load(folder)


def test_a_folder_that_cannot_be_made(model, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match="file/model: cannot be made a folder of a model"):
        model.save(tmp_path / "file" / "model")


def test_a_full_disk_leaves_the_older_model(model, saved, monkeypatch):
    before = (saved / FILE).read_bytes()

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match=rf"{FILE}: cannot be written \(No space left"):
        model.save(saved)
    assert [path.name for path in saved.iterdir()] == [FILE]
    assert (saved / FILE).read_bytes() == before


def test_a_backend_that_is_not_there(model, saved, monkeypatch):
    with pytest.raises(OptionError, match="backend: expected one of numpy"):
        type(model).load(saved, backend="abacus")
    monkeypatch.setitem(__import__("sys").modules, "array_api_compat.cupy", None)
    with pytest.raises(BackendError, match="pip install"):
        type(model).load(saved, backend="cupy")


@pytest.mark.parametrize("name", [name for name in KINDS if name != "CapsuleGenerator"])
def test_what_is_not_fitted_is_not_saved(name, tmp_path):
    with pytest.raises((NotFittedError, ValueError), match="fit"):
        clone(KINDS[name].estimator).save(tmp_path / "folder")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("kind", "array", "message"),
    [
        ("RBM", "intercept_hidden", "expected a model of this version .*intercept_hidden"),
        ("ExpertCapsules", "bias", "expected a model of this version .*bias"),
        ("ConvAutoencoder", "bias2", r"state: expected arrays \['bias2'\]"),
        ("CapsuleGenerator", "experts.W", r"expected an array experts\.W, got none"),
        ("CapsuleGenerator", "autoencoder.bias2", r"autoencoder: state: expected .*\['bias2'\]"),
        ("CapsuleGenerator", "mixture.means", "mixture: state: expected .* missing means"),
        ("CapsuleStack", "high.decoder.U", r"high: expected an array decoder\.U, got none"),
    ],
)
def test_an_array_that_is_missing_is_named(kind, array, message, tmp_path):
    model = fitted(KINDS[kind])
    model.save(tmp_path)
    arrays, info = read_checkpoint(tmp_path / FILE)
    del arrays[array]
    write_checkpoint(tmp_path / FILE, arrays, info=info)
    with pytest.raises(CheckpointError, match=f"{FILE}: {message}"):
        type(model).load(tmp_path)


# --- a generator's parts -----------------------------------------------------------------------


def test_parts_that_are_not_fitted_are_left_out(tmp_path):
    images = KINDS["CapsuleGenerator"].X
    clone(KINDS["CapsuleGenerator"].estimator).fit_autoencoder(images).save(tmp_path)
    loaded = CapsuleGenerator.load(tmp_path)
    assert learned(loaded) == {"autoencoder_"}
    with pytest.raises(NotFittedError):
        loaded.sample(1)


def test_a_state_goes_into_another_model():
    kind = MORE["CapsuleGenerator, neurons"]
    model = fitted(kind)
    other = clone(model).restore(model.state())
    np.testing.assert_array_equal(other.transform(kind.X), model.transform(kind.X))
    for domain in ("full", "half", "visited", "codes"):
        np.testing.assert_array_equal(other.sample(5, domain), model.sample(5, domain))


def test_a_later_change_of_defaults_leaves_a_saved_model(tmp_path, monkeypatch):
    CapsuleGenerator().save(tmp_path)
    for kind in (ConvAutoencoder, ExpertCapsules, CapsuleDecoder):
        monkeypatch.setitem(kind.__init__.__kwdefaults__, "batch_size", 7)
    loaded = CapsuleGenerator.load(tmp_path)
    assert CapsuleDecoder().batch_size == 7
    for part in (loaded.autoencoder, loaded.experts, loaded.decoder):
        assert part.batch_size >= 100
