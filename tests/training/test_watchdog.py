import math

import numpy as np
import pytest

from capsnp.backend import Backend
from capsnp.errors import DivergenceError, OptionError
from capsnp.training import Training, Watchdog, train
from capsnp.training.watchdog import largest


class Still(Training):
    """A training whose arrays and health are given."""

    name = "capsules"
    n_steps = 10

    def __init__(self, arrays, health=None):
        self.arrays = arrays
        self.given = health or {}

    def gradient(self):
        return {}

    def apply(self, _gradient):
        self.step += 1

    def parameters(self):
        return self.arrays

    def health(self):
        return self.given

    def state(self):
        return {}

    def restore(self, _state):
        pass


def arrays(from_host, value):
    W = np.ones((2, 3), dtype=np.float32)
    W[1, 2] = value
    return {"U": from_host(np.zeros(4, dtype=np.float64)), "W": from_host(W)}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 20.0, -20.0])
def test_stops_at_a_bad_parameter(from_host, value):
    shown = f"{abs(value):g}"
    with pytest.raises(
        DivergenceError,
        match=rf"^capsules, step 4: largest value of W: expected at most 10, got {shown}; the ch",
    ):
        train(Still(arrays(from_host, value)), observers=[Watchdog(every=4, limit=10.0)])


def test_lets_good_numbers_pass(from_host):
    training = Still(arrays(from_host, -9.5), {"loss": -1e9})
    train(training, observers=[Watchdog(every=1, limit=10.0)])
    assert training.step == 10


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_stops_at_bad_health(value):
    with pytest.raises(DivergenceError, match=r"step 5: loss: expected a finite number, got"):
        train(Still({"W": np.ones(2)}, {"loss": value}), observers=[Watchdog(every=5)])


def test_looks_at_the_end():
    with pytest.raises(DivergenceError, match="step 10: "):
        train(Still({"W": np.asarray([np.nan])}), observers=[Watchdog(every=1000)])


def test_one_transfer_per_look(from_host, monkeypatch):
    transfers = []
    to_host = Backend.to_host
    monkeypatch.setattr(
        Backend, "to_host", lambda self, array: transfers.append(array) or to_host(self, array)
    )
    Watchdog().check(Still(arrays(from_host, 3.0)))
    assert len(transfers) == 1


def test_largest(from_host, rng):
    W = rng.standard_normal((3, 4, 5))
    found = largest(
        {
            "W": from_host(W),
            "empty": from_host(np.zeros((0, 2))),
            "step": from_host(np.asarray(7)),
        }
    )
    assert found == {"W": max(abs(float(value)) for value in W.ravel())}


@pytest.mark.parametrize("options", [{"every": 0}, {"limit": 0.0}, {"limit": math.nan}])
def test_options_out_of_range(options):
    (name,) = options
    with pytest.raises(OptionError, match=f"^{name}: expected"):
        Watchdog(**options)
