"""Figures of gpt and its sequel. Let the machine do nothing else; all runs are on the CPU, in float32.

    python tests/benchmark.py gpt                    from the bigram to the sequel, one table
    python tests/benchmark.py gpt --story 60         gpt.py's departures added in turn, 60 s of training each
    python tests/benchmark.py gpt --default          the default run by its command, and its samples
    python tests/benchmark.py gpt --seconds 12 60    runs that end after about so many seconds of training
    python tests/benchmark.py gpt --long             the long run by its command, and its samples
    python tests/benchmark.py gpt --generation       characters a second
    python tests/benchmark.py gpt --ledger           what each departure and line to try does: tests/ledger.py

Add --mixture to --default, --seconds, --long or --generation to measure mixture.py instead.

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

from gpt import gpt, mixture

LONG = {  # the flags of the long runs
    "gpt": ["--dropout", "0.05", "--weight-decay", "0.1", "--max-steps", "3000"],
    "mixture": ["--n-layer", "4", "--dropout", "0.05", "--weight-decay", "0.1", "--max-steps", "3000"],
}
SETTINGS = {  # of runs with so many seconds of training; others: the defaults
    ("gpt", 60): {"block_size": 256, "batch_size": 8},
}
TRIAL_STEPS = 30  # to see how many steps fit into so many seconds
PUBLISHED = [  # by others, for the same text
    ("nanoGPT's recipe for CPUs, in its README", 1.88),
    ("lecture 7, 6 layers of 384 channels on a GPU", 1.48),
    ("nanoGPT on a GPU, 6 layers of 384 channels, in its README", 1.4697),
]


def speed():
    """GFLOP/s of matrix products in float32, the best of five trials."""
    a = torch.randn(1024, 1024)
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(5):
            a @ a
        seconds.append((time.perf_counter() - start) / 5)
    return 2 * 1024**3 / min(seconds) / 1e9


# From the bigram to the sequel


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


def train_bigram(training, validation, vocab_size, steps=10_000):
    """(seconds, validation loss) of lecture 7's first model: a row of logits for each character."""
    torch.manual_seed(1337)
    rng = np.random.default_rng(1337)
    model = nn.Embedding(vocab_size, vocab_size)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, fused=True)
    start = time.perf_counter()
    for _ in range(steps):
        x, y = batch(training, 32, 8, rng)
        loss = loss_of(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return time.perf_counter() - start, exact_loss(model, validation, 64)


def count(training, validation, vocab_size):
    """(seconds, validation loss) of the counts alone."""
    start = time.perf_counter()
    counts = mixture.Counts.from_tokens(training, vocab_size)
    seconds = time.perf_counter() - start
    losses = []
    for positions in np.array_split(np.arange(len(validation) - 1), 1 + len(validation) // 20_000):
        log_q = counts.log_probs(validation, positions)
        losses.append(-log_q[np.arange(len(positions)), validation[positions + 1]])
    return seconds, np.concatenate(losses).astype(np.float64).mean()


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
        x = self.char(idx) + self.position.weight[: idx.shape[1]]
        return F.linear(self.norm(self.blocks(x)), self.char.weight)


def train_textbook(training, validation, vocab_size, steps=2000):
    """(seconds, validation loss) of the recipe."""
    torch.manual_seed(1337)
    model, rng = TextbookGPT(vocab_size), np.random.default_rng(1337)
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99), fused=True)
    start = time.perf_counter()
    for step in range(1, steps + 1):
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
    return time.perf_counter() - start, exact_loss(model, validation, 64)


def train(program, text, folder, **values):
    """The results of a run of gpt.py or mixture.py that prints nothing."""
    return ledger.train(program, text, program.configure("cpu", **values), folder)


def train_for(seconds, program, text, folder, **values):
    """The results of a run with as many steps as fit into so many seconds of training."""
    trial = train(program, text, folder, **{**values, "max_steps": TRIAL_STEPS})
    steps = max(1, round(seconds * TRIAL_STEPS / trial["seconds"]))
    return train(program, text, folder, **{**values, "max_steps": steps})


