"""Settings: defaults, presets, layers, and what is refused."""

import tomllib

import pytest
import tomli_w

from capsnp.errors import BackendError, OptionError, RunError
from capsnp.models import PAPER, RBM, CapsuleDecoder, ExpertCapsules, ExpertNeurons
from capsnp.reproduce.given import flat, parse_assignments, read_settings
from capsnp.reproduce.presets import PRESETS
from capsnp.reproduce.settings import (
    checked,
    from_config,
    resolve,
    schema,
)


@pytest.mark.parametrize(
    ("table", "estimator"),
    [("capsules", ExpertCapsules), ("neurons", ExpertNeurons), ("rbm", RBM)],
)
def test_every_parameter_of_the_estimators_is_a_setting(table, estimator):
    parameters = set(estimator().get_params()) - {"random_state", "dtype", "backend", "verbose"}
    names = {name for name in schema() if name.startswith(f"{table}.")}
    assert {f"{table}.{name}" for name in parameters} == names


@pytest.mark.parametrize("model", ["capsules", "neurons"])
def test_a_run_has_one_model_and_keeps_its_table_alone(model):
    settings = resolve({"model": model, f"{model}.n_capsules": 7})
    experts = settings.generator().experts
    assert isinstance(experts, ExpertNeurons if model == "neurons" else ExpertCapsules)
    assert experts.n_capsules == settings.layer["n_capsules"] == 7
    assert {"capsules", "neurons"} & set(settings.nested()) == {model}
    assert from_config(settings.nested()) == settings
    with pytest.raises(
        OptionError, match="model: expected one of 'capsules', 'neurons', 'rbm', got"
    ):
        resolve({"model": "perceptron"})


def test_a_run_of_a_machine_keeps_what_a_machine_needs():
    settings = resolve(
        {"model": "rbm", "rbm.k": 3, "binary.rule": "stochastic", "monitor.every": 7}
    )
    tables = {name for name, value in settings.nested().items() if isinstance(value, dict)}
    assert tables == {"rbm", "binary", "monitor", "evaluation"}
    assert "feature_memory" not in settings.nested()
    assert from_config(settings.nested()) == settings
    model = settings.estimator("rbm")
    assert (model.k, model.random_state, model.dtype, model.backend) == (3, 0, "float32", "numpy")


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_trains_a_machine_by_kept_chains_at_a_falling_rate(preset):
    table = resolve({"preset": preset}).table("rbm")
    assert (table["algorithm"], table["decay"], table["visible"]) == ("pcd", "linear", "bernoulli")
    assert table["centered"]


def test_defaults_are_the_estimators_own():
    settings = resolve({"data": "mnist"})
    assert settings["preset"] == "default"
    assert settings.table("decoder") == {
        name: value
        for name, value in CapsuleDecoder().get_params().items()
        if name not in ("random_state", "dtype", "backend")
    }


def test_digits_take_the_small_preset_and_others_the_default():
    assert resolve()["preset"] == "small"
    assert resolve({"data": "fashion-mnist"})["preset"] == "default"


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_makes_a_model(preset):
    settings = resolve({"preset": preset})
    assert settings.generator().experts.n_steps == settings["capsules.n_steps"]


def test_the_paper_to_the_letter():
    settings = resolve({"preset": "paper"})
    assert {name: settings[f"capsules.{name}"] for name in PAPER} == PAPER
    assert settings["decoder.settled_steps"] == 0
    assert settings["decoder.coefficient_scale"] is None


def test_the_seed_dtype_and_backend_go_to_all_parts():
    model = resolve({"seed": 7, "dtype": "float64"}).generator()
    parts = (model, model.autoencoder, model.experts, model.decoder, model.mixture)
    assert {part.random_state for part in parts} == {7}
    assert {part.dtype for part in parts[:4]} == {"float64"}
    assert {part.backend for part in parts[:4]} == {"numpy"}


def test_later_layers_are_stronger_than_earlier_ones_and_than_the_preset():
    settings = resolve({"preset": "small", "capsules.n_steps": 5}, {"capsules.n_steps": 6})
    assert settings["capsules.n_steps"] == 6


def test_settings_survive_toml():
    settings = resolve(parse_assignments(["capsules.n_winners=none", "limit=50", "dtype=float64"]))
    assert settings["capsules.n_winners"] is None
    config = tomllib.loads(tomli_w.dumps(settings.nested()))
    assert from_config(config | {"versions": {"numpy": "2"}}) == settings


