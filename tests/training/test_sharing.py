"""Several workers with a part of each batch take the steps of one with the whole."""

import threading

import numpy as np
import pytest

from capsnp.errors import OptionError
from capsnp.models import CapsuleDecoder, ConvAutoencoder, ExpertCapsules
from capsnp.training import Share, train

N_STEPS = 4


class Meeting:
    """``average`` for workers in threads: all wait for the last, and take the mean."""

    def __init__(self, n_workers):
        self._barrier = threading.Barrier(n_workers)
        self._gradients = [None] * n_workers

    def average(self, worker):
        def mean(gradient):
            self._gradients[worker] = gradient
            self._barrier.wait(timeout=60)
            found = {
                name: sum(g[name] for g in self._gradients) / len(self._gradients)
                for name in gradient
            }
            self._barrier.wait(timeout=60)
            return found

        return mean


def trained_together(make, data, n_workers):
    """Models of workers in threads, each with its share of the data."""
    meeting, models = Meeting(n_workers), [make() for _ in range(n_workers)]

    def work(worker):
        shares = [Share(X, worker, n_workers) for X in data]
        train(models[worker].training(*shares), average=meeting.average(worker))

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(n_workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return models


def autoencoder(rng):
    images = rng.random((40, 12, 12, 1))
    options = {"filters": 4, "kernel": 5, "capsule_dim": 4, "dropout": 0.0}
    return lambda: ConvAutoencoder(**options, n_steps=N_STEPS, batch_size=12, dtype="float64"), (
        images,
    )


def capsules(rng, **options):
    h = rng.normal(size=(40, 6, 3))
    return lambda: ExpertCapsules(
        4, 5, n_steps=N_STEPS, batch_size=12, rebalance_steps=3, dtype="float64", **options
    ), (h,)


def decoder(rng):
    codes, h = 0.3 * rng.random((40, 4, 5)), rng.normal(size=(40, 6, 3))
    options = {"winner_steps": N_STEPS, "settled_steps": 0, "batch_size": 12}
    return lambda: CapsuleDecoder(**options, dtype="float64"), (codes, h)


@pytest.mark.parametrize("n_workers", [2, 3])
@pytest.mark.parametrize(
    "make_case",
    [
        autoencoder,
        capsules,
        lambda rng: capsules(rng, n_winners=None, routing_iterations=3),
        decoder,
    ],
    ids=["autoencoder", "capsules", "capsules as in the paper", "decoder"],
)
def test_workers_with_shares_are_one_with_all(rng, make_case, n_workers):
    make, data = make_case(rng)
    alone = make()
    train(alone.training(*data))
    for model in trained_together(make, data, n_workers):
        for name, weights in alone.state().items():
            np.testing.assert_allclose(model.state()[name], weights, rtol=1e-9, atol=1e-12)


def test_a_worker_reads_its_part_of_a_batch_alone():
    class Watched:
        shape, dtype = (9, 1), np.dtype(float)

        def __getitem__(self, rows):
            self.read = rows
            return np.zeros((len(rows), 1))

    X = Watched()
    share = Share(X, worker=1, n_workers=3)
    assert share[np.asarray([0, 1, 4, 5, 6, 8])].shape == (2, 1)
    assert list(X.read) == [1, 6]


def test_what_all_must_know_is_read_whole():
    share = Share(np.arange(5.0), worker=1, n_workers=2)
    assert list(share[1:4]) == [1.0, 2.0, 3.0]


def test_wrong_shares_are_refused():
    with pytest.raises(OptionError, match=r"worker: expected 0 to 1 \(n_workers\), got 2"):
        Share(np.zeros(3), worker=2, n_workers=2)
    with pytest.raises(OptionError, match="batch_size: expected a multiple of 2"):
        Share(np.zeros(9), worker=0, n_workers=2)[np.arange(3)]