def print_row(model, seconds, loss):
    print(f"| {model} | {seconds:.0f} | {loss:.4f} |", flush=True)


def compare(text, folder):
    """The story of the README: each model learns the first 90 % of the text, its loss is that of the rest."""
    vocab = gpt.Vocab(text)
    data = gpt.split(vocab.encode(text), gpt.Config.block_size)
    parts = data["training"], data["validation"], len(vocab)
    print("| model | seconds of training | validation loss |\n|---|---:|---:|")
    print_row("bigram, by gradient descent", *train_bigram(*parts))
    print_row("counts: Kneser-Ney, six characters of context", *count(*parts))
    print_row("textbook block, nanoGPT's recipe for CPUs", *train_textbook(*parts))
    for name, program in (("gpt.py", gpt), ("mixture.py: with counts and copies", mixture)):
        results = train(program, text, folder)
        print_row(name, results["seconds"], results["validation"][0])
    for name, loss in PUBLISHED:
        print(f"| published: {name} | - | {loss} |")


def tell_story(text, folder, seconds):
    """gpt.py with all departures taken back, then with one more of them in each row."""
    print(f"| gpt.py, {seconds} s of training | steps | validation loss |\n|---|---:|---:|")
    name = "the textbook block in gpt.py's sizes, with Adam"
    departures = ledger.departures()
    for i in range(len(departures) + 1):
        taken_back = departures[i:]
        program = ledger.load_copy("gpt", folder, *taken_back)
        values = {}
        for edit in taken_back:
            values |= edit.settings
        results = train_for(seconds, program, text, folder, **values)
        print(f"| {name} | {results['run'].step} | {results['validation'][0]:.4f} |", flush=True)
        if taken_back:
            name = f"and {taken_back[0].mark} {taken_back[0].departure}"


# Runs by the command line


