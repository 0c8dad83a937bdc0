"""The training loop: its order, its averaging, the batches' order."""

import numpy as np
import pytest

from capsnp.training import Observer, Training, tracking, train
from capsnp.training.loop import batch_indices


class Counting(Training):
    name, n_steps = "counting", 4

    def __init__(self):
        self.calls = []

    def gradient(self):
        return {"w": np.ones(1) * self.step}

    def apply(self, gradient):
        self.calls.append(("apply", float(gradient["w"][0])))
        self.step += 1

    def finish(self, track):  # noqa: ARG002
        self.calls.append(("finish", self.step))

    def parameters(self):
        return {}

    def health(self):
        return {}

    def state(self):
        return {}

    def restore(self, state):
        self.step = int(state["step"])


class Watching(Observer):
    def __init__(self, name):
        self.name = name

    def begin(self, training):
        training.calls.append((self.name, "begin"))

    def after_step(self, training):
        training.calls.append((self.name, training.step))

    def end(self, training):
        training.calls.append((self.name, "end"))


def test_gradient_average_apply_then_observers_in_order():
    training = Counting()
    training.step = 2
    train(
        training,
        observers=(Watching("a"), Watching("b")),
        average=lambda gradient: {"w": gradient["w"] * 10},
    )
    assert training.calls == [
        ("a", "begin"),
        ("b", "begin"),
        ("apply", 20.0),
        ("a", 3),
        ("b", 3),
        ("apply", 30.0),
        ("a", 4),
        ("b", 4),
        ("a", "end"),
        ("b", "end"),
        ("finish", 4),
    ]


def test_an_observer_restores_before_the_first_step():
    class Restoring(Observer):
        def begin(self, training):
            training.restore({"step": 3})

    training = Counting()
    train(training, observers=[Restoring()])
    assert training.calls == [("apply", 3.0), ("finish", 4)]


def test_each_epoch_is_a_shuffle_without_its_short_batch():
    for epoch in range(3):
        steps = range(3 * epoch, 3 * epoch + 3)
        rows = np.concatenate([batch_indices(t, n=11, batch_size=3, seed=5) for t in steps])
        assert len(set(rows)) == 9
        assert rows.min() >= 0
        assert rows.max() < 11
    first, second = (batch_indices(t, n=11, batch_size=3, seed=5) for t in (0, 3))
    assert not np.array_equal(first, second)


def test_batches_depend_on_the_seed_and_the_step_alone():
    same = [batch_indices(7, n=100, batch_size=10, seed=1) for _ in range(2)]
    assert np.array_equal(*same)
    assert not np.array_equal(same[0], batch_indices(7, n=100, batch_size=10, seed=2))


@pytest.mark.parametrize("step", [0, 5])
def test_a_batch_larger_than_the_data_is_all_of_it(step):
    assert sorted(batch_indices(step, n=4, batch_size=10, seed=0)) == [0, 1, 2, 3]


def test_work_on_the_whole_data_is_tracked_by_every_observer():
    class Doubling(Observer):
        def track(self, items, description):
            return (f"{description} {2 * item}" for item in items)

    class Counting(Observer):
        def track(self, items, description):  # noqa: ARG002
            return enumerate(items)

    followed = tracking([Doubling(), Counting(), Observer()])([3, 4], "twice")
    assert list(followed) == [(0, "twice 6"), (1, "twice 8")]
    assert list(tracking([])([3, 4], "as they are")) == [3, 4]
