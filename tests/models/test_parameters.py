"""Parameters as JSON and back: the same values, and estimators of this package alone."""

import json
import re

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.preprocessing import StandardScaler

from capsnp import (
    RBM,
    CapsuleDecoder,
    CapsuleGenerator,
    CapsuleLayer,
    CapsuleStack,
    DeepBeliefNetwork,
    ExpertCapsules,
)
from capsnp.errors import CheckpointError, OptionError
from capsnp.models._parameters import made, plain_parameters
from capsnp.training import read_checkpoint, write_checkpoint
from tests.models.kinds import KINDS

FILE = "model.safetensors"


def through_json(model, backend=None):
    return made(type(model), json.loads(json.dumps(plain_parameters(model))), backend)


def test_lists_and_tuples_come_back_as_they_were():
    for counts in ((1, 2), [1, 2]):
        assert through_json(CapsuleDecoder(settled_counts=counts)).settled_counts == counts
    network = through_json(DeepBeliefNetwork([RBM(3, l1=0.5), 2]))
    assert isinstance(network.hidden, list)
    assert (network.hidden[0].l1, network.hidden[1]) == (0.5, 2)


def test_numbers_of_numpy_are_plain_ones():
    found = through_json(RBM(np.int64(3), l2=np.float32(0.5), centered=np.bool_(False)))
    values = found.n_components, found.l2, found.centered
    assert values == (3, 0.5, False)
    assert [type(value) for value in values] == [int, float, bool]


def test_what_stands_for_none_is_written():
    stack = through_json(CapsuleStack())
    assert repr(stack.get_params()) == repr(CapsuleStack(stack.layers, stack.mixture).get_params())
    assert [layer.experts.n_capsules for _, layer in stack.layers] == [40, 20]
    assert through_json(CapsuleLayer()).decoder.gain == CapsuleDecoder().gain
    assert through_json(DeepBeliefNetwork()).rbm.k == RBM().k
    assert through_json(CapsuleGenerator()).mixture.n_components == 320


def test_the_backend_is_of_the_machine_that_reads():
    given = CapsuleStack([("one", CapsuleLayer(ExpertCapsules(backend="torch")))], backend="jax")
    assert "torch" not in json.dumps(plain_parameters(given))
    found = through_json(given, "array-api-strict")
    for part in (found, found.layers[0][1], found.layers[0][1].experts):
        assert part.backend == "array-api-strict"


class Mine(ExpertCapsules):
    """Of a user."""


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (ExpertCapsules(dtype=np.dtype("float32")), "dtype: expected None, .* got Float32DType"),
        (CapsuleLayer(Mine()), "experts: expected .* got Mine"),
        (CapsuleLayer(decoder=CapsuleDecoder(gain=3j)), r"decoder\.gain: expected .* got complex"),
        (DeepBeliefNetwork((RBM(k=RBM),)), r"hidden\[0\]\.k: expected .* got type"),
        (DeepBeliefNetwork(range(3, 5)), "hidden: expected .* got range"),
        (CapsuleLayer(StandardScaler()), "experts: expected .* got StandardScaler"),
    ],
)
def test_what_no_file_can_hold_is_named(model, message):
    with pytest.raises(OptionError, match=f"^{message}$"):
        plain_parameters(model)


def test_an_estimator_of_a_user_comes_back_by_itself(tmp_path):
    model = Mine(3, 4, n_steps=2, batch_size=8).fit(KINDS["ExpertCapsules"].X)
    model.save(tmp_path)
    assert isinstance(Mine.load(tmp_path), Mine)
    with pytest.raises(CheckpointError, match="expected ExpertCapsules, got Mine"):
        ExpertCapsules.load(tmp_path)


# --- of another version ------------------------------------------------------------------------


def changed(folder, name, change):
    """Write a model of a kind with its parameters changed."""
    model = clone(KINDS[name].estimator).fit(KINDS[name].X)
    model.save(folder)
    arrays, info = read_checkpoint(folder / FILE)
    parameters = json.loads(info["parameters"])
    change(parameters)
    text = json.dumps(parameters)
    write_checkpoint(folder / FILE, arrays, info=info | {"parameters": text})
    return type(model)


def charm(parameters):
    parameters["charm"] = 3


@pytest.mark.parametrize(
    ("kind", "change", "place"),
    [
        ("RBM", charm, "charm"),
        ("CapsuleGenerator", lambda p: charm(p["experts"]["parameters"]), "experts.charm"),
        ("DeepBeliefNetwork", lambda p: charm(p["rbm"]["parameters"]), "rbm.charm"),
        (
            "CapsuleStack",
            lambda p: charm(p["layers"][1]["tuple"][1]["parameters"]["decoder"]["parameters"]),
            "layers[1][1].decoder.charm",
        ),
        ("CapsuleLayer", lambda p: p["experts"].update(kind="Popen"), "experts a Popen"),
    ],
)
def test_what_is_unknown_is_named(kind, change, place, tmp_path):
    model = changed(tmp_path, kind, change)
    expected = f"{FILE}: is of another version of capsnp, with {re.escape(place)}$"
    with pytest.raises(CheckpointError, match=expected):
        model.load(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p["experts"].pop("kind"),
        lambda p: p["experts"].pop("parameters"),
        lambda p: p["experts"].update(kind=[]),
        lambda p: p["decoder"]["parameters"].update(settled_counts={"tuple": 3}),
    ],
)
def test_parameters_that_are_none(change, tmp_path):
    model = changed(tmp_path, "CapsuleLayer", change)
    with pytest.raises(CheckpointError, match=f"{FILE}: .* of this version") as caught:
        model.load(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["{", "[1]", "3", ""])
def test_no_parameters_at_all(text, tmp_path):
    model = changed(tmp_path, "RBM", lambda _: None)
    arrays, info = read_checkpoint(tmp_path / FILE)
    write_checkpoint(tmp_path / FILE, arrays, info=info | {"parameters": text})
    with pytest.raises(CheckpointError, match=f"{FILE}: expected a model of this version"):
        model.load(tmp_path)