MEASURE = """
import resource, subprocess, sys
with open(sys.argv[1], "w") as output:
    subprocess.run(sys.argv[2:], check=True, stdout=output)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def run_command(program, folder, flags):
    """A run in a process of its own: (what it printed, wall seconds, its peak memory in MB); not on Windows.

    A small process in between starts it: on Linux a new process inherits the peak of its parent.
    """
    script = Path(program.__file__)
    print(" ".join(["python", script.relative_to(ROOT).as_posix(), *flags]), flush=True)
    output = Path(folder) / "output.txt"
    command = [sys.executable, str(script), "-o", str(folder), "--device", "cpu", *flags]
    start = time.perf_counter()
    memory = int(subprocess.check_output([sys.executable, "-c", MEASURE, str(output), *command]))
    seconds = time.perf_counter() - start
    return output.read_text(encoding="utf-8"), seconds, memory / (1e6 if sys.platform == "darwin" else 1024)


def report(program, text, folder, flags=()):
    """Run it and print its figures."""
    output, wall, memory = run_command(program, folder, flags)
    loss = re.search(r"^validation loss (.*?) on all windows", output, re.MULTILINE)[1]
    progress = gpt.read_checkpoint(folder, program.FORMAT)["progress"]
    seconds = progress["seconds"]
    print("\n| figure | |\n|---|---:|")
    print(f"| validation loss | {loss} |")
    print(f"| the best step, of all | {progress['best_step']} of {progress['step']} |")
    print(f"| seconds of training | {seconds:.0f} |")
    print(f"| seconds beside training | {wall - seconds:.0f}, {1 - seconds / wall:.0%} of the wall time |")
    print(f"| peak memory | {memory:.0f} MB |", flush=True)
    describe_samples(text, *program.load(folder))


def words_of(text):
    """Words of letters and apostrophes, in lower case."""
    return re.findall(r"(?:[^\W\d_]|')+", text.lower())


def invented_words(sample, text):
    """(the words of a sample that do not occur in the text, all its words); the last one may be cut, and is left
    out."""
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


def describe_samples(text, model, vocab, number=20, characters=2500):
    samples = gpt.generate(model, vocab, num_samples=number, max_new_tokens=characters, seed=0)
    invented, words = [], []
    for sample in samples:
        new, of_all = invented_words(sample, text)
        invented += new
        words += of_all
    copy = max((longest_copy(sample, text) for sample in samples[:4]), key=len)  # it takes long
    print(f"| words in {number} samples of {characters:,} characters that the text does not have | "
          f"{len(invented):,} of {len(words):,}, {len(invented) / max(1, len(words)):.1%} |")
    print(f"| the longest passage of the first four that the text has too | {len(copy)} characters |")
    print(f"\nthe first such words: {', '.join(invented[:10])}\nthe passage: {copy!r}\n")


def timed_runs(program, text, folder, wanted):
    print("| seconds of training, aimed at | reached | steps | settings | validation loss |")
    print("|---:|---:|---:|---|---:|")
    for seconds in wanted:
        values = SETTINGS.get((program.NAME, seconds), {})
        results = train_for(seconds, program, text, folder, **values)
        loss, error = results["validation"]
        flags = " ".join(f"{gpt.flag(name)} {value}" for name, value in values.items())
        print(f"| {seconds} | {results['seconds']:.1f} | {results['run'].step} | {flags or 'defaults'} | "
              f"{loss:.4f} (standard error {error:.4f}) |", flush=True)


@torch.no_grad()
def generate_without_cache(model, vocab, prompt, max_new_tokens):
    """Call the model on the whole window for every character."""
    generator = torch.Generator().manual_seed(0)
    text = torch.tensor(vocab.encode(prompt).tolist())[None]  # (1, T)
    for _ in range(max_new_tokens):
        logits = model(text[:, -model.config.block_size :])[:, -1]
        new = gpt.draw(logits, 0.7, None, generator)[:, None]
        text = torch.cat((text, new), dim=1)
    return vocab.decode(text[0].tolist())


def generation(program, text):
    """Characters a second of an untrained model of the default size (the weights do not matter)."""
    vocab = gpt.Vocab(text)
    config = program.configure("cpu", vocab_size=len(vocab))
    if program is mixture:
        model = mixture.Mixture(config)
        model.counts = mixture.Counts.from_tokens(vocab.encode(text), len(vocab))
    else:
        model = gpt.GPT(config)
    model.eval()
    prompt = text[: config.block_size]
    print(f"| generation with {config.block_size} characters of context | characters a second |\n|---|---:|")
    for name, number, function in (("with the KV cache", 500, gpt.generate),
                                   ("without it", 50, generate_without_cache)):
        function(model, vocab, prompt, max_new_tokens=5)
        start = time.perf_counter()
        function(model, vocab, prompt, max_new_tokens=number)
        print(f"| {name} | {number / (time.perf_counter() - start):.1f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--story", type=int, metavar="SECONDS")
    parser.add_argument("--default", action="store_true")
    parser.add_argument("--seconds", type=int, nargs="+")
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--generation", action="store_true")
    parser.add_argument("--mixture", action="store_true")
    ledger.add_arguments(parser)
    args = parser.parse_args()
    if args.ledger:
        ledger.run(["gpt", "mixture"], args)
        return
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, float32, "
          f"{speed():.0f} GFLOP/s (products of 1,024 x 1,024)\n")
    text = gpt.read_file(ROOT / "data" / gpt.DEFAULT_TEXT)
    program = mixture if args.mixture else gpt
    with tempfile.TemporaryDirectory() as folder:
        if args.story:
            tell_story(text, folder, args.story)
        if args.default:
            report(program, text, folder)
        if args.seconds:
            timed_runs(program, text, folder, args.seconds)
        if args.long:
            report(program, text, folder, LONG[program.NAME])
        if args.generation:
            generation(program, text)
        if not (args.story or args.default or args.seconds or args.long or args.generation):
            compare(text, folder)


if __name__ == "__main__":
    main()
