r"""
Brackets that hold the truth, and brackets that do not
======================================================

Chains that anneal up give log Z a lower end, chains that anneal down an upper one. On machines
whose log Z can be listed it is seen which of these brackets hold it. What decides is where the
chains down begin: at ends of chains up they may agree with each other, and be wrong together.
"""

import itertools
import os
from collections import defaultdict
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from capsnp import RBM
from capsnp.datasets import load
from capsnp.evaluation.likelihood import annealed_log_partition, binarize, exact_log_partition
from capsnp.functional.harmonium import Harmonium, free_energy, turned, visible_mean
from capsnp.plotting import COLOURS, save

quick = bool(os.environ.get("CAPSNP_EXAMPLES_QUICK"))

# %%
# Eight stored patterns, at three strengths; machines trained on the digits, slowly and fast; two
# modes that are alike.


def machines():
    """Machines, and the data of those that were trained."""
    rng = np.random.default_rng(1)
    for strength, _ in itertools.product((0.5, 1.0, 2.0), range(1 if quick else 2)):
        w = strength * (rng.integers(0, 2, (8, 40)) * 2.0 - 1.0).T
        yield Harmonium(w, np.zeros(40), -0.5 * w.sum(axis=0) - 8.0 * strength), None
    rows = binarize(load("digits").images).rows
    fits = ((0.05, 5),) if quick else ((0.05, 20), (0.1, 100), (0.3, 200))
    for (rate, epochs), J in itertools.product(fits, (8, 12)):
        fitted = RBM(J, learning_rate=rate, n_iter=epochs, batch_size=50, dtype="float64").fit(rows)
        yield fitted.machine_, rows.astype(float)
    for depth in (6.0, 12.0):
        w = np.concatenate([np.full((30, 1), depth), np.full((30, 1), -depth)], axis=1)
        yield Harmonium(w, np.zeros(30), np.asarray([-15.0, 15.0]) * depth), None


def samples(machine, n, rng):
    """From the machine itself, by listing its hidden states."""
    h = np.asarray(list(itertools.product((0.0, 1.0), repeat=machine.w.shape[1])))
    free = free_energy(turned(machine), h)
    p = np.exp(free.min() - free)
    h = h[rng.choice(len(h), n, p=p / p.sum())]
    return (rng.random((n, machine.w.shape[0])) < visible_mean(machine, h)).astype(float)


# %%
# How far the truth is outside, beyond three standard errors of the nearer end.

temperatures, chains = ((10, 30), (20,)) if quick else ((10, 30, 100, 300), (20, 100))
found = defaultdict(list)
for machine, data in machines():
    truth = exact_log_partition(machine).value
    own = samples(machine, 200, np.random.default_rng(0))
    starts = {
        "ends of chains up": None,
        "samples": own,
        "one sample": np.repeat(own[:1], 20, axis=0),
    }
    if data is not None:
        starts["data"] = data[:500]
    for (name, rows), T, N, seed in itertools.product(starts.items(), temperatures, chains, (0, 1)):
        log_z = annealed_log_partition(
            machine, start=rows, temperatures=T, n_chains=N, random_state=seed,
            burn_in=0 if name == "samples" else 50,
        )  # fmt: skip
        low, high = sorted((log_z.lower, log_z.upper))
        outside = max(low - 3 * log_z.lower_stderr - truth, truth - high - 3 * log_z.upper_stderr)
        found[name].append((log_z.width, outside, min(log_z.lower_ess, log_z.upper_ess)))

print(
    f"{'chains down start at':22}{'chains':>8}{'brackets':>10}{'wrong':>7}{'narrow':>8}{'wrong':>7}"
)
for name, values in found.items():
    width, outside, ess = np.asarray(values).T
    for words, here in ((">= 5", ess >= 5), ("< 5", ess < 5)):
        wrong, narrow = here & (outside > 0.1), here & (width <= 1)
        counts = here.sum(), wrong.sum(), narrow.sum(), (wrong & narrow).sum()
        print(f"{name:22}{words:>8}{counts[0]:10}{counts[1]:7}{counts[2]:8}{counts[3]:7}")

# %%
# Above 0 the truth is outside; left of the line a bracket is narrower than a nat. What is above and
# left is narrow and wrong.

figure = Figure(figsize=(9, 4.5), dpi=100, layout="constrained")
axes = figure.subplots()
for (name, values), colour, marker in zip(found.items(), COLOURS, "xo.s", strict=False):
    width, outside, _ = np.asarray(values).T
    axes.scatter(width, np.maximum(outside, 0.0), color=colour, marker=marker, label=name, s=18)
axes.axvline(1.0, color="black", linewidth=1)
axes.set(xscale="log", xlabel="width of the bracket, nats", ylabel="truth outside by, nats")
axes.set_yscale("symlog", linthresh=0.1)
axes.set_ylim(-0.05, 60.0)
axes.legend(title="chains down start at", frameon=False, loc=(0.75, 0.15))
axes.spines[["top", "right"]].set_visible(False)
figure

# %%
# Where ``CAPSNP_EXAMPLES_OUT`` names a folder, the picture is written there.

if folder := os.environ.get("CAPSNP_EXAMPLES_OUT"):
    save(figure, Path(folder) / "plot_brackets.png")
