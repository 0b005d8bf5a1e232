"""Figures of micrograd, beside PyPI's micrograd 0.1.0. Let the machine do nothing else. Memory: on Linux only.

    python tests/benchmark.py micrograd [--pypi DIR]   DIR holds PyPI's package; without it pip fetches it

A training step, elementary operations, tiny_gpt.py with and without n-ary nodes, a chain of a million nodes.
"""

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from itertools import pairwise
from math import cos, pi, sin
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# -----------------------------------------------------------------------------
# The scripts that both packages run: they know nothing but the names of PyPI's package


def moons_step():
    """A function that takes the training step of PyPI's README and notebook, and returns the loss."""
    from micrograd.engine import Value
    from micrograd.nn import MLP
    random.seed(1337)
    X, y = moons()
    model = MLP(2, [16, 16, 1])

    def step():
        inputs = [list(map(Value, xrow)) for xrow in X]
        scores = list(map(model, inputs))
        losses = [(1 + -yi * scorei).relu() for yi, scorei in zip(y, scores)]
        data_loss = sum(losses) * (1.0 / len(losses))
        reg_loss = 1e-4 * sum(p * p for p in model.parameters())
        total_loss = data_loss + reg_loss
        model.zero_grad()
        total_loss.backward()
        for p in model.parameters():
            p.data -= 0.5 * p.grad
        return total_loss.data
    return step


def elementary_step():
    """The same network from elementary operations alone."""
    from micrograd.engine import Value
    random.seed(1337)
    X, y = moons()
    sizes = [2, 16, 16, 1]
    layers = [[([Value(random.uniform(-1, 1)) for _ in range(n)], Value(0.0)) for _ in range(m)]
              for n, m in pairwise(sizes)]

    def step():
        losses = []
        for xrow, yi in zip(X, y):
            x = [Value(xi) for xi in xrow]
            for layer in layers:
                x = [sum((wi * xi for wi, xi in zip(w, x)), b) for w, b in layer]
                x = [xi.relu() for xi in x] if len(x) > 1 else x
            losses.append((1 + -yi * x[0]).relu())
        total_loss = sum(losses) * (1.0 / len(losses))
        parameters = [p for layer in layers for w, b in layer for p in (*w, b)]
        for p in parameters:
            p.grad = 0.0
        total_loss.backward()
        for p in parameters:
            p.data -= 0.5 * p.grad
        return total_loss.data
    return step


def moons():
    X, y = [], []
    for i in range(100):
        angle, side = pi * random.random(), i % 2
        xy = (1 - cos(angle), 0.5 - sin(angle)) if side else (cos(angle), sin(angle))
        X.append([c + random.gauss(0, 0.1) for c in xy])
        y.append(-1 if side else 1)
    return X, y


# -----------------------------------------------------------------------------
# The GPT of micrograd/tiny_gpt.py


def gpt_step(nodes):
    """A function that trains the GPT on the next name inside nodes(), and returns the loss."""
    from micrograd import Adam, tiny_gpt
    random.seed(42)
    names = (ROOT / "data" / "names.txt").read_text().split()
    random.shuffle(names)
    model = tiny_gpt.GPT()
    optimizer = Adam(model.parameters(), lr=0.01, betas=(0.85, 0.99))

    def step():
        with nodes():
            loss = model.loss(names[optimizer.steps])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.data
    return step


def gpt_elementary_step():
    from micrograd import elementary
    return gpt_step(elementary)


# -----------------------------------------------------------------------------
# The chain


def chain(n):
    """Seconds for y = y * 1.0000001, n times, and for backward(); bytes a node at the peak."""
    from micrograd import Value
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    y = Value(1.0)
    for _ in range(n):
        y = y * 1.0000001
    y.backward()
    seconds = time.perf_counter() - start
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    del y  # frees a million nodes one inside the other
    return seconds, peak / n


# -----------------------------------------------------------------------------
# Measuring

SCRIPTS = {"moons": moons_step, "elementary": elementary_step,
           "gpt nary": lambda: gpt_step(nullcontext), "gpt elementary": gpt_elementary_step}


def worker(task, steps, gc_off):
    """Run in a process of its own: print the seconds of each step and the last loss."""
    if task == "chain":
        print(json.dumps(chain(steps)))
        return
    if gc_off:
        import gc
        gc.disable()
    step = SCRIPTS[task]()
    seconds = []
    for _ in range(steps):
        start = time.perf_counter()
        loss = step()
        seconds.append(time.perf_counter() - start)
    print(json.dumps([seconds, loss]))


def measure(task, steps, package=ROOT, gc_off=False):
    """worker()'s answer, with the micrograd in the directory package."""
    command = [sys.executable, __file__, "--worker", task, "--steps", str(steps)]
    if gc_off:
        command.append("--gc-off")
    environment = {**os.environ, "PYTHONPATH": str(package)}
    return json.loads(subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True).stdout)


def race(title, slow, fast, rounds=5):
    """Measure two (name, task, steps, package, gc_off) in turns; print medians and their ratio."""
    times = {slow[0]: [], fast[0]: []}
    losses = {}
    for _ in range(rounds):
        for name, *arguments in (slow, fast):
            seconds, losses[name] = measure(*arguments)
            times[name] += seconds
    (a, a_time), (b, b_time) = [(name, 1e3 * statistics.median(t)) for name, t in times.items()]
    ratio = f"{a_time / b_time:.1f} times as fast"
    print(f"{title:42} {a} {a_time:.1f} ms, {b} {b_time:.1f} ms: {ratio}", flush=True)
    assert abs(losses[a] - losses[b]) < 1e-6, f"the two give different losses: {losses}"


def main():
    parser = argparse.ArgumentParser(description="figures of micrograd")
    parser.add_argument("--pypi", help="directory with PyPI's micrograd 0.1.0 (default: a temporary one)")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--steps", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--gc-off", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        return worker(args.worker, args.steps, args.gc_off)
    with tempfile.TemporaryDirectory() as directory:
        pypi = args.pypi or directory
        if not args.pypi:
            pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", directory]
            subprocess.run([*pip, "micrograd==0.1.0"], check=True)
        print(f"CPython {sys.version.split()[0]}; medians of steps, five processes each, in turns")
        for task, title in (("moons", "moons, a training step"), ("elementary", "elementary operations")):
            for gc_off in (False, True):
                note = ", gc.disable()" if gc_off else ""
                race(title + note, ("PyPI", task, 6, pypi, gc_off), ("ours", task, 6, ROOT, gc_off))
    race("GPT, a name", ("elementary", "gpt elementary", 8, ROOT), ("n-ary", "gpt nary", 8, ROOT))
    for n in (10**5, 10**6):
        runs = [measure("chain", n) for _ in range(5)]
        seconds, peak = [statistics.median(column) for column in zip(*runs)]
        print(f"chain of {n:9,} nodes: {seconds:.3f} s, peak {peak:.0f} bytes a node", flush=True)


if __name__ == "__main__":
    main()
