"""gpt: train a character-level transformer on a text, and sample from it.

    python gpt.py                                      six minutes on two CPU cores: almost Shakespeare
    python gpt.py -i my.txt -o out/my                  another text, another folder
    python gpt.py --sample-only --prompt "ROMEO:"      text from the trained model in out/gpt
    python gpt.py --resume                             continue where the last run stopped
    torchrun --standalone --nproc_per_node=2 gpt.py    two processes, each with a batch of its own

This is the transformer of lecture 7 of "Neural Networks: Zero to Hero": token embeddings and positions, heads
of attention, feed-forward layers, residual connections, norms. It departs from GPT-2 in nine places.
Each is a small edit, and the code marks it with its number. The figure says how much higher the validation
loss is without it. Both versions train for the same time, that of 300 steps (the mean of three seeds, 0 if it
is within two standard errors; `python tests/benchmark.py gpt --ledger`):

    (1) 0       norms have no weights, and linear layers no biases (Groeneveld et al. 2024, "OLMo")
    (2) 0.044   rotary positions in place of a table of positions (Su et al. 2021)
    (3) 0       queries and keys are normalised (Henry et al. 2020)
    (4) 0.013   squared ReLU in place of GELU; the lecture has ReLU (So et al. 2021)
    (5) 0.005   the last layers of a block begin at zero (Zhang et al. 2019, "Fixup")
    (6) 0.101   the three characters before are added at the input, as in lecture 3 (Bengio et al. 2003)
    (7) 0.183   Muon trains the matrices of the blocks (Jordan et al. 2024)
    (8) -0.025  an epoch visits all of the text once (300 steps are 0.6 epochs; in the default run, 0.009)
    (9) 0.041   windows are short at first (Press et al. 2021)

"Try:" marks lines to change yourself. A number is what that does to the validation loss, measured in the same
way: +0.033 is worse. Where there is none, no difference was found.

Contents: configuration, data, model, optimizers, training, sampling, pictures; then the machinery, the same
as in makemore.py. The loss is always the mean negative log-likelihood in nats per character.
"""
import argparse
import atexit
import builtins
import codecs
import contextlib
import dataclasses
import functools
import hashlib
import importlib.util
import io
import math
import operator
import os
import shlex
import signal
import sys
import time
import typing
import zipfile
from pathlib import Path

if __name__ == "__main__":  # importing torch takes seconds: let Ctrl-C end it without a traceback
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

# ------------------------------------------------------------------------------------------------------------
# Configuration and defaults


@dataclasses.dataclass
class Config:
    """All settings of a run, with the defaults for a CPU. `SETTINGS`, in the machinery, has the limits."""

    vocab_size: int = 0  # from the text
    block_size: int = 512  # context length, in characters
    n_layer: int = 4
    n_head: int = 2  # Try: --n-head 4: +0.033
    n_embd: int = 128  # channels of a character's vector
    dropout: float = 0.0  # probability
    weight_decay: float = 0.0  # of the matrices in the blocks. Try: --weight-decay 0.1
    batch_size: int = 4  # windows, in each process
    max_steps: int = 1350  # -1: no end
    learning_rate: float = 0.01  # the peak
    seed: int = 3407

    @property
    def end(self):
        """The step at which the run ends."""
        return math.inf if self.max_steps == -1 else self.max_steps


GPU = {"n_layer": 6, "n_head": 6, "n_embd": 384, "dropout": 0.2, "batch_size": 32, "max_steps": 2000}
DEFAULT_TEXT = "tinyshakespeare.txt"
DEFAULT_OUT = "out/gpt"


def configure(device="cpu", **values):
    """The Config for a kind of device, e.g. `configure("cpu", n_layer=3)`.

    Raises UserError for impossible values, TypeError for settings that do not exist.
    """
    defaults = {} if is_cpu(device) else GPU
    return check_config(Config(**(defaults | values)))


# ------------------------------------------------------------------------------------------------------------
# Data


class Vocab:
    """The characters of a text; token i is `chars[i]`. Those in `first` come first, the others sorted."""

    def __init__(self, text, first=""):
        self.chars = first + "".join(sorted(set(text) - set(first)))

    def __len__(self):
        return len(self.chars)

    def encode(self, text):
        """The tokens of a text, an array. Raises UserError for characters that are not in the vocabulary."""
        unknown = sorted(set(text) - set(self.chars))
        if unknown:
            unknown = " ".join(map(repr, unknown))
            raise UserError(f"not in the vocabulary: {unknown}; the vocabulary is {self}")
        code_points = [ord(char) for char in self.chars]
        # A table from code point to token, so that NumPy translates a text of millions of characters at once.
        table = np.zeros(max(code_points) + 1, np.uint8 if len(self) <= 256 else np.int32)
        table[code_points] = np.arange(len(self))
        return table[np.frombuffer(text.encode("utf-32-le"), np.uint32)]

    def decode(self, tokens):
        return "".join(self.chars[i] for i in tokens)

    def __str__(self):
        """The first hundred characters, for messages; those that cannot be printed as escapes: \\t."""
        shown = ""
        for char in self.chars[:100]:
            shown += char if char.isprintable() else char.encode("unicode_escape").decode()
        return shown + " ..." if len(self) > 100 else shown


def split(tokens, block_size):
    """The first 90 % for training, the rest for validation; each gets at least block_size + 1 characters."""
    n = min(int(0.9 * len(tokens)), len(tokens) - block_size - 1)
    if n < block_size + 1:
        raise UserError(f"the text is too short: {len(tokens)} characters; a context of {block_size} needs "
                        f"{2 * block_size + 2}: give more text or a smaller --block-size")
    return {"training": tokens[:n], "validation": tokens[n:]}


def windows(tokens, starts, block_size):
    """The windows that begin at `starts` (B,): inputs x and, one position later, targets y, (B, T) each."""
    positions = starts[:, None] + torch.arange(block_size + 1, device=starts.device)
    taken = tokens[positions].long()  # (B, T + 1)
    return taken[:, :-1], taken[:, 1:]


# ------------------------------------------------------------------------------------------------------------
# The model


def norm(x):
    """(1) Layer norm without weights: every vector gets mean 0 and variance 1."""
    return F.layer_norm(x, (x.shape[-1],))  # Try: F.rms_norm


def rotate(x, start=0):
    """(2) Rotary positions: turn each pair of channels in x (B, H, T, D), whose first position is `start`.

    From one position to the next, the first pair turns by 1 radian, each further pair by less. A pair is
    the channels i and i + D/2. The product of a query and a key then depends on the distance between them,
    not on where they are. (After a million generated characters, the rounding of float32 begins to show.)
    """
    T, D = x.shape[-2:]
    speed = 10000.0 ** -(torch.arange(0, D, 2, device=x.device) / D)  # radians per position
    angles = torch.outer(torch.arange(start, start + T, device=x.device), speed)  # (T, D/2)
    cos, sin = angles.cos().type_as(x), angles.sin().type_as(x)
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, a * sin + b * cos), dim=-1)


def attention_weights(q, k):
    """How much each query looks at each key, (B, H, T, T): every row sums to 1, and no row looks ahead.

    q and k are (B, H, T, D). The model calls `F.scaled_dot_product_attention`, which computes the same as
    `attention_weights(q, k) @ v` in less time and memory.
    """
    scores = q @ k.mT / math.sqrt(q.shape[-1])  # (B, H, T, T)
    future = torch.ones_like(scores, dtype=torch.bool).triu(1)
    return scores.masked_fill(future, -math.inf).softmax(dim=-1)