def test_a_file_is_read_as_a_run_writes_it(tmp_path):
    file = tmp_path / "settings.toml"
    file.write_text('seed = 3\n[decoder]\nsettled_counts = [1, 2]\n[versions]\npython = "3"\n')
    layer = read_settings(file)
    assert layer == {"seed": 3, "decoder.settled_counts": [1, 2]}
    assert resolve(layer)["decoder.settled_counts"] == (1, 2)


@pytest.mark.parametrize("text", ["seed = ", "\udcff"])
def test_a_file_that_is_no_toml(tmp_path, text):
    file = tmp_path / "settings.toml"
    file.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(OptionError, match=r"config: .*settings\.toml is no TOML file"):
        read_settings(file)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(OptionError, match="cannot be read"):
        read_settings(tmp_path / "settings.toml")


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("capsules.n_step", "capsules.n_steps"),
        ("n_capsules", "capsules.n_capsules"),
        ("decoder.strenght", "decoder.strength"),
        ("sed", "seed"),
    ],
)
def test_an_unknown_name_gets_the_nearest_known_ones(name, near):
    with pytest.raises(OptionError, match=rf"^{name}: no such setting; nearest: .*{near}\b"):
        checked(name, 1)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("capsules.n_steps", "many", "a whole number"),
        ("capsules.n_steps", 1.5, "a whole number"),
        ("capsules.n_steps", True, "a whole number"),
        ("capsules.learning_rate", "fast", "a finite number"),
        ("capsules.learning_rate", float("nan"), "a finite number"),
        ("capsules.centre", 1, "true or false"),
        ("capsules.agreement", "cosin", "one of 'cosine', 'dot'"),
        ("capsules.n_winners", "all", "a whole number or 'none'"),
        ("decoder.settled_counts", 3, "a list"),
        ("decoder.settled_counts", ["a"], "a list"),
        ("preset", "big", "one of 'default', 'colour', 'small', 'paper'"),
        ("data", 5, "a text"),
    ],
)
def test_a_value_of_another_type(name, value, expected):
    with pytest.raises(OptionError, match=f"^{name}: expected {expected}.*got"):
        checked(name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("capsules.n_winners", 21),
        ("autoencoder.dropout", 1.0),
        ("decoder.momentum", 2.0),
        ("mixture.n_components", 0),
        ("evaluation.n_images", 0),
        ("limit", 0),
        ("seed", -1),
        ("checkpoint_seconds", -1.0),
        ("rbm.n_chains", 0),
        ("rbm.momentum", 1.5),
        ("binary.seed", -1),
        ("monitor.every", 0),
        ("monitor.n_rows", 0),
    ],
)
def test_a_value_outside_its_range_is_refused_at_once(name, value):
    with pytest.raises(OptionError, match=rf"^{name}: expected"):
        resolve({name: value})


def test_an_assignment_without_equals():
    with pytest.raises(OptionError, match="expected name=value, got 'seed'"):
        parse_assignments(["seed"])


def test_an_unknown_backend():
    with pytest.raises(OptionError, match=r"backend: expected one of numpy, .* got 'nmpy'"):
        resolve({"backend": "nmpy"})


def test_a_backend_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "array_api_compat.cupy", None)
    with pytest.raises(BackendError, match=r"pip install 'capsnp\[cuda12\]'"):
        resolve({"backend": "cupy"})


def test_the_backend_is_the_environments_unless_it_is_given(monkeypatch):
    monkeypatch.setenv("CAPSNP_BACKEND", "array-api-strict")
    assert resolve()["backend"] == "array-api-strict"
    assert resolve({"backend": "numpy"})["backend"] == "numpy"


def test_a_run_with_a_setting_of_another_version():
    with pytest.raises(RunError, match=r"capsules\.charm, a setting of another version"):
        from_config({"capsules": {"charm": 1}})


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"seed": "three"}, "config.toml: seed: expected a whole number, got 'three'"),
        ({"capsules": {"n_steps": 0}}, "config.toml: capsules.n_steps: expected .* from 1, got 0"),
    ],
)
def test_a_run_whose_settings_are_damaged(config, message):
    with pytest.raises(RunError, match=message):
        from_config(config, {"seed": 1})


def test_the_backend_of_a_run_may_be_missing_where_another_is_chosen():
    assert from_config({"backend": "abacus"}, {"backend": "numpy"})["backend"] == "numpy"
    with pytest.raises(OptionError, match="backend: expected one of"):
        from_config({"backend": "abacus"})


def test_flat_names():
    assert dict(flat({"a": {"b": {"c": 1}}, "d": 2})) == {"a.b.c": 1, "d": 2}
