"""The generator: every stage in one object, codes, samples of every domain, save and load."""

import numpy as np
import pytest

from capsnp.errors import NotFittedError, OptionError, ShapeError
from capsnp.functional import length, unsquash
from capsnp.models import (
    CapsuleDecoder,
    CapsuleGenerator,
    ConvAutoencoder,
    ExpertCapsules,
    MixtureModel,
)


def make(**options):
    return CapsuleGenerator(
        ConvAutoencoder(
            filters=8, kernel=5, capsule_dim=4, n_steps=300, learning_rate=3e-3, batch_size=32
        ),
        ExpertCapsules(6, 5, n_steps=300, batch_size=32, rebalance_steps=300),
        CapsuleDecoder(winner_steps=150, settled_steps=150, batch_size=32, settled_counts=(1, 6)),
        MixtureModel(n_components=3, n_principal=8),
        **options,
    )


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    row, column = np.mgrid[:16, :16]
    centre = rng.uniform(5, 11, (200, 2, 1, 1))
    far = (row - centre[:, 0]) ** 2 + (column - centre[:, 1]) ** 2
    return np.exp(-far / 8).astype("float32")[..., None]


@pytest.fixture(scope="module")
def model(images):
    return make().fit(images)


def test_codes_and_back(model, images):
    codes = model.transform(images[:20])
    assert codes.shape == (20, 6, 5)
    assert codes.dtype == np.float32
    assert np.max(length(codes)) < 1
    rebuilt = model.inverse_transform(codes)
    assert rebuilt.shape == (20, 16, 16, 1)
    assert rebuilt.min() >= 0
    assert rebuilt.max() <= 1
    error = np.mean((rebuilt - images[:20]) ** 2)
    assert error < np.mean((np.mean(images, axis=0) - images[:20]) ** 2)


def test_routed_codes_keep_the_winners(model, images):
    codes = model.transform(images[:20], inference="route")
    assert np.all(np.sum(length(codes) > 0, axis=1) == 1)
    three = model.transform(images[:20], inference="route", n_on=3)
    assert np.all(np.sum(length(three) > 0, axis=1) == 3)
    settled = model.transform(images[:20], n_on=2)
    assert np.all(np.sum(length(settled) > 0, axis=1) == 2)


@pytest.mark.parametrize("domain", ["full", "half", "visited"])
def test_one_capsule_is_on(model, domain):
    codes = model.sample_codes(12, domain)
    assert np.array_equal(np.argmax(length(codes), axis=1), np.arange(12) % 6)
    assert np.all(np.sum(length(codes) > 0, axis=1) == 1)
    assert np.all(length(model.sample_codes(5, domain, capsule=3))[:, 3] > 0)


def test_domains_are_what_they_say(model):
    half = model.sample_codes(600, "half", capsule=2)[:, 2]
    assert np.all(half @ model.mean_directions_[2] >= 0)
    full = model.sample_codes(600, "full", capsule=2)[:, 2]
    assert 0.4 < np.mean(full @ model.mean_directions_[2] > 0) < 0.6
    visited = model.sample_codes(50, "visited", capsule=2)[:, 2]
    directions = visited / length(visited)[:, None]
    cosines = directions @ model.visited_[2].T
    np.testing.assert_allclose(np.max(cosines, axis=1), 1, atol=1e-5)


def test_single_capsules_are_drawn_at_the_data_s_mean_length(model, images):
    h = model._standardized(model.features(images))[:]
    lengths = np.linalg.norm(h.reshape(len(h), -1), axis=1)
    assert float(model.feature_length_) == pytest.approx(np.mean(lengths), rel=1e-4)
    codes = model.sample_codes(6, "half")
    short = model.decoder_.inverse_transform(codes)
    factor = np.mean(lengths) / np.linalg.norm(short.reshape(6, -1), axis=1)
    raw = short * factor[:, None, None] * model.experts_.scale_ + model.experts_.mean_
    want = model.autoencoder_.inverse_transform(raw.astype("float32"))
    np.testing.assert_allclose(model.draw(codes), want, atol=1e-4)
    np.testing.assert_allclose(model.draw(codes * 0.5), want, atol=1e-4)  # length does not count
    assert np.all(np.isfinite(model.draw(codes * 0)))


def test_joint_samples_come_from_the_mixture_in_the_decoder_s_metric(model):
    codes = model.sample_codes(2000, "codes")
    z = unsquash(codes).reshape(2000, -1) @ model.decoder_.metric()
    np.testing.assert_allclose(
        model.mixture_.inverse_transform(model.mixture_.transform(z)), z, atol=0.05 * np.std(z)
    )


def test_joint_codes_have_every_capsule(model):
    codes = model.sample_codes(30, "codes")
    assert np.all(length(codes) > 0)
    assert np.max(length(codes)) < 1
    assert model.sample(3).shape == (3, 16, 16, 1)


def test_same_seed_same_everything(model, images):
    twin = make().fit(images)
    for domain in ("full", "half", "visited", "codes"):
        assert model.sample(4, domain).tobytes() == twin.sample(4, domain).tobytes()
    assert not np.array_equal(model.sample(4, "full"), model.sample(4, "full", random_state=9))


def test_save_and_load(model, images, tmp_path):
    model.save(tmp_path)
    twin = CapsuleGenerator.load(tmp_path)
    assert np.array_equal(twin.transform(images[:9]), model.transform(images[:9]))
    for domain in ("full", "visited", "codes"):
        assert np.array_equal(twin.sample(4, domain), model.sample(4, domain))
    assert twin.get_params()["experts__n_capsules"] == 6


def test_features_in_a_folder_are_the_same(model, images, tmp_path):
    mapped = model.features(images, cache=tmp_path)
    assert isinstance(mapped, np.memmap)
    assert np.array_equal(mapped, model.features(images))


def test_bad_input(model, images):
    with pytest.raises(OptionError, match=r"domain: expected 'full', .* 'codes', got 'quarter'"):
        model.sample(2, "quarter")
    with pytest.raises(OptionError, match="capsule: expected 0 to 5, got 6"):
        model.sample(2, "half", capsule=6)
    with pytest.raises(OptionError, match=r"capsule: expected a whole number from 0, got 1.5"):
        model.sample(2, "half", capsule=1.5)
    with pytest.raises(OptionError, match="capsule: expected none with the domain 'codes'"):
        model.sample(2, "codes", capsule=1)
    for n in (0, 1.5, "a", None):
        with pytest.raises(OptionError, match=f"n: expected a whole number from 1, got {n!r}"):
            model.sample(n)
    with pytest.raises(OptionError, match="random_state: expected a whole number from 0, got -1"):
        model.sample(2, random_state=-1)
    with pytest.raises(OptionError, match="random_state: expected a whole number from 0, got 'a'"):
        make().set_params(random_state="a").fit(images)
    with pytest.raises(OptionError, match="inference: expected 'settle' or 'route', got 'guess'"):
        model.transform(images[:2], inference="guess")
    with pytest.raises(ShapeError, match=r"codes: expected shape \(N, J, D\)"):
        model.inverse_transform(np.zeros((2, 5, 5), dtype="float32"))
    with pytest.raises(NotFittedError, match="call fit first"):
        make().sample(1)
