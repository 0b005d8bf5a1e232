"""The figures of makemore: python tests/benchmark.py makemore [--rival FILE] [--quick]

--rival: Karpathy's makemore.py, downloaded by you; its models are then timed in turn with ours,
         same sizes, same batch.
--quick: without the two long trainings (about six minutes) that end the run.
"""
import argparse
import importlib.util
import io
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


def load_file(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


makemore = load_file("makemore", ROOT / "makemore" / "makemore.py")
TYPES = ("bigram", "mlp", "rnn", "gru", "bow", "transformer")


def our_step(name, data, muon=False):
    """A function that makes a training step of batch 32 at Karpathy's default sizes, with AdamW as there."""
    sizes = {"n_layer": 4, "n_head": 4, "n_embd": 64, "n_embd2": 64, "dropout": 0.0, "batch_size": 32}
    config = makemore.configure(name, **sizes, **({} if name == "bigram" else {"block_size": 16}))
    config.vocab_size = 27
    model = makemore.MODELS[name](config)
    optimizers = makemore.make_optimizers(model, config)
    if not muon:
        optimizers = [
            torch.optim.AdamW(model.parameters(), lr=5e-4, weight_decay=0.01, betas=(0.9, 0.99), fused=True)
        ]
    steps = iter(range(10**9))

    def step():
        x, y = data.training_batch(next(steps), config.batch_size, 0)
        loss = makemore.loss_of(model(x), y)
        model.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        return loss.item()

    return step


def their_step(rival, name, dataset):
    """The same for Karpathy's file, its own data loader with its default of four workers."""
    config = rival.ModelConfig(vocab_size=27, block_size=16, n_layer=4, n_head=4, n_embd=64, n_embd2=64)
    classes = {"bigram": "Bigram", "mlp": "MLP", "bow": "BoW", "transformer": "Transformer"}
    model = (
        rival.RNN(config, cell_type=name) if name in ("rnn", "gru") else getattr(rival, classes[name])(config)
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4, weight_decay=0.01, betas=(0.9, 0.99), eps=1e-8)
    batches = rival.InfiniteDataLoader(dataset, batch_size=32, pin_memory=False, num_workers=4)

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
    parts, vocab = makemore.split(words), makemore.Vocab("".join(words))
    data = makemore.Words(parts["training"], vocab)
    rival = None
    if rival_path:
        sys.modules.setdefault("torch.utils.tensorboard", types.SimpleNamespace(SummaryWriter=None))
        with redirect_stdout(io.StringIO()):
            rival = load_file("rival", rival_path)
            dataset = rival.CharDataset(parts["training"], sorted(set("".join(words))), 15)
    print("milliseconds a training step, batch of 32 words, median of 300 steps in 3 turns")
    print(f"{'type':12} {'ours':>7}" + (f" {'theirs':>7} {'ratio':>6}" if rival else ""))
    for name in TYPES:
        ours = our_step(name, data)
        with redirect_stdout(io.StringIO()):
            theirs = their_step(rival, name, dataset) if rival else None
        milliseconds(ours, 20)
        if theirs:
            milliseconds(theirs, 20)
        a, b = [], []
        for _ in range(3):
            a += milliseconds(ours, 100)
            if theirs:
                b += milliseconds(theirs, 100)
        line = f"{name:12} {statistics.median(a):7.2f}"
        if theirs:
            line += f" {statistics.median(b):7.2f} {statistics.median(b) / statistics.median(a):5.1f}x"
        print(line, flush=True)
    ours = our_step("transformer", data, muon=True)
    milliseconds(ours, 20)
    print("transformer with Muon, as our default run has it: "
          f"{statistics.median(milliseconds(ours, 200)):.2f}")  # fmt: skip


def handling(words):
    many = [f"{word}{i}" for i in range(1_000_000 // len(words) + 1) for word in words][:1_000_000]
    start = time.perf_counter()
    makemore.Words(many, makemore.Vocab("".join(many)))
    print(f"a million words encoded: {time.perf_counter() - start:.2f} s")
    with tempfile.TemporaryDirectory() as folder:
        script = [sys.executable, "-u", str(ROOT / "makemore" / "makemore.py"), "-o", folder]
        start = time.perf_counter()
        run = subprocess.Popen([*script, "--max-steps", "300"], stdout=subprocess.PIPE, text=True)
        for line in run.stdout:
            if line.startswith("step     0"):
                print(f"first training line after {time.perf_counter() - start:.2f} s")
        run.wait()
        start = time.perf_counter()
        command = [*script, "--sample-only", "--num-samples", "10000"]
        count = len(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines())
        print(f"{count:,} names sampled by a Transformer, with the program's start: "
              f"{time.perf_counter() - start:.2f} s")  # fmt: skip


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
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4, weight_decay=0.01, betas=(0.9, 0.99))
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
          flush=True)  # fmt: skip
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):
        _, _, results = makemore.train(words, makemore.configure("transformer"), folder)
    for step, ours, _, loss in results["progress"].log:
        if loss <= target:
            print(f"ours: {loss:.4f} after {ours:.0f} s (step {step}): {seconds / ours:.1f} times as fast")
            break
    print(f"ours at its end: {results['validation'][0]:.4f} after {results['seconds']:.0f} s")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--rival")
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    words = makemore.read_words("names.txt")
    speed(words, args.rival)
    handling(words)
    if not args.quick:
        textbook(words)


if __name__ == "__main__":
    main()
