"""Every estimator in scikit-learn's hands: cloned, set, in a pipeline, under a search."""

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline

import capsnp
from capsnp import CapsuleDecoder
from tests.models.kinds import KINDS, N


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


def learned(estimator: BaseEstimator) -> dict[str, np.ndarray]:
    """Its arrays."""
    return dict(estimator.state())


def test_every_estimator_is_here():
    models = {
        name
        for name in capsnp.__all__
        if isinstance(getattr(capsnp, name), type)
        and issubclass(getattr(capsnp, name), BaseEstimator)
    }
    assert models == set(KINDS)


def test_clones_have_the_options_and_learn_the_same(kind):
    one = clone(kind.estimator)
    assert one is not kind.estimator
    assert repr(one.get_params()) == repr(kind.estimator.get_params())
    before = repr(one.get_params())
    assert one.fit(kind.X, kind.y) is one
    assert repr(one.get_params()) == before  # what is learnt is kept elsewhere
    other = clone(one).fit(kind.X, kind.y)
    first, second = learned(one), learned(other)
    assert first.keys() == second.keys()
    assert first
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name], err_msg=name)


def test_parameters_are_set_by_their_names(kind):
    estimator = clone(kind.estimator)
    for value in kind.values[::-1]:
        assert estimator.set_params(**{kind.parameter: value}) is estimator
        assert estimator.get_params()[kind.parameter] == value
    with pytest.raises(ValueError, match="Invalid parameter 'n_wheels'"):
        estimator.set_params(n_wheels=4)
    everything = clone(kind.estimator).get_params(deep=False)
    assert repr(clone(kind.estimator).set_params(**everything)) == repr(kind.estimator)


class Halved(TransformerMixin, BaseEstimator):
    """A first step."""

    def fit(self, X, y=None):  # noqa: ARG002
        self.n_features_in_ = X.shape[-1]
        return self

    def transform(self, X):
        return 0.5 * X if np.any(X % 1) else X


def test_at_the_end_of_a_pipeline(kind):
    pipeline = Pipeline([("halved", Halved()), ("model", clone(kind.estimator))])
    pipeline.set_params(**{f"model__{kind.parameter}": kind.values[1]})
    alone = clone(kind.estimator).set_params(**{kind.parameter: kind.values[1]})
    pipeline.fit(kind.X, kind.y)
    alone.fit(Halved().transform(kind.X), kind.y)
    for name, array in learned(alone).items():
        np.testing.assert_array_equal(array, learned(pipeline["model"])[name], err_msg=name)


def test_at_the_start_of_a_pipeline(kind):
    """What it gives goes on; a decoder, whose codes are given, ends a pipeline."""
    if not hasattr(kind.estimator, "transform"):
        assert isinstance(kind.estimator, CapsuleDecoder)
        return
    pipeline = Pipeline([("model", clone(kind.estimator)), ("halved", Halved())])
    given = pipeline.fit(kind.X, kind.y).transform(kind.X)
    assert given.shape[0] == N
    np.testing.assert_array_equal(given, Halved().transform(pipeline["model"].transform(kind.X)))


def test_under_a_search(kind):
    scoring = None if hasattr(kind.estimator, "score") else rebuilt
    grid = {kind.parameter: list(kind.values)}
    search = GridSearchCV(kind.estimator, grid, cv=2, scoring=scoring, error_score="raise")
    search.fit(kind.X, kind.y)
    assert np.all(np.isfinite(search.cv_results_["mean_test_score"]))
    assert search.best_params_[kind.parameter] in kind.values
    assert search.best_estimator_.get_params()[kind.parameter] in kind.values


def rebuilt(estimator, X, y=None):
    """Minus the mean squared error of what is rebuilt, for estimators without a score."""
    codes, wanted = (X, y) if isinstance(estimator, CapsuleDecoder) else (estimator.transform(X), X)
    return -float(np.mean((estimator.inverse_transform(codes) - wanted) ** 2))


@pytest.mark.parametrize(("name", "prefix"), [("RBM", "rbm"), ("DeepBeliefNetwork", "deepbelief")])
def test_columns_have_names(name, prefix):
    model = clone(KINDS[name].estimator)
    with pytest.raises(NotFittedError):
        model.get_feature_names_out()
    width = model.fit_transform(KINDS[name].X).shape[1]
    names = list(model.get_feature_names_out())
    assert len(names) == width
    assert all(found.startswith(prefix) and found.endswith(str(n)) for n, found in enumerate(names))


def test_frames_come_out_where_they_are_asked_for():
    """RBM and deep belief networks name what they give; frames are made by pandas or polars."""
    frames = pytest.importorskip("pandas", reason="set_output makes frames by pandas")
    for name in ("RBM", "DeepBeliefNetwork"):
        model = clone(KINDS[name].estimator).set_output(transform="pandas")
        frame = model.fit(KINDS[name].X).transform(KINDS[name].X)
        assert isinstance(frame, frames.DataFrame)
        assert list(frame.columns) == list(model.get_feature_names_out())
        bare = model.set_output(transform="default").transform(KINDS[name].X)
        np.testing.assert_array_equal(frame.to_numpy(), bare)
        with config_context(transform_output="pandas"):
            again = clone(KINDS[name].estimator).fit_transform(KINDS[name].X)
        assert isinstance(again, frames.DataFrame)
