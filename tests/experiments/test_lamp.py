"""Routing under the lamp, against loops over a few images."""

import csv
import math

import numpy as np
import pytest

from capsnp import CapsNet
from capsnp.datasets import load
from capsnp.errors import OptionError
from capsnp.experiments import train_network
from capsnp.experiments.lamp import SHORT, under_lamp
from capsnp.functional import predictions, squash

N = 6


@pytest.fixture(scope="module", params=["outputs", "inputs"])
def seen(request, tmp_path_factory, tiny):
    folder = tmp_path_factory.mktemp("lamp") / "run"
    own = {"capsnet.normalize": request.param, "dtype": "float64"}
    train_network(folder, tiny | own, quiet=True)
    return folder, under_lamp(folder, iterations=4, changes={"test_images": N}, quiet=True)


def test_numbers_are_those_of_loops(seen, bars):
    folder, table = seen
    model = CapsNet.load(folder)
    test = load(bars, split="test", limit=N)
    network, products = model._ready()
    x = network.inputs(test.images.astype(np.float64), products)
    votes = predictions(x, products["W"])
    _, I, J, _ = votes.shape
    axis = 1 if model.normalize == "inputs" else 2
    b, before = np.zeros((N, I, J)), None
    for n, row in enumerate(table.rows.values(), start=1):
        c = np.exp(b) / np.exp(b).sum(axis=axis, keepdims=True)
        z = np.einsum("bij,bijd->bjd", c, votes)
        v = np.asarray(squash(z))
        entropy, agreement, others, wrong, own, other = [], [], [], [], [], []
        for k, label in enumerate(test.labels):
            rows = c[k].T if model.normalize == "inputs" else c[k]
            entropy += [-sum(p * math.log(p) for p in row) / math.log(len(row)) for row in rows]
            lengths = np.linalg.norm(v[k], axis=1)
            own.append(lengths[label])
            other.append(np.delete(lengths, label).max())
            wrong.append(np.argmax(lengths) != label)
            for j in range(J):
                u, sums = votes[k, :, j], z[k, j]
                cosines = u @ sums / np.linalg.norm(u, axis=1) / np.linalg.norm(sums)
                mine = np.average(cosines, weights=c[k, :, j])
                (agreement if j == label else others).append(mine)
        assert row["entropy"] == pytest.approx(np.mean(entropy))
        assert row["agreement"] == pytest.approx(np.mean(agreement))
        assert row["agreement_others"] == pytest.approx(np.mean(others))
        dead = np.linalg.norm(v, axis=2).max(axis=0) <= SHORT
        assert row["dead"] == np.sum(dead)
        assert row["wrong"] == pytest.approx(np.mean(wrong))
        assert row["length"] == pytest.approx(np.mean(own))
        assert row["length_others"] == pytest.approx(np.mean(other))
        if n == 1:
            assert row["moved"] is None
        else:
            share = 0.5 * np.abs(c - before).sum(axis=axis)
            assert row["moved"] == pytest.approx(share.mean())
        b, before = b + np.einsum("bijd,bjd->bij", votes, v), c


def test_the_run_s_page_has_it(seen):
    folder, table = seen
    assert 'src="figures/lamp.png"' in (folder / "index.html").read_text()
    with (folder / "lamp.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["entropy"]) for row in rows] == [r["entropy"] for r in table.rows.values()]


def test_a_routing_without_weightings_is_refused(tiny, tmp_path):
    own = {"capsnet.routing": "self-attention"}
    train_network(tmp_path / "run", tiny | own, quiet=True)
    with pytest.raises(OptionError, match=r"routing: expected one of dynamic, leaky.*self-att"):
        under_lamp(tmp_path / "run", quiet=True)