class KVCache:
    """The KV cache for generation: keys and values of the characters so far, so that each step of generation
    computes only the new character.

    It keeps the last `size` characters. Attention depends on distances alone, so when the oldest one is
    dropped, the others stay as they are. They still hold what they heard from it, so the logits are not quite
    those of a fresh window.
    """

    def __init__(self, size):
        self.size = size
        self.length = 0  # of the text so far
        self.tokens = None  # its last characters, (B, up to size)
        self.layers = {}  # attention layer: (keys, values), each (B, H, up to size, D)

    def extend(self, layer, k, v):
        """Append the keys and values of new characters; returns those of all characters kept."""
        if layer in self.layers:
            old_k, old_v = self.layers[layer]
            k = torch.cat((old_k, k), dim=2)[:, :, -self.size :]
            v = torch.cat((old_v, v), dim=2)[:, :, -self.size :]
        self.layers[layer] = (k, v)
        return k, v

    def extend_tokens(self, idx):
        """Append new characters idx (B, T); returns all characters kept."""
        if self.tokens is None:
            self.tokens = idx
        elif idx.shape[1] == 1:
            self.tokens = torch.cat((self.tokens, idx), dim=1)[:, -self.size :]
        else:
            raise ValueError("a KV cache that is not empty takes one new character at a time, "
                             f"not {idx.shape[1]}")
        self.length += idx.shape[1]
        return self.tokens


class MultiHeadAttention(nn.Module):
    """Causal self-attention (Vaswani et al. 2017): communication.

    Every position takes a weighted mean of the values at itself and before it. Its query and their keys
    decide the weights. All heads are computed at once.
    """

    def __init__(self, config):
        super().__init__()
        self.n_head = config.n_head
        C = config.n_embd
        self.query = nn.Linear(C, C, bias=False)
        self.key = nn.Linear(C, C, bias=False)
        self.value = nn.Linear(C, C, bias=False)
        self.proj = nn.Linear(C, C, bias=False)

    def split_heads(self, x):
        """(B, T, C) -> (B, H, T, D): D = C / H channels for each head."""
        return x.unflatten(2, (self.n_head, -1)).transpose(1, 2)

    def forward(self, x, cache=None):
        """x (B, T, C) -> (B, T, C). `cache`: a KVCache that holds what came before x."""
        start = 0 if cache is None else cache.length - x.shape[1]
        q = self.split_heads(self.query(x))  # (B, H, T, D)
        k = self.split_heads(self.key(x))
        v = self.split_heads(self.value(x))  # Try: value embeddings
        q = rotate(norm(q), start)  # (3) QK-norm
        k = rotate(norm(k), start)
        if cache is not None:
            k, v = cache.extend(self, k, v)
        heads = F.scaled_dot_product_attention(q, k, v, is_causal=q.shape[2] > 1)  # (B, H, T, D)
        return self.proj(heads.transpose(1, 2).flatten(2))  # (B, T, C)


class FeedForward(nn.Module):
    """Computation: each position works on what it has heard, on its own."""

    def __init__(self, config):
        super().__init__()
        self.up = nn.Linear(config.n_embd, 4 * config.n_embd, bias=False)
        self.down = nn.Linear(4 * config.n_embd, config.n_embd, bias=False)

    def forward(self, x):
        h = self.up(x)  # (B, T, 4C)
        return self.down(F.relu(h) * h)  # (4) squared ReLU. Try: SwiGLU (Shazeer 2020)


class Block(nn.Module):
    """Communication, then computation. Each adds its result to x, the residual connection."""

    def __init__(self, config):
        super().__init__()
        self.attention = MultiHeadAttention(config)
        self.feed_forward = FeedForward(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x, cache=None):
        x = x + self.dropout(self.attention(norm(x), cache))
        return x + self.dropout(self.feed_forward(norm(x)))


class GPT(nn.Module):
    """A decoder-only transformer over characters (Radford et al. 2018)."""

    PREVIOUS = 3  # characters

    def __init__(self, config):
        super().__init__()
        C, V = config.n_embd, config.vocab_size
        self.config = config
        self.token_embedding = nn.Embedding(V, C)
        self.previous = nn.ModuleList(nn.Embedding(V, C) for _ in range(self.PREVIOUS))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.head = nn.Linear(C, V, bias=False)
        self.initialize()

    @torch.no_grad()
    def initialize(self):
        """The initial weights, all in one place."""
        nn.init.normal_(self.token_embedding.weight, std=1.0)
        for table in self.previous:
            nn.init.normal_(table.weight, std=0.5)
        for block in self.blocks:
            attention, feed_forward = block.attention, block.feed_forward
            for linear in (attention.query, attention.key, attention.value, feed_forward.up):
                nn.init.normal_(linear.weight, std=0.5 / math.sqrt(linear.in_features))
            for linear in (attention.proj, feed_forward.down):
                nn.init.zeros_(linear.weight)  # (5) at first, every block passes on what it gets
        nn.init.zeros_(self.head.weight)  # the first guess is uniform

    def embed(self, tokens):
        """The vector of each character of tokens (B, S), (B, S, C).

        (6) A vector for the character itself and one for each of the three before it, each from a table of
        its own. Lecture 3 does the same: concatenating vectors and multiplying them by a matrix adds up one
        table per place. So the first layer knows the last letters without having to find them by attention.
        """
        x = self.token_embedding(tokens)
        for distance, table in enumerate(self.previous, start=1):
            x = x + F.pad(table(tokens), (0, 0, distance, 0))[:, : tokens.shape[1]]
        # Try: tables for the last 2, 3 and 4 characters, of 2^14 rows: -0.040 (Cheng et al. 2026, "Engram")
        return x

    def forward(self, idx, cache=None):
        """The logits (B, T, V) of the character after each of idx (B, T).

        `cache`: a KVCache with the characters before idx. If there are any, idx must be a single character;
        ValueError otherwise.
        """
        T = idx.shape[1]
        tokens = idx if cache is None else cache.extend_tokens(idx)
        x = self.embed(tokens[:, -(T + self.PREVIOUS) :])[:, -T:]  # (B, T, C)
        for block in self.blocks:
            x = block(x, cache)  # Try: embedded = x before the loop, x = block(x + embedded, cache): +0.023
        return self.head(norm(x)).float()  # (B, T, V). Try: 15 * torch.tanh(logits / 15): +0.003


# ------------------------------------------------------------------------------------------------------------
# Optimizers and the learning rate


class Muon(torch.optim.Optimizer):
    """(7) Momentum whose update is made orthogonal, so that all directions of a matrix learn equally fast.

    Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks"; scaled as in Liu et al.
    2025, "Muon is Scalable for LLM Training". `torch.optim.Muon` does it in bfloat16 and one matrix at a
    time, which is slow on a CPU.
    """

    def __init__(self, params, lr, weight_decay):
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            shapes = {}  # matrices of one shape are made orthogonal together
            for p in group["params"]:
                if p.grad is None:  # it is frozen
                    continue
                if "momentum" not in self.state[p]:
                    self.state[p]["momentum"] = torch.zeros_like(p)
                momentum = self.state[p]["momentum"]
                momentum.lerp_(p.grad, 0.05)
                update = p.grad.lerp(momentum, 0.95)  # Nesterov
                shapes.setdefault(p.shape, []).append((p, update))
            for shape, pairs in shapes.items():
                updates = orthogonalize(torch.stack([update for _, update in pairs]))
                for (p, _), update in zip(pairs, updates):
                    p.mul_(1 - group["lr"] * group["weight_decay"])
                    p.sub_(update, alpha=group["lr"] * 0.2 * math.sqrt(max(shape)))


