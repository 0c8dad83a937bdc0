"""A run of two small stages, to be started, stopped and killed by the tests as a process.

``toy.py train FOLDER`` goes on with the run there, ``toy.py hold FOLDER`` holds its lock until
standard input ends, and ``toy.py kill FOLDER`` kills a run at each thing it does, one run each.
"""

import os
import signal
import stat
import sys
from pathlib import Path

import numpy as np

from capsnp.errors import CapsnpError
from capsnp.training import Momentum, Observer, RunFolder, Training, Watchdog, record, train

N_STEPS = 5
SETTINGS = {"seed": 3, "capsules": {"rate": 0.1}}


class Toy(Training):
    """Ascent on noise that depends on the step: any lost or repeated step changes the result."""

    def __init__(self, name, n_steps=N_STEPS, start=0.0):
        self.name = name
        self.n_steps = n_steps
        self.W = np.full((3, 4), start, dtype=np.float32)
        self.optimiser = Momentum()

    def gradient(self):
        rng = np.random.default_rng([SETTINGS["seed"], len(self.name), self.step])
        return {"W": rng.standard_normal((3, 4), dtype=np.float32)}

    def apply(self, gradient):
        self.W = self.optimiser.update({"W": self.W}, gradient, rate=0.1)["W"]
        self.step += 1

    def parameters(self):
        return {"W": self.W}

    def health(self):
        return {"mean": float(np.mean(self.W))} if self.step else {}

    def state(self):
        moments = {f"moment.{name}": value for name, value in self.optimiser.moments.items()}
        return {"W": self.W, "step": np.asarray(self.step)} | moments

    def restore(self, state):
        self.W = state["W"]
        self.step = int(state["step"])
        self.optimiser.moments = {"W": state["moment.W"]}


class Announce(Observer):
    """Prints each step, so that who waits for it can act."""

    def after_step(self, training):
        print(training.name, training.step, flush=True)


def train_all(folder):
    """Both stages, the second of which starts from the first one's result."""
    run = RunFolder.resume(folder, SETTINGS, report=lambda _: None)
    with run.lock():
        first = Toy("first")
        observers = (*record(run, log_every=1, save_seconds=1e9, save_every=2), Announce())
        train(first, observers=observers)
        train(Toy("second", start=first.W.mean()), observers=observers)


def hold(folder):
    with RunFolder.resume(folder, SETTINGS, report=lambda _: None).lock():
        print("held", flush=True)
        sys.stdin.read()


def in_child(action, *arguments):
    """The signal that ended a child which did this, 0 if it came to its end."""
    child = os.fork()
    if child == 0:
        action(*arguments)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def train_until(moment, folder):
    """Train, and be killed at the moment-th thing done to a file; mid-write when it is a write."""
    count = 0

    def happens(handle=None):
        nonlocal count
        if count == moment:
            if handle is not None and stat.S_ISREG(os.fstat(handle).st_mode):
                os.ftruncate(handle, max(0, os.fstat(handle).st_size - 5))
            os.kill(os.getpid(), signal.SIGKILL)
        count += 1

    def audit(event, arguments):
        if event in {"open", "os.mkdir", "os.rename", "os.remove"} and str(folder) in str(
            arguments[0]
        ):
            happens()

    os.fsync = happens
    sys.addaudithook(audit)
    train_all(folder)


def kill_everywhere(folder):
    """Kill runs 0, 1, 2 ... at their moments 0, 1, 2 ... until one comes to its end first."""
    os.fsync = lambda _handle: None  # a kill, unlike a power cut, loses nothing that was written
    Watchdog().check(Toy("first"))  # once, before the forks: this imports a good deal
    moment = 0
    while in_child(train_until, moment, Path(folder) / str(moment)) == -signal.SIGKILL:
        assert in_child(train_all, Path(folder) / str(moment)) == 0
        moment += 1


if __name__ == "__main__":
    try:
        {"train": train_all, "hold": hold, "kill": kill_everywhere}[sys.argv[1]](sys.argv[2])
    except CapsnpError as error:
        sys.exit(str(error))
