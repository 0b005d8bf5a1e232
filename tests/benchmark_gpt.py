"""Figures of gpt. Let the machine do nothing else; all runs are on the CPU, in float32.

    python tests/benchmark.py gpt                   counts, the textbook block and gpt.py on the same text
    python tests/benchmark.py gpt --default         the default run by its command, and its samples
    python tests/benchmark.py gpt --seconds 12 60   runs that end after about so many seconds of training
    python tests/benchmark.py gpt --long            the long run by its command
    python tests/benchmark.py gpt --generation      characters a second
    python tests/benchmark.py gpt --ledger          what each departure and line to try does: tests/ledger.py

The textbook block is GPT-2's, trained as nanoGPT's README trains on a CPU: 4 layers, 4 heads, 128 channels,
context 64, batch 12, 2,000 steps, AdamW at 1e-3 with cosine decay.
"""
import argparse
import math
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
import ledger

from gpt import gpt

LONG = ["--block-size", "2048"]
SETTINGS = {  # of runs with so many seconds of training; others: the defaults
    12: {"block_size": 256, "batch_size": 8},
    60: {},
}
MARKS = tuple(k / 10 for k in range(1, 11))  # shares of the training time: gpt.py evaluates ten times


# Counts, the textbook block and gpt.py


class TextbookBlock(nn.Module):
    """The GPT-2 block (Radford et al. 2019)."""

    def __init__(self, n_embd, n_head):
        super().__init__()
        self.n_head = n_head
        self.norm1, self.norm2 = nn.LayerNorm(n_embd), nn.LayerNorm(n_embd)
        self.qkv, self.proj = nn.Linear(n_embd, 3 * n_embd), nn.Linear(n_embd, n_embd)
        self.mlp = nn.Sequential(nn.Linear(n_embd, 4 * n_embd), nn.GELU(), nn.Linear(4 * n_embd, n_embd))

    def forward(self, x):
        B, T, C = x.shape
        qkv = self.qkv(self.norm1(x)).view(B, T, 3, self.n_head, C // self.n_head)
        q, k, v = qkv.transpose(1, 3).unbind(2)  # each (B, H, T, D)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.proj(y.transpose(1, 2).reshape(B, T, C))
        return x + self.mlp(self.norm2(x))


class TextbookGPT(nn.Module):
    """GPT-2 with nanoGPT's initialisation; the head shares the embedding's weights."""

    def __init__(self, vocab_size, block_size=64, n_layer=4, n_head=4, n_embd=128):
        super().__init__()
        self.char, self.position = nn.Embedding(vocab_size, n_embd), nn.Embedding(block_size, n_embd)
        self.blocks = nn.Sequential(*(TextbookBlock(n_embd, n_head) for _ in range(n_layer)))
        self.norm = nn.LayerNorm(n_embd)
        for name, p in self.named_parameters():
            if p.dim() == 2:
                nn.init.normal_(p, std=0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(p)
        for block in self.blocks:
            for layer in (block.proj, block.mlp[2]):
                nn.init.normal_(layer.weight, std=0.02 / math.sqrt(2 * n_layer))

    def forward(self, idx):
        x = self.char(idx) + self.position.weight[: idx.size(1)]
        return F.linear(self.norm(self.blocks(x)), self.char.weight)


def loss_of(logits, y):
    return F.cross_entropy(logits.flatten(0, 1), y.flatten())


def batch(tokens, size, block_size, rng):
    starts = rng.integers(len(tokens) - block_size, size=size)
    taken = torch.from_numpy(tokens[starts[:, None] + np.arange(block_size + 1)].astype(np.int64))
    return taken[:, :-1], taken[:, 1:]


@torch.no_grad()
def exact_loss(model, tokens, block_size):
    model.eval()
    count = (len(tokens) - 1) // block_size
    data = torch.from_numpy(tokens[: count * block_size + 1].astype(np.int64))
    x, y = data[:-1].view(count, block_size), data[1:].view(count, block_size)
    total = sum(loss_of(model(a), b).item() * len(a) for a, b in zip(x.split(64), y.split(64)))
    model.train()
    return total / count


def train_textbook(training, validation, vocab_size, steps=2000):
    """[(step, seconds, validation loss), ...] of the recipe, seconds of training only."""
    torch.manual_seed(1337)
    model, rng = TextbookGPT(vocab_size), np.random.default_rng(1337)
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99), fused=True)
    rows, seconds = [], 0.0
    due = {round(share * steps) for share in MARKS}
    for step in range(1, steps + 1):
        start = time.perf_counter()
        decay = (step - 1 - 100) / (steps - 100)
        rate = 1e-3 * step / 100 if step <= 100 else 1e-4 + 0.5 * (1 + math.cos(math.pi * decay)) * 9e-4
        for group in optimizer.param_groups:
            group["lr"] = rate
        x, y = batch(training, 12, 64, rng)
        loss = loss_of(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        seconds += time.perf_counter() - start
        if step in due:
            rows.append((step, seconds, exact_loss(model, validation, 64)))
    return rows


def count(training, validation, vocab_size, block_size):
    """(seconds, validation loss) of the counts alone; one table is enough for them."""
    start = time.perf_counter()
    counts = gpt.Counts.count(training, vocab_size)
    seconds = time.perf_counter() - start
    losses = []
    for some in np.array_split(np.arange(0, len(validation) - block_size, block_size), 32):
        if len(some):
            _, y, log_q = gpt.windows(validation, some, block_size, counts)
            losses.append(gpt.loss_of(log_q, y, reduction="none").mean(1))
    return seconds, torch.cat(losses).double().mean().item()


def train(text, folder, **values):
    """The results of a run of gpt.py that prints nothing."""
    return ledger.train(gpt, text, gpt.configure("cpu", **values), folder)


def train_for(seconds, text, folder, **values):
    """The results of a run with as many steps as fit into so many seconds of training."""
    trial = train(text, folder, **values, max_steps=30)
    return train(text, folder, **values, max_steps=max(12, round(seconds * 30 / trial["seconds"])))


def compare(text, folder):
    vocab = gpt.Vocab(text)
    parts = gpt.split(vocab.encode(text), 64)
    textbook = train_textbook(parts["training"], parts["validation"], len(vocab))
    data, block_size = gpt.split(vocab.encode(text), 1024), gpt.configure("cpu").block_size
    seconds, counted = count(data["training"], data["validation"], len(vocab), block_size)
    results = train_for(textbook[-1][1], text, folder)
    print("| model | optimizer | seconds | validation loss |\n|---|---|---:|---:|")
    print(f"| counts alone (interpolated Kneser-Ney) | - | {seconds:.1f} | {counted:.3f} |")
    print(f"| textbook GPT-2 block | AdamW | {textbook[-1][1]:.0f} | {textbook[-1][2]:.3f} |")
    print(f"| gpt.py | Adam | {results['seconds']:.0f} | {results['validation'][0]:.3f} |")
    print("\nSeconds of training (of counting). The mean over the whole validation text, in windows that do "
          f"not overlap: of 64 characters for the textbook block, of {block_size} for the others.")
    ours = [(step, seconds, validation) for step, seconds, _, validation in results["run"].log]
    for name, rows in (("textbook GPT-2 block", textbook), ("gpt.py, on part of the validation text", ours)):
        print(f"\n| {name}: step | seconds | validation |\n|---:|---:|---:|")
        for step, seconds, loss in rows:
            print(f"| {step} | {seconds:.0f} | {loss:.3f} |", flush=True)


# Runs by the command line


MEASURE = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def run_command(folder, *flags):
    """A run in a process of its own: (wall seconds, its peak memory in MB); not on Windows.

    A small process in between starts it: on Linux a new process inherits the peak of its parent.
    """
    print("python gpt/gpt.py", *flags, flush=True)
    command = [sys.executable, str(ROOT / "gpt" / "gpt.py"), "-o", str(folder), *flags]
    start = time.perf_counter()
    memory = int(subprocess.check_output([sys.executable, "-c", MEASURE, *command]))
    return time.perf_counter() - start, memory / (1e6 if sys.platform == "darwin" else 1024)


def report(text, folder, flags):
    """Run it and print its figures. Returns the trained model and its vocab."""
    wall, memory = run_command(folder, *flags)
    model, vocab = gpt.load(folder)
    validation = gpt.split(vocab.encode(text), model.config.block_size)["validation"]
    loss, error = gpt.evaluate(model, validation)  # the same as at the end of the run
    progress = gpt.read_checkpoint(folder)["progress"]
    seconds = progress["seconds"]
    print("\n| figure | |\n|---|---:|")
    print(f"| validation loss | {loss:.4f} (standard error {error:.4f}) |")
    print(f"| the best step, of all | {progress['best_step']} of {progress['step']} |")
    print(f"| seconds of training | {seconds:.0f} |")
    print(f"| seconds by the clock on the wall | {wall:.0f} |")
    print(f"| share of them beside training | {1 - seconds / wall:.0%} |")
    print(f"| peak memory | {memory:.0f} MB |", flush=True)
    return model, vocab


def words_of(text):
    """Words of letters and apostrophes, in lower case."""
    return re.findall(r"(?:[^\W\d_]|')+", text.lower())


def invented_words(sample, text):
    """The words of a sample that the text does not have, and all its words; none that its end cuts."""
    words = words_of(sample)
    if words and sample.lower().endswith(words[-1]):
        words.pop()
    known = set(words_of(text))
    return [word for word in words if word not in known], words


def longest_copy(sample, text):
    """The longest passage of the sample that the text has word for word."""
    longest = ""
    for i in range(len(sample)):
        while i + len(longest) < len(sample) and sample[i : i + len(longest) + 1] in text:
            longest = sample[i : i + len(longest) + 1]
    return longest


def describe_samples(text, model, vocab, characters=10_000):
    sample = gpt.generate(model, vocab, max_new_tokens=characters, seed=0)[0]
    invented, words = invented_words(sample, text)
    copy = longest_copy(sample, text)
    print(f"| words in {characters:,} sampled characters that the text does not have | "
          f"{len(invented)} of {len(words)}, {len(invented) / max(1, len(words)):.1%} |")
    print(f"| the longest passage that the text has too | {len(copy)} characters |")
    print(f"\nthe first such words: {', '.join(invented[:10])}\nthe passage: {copy!r}")


def timed_runs(text, folder, wanted):
    print("| seconds of training, aimed at | reached | steps | settings | validation loss |")
    print("|---:|---:|---:|---|---:|")
    for seconds in wanted:
        values = SETTINGS.get(seconds, {})
        results = train_for(seconds, text, folder, **values)
        loss, error = results["validation"]
        flags = " ".join(f"{gpt.flag(name)} {value}" for name, value in values.items())
        print(f"| {seconds} | {results['seconds']:.1f} | {results['run'].step} | {flags or 'defaults'} | "
              f"{loss:.4f} (standard error {error:.4f}) |", flush=True)


def generation(text):
    """Characters a second of an untrained model of the default size (the weights do not matter)."""
    vocab = gpt.Vocab(text)
    config = gpt.configure("cpu", vocab_size=len(vocab))
    model, prompt = gpt.GPT(config), text[: config.block_size]
    model.counts = gpt.Counts.count(vocab.encode(text), len(vocab))
    print(f"| generation, {config.block_size} characters of context | characters a second |\n|---|---:|")
    for name, cached, number in (("with the cache", True, 500), ("without", False, 25)):
        gpt.generate(model, vocab, prompt, max_new_tokens=5, cached=cached)
        start = time.perf_counter()
        gpt.generate(model, vocab, prompt, max_new_tokens=number, seed=0, cached=cached)
        print(f"| {name} | {number / (time.perf_counter() - start):.1f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--default", action="store_true")
    parser.add_argument("--seconds", type=int, nargs="+")
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--generation", action="store_true")
    ledger.add_arguments(parser)
    args = parser.parse_args()
    if args.ledger:
        ledger.print_table("gpt", args.seeds, args.only, args.steps)
        return
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, float32\n")
    text = gpt.read_file(ROOT / "data" / gpt.DEFAULT_TEXT)
    with tempfile.TemporaryDirectory() as folder:
        if args.default:
            describe_samples(text, *report(text, folder, []))
        if args.seconds:
            timed_runs(text, folder, args.seconds)
        if args.long:
            report(text, folder, LONG)
        if args.generation:
            generation(text)
        if not (args.default or args.seconds or args.long or args.generation):
            compare(text, folder)


if __name__ == "__main__":
    main()