def orthogonalize(matrices):
    """Move the singular values of matrices (N, rows, columns) close to 1; keep their singular vectors.

    Five steps of a Newton-Schulz iteration. An odd polynomial of a matrix changes nothing but its singular
    values. This one moves all but tiny ones into the range from 0.68 to 1.20.
    """
    if matrices.shape[1] > matrices.shape[2]:
        return orthogonalize(matrices.mT).mT  # the same result, from smaller products
    x = matrices / (torch.linalg.matrix_norm(matrices, keepdim=True) + 1e-7)
    for _ in range(5):
        a = x @ x.mT
        b = torch.baddbmm(a, a, a, beta=-4.7750, alpha=2.0315)  # -4.7750 a + 2.0315 a @ a
        x = torch.baddbmm(x, b, x, beta=3.4445)  # 3.4445 x + b @ x
    return x


def make_optimizers(model, config):
    """Muon for the matrices inside the blocks, Adam (Kingma & Ba 2015) for everything else.

    The rates are 0 here because the loop sets them at every step.
    """
    blocks, others = [], []
    for name, p in model.named_parameters():
        if "blocks." in name and p.dim() == 2:  # (mixture.py calls them gpt.blocks)
            blocks.append(p)
        else:
            others.append(p)
    adam = torch.optim.Adam(others, lr=0.0, betas=(0.9, 0.95), fused=True)
    muon = Muon(blocks, lr=0.0, weight_decay=config.weight_decay)
    return [adam, muon]


def schedule(step, config):
    """Learning-rate multiplier: linear warmup, then linear decay to 1 %; no decay without a last step."""
    warmup = (step + 1) / min(100, config.end / 10)
    decay = max(0.01, 1 - step / config.end)
    return min(1, warmup, decay)


def set_learning_rate(optimizers, step, config):
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * schedule(step, config)


# ------------------------------------------------------------------------------------------------------------
# Training


