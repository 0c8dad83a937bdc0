"""Capsules on capsules: the same as its layers one by one, down again, samples, manners."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from capsnp import (
    CapsuleDecoder,
    CapsuleGenerator,
    CapsuleLayer,
    CapsuleStack,
    ExpertCapsules,
    ExpertNeurons,
    MixtureModel,
)
from capsnp.errors import CheckpointError, NotFittedError, OptionError, ShapeError
from capsnp.functional import length, unsquash
from capsnp.models._directions import shrunk, stretched, unit
from capsnp.training import Observer, RunFolder, record

FEW = {"n_steps": 150, "batch_size": 32, "rebalance_steps": 100}
U = {"winner_steps": 80, "settled_steps": 120, "batch_size": 32, "settling_steps": 60}


def make_layers():
    return [
        (
            "first",
            CapsuleLayer(
                ExpertCapsules(8, 5, routing_iterations=1, **FEW),
                CapsuleDecoder(settled_counts=(1, 8), **U),
            ),
        ),
        (
            "second",
            CapsuleLayer(ExpertCapsules(4, 6, **FEW), CapsuleDecoder(settled_counts=(1, 4), **U)),
        ),
    ]


def make(layers=None, **options):
    return CapsuleStack(layers or make_layers(), MixtureModel(3, 8), **options)


@pytest.fixture(scope="module")
def features():
    """Three kinds of rows, each along two directions of its own, (300, 16, 4)."""
    rng = np.random.default_rng(0)
    kind = rng.integers(3, size=300)
    centres, directions = rng.normal(size=(3, 64)), rng.normal(size=(3, 2, 64))
    moved = np.einsum("nk,nkf->nf", rng.normal(size=(300, 2)), directions[kind])
    rows = centres[kind] + 0.7 * moved + 0.1 * rng.normal(size=(300, 64))
    return rows.reshape(300, 16, 4).astype("float32")


@pytest.fixture(scope="module")
def model(features):
    return make().fit(features)


def test_codes_of_every_layer_are_settled_ones(model, features):
    first, second = model.codes(features)
    assert first.shape == (300, 8, 5)
    assert second.shape == (300, 4, 6)
    assert max(np.max(length(first)), np.max(length(second))) < 1
    assert np.array_equal(model.transform(features), second)
    layer = model.layers_[1][1]
    h = layer.experts_.standardize(first)
    settled = layer.decoder_.settle(h, start=np.zeros((300, 4, 6), dtype="float32"))
    np.testing.assert_allclose(second, settled.y, atol=1e-5)


def test_the_way_down_keeps_what_the_top_holds(model, features):
    rebuilt = model.inverse_transform(model.transform(features))
    spread = features - features.mean(axis=0)
    error = np.sum((rebuilt - features) ** 2) / np.sum(spread**2)
    assert error < 0.4
    lower = model.inverse_transform(model.codes(features)[0], layer="first")
    assert np.sum((lower - features) ** 2) / np.sum(spread**2) < error
    by_hand = model.layers_[1][1].inverse_transform(model.transform(features))
    by_hand = model.layers_[0][1].inverse_transform(by_hand)
    np.testing.assert_array_equal(rebuilt, by_hand)


def test_one_layer_is_what_the_generator_has_between_features_and_codes(features):
    (name, layer), _ = make_layers()
    one = make([(name, layer)]).fit(features)
    generator = CapsuleGenerator(
        experts=layer.experts, decoder=layer.decoder, mixture=MixtureModel(3, 8)
    )
    generator.fit_capsules(features).fit_decoder(features)
    assert np.array_equal(one.transform(features), generator.encode(features))
    assert np.array_equal(one.visited_, generator.visited_)
    assert one.feature_lengths_[0] * 1.0 == pytest.approx(
        float(generator.feature_length_) * generator.experts_.scale_, rel=1e-5
    )
    L, M = one.metric(), generator.decoder_.metric() * generator.experts_.scale_
    np.testing.assert_allclose(L @ L.T, M @ M.T, atol=1e-4 * np.max(M @ M.T))


def test_a_pipeline_of_the_layers_has_the_same_codes(model, features):
    pipeline = Pipeline(make_layers()).fit(features)
    codes = pipeline.transform(features)
    assert np.array_equal(codes, model.transform(features))
    assert np.array_equal(pipeline.inverse_transform(codes), model.inverse_transform(codes))


def test_experts_alone_stack_too(features):
    layers = [("first", ExpertCapsules(8, 5, **FEW)), ("second", ExpertCapsules(4, 6, **FEW))]
    model = make(layers).fit(features)
    pipeline = Pipeline(layers).fit(features)
    codes = pipeline.transform(features)
    assert np.array_equal(codes, model.transform(features))
    assert np.array_equal(pipeline.inverse_transform(codes), model.inverse_transform(codes))
    mixed = make([("neurons", ExpertNeurons(6, 5, **FEW)), make_layers()[1]]).fit(features)
    assert mixed.transform(features).shape == (300, 4, 6)
    assert np.all(np.isfinite(mixed.sample(5)))


def test_metric_is_that_of_features(model, rng):
    y = rng.normal(size=(7, 4, 6)).astype("float32") * 0.1
    moved = model.inverse_transform(y) - model.inverse_transform(0 * y)
    expected = np.linalg.norm(moved.reshape(7, -1), axis=1)
    found = np.linalg.norm(y.reshape(7, -1) @ model.metric(), axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_routing_of_every_layer(model, features):
    below, above = model.routing(features[:3])
    assert below.c.shape == (16, 8)  # one iteration: the same for all rows
    assert above.c.shape == (3, 8, 4)
    assert below.z.shape == (3, 8, 5)
    codes = model.codes(features[:3])[0]
    np.testing.assert_array_equal(above.c, model.layers_[1][1].experts_.routing(codes).c)


@pytest.mark.parametrize("domain", ["full", "half", "visited"])
def test_one_capsule_of_the_top_draws(model, domain):
    codes = model.sample_codes(8, domain)
    assert np.array_equal(np.argmax(length(codes), axis=1), np.arange(8) % 4)
    assert np.all(np.sum(length(codes) > 0, axis=1) == 1)
    assert model.sample(8, domain, 2).shape == (8, 16, 4)


def test_single_capsules_have_the_data_s_mean_length_in_every_layer(model, features):
    inputs = [features, model.codes(features)[0]]
    for x, found, (_, layer) in zip(inputs, model.feature_lengths_, model.layers_, strict=True):
        away = (x - layer.experts_.mean_).reshape(len(x), -1)
        assert found == pytest.approx(np.mean(np.linalg.norm(away, axis=1)), rel=1e-4)
    drawn = model.draw(model.sample_codes(8, "half"))
    away = (drawn - features.mean(axis=0)).reshape(8, -1)
    np.testing.assert_allclose(np.linalg.norm(away, axis=1), model.feature_lengths_[0], rtol=1e-3)
    first = model.layers_[0][1]
    code = np.zeros((1, 8, 5), dtype="float32")
    code[0, 3, 0] = 0.5
    away = first.inverse_transform(code) - first.experts_.mean_
    scaled = first.experts_.mean_ + away * (model.feature_lengths_[0] / np.linalg.norm(away))
    np.testing.assert_allclose(model.draw(code, "first"), scaled, rtol=1e-3, atol=1e-4)


def test_joint_samples_are_like_the_data(model, features):
    drawn = model.sample(300)
    spread = features.std(axis=0)
    assert np.mean(np.abs(drawn.mean(axis=0) - features.mean(axis=0))) < 0.3 * spread.mean()
    to_data = np.linalg.norm((drawn[:50, None] - features[None]).reshape(50, 300, -1), axis=2)
    apart = np.linalg.norm((features[:50, None] - features[None]).reshape(50, 300, -1), axis=2)
    assert np.median(to_data.min(axis=1)) < np.median(apart)


def test_joint_samples_are_no_shorter_than_what_the_codes_hold(model, features):
    def size(x):
        return np.mean(length((x - features.mean(axis=0)).reshape(len(x), -1)))

    rebuilt = model.inverse_transform(model.transform(features))
    assert size(model.sample(1000)) == pytest.approx(size(rebuilt), rel=0.1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_stretched_codes_come_back(dtype):
    r = np.asarray([0.0, 1e-20, 1e-3, 0.5, 0.99, 0.9999], dtype=dtype)
    u = unit(np.random.default_rng(0).standard_normal((6, 4)).astype(dtype))
    y = u * r[:, None]
    t = stretched(y)
    np.testing.assert_allclose(
        length(t), r / np.sqrt(1 - r), rtol=2e-3 if dtype == "float32" else 1e-9
    )
    np.testing.assert_allclose(shrunk(t), y, rtol=1e-6, atol=1e-30)
    far = shrunk(np.asarray([[0.0, 1e30], [3e-30, 4e-30]], dtype=dtype))
    assert np.all(length(far) < 1)
    assert far[0, 1] > 0.999
    assert far[1, 1] > 0


def test_a_stack_that_has_learnt_nothing_still_draws(features):
    (name, layer), second = make_layers()
    layer.decoder.set_params(winner_steps=1, settled_steps=1, coefficient_scale=1e-20)
    drawn = make([(name, layer), second]).fit(features).sample(3)
    assert np.all(np.isfinite(drawn))


def test_state_and_restore(model, features):
    twin = make().restore(model.state())
    assert np.array_equal(twin.transform(features), model.transform(features))
    for domain in ("half", "visited", "codes"):
        assert np.array_equal(twin.sample(5, domain), model.sample(5, domain))
    state = model.state()
    del state["second.decoder.U"]
    with pytest.raises(CheckpointError, match=r"expected an array decoder\.U, got none"):
        make().restore(state)


def test_same_seed_same_everything(model, features):
    twin = make().fit(features)
    for name, array in model.state().items():
        assert array.tobytes() == twin.state()[name].tobytes(), name
    assert not np.array_equal(model.sample(4), model.sample(4, random_state=9))


class Stop(Observer):
    """Interrupts a stage at a step."""

    def after_step(self, training):
        if training.step == 50:
            raise KeyboardInterrupt


@pytest.mark.parametrize("stage", ["second-capsules", "first-decoder"])
def test_goes_on_after_an_interrupt_with_the_same_bits(model, features, stage, tmp_path):
    run = RunFolder.create(tmp_path / "run", {})

    def observers(name, *more):
        return () if name == "mixture" else (*record(run, save_every=20), *more)

    with run.lock():
        with pytest.raises(KeyboardInterrupt):
            make().fit(features, observers=lambda s: observers(s, *([Stop()] * (s == stage))))
        resumed = make().fit(features, observers=observers).state()
    for name, array in model.state().items():
        assert array.tobytes() == resumed[name].tobytes(), name
    names = {record["stage"] for record in run.metrics()}
    assert names == {"first-capsules", "first-decoder", "second-capsules", "second-decoder"}


def test_parameters_reach_into_layers(features):
    stack = make()
    assert stack.get_params()["second__experts__n_capsules"] == 4
    stack.set_params(second__experts__n_capsules=3, first__decoder__strength=0.2)
    assert clone(stack).get_params()["second__experts__n_capsules"] == 3
    stack.set_params(second=ExpertCapsules(2, 3, **FEW))
    assert stack.fit(features).transform(features).shape == (300, 2, 3)
    labels = np.arange(300) % 2
    pipeline = Pipeline(
        [
            ("stack", make([("only", ExpertCapsules(4, 3, **FEW))])),
            ("flat", FunctionTransformer(lambda codes: codes.reshape(len(codes), -1))),
            ("classifier", LogisticRegression()),
        ]
    )
    found = GridSearchCV(pipeline, {"stack__only__n_capsules": [2, 4]}, cv=2).fit(features, labels)
    assert set(found.best_params_) == {"stack__only__n_capsules"}


def test_every_library_finds_the_same_codes(library, model, features):
    if library.name == "numpy-read-only":
        pytest.skip("the model makes its arrays itself")
    twin = make(backend=library.backend.name).restore(model.state())
    np.testing.assert_allclose(
        twin.transform(features[:20]), model.transform(features[:20]), atol=1e-4
    )
    codes = model.transform(features[:20])
    np.testing.assert_allclose(
        twin.inverse_transform(codes), model.inverse_transform(codes), atol=1e-4
    )
    assert np.all(np.isfinite(unsquash(twin.sample_codes(3))))


def test_bad_input(model, features):
    with pytest.raises(OptionError, match=r"layers: expected a list of \(name, layer\), got \[\]"):
        CapsuleStack([]).fit(features)
    with pytest.raises(OptionError, match=r"layers: expected \(name, CapsuleLayer, .* got 'a'"):
        CapsuleStack(["a"]).fit(features)
    with pytest.raises(OptionError, match="layers: Names provided are not unique"):
        CapsuleStack([make_layers()[0]] * 2).fit(features)
    with pytest.raises(OptionError, match="dtype: expected 'float32' or 'float64', got 'half'"):
        make(dtype="half").fit(features)
    with pytest.raises(ShapeError, match=r"X: expected shape \(N, I, P\)"):
        make().fit(features[:, :, 0])
    with pytest.raises(ShapeError, match=r"X: expected shape \(N, I, P\) = \(any, 16, 4\)"):
        model.transform(features[:, :7])
    with pytest.raises(OptionError, match="layer: expected 'first' or 'second', got 'third'"):
        model.inverse_transform(model.transform(features[:2]), layer="third")
    with pytest.raises(OptionError, match="capsule: expected 0 to 3, got 4"):
        model.sample(2, "half", 4)
    with pytest.raises(OptionError, match="capsule: expected none with the domain 'codes'"):
        model.sample(2, "codes", 1)
    with pytest.raises(NotFittedError, match="CapsuleStack has no layers_ yet: call fit first"):
        make().transform(features)
    with pytest.raises(NotFittedError, match="CapsuleLayer has no decoder_ yet"):
        CapsuleLayer().transform(features)
