"""Figures of gpt: `python tests/benchmark.py gpt` (about four minutes; let the machine do nothing else).

The textbook GPT-2 block, trained as nanoGPT's README trains on a CPU (4 layers, 4 heads, 128 channels,
context 64, batch 12, 2,000 steps, AdamW at 1e-3 with cosine decay), beside gpt.py for the same seconds of
training on the same text.
"""
import contextlib
import io
import math
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from gpt import gpt

MARKS = tuple(k / 12 for k in range(1, 13))  # shares of the training time: gpt.py evaluates twelve times


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
    groups = [{"params": [p for p in model.parameters() if p.dim() >= 2], "weight_decay": 0.1},
              {"params": [p for p in model.parameters() if p.dim() < 2], "weight_decay": 0.0}]  # fmt: skip
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99))
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


def train_ours(text, seconds, folder):
    """[(step, seconds, validation loss), ...] of a run of gpt.py, as many steps as fit into the seconds."""
    with contextlib.redirect_stdout(io.StringIO()):
        trial = gpt.train(text, gpt.configure("cpu", max_steps=30), folder, device="cpu").results["progress"]
        steps = max(12, round(seconds * trial.step / trial.seconds))
        run = gpt.train(text, gpt.configure("cpu", max_steps=steps), folder, device="cpu").results["progress"]
    return [(step, seconds, validation) for step, seconds, _, validation in run.log]


def main():
    precision = gpt.precision_of(torch.device("cpu"))
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads; gpt.py in {precision}, the textbook in float32")
    text = gpt.read_file("tinyshakespeare.txt")
    vocab = gpt.Vocab(text)
    parts = gpt.split(vocab.encode(text), 64)
    textbook = train_textbook(parts["training"], parts["validation"], len(vocab))
    total = textbook[-1][1]
    with tempfile.TemporaryDirectory() as folder:
        for name, rows in (("textbook GPT-2 block", textbook), ("gpt.py", train_ours(text, total, folder))):
            print(f"\n| {name}: step | seconds | validation |\n|---:|---:|---:|")
            for step, seconds, loss in rows:
                print(f"| {step} | {seconds:.0f} | {loss:.3f} |", flush=True)


if __name__ == "__main__":
    main()