def windows_in_epoch(length, block_size):
    """How many: one fewer than fit into the text, to leave room for a random offset; at least one."""
    return max(1, (length - 1) // block_size - 1)


@functools.lru_cache(maxsize=2)
def epoch_starts(seed, epoch, length, block_size):
    """Where the windows of an epoch begin, shuffled. They lie end to end, from a random offset."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    count = windows_in_epoch(length, block_size)
    spare = length - block_size * count  # characters that no window needs
    offset = torch.randint(min(block_size, spare), (1,), generator=generator)
    return offset + block_size * torch.randperm(count, generator=generator)


def batch_starts(length, config, step, team):
    """Where the windows of this process's batch begin, (B,); seed, step and rank decide it. `team`: the
    processes that train together, usually one, whose rank is 0.

    (8) An epoch visits all of the text once. The lecture draws its windows at random.
    """
    count = windows_in_epoch(length, config.block_size)
    first = (step * team.size + team.rank) * config.batch_size
    starts = []
    for number in range(first, first + config.batch_size):
        epoch, i = divmod(number, count)
        starts.append(epoch_starts(config.seed, epoch, length, config.block_size)[i])
    return torch.stack(starts)


def training_batch(tokens, config, step, team):
    """The inputs x and targets y of a step, (B, T) each.

    (9) In the first 60 % of the steps, the windows are cut into windows of 64 (Press et al. 2021,
    "Shortformer"). Attention costs less in short windows, and the near past is what there is to learn first.
    Not in a run without an end, nor if block_size is not a multiple of 64.
    """
    starts = batch_starts(len(tokens), config, step, team)
    x, y = windows(tokens, starts.to(tokens.device), config.block_size)
    has_end = config.max_steps != -1
    if has_end and step < 0.6 * config.max_steps and config.block_size % 64 == 0:
        x = x.reshape(-1, 64)  # (B T / 64, 64)
        y = y.reshape(-1, 64)
    return x, y


def loss_of(logits, y, reduction="mean"):
    """Cross-entropy of logits (B, T, V) and targets y (B, T): nats per character, targets of -1 left out
    (exercise 7.6)."""
    losses = F.cross_entropy(logits.flatten(0, 1), y.flatten(), ignore_index=-1, reduction=reduction)
    return losses.view(y.shape) if reduction == "none" else losses


def device_of(model):
    return next(model.parameters()).device


@torch.no_grad()
def evaluate(model, tokens, characters=None, progress=None, predict=None):
    """(loss, standard error): the mean over windows that do not overlap, in evaluation mode.

    All windows, or evenly spread ones with at most `characters` characters in all. The standard error
    assumes that the windows are independent of one another; nan for a single window. `progress` shows a line
    during long evaluations. `predict(x, starts)`: the logits for windows x that begin at `starts`; model(x)
    if it is not given.
    """
    T = model.config.block_size
    starts = torch.arange(0, len(tokens) - T, T)
    if characters is not None:
        starts = starts[:: math.ceil(len(starts) * T / characters)]
    was_training = model.training
    model.eval()
    tokens = tokens.to(device_of(model))
    # A few positions at a time: faster, and light on memory even if the vocabulary is large.
    positions = min(2048, 5_000_000 // model.config.vocab_size)
    losses = []
    for batch in starts.split(max(1, positions // T)):
        x, y = windows(tokens, batch.to(tokens.device), T)
        logits = predict(x, batch) if predict else model(x)
        losses.append(loss_of(logits, y, reduction="none").mean(dim=1).cpu())
        if progress:
            progress.show(f"evaluating: {int(batch[-1]) + T:,} of {len(tokens):,} characters")
    if progress:
        progress.clear()
    model.train(was_training)
    losses = torch.cat(losses).double()
    error = math.nan
    if len(losses) > 1:
        error = losses.std().item() / math.sqrt(len(losses))
    return losses.mean().item(), error


def train(text, config, out=DEFAULT_OUT, *, device="auto", source="", checkpoint=None, init_from=None,
          **sampling):
    """Train a model on a text, write model.pt, log.csv and loss.png into `out`, print the progress.

    Returns a Result: the model with the weights of the best validation loss, its vocab, the run's figures.
    `device`: as --device. `source`: the file that the text is from, for `resume`. `checkpoint`: continue that
    run, see `resume`. `init_from`: a folder; the run begins with its weights (finetuning). `sampling`:
    options of `generate`. Raises UserError; raises KeyboardInterrupt after Ctrl-C, once everything is saved.
    Torch's random numbers and number of threads are set for the run and put back at its end, so train one
    model at a time, not several in threads.
    """
    # Check and complete what was given.
    config = check_config(config)
    device = pick_device(device)
    source = absolute(source)
    text = check_text(text)
    before = read_checkpoint(init_from) if init_from else checkpoint
    vocab = Vocab(text, first=before["chars"] if before else "")
    sampling = check_sampling(vocab, {"seed": config.seed} | sampling)
    data = split(torch.from_numpy(vocab.encode(text)), config.block_size)
    config = dataclasses.replace(config, vocab_size=len(vocab))

    # Prepare the data, the model, its optimizers and the run.
    team = Team(device)
    tokens = data["training"].to(device)
    with seeded(config.seed):
        model = GPT(config).to(device)
    if init_from:
        take_weights(model, before)
    optimizers = make_optimizers(model, config)
    run = Run(out, config, model, vocab, optimizers, data["validation"], sampling, source, digest_of(text),
              checkpoint, team)
    run.introduce(data)
    bfloat16 = has_bfloat16(device)
    forward = for_training(model, team)

    # The loop. Run does everything that happens between two steps, from evaluation to Ctrl-C.
    with seeded(config.seed), run:
        for step in run:
            x, y = training_batch(tokens, config, step, team)
            with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
                logits = forward(x)
            loss = loss_of(logits, y)
            model.zero_grad()
            loss.backward()
            set_learning_rate(optimizers, step, config)
            for optimizer in optimizers:
                optimizer.step()
            run.loss = loss.item()

    # The result: the best weights, their loss and a sample.
    run.finish()
    return run.result()


class Result(typing.NamedTuple):
    """What `train` returns. `results`: "validation", (loss, standard error); "seconds" of training; "run",
    the Run with the losses of all steps."""

    model: nn.Module
    vocab: Vocab
    results: dict

    def __repr__(self):  # one line in a notebook
        return f"<{type(self.model).__name__}: validation {self.results['validation'][0]:.4f}>"


def resume(out=DEFAULT_OUT, text=None, *, device="auto", source="", max_steps=None, **sampling):
    """Continue the run in a folder exactly where it stopped; returns a Result. Options as in `train`.

    `text` is needed only if the run did not read it from a file. `max_steps`: a new total; the learning rate
    then falls until that step. Raises UserError if there is no such run, or if the text is not the same.
    """
    out = folder_of(out)
    checkpoint = read_checkpoint(out)
    text, config, source = of_the_same_run(checkpoint, out, text, source, max_steps)
    return train(text, config, out, device=device, source=source, checkpoint=checkpoint, **sampling)


# ------------------------------------------------------------------------------------------------------------
# Sampling


def load(out=DEFAULT_OUT, device="cpu", last=False):
    """(model, vocab) of the run in a folder: the weights of the best validation loss, in evaluation mode.

    `last`: the weights of the last step instead. Raises UserError if there is no such run.
    """
    checkpoint = read_checkpoint(out)
    model = GPT(checkpoint["config"])
    model.load_state_dict(checkpoint["model"] if last else checkpoint["progress"]["best"])
    return model.to(pick_device(device)).eval(), Vocab("", first=checkpoint["chars"])


def draw(logits, temperature, top_k, generator):
    """Draw a token for each row of logits (B, V), which are on the CPU; `generate` explains the options."""
    if logits.isnan().any():
        raise UserError("the model's logits are not numbers; nothing can be sampled", status=1)
    logits, tokens = logits.sort(dim=1, descending=True, stable=True)  # of equal ones, the first comes first
    logits, tokens = logits[:, :top_k], tokens[:, :top_k]  # (B, k); all of them if top_k is None
    if temperature == 0:
        return tokens[:, 0]
    logits = logits.double() - logits[:, :1]  # at most 0, so that nothing overflows
    probabilities = (logits / temperature).softmax(dim=1)
    choice = torch.multinomial(probabilities, 1, generator=generator)  # (B, 1)
    return tokens.gather(1, choice)[:, 0]


@torch.no_grad()
def generate(model, vocab, prompt="", num_samples=1, max_new_tokens=500, temperature=0.7, top_k=None,
             seed=None, progress=None):
    """A list of `num_samples` texts: the prompt and `max_new_tokens` more characters, sampled one by one.

    temperature: 0 takes the most likely character, below 1 is more careful, above 1 more daring. top_k:
    only the k most likely characters. seed: the same one gives the same texts, if as many are sampled. The
    texts grow together, as rows of a batch. `progress` shows a line when it takes long. Raises UserError for
    characters that are not in the vocabulary.
    """
    options = check_sampling(vocab, {
        "prompt": prompt, "num_samples": num_samples, "max_new_tokens": max_new_tokens,
        "temperature": temperature, "top_k": top_k, "seed": seed})
    generator = torch.Generator()
    if options["seed"] is None:
        generator.seed()
    else:
        generator.manual_seed(options["seed"])
    if prompt:
        start = vocab.encode(prompt).tolist()
    else:
        start = vocab.encode("\n" if "\n" in vocab.chars else vocab.chars[0]).tolist()
    block_size = model.config.block_size
    device = device_of(model)
    was_training = model.training
    model.eval()
    texts = []
    for rows in torch.arange(options["num_samples"]).split(100):  # at most 100 at a time
        new = torch.tensor(start[-block_size:]).repeat(len(rows), 1)  # (rows, T), new to the cache
        cache = KVCache(block_size)
        drawn = []
        for number in range(options["max_new_tokens"]):
            if progress:
                progress.show(f"sampling: {number:,} of {options['max_new_tokens']:,} characters")
            logits = model(new.to(device), cache)[:, -1].cpu()  # (rows, V)
            new = draw(logits, options["temperature"], options["top_k"], generator)[:, None]
            drawn.append(new)
        for row in torch.cat(drawn, dim=1).tolist():
            texts.append(prompt + vocab.decode(row))
    if progress:
        progress.clear()
    model.train(was_training)
    return texts


def print_texts(texts):
    print(f"\n{'-' * 79}\n".join(texts))


# ------------------------------------------------------------------------------------------------------------
# Pictures


def draw_loss(run, path):
    """The losses of a run: every batch, their running mean, validation, and a uniform guess."""
    from matplotlib.figure import Figure  # imported here because it takes a second; leaves pyplot alone

    ax = Figure(figsize=(8, 5), dpi=120).add_axes((0.09, 0.1, 0.88, 0.87))
    uniform = math.log(len(run.vocab))
    label = f"a uniform guess: ln {len(run.vocab)} = {uniform:.2f}"
    ax.axhline(uniform, color="gray", linestyle="--", label=label)
    width = 1 + len(run.losses) // 50
    mean = np.convolve(run.losses, np.ones(width) / width, mode="valid")
    steps, _, _, validation = zip(*run.log)
    ax.plot(run.losses, color="C0", alpha=0.25, linewidth=0.5, label="batch")
    ax.plot(range(width - 1, len(run.losses)), mean, color="C0", label=f"mean of {width} batches")
    ax.plot(steps, validation, ".-", color="C1", label=f"validation, {run.best_loss:.4f} at best")
    lowest = min((loss for loss in (*mean, run.best_loss) if math.isfinite(loss)), default=0)
    ax.set(xlabel="step", ylabel="loss (nats per character)", ylim=(lowest - 0.2, uniform + 0.2))
    ax.grid(alpha=0.3)
    ax.legend(fontsize="small", loc="upper right")
    picture = io.BytesIO()
    ax.figure.savefig(picture, format="png")
    write_file(path, picture.getvalue())


# ------------------------------------------------------------------------------------------------------------
# Machinery: errors, limits, files, checkpoints, what happens between two steps, the command line. You can
# stop reading here and still understand the model. makemore.py has the same machinery; what several processes
# need is only here.

NAME = "gpt"
VERSION = "1.0.0"
FORMAT = "gpt 8"  # of model.pt
# The entries of model.pt, besides its format and its config.
CONTENT = "chars", "source", "digest", "threads", "processes", "progress", "model", "optimizers"
FILES = "model.pt", "log.csv", "loss.png"
SIZES = "n_layer", "n_head", "n_embd", "block_size"  # --init-from takes these over
HERE = Path(__file__).resolve().parent
EVALUATED = 1_000_000  # characters: of a much longer validation text, only so many are evaluated at the end


class UserError(Exception):
    """An error that the command line prints as one sentence. `status`: 2 for usage errors, otherwise 1."""

    def __init__(self, message, status=2):
        super().__init__(message)
        self.status = status


# Input: whatever a user gives is checked here, and becomes a plain int, float or str.


class Number(typing.NamedTuple):
    """What a number must be, and the text for --help."""

    kind: type
    low: float
    high: float
    help: str


SETTINGS = {
    "max_steps": Number(int, 1, 10**9, "total number of steps, also after --resume; -1: no end"),
    "batch_size": Number(int, 1, 10**6, "windows in a batch, in each process"),
    "learning_rate": Number(float, 0, 10**9, "the peak of the learning rate"),
    "block_size": Number(int, 1, 10**6, "context length, in characters"),
    "n_layer": Number(int, 1, 1000, "number of layers"),
    "n_head": Number(int, 1, 1000, "number of attention heads"),
    "n_embd": Number(int, 2, 10**5, "channels of a character's vector"),
    "dropout": Number(float, 0, 0.99, "dropout probability"),
    "weight_decay": Number(float, 0, 100, "decoupled weight decay, matrices of the blocks only"),
    "seed": Number(int, 0, 2**32 - 1, "default: 3407; with --sample-only: a new one every time"),
}
SAMPLING = {
    "num_samples": Number(int, 1, 10**6, "how many texts (default: 1)"),
    "max_new_tokens": Number(int, 1, 10**9, "characters of a text (default: 500)"),
    "temperature": Number(float, 0, 10**9, "0: the most likely character; 1: as learned (default: 0.7)"),
    "top_k": Number(int, 1, 10**6, "draw from the N most likely characters only (default: all)"),
}


def flag(name):
    return f"--{name.replace('_', '-')}"


def check_number(name, value):
    """The plain int or float for a number of any type (NumPy, torch, Fraction). Raises UserError if the value
    is not a number, or not within its limits."""
    number = (SETTINGS | SAMPLING)[name]
    try:
        if number.kind is int:
            plain = int(operator.index(value))  # refuses 8.0 and "8"
        elif isinstance(value, str):
            raise TypeError
        else:
            plain = float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        wanted = "a whole number" if number.kind is int else "a number"
        raise UserError(f"{flag(name)} must be {wanted}, not {value!r}") from None
    if name == "max_steps" and plain == -1:
        return plain
    if not number.low <= plain <= number.high:  # also true of nan, which fails every comparison
        no_end = " (or -1: no end)" if name == "max_steps" else ""
        raise UserError(f"{flag(name)} must be from {number.low} to {number.high}, not {plain}{no_end}")
    return plain


def check_config(config):
    """A copy of the config with plain values. Raises UserError for values that are impossible."""
    if not isinstance(config, Config):
        raise UserError(f"configure() makes the config; this is {config!r}")
    values = {name: check_number(name, getattr(config, name)) for name in SETTINGS}
    config = dataclasses.replace(config, **values)
    if config.n_embd % (2 * config.n_head):
        raise UserError(f"--n-embd {config.n_embd} does not divide into {config.n_head} heads of even size")
    return config


def check_sampling(vocab, options):
    """The options of `generate` as plain values. Raises UserError for impossible values, TypeError for
    options that do not exist."""
    checked = {}
    for name, value in options.items():
        if name == "prompt":
            if not isinstance(value, str):
                raise UserError(f"a prompt must be text, not {value!r}")
            vocab.encode(value)  # raises UserError for characters that are not in the vocabulary
            checked[name] = value
        elif name in ("top_k", "seed") and value is None:
            checked[name] = None
        elif name in SAMPLING or name == "seed":
            checked[name] = check_number(name, value)
        else:
            raise TypeError(f"train() and generate() have no option {name!r}; settings such as max_steps "
                            "go into configure()")
    return checked


def check_text(text):
    """The text. Raises UserError if it is not a text, or if it is the name of a file."""
    looks_like_a_name = isinstance(text, str) and len(text) < 300 and "\n" not in text
    if not isinstance(text, str) or (looks_like_a_name and (text.endswith(".txt") or os.path.exists(text))):
        raise UserError(f"give the text itself, not {str(text)[:60]!r}; "
                        "gpt.read_file(name) reads it from a file")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{text[error.start]!r} is half of a character; it cannot be in a text") from None
    return text


def check_same(values, config):
    """Raises UserError if a flag contradicts the settings of an earlier run."""
    for name, value in values.items():
        known = getattr(config, name)
        if known != value:
            raise UserError(f"{flag(name)} {value} contradicts the run in the folder, which has {known}")


# Devices and processes


def pick_device(name):
    """`auto` means a CUDA GPU if there is one, or else the CPU. Apple's GPU is used only if asked for. Under
    torchrun every process takes a CUDA GPU of its own.

    Raises UserError if the device cannot be used.
    """
    name = str(name)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if "WORLD_SIZE" in os.environ and name.startswith("cuda:"):
        raise UserError(f"under torchrun every process takes a GPU of its own: --device cuda, not {name}")
    if name == "cuda":
        name = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    try:
        (torch.zeros(1, device=name) + 1).cpu()  # a trial
        device = torch.device(name)
    except (RuntimeError, AssertionError):
        raise UserError(f"device {name!r} cannot be used here; try --device cpu") from None
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device


def is_cpu(device):
    """Whether a device is the CPU; "auto" is, if there is no CUDA GPU."""
    if str(device) == "auto":
        return not torch.cuda.is_available()
    return str(device).startswith("cpu")


def has_bfloat16(device):
    """Whether matrix products are fast in bfloat16: on Nvidia GPUs from compute capability 8.0 on."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)


def can_compile(device):
    """Whether torch.compile works: it needs Triton, which needs an Nvidia GPU of compute capability 7.0."""
    has_triton = importlib.util.find_spec("triton") is not None
    return device.type == "cuda" and has_triton and torch.cuda.get_device_capability(device) >= (7, 0)


class Team:
    """The processes of a data-parallel run, started by torchrun; without torchrun, a team of one."""

    def __init__(self, device):
        self.size = int(os.environ.get("WORLD_SIZE", "1"))
        self.rank = int(os.environ.get("RANK", "0")) if self.size > 1 else 0
        self.device = device
        if self.size > 1 and not torch.distributed.is_initialized():
            if device.type == "mps":
                raise UserError("MPS does not support torch.distributed; use --device cpu")
            try:
                torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
            except ValueError as error:
                raise UserError(f"several processes must be started by torchrun: {error}") from None
            atexit.register(torch.distributed.destroy_process_group)

    def sum(self, *values):
        """The sum of each value over all processes."""
        if self.size == 1:
            return values
        totals = torch.tensor(values, dtype=torch.float32, device=self.device)
        torch.distributed.all_reduce(totals)
        return totals.tolist()


def for_training(model, team):
    """The model to call in training: compiled where that works, with gradients averaged over all processes.
    It shares the weights of `model`."""
    forward = torch.compile(model) if can_compile(team.device) else model
    if team.size > 1:
        forward = nn.parallel.DistributedDataParallel(forward)
    return forward


# Files


def find_file(name):
    """The path of a file. A bare name may be in the working directory, beside this script or in data/."""
    places = [Path()]
    if Path(name).name == str(name):
        places = [Path.cwd(), HERE, HERE.parent / "data"]
    for place in places:
        if (place / name).exists():
            return place / name
    looked = f"; looked in {', '.join(map(str, places))}" if len(places) > 1 else ""
    raise UserError(f"{name}: no such file{looked}")


def absolute(source):
    """The absolute path of the file that the text is from, as text; "" if there is none."""
    if not source:
        return ""
    if not Path(source).is_absolute():
        source = find_file(source).resolve()
    return str(source)


def read_file(name):
    """The text of a UTF-8 file, a newline at every line end. Raises UserError if the file is not text."""
    try:
        content = find_file(name).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {name}: {error.strerror}") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"cannot read {name}: {wrong_encoding(name, content, error.start)}") from None
    if "\0" in text:
        raise UserError(f"cannot read {name}: {wrong_encoding(name, content, content.index(0))}")
    if not text.strip():
        raise UserError(f"{name} is empty or blank")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def wrong_encoding(name, content, position):
    """What to say of a file that is not UTF-8: where, what it looks like, the command that converts it."""
    line = content.count(b"\n", 0, position) + 1
    name = shlex.quote(str(name))
    unusual = sum(content.count(byte) for byte in range(128, 256))  # bytes beyond ASCII
    valid = sum(ord(char) > 127 for char in content.decode("utf-8", errors="ignore"))  # characters
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        guess = "UTF-16"
    elif content[1::2].count(0) > len(content) / 4:
        guess = "UTF-16LE"
    elif content[::2].count(0) > len(content) / 4:
        guess = "UTF-16BE"
    elif any(content.count(byte) for byte in range(7)):
        return "it is a binary file"
    elif valid > unusual / 4:  # a character is two to four bytes
        return (f"line {line} is not UTF-8, but most of the file is: "
                f"iconv -c -f UTF-8 -t UTF-8 {name} > new.txt leaves out what is not")
    elif unusual < 0.3 * len(content):
        guess = "CP1252"  # Western text; it contains the characters of latin-1
    else:
        return f"line {line} is not UTF-8; iconv -f ENCODING -t UTF-8 {name} > new.txt converts it"
    return (f"line {line} is not UTF-8; it looks like {guess}: "
            f"iconv -f {guess} -t UTF-8 {name} > new.txt converts it")


def write_file(path, content):
    """Replace a file: if the program is killed, the old file or the new one is there, never half of one."""
    temporary = Path(f"{path}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):  # (the clean-up may fail for the same reason)
            temporary.unlink()
        raise UserError(f"cannot write {relative(path)}: {error.strerror}", status=1) from None


def relative(path):
    """A path as a user would write it: from the working directory, if it is in there."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def digest_of(text):
    """A fingerprint of the text: different texts have different fingerprints."""
    return hashlib.sha256(text.encode()).hexdigest()


def prepare_folder(folder):
    """Make the folder; rename what an earlier run left in it, model.pt to model.1.pt and so on."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        number = 1
        while any(folder.glob(f"*.{number}.*")):
            number += 1
        for name in FILES:
            path = folder / name
            if path.exists():
                moved = path.rename(path.with_suffix(f".{number}{path.suffix}"))
                print(f"moved aside: {name} to {moved.name}")
    except OSError as error:
        raise UserError(f"cannot use {relative(folder)} as the output folder: {error.strerror}") from None


def read_checkpoint(out, wanted=FORMAT, names=CONTENT):
    """The content of a checkpoint: of model.pt in a folder, or of a file. Raises UserError if it is missing,
    damaged or not of the wanted format."""
    path = Path(out)
    if not path.is_file():
        path = path / "model.pt"
    if not path.exists():
        gpt2 = "; OpenAI's gpt2 is a different model" if str(out).startswith("gpt2") else ""
        raise UserError(f"{path} does not exist; train a model first{gpt2}")
    try:
        with zipfile.ZipFile(path):  # on any other file torch would print warnings
            checkpoint = torch.load(path, weights_only=True, map_location="cpu")
        found = checkpoint["format"]
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except Exception:  # noqa: BLE001 (torch.load fails in as many ways as there are damaged files)
        raise UserError(f"{path} is damaged, or not a checkpoint") from None
    if found != wanted:
        raise UserError(f"{path} has format {found}; this version reads {wanted}; choose another folder")
    try:
        content = {name: checkpoint[name] for name in names}
        return content | {"config": Config(**checkpoint["config"])}
    except (KeyError, TypeError):
        raise UserError(f"{path} is damaged, or not a checkpoint") from None


def folder_of(out):
    """The folder of a run, for `resume`; out may be its model.pt too.

    Raises UserError for another checkpoint: the run would replace model.pt, which may be a later one.
    """
    if not Path(out).is_file():
        return out
    if Path(out).name != "model.pt":
        raise UserError(f"{out} can be sampled from, but not continued; copy it as model.pt into a folder of "
                        "its own")
    return Path(out).parent


def take_weights(model, checkpoint):
    """Give the model the best weights of an earlier run; characters that are new to it keep their random
    initialisation. Raises UserError if the sizes differ."""
    check_same({name: getattr(model.config, name) for name in SIZES}, checkpoint["config"])
    weights = model.state_dict()
    for name, known in checkpoint["progress"]["best"].items():
        weights[name][tuple(slice(size) for size in known.shape)] = known


def of_the_same_run(checkpoint, out, text, source, max_steps):
    """The text, config and source with which the run of a checkpoint continues. Raises UserError if the text
    is missing or not the same."""
    if text is None:
        source = source or checkpoint["source"]
        if not source:
            raise UserError(f"the run in {out} did not read its text from a file: give it again, with "
                            f"-i FILE or resume({str(out)!r}, text=...)")
        text = read_file(source)
    if digest_of(check_text(text)) != checkpoint["digest"]:
        raise UserError(f"{source or 'this text'} is not the text of the run in {out}; "
                        "to train on another text, start a run in another folder, with --init-from to "
                        "begin with these weights")
    config = checkpoint["config"]
    if max_steps is not None:
        config = dataclasses.replace(config, max_steps=max_steps)
    return text, config, source or checkpoint["source"]


# Between two steps


class Progress:
    """Shows what the program is doing when it has printed nothing else for a while.

    On a terminal, it writes one line again and again. Elsewhere it prints a new line after two seconds or,
    in long runs, after a thirtieth of the time so far. `stream`: standard output or standard error.
    """

    def __init__(self, stream):
        self.stream = stream
        self.is_terminal = hasattr(stream, "isatty") and stream.isatty()  # a notebook's may have no isatty
        self.start = self.last = time.monotonic()
        self.is_shown = False

    def say(self, text):
        """Print a line that stays."""
        self.clear()
        print(text, file=self.stream, flush=True)
        self.last = time.monotonic()

    def show(self, text):
        """Show what is going on, unless something was printed a moment ago."""
        now = time.monotonic()
        if self.is_terminal:
            if now - self.last > 0.2:
                print(f"{text:79}", end="\r", file=self.stream, flush=True)
                self.last = now
                self.is_shown = True
        elif now - self.last > max(2, (now - self.start) / 30):
            self.say(text)

    def clear(self):
        """Erase the line on the terminal."""
        if self.is_shown:
            print(" " * 79, end="\r", file=self.stream, flush=True)
            self.is_shown = False


@contextlib.contextmanager
def seeded(seed):
    """Inside, torch's random numbers begin at a seed; afterwards, they continue as if none had been drawn."""
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield


class Run:
    """Everything that happens between two steps: evaluate, keep the best weights, save, report, sample, stop.

    `for step in run` yields the remaining steps; the loop stores the loss of its batch in `run.loss`. Ctrl-C
    ends the loop between two steps, once everything is saved.
    """

    name = NAME
    format = FORMAT
    SAVED = "step", "seconds", "best_step", "best_loss", "best", "losses", "log"

    def __init__(self, out, config, model, vocab, optimizers, validation, sampling, source, digest,
                 checkpoint, team):
        self.out = out  # as given, for messages
        self.folder = Path(out).absolute()  # the working directory may change
        self.config = config
        self.model = model
        self.vocab = vocab
        self.optimizers = optimizers
        self.validation = validation
        self.sampling = sampling
        self.source = source
        self.digest = digest
        self.team = team
        self.threads = torch.get_num_threads()
        self.step = 0
        self.seconds = 0.0  # of training alone
        self.best_step = 0  # by validation loss
        self.best_loss = math.inf
        self.best = {}  # the weights
        self.losses = []  # of each batch
        self.log = []  # (step, seconds, training, validation) of each evaluation
        self.progress = Progress(sys.stdout)
        self.handler = None  # of Ctrl-C before the run
        self.pressed = False  # Ctrl-C, perhaps in the middle of a step
        self.stopped = False  # Ctrl-C in any process, seen between two steps
        if checkpoint:
            self.restore(checkpoint)
        if config.end < self.step:
            raise UserError(f"--max-steps {config.end} counts all steps, and this run has already done "
                            f"{self.step}")

    def restore(self, checkpoint):
        """Continue where the run of a checkpoint stopped."""
        if checkpoint["processes"] != self.team.size:
            raise UserError(f"the run has {checkpoint['processes']} process(es), not {self.team.size}")
        # The number of threads changes the order of summation, hence the rounding.
        self.threads = checkpoint["threads"]
        self.model.load_state_dict(checkpoint["model"])
        for optimizer, state in zip(self.optimizers, checkpoint["optimizers"]):
            optimizer.load_state_dict(state)
        for name in self.SAVED:
            setattr(self, name, checkpoint["progress"][name])

    def introduce(self, data):
        """Print what is trained, on which text, with which settings."""
        parts = [f"device: {self.team.device}", f"threads: {self.threads}"]
        parts.append("bfloat16" if has_bfloat16(self.team.device) else "float32")
        if can_compile(self.team.device):
            parts.append("compiled (the first step takes a minute)")
        if self.team.size > 1:
            parts.append(f"{self.team.size} processes")
        training = len(data["training"])
        characters = training + len(data["validation"])
        parameters = sum(p.numel() for p in self.model.parameters())
        settings = ", ".join(f"{name} {value}" for name, value in vars(self.config).items())
        uniform = math.log(len(self.vocab))
        print(f"data: {Path(self.source).name or 'a text'}, {characters:,} characters ({training:,} for "
              f"training), {len(self.vocab)} different: {self.vocab}")
        print(f"model: {parameters:,} parameters; a uniform guess has a loss of {uniform:.4f}")
        print(f"settings: {settings}")
        print(", ".join(parts))

    def __enter__(self):
        if self.log:
            print(f"resuming at step {self.step}")
        elif self.team.rank == 0:
            prepare_folder(self.folder)
        with contextlib.suppress(ValueError):  # Python allows signal handlers only in the main thread
            self.handler = signal.signal(signal.SIGINT, self.on_ctrl_c)
        self.threads_before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        self.saved = time.monotonic()

    def __exit__(self, *_):
        self.progress.clear()
        torch.set_num_threads(self.threads_before)
        if self.handler is not None:  # not just `if self.handler`: SIG_DFL, the default, is 0
            signal.signal(signal.SIGINT, self.handler)

    def on_ctrl_c(self, *_):
        self.pressed = True  # the loop stops after this step

    def __iter__(self):
        self.model.train()
        while True:
            due = self.step % max(100, self.config.max_steps // 10) == 0 or self.step == self.config.end
            done = bool(self.log) and self.log[-1][0] == self.step  # before a resume
            if due and not done:
                self.report()
            if self.stopped or self.step == self.config.end:
                return
            # For dropout. Each step seeds anew, so no random state needs to be stored.
            torch.manual_seed((self.config.seed * 1_000_003 + self.step) * self.team.size + self.team.rank)
            start = time.perf_counter()
            yield self.step
            self.seconds += time.perf_counter() - start
            self.step += 1
            loss, self.stopped = self.team.sum(self.loss, self.pressed)  # one reduction a step
            self.losses.append(loss / self.team.size)
            if self.stopped or time.monotonic() - self.saved > 15:
                self.save()
            self.progress.show(self.describe(f"batch {self.losses[-1]:.4f}"))

    def evaluate(self, characters=None):
        """(loss, standard error) on the validation text, or on a part of it."""
        return evaluate(self.model, self.validation, characters, self.progress)

    def report(self):
        """Evaluate, keep the best weights, save, print the losses and a sample."""
        validation, _ = self.evaluate(characters=16_384)
        if math.isnan(validation):
            validation = math.inf  # so that it can be compared
        since = self.log[-1][0] if self.log else 0  # the step of the last evaluation
        batches = self.losses[since:]
        training = sum(batches) / len(batches) if batches else math.nan
        self.log.append((self.step, self.seconds, training, validation))
        if validation < self.best_loss or not self.best:
            self.best = {name: value.cpu().clone() for name, value in self.model.state_dict().items()}
            self.best_step = self.step
            self.best_loss = validation
        self.save()
        losses = f"validation {validation:.4f}"
        if batches:
            losses += f", batches {training:.4f}"
        self.progress.say(self.describe(losses))
        if self.step != self.config.end and validation < math.inf:
            short = {"num_samples": 1, "max_new_tokens": 100, "seed": self.step}
            for line in generate(self.model, self.vocab, **self.sampling | short)[0].strip("\n").split("\n"):
                print(f"    {line}")

    def describe(self, losses):
        """A line of progress: the step, the losses, the time that a step takes, the time left."""
        text = f"step {self.step:5}/{self.config.end}: {losses}"
        if self.step == 0:
            return text
        pace = self.seconds / self.step
        text += f", {1000 * pace:.1f} ms a step"
        left = pace * (self.config.end - self.step)
        if 0 < left < math.inf:
            minutes, seconds = divmod(int(left), 60)
            text += f", {minutes}:{seconds:02} left"
        return text

    def content(self):
        """What a checkpoint holds: all that `resume` and `load` need, in plain types."""
        return {
            "format": self.format, "config": vars(self.config), "chars": self.vocab.chars,
            "source": self.source, "digest": self.digest,
            "threads": self.threads, "processes": self.team.size,
            "progress": {name: getattr(self, name) for name in self.SAVED},
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }

    def save(self):
        """Write model.pt and log.csv. Raises UserError if a weight is not finite."""
        self.saved = time.monotonic()
        if not all(value.isfinite().all() for value in self.model.state_dict().values()):
            raise UserError(f"training diverged before step {self.step}: a weight is not finite; start again "
                            "with a smaller --learning-rate (the last good checkpoint is kept)", status=1)
        if self.team.rank != 0:
            return
        content = io.BytesIO()
        torch.save(self.content(), content)
        write_file(self.folder / "model.pt", content.getvalue())
        rows = ["step,seconds,train_loss,val_loss\n"]
        for step, seconds, training, validation in self.log:
            rows.append(f"{step},{seconds:.3f},{training:.6f},{validation:.6f}\n")
        write_file(self.folder / "log.csv", "".join(rows).encode())

    def finish(self):
        """Draw the losses; give the model its best weights or, after Ctrl-C, raise KeyboardInterrupt."""
        self.progress.clear()
        if self.team.rank == 0:
            draw_loss(self, self.folder / "loss.png")
        if self.stopped or self.pressed:
            print(f"stopped after step {self.step}; everything is saved; run it again with --resume to "
                  f"continue (in Python: {self.name}.resume({str(self.out)!r}))")
            raise KeyboardInterrupt
        self.model.load_state_dict(self.best)
        self.model.eval()

    def result(self):
        """Evaluate the best weights on the validation text, print their loss and samples."""
        if len(self.validation) < 2 * EVALUATED:
            loss, error = self.evaluate()
            part = "all windows of the validation text"
        else:
            loss, error = self.evaluate(EVALUATED)
            part = f"{EVALUATED:,} characters of the validation text"
        noise = "of one window" if math.isnan(error) else f"standard error {error:.4f}"
        self.progress.say(f"validation loss {loss:.4f} ({noise}) on {part} with the weights of step "
                          f"{self.best_step}, the best in validation; {self.seconds:.0f} s of training")
        if self.best_step == 0:
            step, _, training, validation = self.log[-1]
            if training < self.log[0][3] < validation:
                cause = "learned its text by heart (use more text, dropout or a smaller model)"
            else:
                cause = "diverged (use a smaller --learning-rate) or was too short"
            print(f"WARNING: validation never got below its first value: the run {cause}. "
                  f"These are the weights that it started with. At the last step, {step}: validation "
                  f"{validation:.4f}, batches {training:.4f}; --sample-only --last samples from them.")
        print_texts(generate(self.model, self.vocab, progress=self.progress, **self.sampling))
        print(f"in {self.out}: {', '.join(name for name in FILES if (self.folder / name).exists())}")
        results = {"validation": (loss, error), "seconds": self.seconds, "run": self}
        return Result(self.model, self.vocab, results)


# The command line


class Parser(argparse.ArgumentParser):
    def error(self, message):
        raise UserError(f"{message}; --help shows all settings")


def parse_arguments(argv, program):
    parser = Parser(prog=program.NAME, description=program.__doc__.partition("\n")[0])
    group = parser.add_argument_group("files and what to do")
    group.add_argument("-i", "--input-file", metavar="FILE", help=f"a UTF-8 text (default: {DEFAULT_TEXT})")
    group.add_argument("-o", "--work-dir", metavar="DIR", default=program.DEFAULT_OUT,
                       help=f"run folder (default: {program.DEFAULT_OUT})")
    action = group.add_mutually_exclusive_group()
    action.add_argument("--resume", action="store_true", help="continue the run in the folder")
    action.add_argument("--sample-only", action="store_true",
                        help="do not train; sample from the model in the folder")
    group.add_argument("--last", action="store_true",
                       help="with --sample-only: the weights of the last step, not those of the best one")
    group.add_argument("--init-from", metavar="DIR",
                       help="start from the weights of the run in DIR (finetuning)")
    group.add_argument("--prompt", metavar="TEXT", default="",
                       help="beginning of every text; FILE:NAME reads it from NAME")
    group.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps, ... (default: auto)")
    version = f"%(prog)s {VERSION}, torch {torch.__version__}"
    group.add_argument("--version", action="version", version=version)
    short = {"batch_size": "-b", "learning_rate": "-l"}
    cpu, gpu = program.configure("cpu"), program.configure("cuda")
    for title, numbers in (("settings", SETTINGS), ("sampling", SAMPLING)):
        group = parser.add_argument_group(title)
        for name, number in numbers.items():
            flags = [flag(name)]
            if name in short:
                flags.insert(0, short[name])
            text = number.help
            if title == "settings" and name != "seed":
                default = str(getattr(cpu, name))
                if getattr(gpu, name) != getattr(cpu, name):
                    default += f"; on a GPU {getattr(gpu, name)}"
                text += f" (default: {default})"
            metavar = "N" if number.kind is int else "X"
            group.add_argument(*flags, type=number.kind, metavar=metavar, help=text)
    return parser.parse_args(argv)


def execute(args, program):
    """Do what the arguments ask for."""
    settings, options = {}, {"prompt": args.prompt}
    for name, value in vars(args).items():
        if value is not None and name in SETTINGS:
            settings[name] = check_number(name, value)
        if value is not None and name in SAMPLING:
            options[name] = check_number(name, value)
    if args.prompt.startswith("FILE:"):
        options["prompt"] = read_file(args.prompt.removeprefix("FILE:")).removesuffix("\n")
    if args.last and not args.sample_only:
        raise UserError("--last needs --sample-only")
    if args.sample_only:
        sample_only(args, settings, options, program)
        return
    options["device"] = args.device
    text = None
    if args.input_file is not None or not args.resume:
        options["source"] = DEFAULT_TEXT if args.input_file is None else args.input_file
        text = read_file(options["source"])
    if args.resume:
        if args.init_from is not None:
            print(f"--init-from is not used again: the run in {args.work_dir} continues")
        if "max_steps" in settings:
            options["max_steps"] = settings.pop("max_steps")
        check_same(settings, program.read_checkpoint(args.work_dir)["config"])
        program.resume(args.work_dir, text, **options)
    else:
        if args.init_from is not None:
            options["init_from"] = args.init_from
            known = program.read_checkpoint(args.init_from)["config"]
            settings = {name: getattr(known, name) for name in SIZES} | settings
        config = program.configure(pick_device(args.device), **settings)
        program.train(text, config, args.work_dir, **options)


def sample_only(args, settings, options, program):
    """Print samples of a trained model."""
    if args.init_from is not None:
        raise UserError("--init-from cannot be combined with --sample-only")
    checkpoint = program.read_checkpoint(args.work_dir)
    if "seed" in settings:  # of the samples
        options["seed"] = settings.pop("seed")
    check_same(settings, checkpoint["config"])
    if args.input_file is not None and digest_of(read_file(args.input_file)) != checkpoint["digest"]:
        raise UserError(f"{args.input_file} is not the text of the run in {args.work_dir}")
    model, vocab = program.load(args.work_dir, args.device, args.last)
    progress = Progress(sys.stderr)  # so that standard output has nothing but the texts
    print_texts(generate(model, vocab, progress=progress, **options))


def main(argv=None, program=None):
    """The command line; only the first process prints. `program`: a module with train, resume and load, such
    as mixture.py. Returns None, or the exit status of a failure."""
    if program is None:
        program = sys.modules[__name__]
    if argv is None and hasattr(builtins, "__IPYTHON__"):  # a notebook: sys.argv is its kernel's
        argv = []
    rank = os.environ.get("RANK", "0") if "WORLD_SIZE" in os.environ else "0"
    with contextlib.suppress(AttributeError):  # a character that the terminal lacks must not stop us
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with contextlib.ExitStack() as stack:
            if rank != "0":
                stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
            execute(parse_arguments(argv, program), program)
        print(end="", flush=True)  # a closed pipe is noticed here, not at the exit
    except UserError as error:
        process = "" if rank == "0" else f", process {rank}"
        print(f"{program.NAME}{process}: {error}", file=sys.stderr)
        return error.status
    except OSError as error:
        try:
            sys.stdout.flush()
        except OSError:  # standard output is a closed pipe (`gpt ... | head`) or the disk is full
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return 141
        print(f"{program.NAME}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except SystemExit:  # after --help and --version
        return None


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # torch is imported now
    sys.exit(main(sys.argv[1:]))
