"""Figures of makemore. Let the machine do nothing else.

    python tests/benchmark.py makemore                speed, handling, the default run beside a textbook one
    python tests/benchmark.py makemore --rival FILE   and the speed of Karpathy's makemore.py, a file of yours
    python tests/benchmark.py makemore --quick        without the two long trainings (about six minutes)
    python tests/benchmark.py makemore --ledger       what each line to try does: tests/ledger.py

Speed is timed loop to loop, in turns: the batch, the loss, its gradient, the update; the same sizes, the same
batch of 32 words. Karpathy's file reads its words without loader processes (`--num-workers 0`), its best
setting: with its default of four it takes twice as long on two cores.
"""
import argparse
import importlib.util
import io
import itertools
import statistics
import subprocess
import sys
import tempfile
import time
import types
from contextlib import redirect_stdout
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
import ledger


def load_file(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


makemore = load_file("makemore", ROOT / "makemore" / "makemore.py")
TYPES = ("bigram", "mlp", "rnn", "gru", "bow", "transformer")


def our_step(name, data, optimizer):
    """A function that takes a training step of batch 32 at Karpathy's default sizes."""
    sizes = {"n_layer": 4, "n_head": 4, "n_embd": 64, "n_embd2": 64, "dropout": 0.0, "batch_size": 32}
    config = makemore.configure(name, **sizes, **({} if name == "bigram" else {"block_size": 16}))
    config.vocab_size = 27
    model = makemore.MODELS[name](config)
    optimizers = makemore.make_optimizers(model, config)
    if optimizer == "AdamW":
        optimizers = [torch.optim.AdamW(model.parameters(), lr=5e-4, betas=(0.9, 0.99), fused=True)]
    steps = itertools.count()

    def step():
        x, y = data.training_batch(next(steps), config.batch_size, 0)
        loss = makemore.loss_of(model(x), y)
        model.zero_grad()
        loss.backward()
        for each in optimizers:
            each.step()
        return loss.item()

    return step


def load_rival(path):
    """Karpathy's file as a module; the loop does without its TensorBoard."""
    sys.modules.setdefault("torch.utils.tensorboard", types.SimpleNamespace(SummaryWriter=None))
    return load_file("rival", path)


def their_step(rival, name, words):
    """The same for Karpathy's file: its model, its loader without processes, its optimizer."""
    dataset = rival.CharDataset(words, sorted(set("".join(words))), 15)
    config = rival.ModelConfig(vocab_size=27, block_size=16, n_layer=4, n_head=4, n_embd=64, n_embd2=64)
    classes = {"bigram": "Bigram", "mlp": "MLP", "bow": "BoW", "transformer": "Transformer"}
    with redirect_stdout(io.StringIO()):  # it prints its number of parameters
        if name in ("rnn", "gru"):
            model = rival.RNN(config, cell_type=name)
        else:
            model = getattr(rival, classes[name])(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4, weight_decay=0.01, betas=(0.9, 0.99), eps=1e-8)
    batches = rival.InfiniteDataLoader(dataset, batch_size=32, pin_memory=False, num_workers=0)

    def step():
        x, y = batches.next()
        _, loss = model(x, y)
        model.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def milliseconds(step, count):
    times = []
    for _ in range(count):
        start = time.perf_counter()
        step()
        times.append(1000 * (time.perf_counter() - start))
    return times


def speed(words, rival_path):
    """A table: for each type our step and the rival's."""
    training = makemore.split(words)["training"]
    data = makemore.Words(training, makemore.Vocab("".join(words)))
    rival = load_rival(rival_path) if rival_path else None
    print("milliseconds a training step, batch of 32 words, loop to loop, median of 300 steps in 3 turns\n")
    header, rule = "| type | our optimizer | ours |", "|---|---|---:|"
    if rival:
        header += " Karpathy's optimizer | Karpathy's | ratio |"
        rule += "---|---:|---:|"
    print(f"{header}\n{rule}")
    for name, optimizer in [*((name, "AdamW") for name in TYPES), ("transformer", "Muon and AdamW")]:
        steps = [our_step(name, data, optimizer)] + ([their_step(rival, name, training)] if rival else [])
        times = [[] for _ in steps]
        for step in steps:
            milliseconds(step, 20)
        for _ in range(3):
            for step, some in zip(steps, times):
                some += milliseconds(step, 100)
        ours, *theirs = (statistics.median(some) for some in times)
        print(f"| {name} | {optimizer} | {ours:.2f} |"
              + "".join(f" AdamW | {other:.2f} | {other / ours:.1f} |" for other in theirs), flush=True)
    print("\nAdamW is fused here and is not in Karpathy's file. Muon is for matrices of the blocks, as in "
          "our default run.\n")


def handling(words):
    many = [f"{word}{i}" for i in range(1_000_000 // len(words) + 1) for word in words][:1_000_000]
    start = time.perf_counter()
    makemore.Words(many, makemore.Vocab("".join(many)))
    print(f"a million words encoded: {time.perf_counter() - start:.2f} s")
    with tempfile.TemporaryDirectory() as folder:
        script = [sys.executable, "-u", str(ROOT / "makemore" / "makemore.py"), "-o", folder]
        start = time.perf_counter()
        first = None
        run = subprocess.Popen([*script, "--max-steps", "300"], stdout=subprocess.PIPE, text=True)
        for line in run.stdout:
            if line.startswith("step ") and first is None:
                first = time.perf_counter() - start
        run.wait()
        print(f"the first line of training after {first:.2f} s")
        start = time.perf_counter()
        command = [*script, "--sample-only", "--num-samples", "10000"]
        count = len(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines())
        print(f"{count:,} names sampled by a Transformer, with the program's start: "
              f"{time.perf_counter() - start:.2f} s")


def textbook(words):
    """The default model by a textbook recipe (batch 32, AdamW at a constant 5e-4), then our default run."""
    parts, vocab = makemore.split(words), makemore.Vocab("".join(words))
    training, validation = (makemore.Words(parts[name], vocab) for name in ("training", "validation"))
    config = makemore.configure("transformer", dropout=0.0)
    config.vocab_size, config.block_size = len(vocab), max(map(len, words)) + 1
    torch.manual_seed(0)
    model = makemore.MODELS["transformer"](config)
    for name, p in model.named_parameters():  # the initialisation of GPT-2
        if p.dim() == 2:
            deep = name.endswith(("proj.weight", "down.weight"))
            torch.nn.init.normal_(p, std=0.02 / (2 * config.n_layer) ** 0.5 if deep else 0.02)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4, betas=(0.9, 0.99), fused=True)
    seconds = 0.0
    for _ in range(8000):
        start = time.perf_counter()
        x, y = training.batch(torch.randint(len(training), (32,)))
        loss = makemore.loss_of(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seconds += time.perf_counter() - start
    target = makemore.evaluate(model, validation)[0]
    print(f"textbook transformer, 8,000 steps: validation {target:.4f} after {seconds:.0f} s of training",
          flush=True)
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):
        _, _, results = makemore.train(words, makemore.configure("transformer"), folder)
    for step, ours, _, loss in results["run"].log:
        if loss <= target:
            print(f"ours: {loss:.4f} after {ours:.0f} s (step {step}): {seconds / ours:.1f} times as fast")
            break
    print(f"ours at its end: {results['validation'][0]:.4f} after {results['seconds']:.0f} s")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rival", metavar="FILE")
    parser.add_argument("--quick", action="store_true")
    ledger.add_arguments(parser)
    args = parser.parse_args()
    if args.ledger:
        ledger.run(["makemore"], args)
        return
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    words = makemore.read_words("names.txt")
    speed(words, args.rival)
    handling(words)
    if not args.quick:
        textbook(words)


if __name__ == "__main__":
    main()
