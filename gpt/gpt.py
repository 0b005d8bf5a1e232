"""gpt: a text in, more text like it out; a transformer written as one is written today.

    python gpt.py                                        three minutes on two CPU cores: almost Shakespeare
    python gpt.py -i my.txt -o out/my                    another text, another folder
    python gpt.py --sample-only --prompt "ROMEO:"        text from the trained model in out/gpt
    python gpt.py --resume                               go on where the last run stopped
    python gpt.py --sample-only --attention "some text"  what every head looks at: attention.png
    torchrun --standalone --nproc_per_node=2 gpt.py      two processes, each with a batch of its own

Read `Transformer` in makemore.py first: the GPT-2 block (Radford et al. 2019). This file departs from it
here, each at a spot marked with its number:

    (1) counts of the text as an input and beside the output (Kneser & Ney 1995): lecture 2's model, kept
    (2) a head that copies what followed the same letters before (Olsson et al. 2022)
    (3) RMSNorm without weights, and no biases (Zhang & Sennrich 2019)
    (4) rotary positions (Su et al. 2021)
    (5) QK-norm (Henry et al. 2020)
    (6) squared ReLU (So et al. 2021)
    (7) Muon for the matrices of the blocks (Jordan et al. 2024)

Contents: configuration, data, model, optimizers, training, sampling, pictures; then the machinery, which is
that of makemore.py. The loss is always the mean negative log-likelihood in nats per character.
"""
import argparse
import atexit
import contextlib
import dataclasses
import datetime
import functools
import hashlib
import importlib.util
import io
import itertools
import math
import os
import signal
import sys
import threading
import time
import typing
import warnings
import zipfile
from pathlib import Path

import numpy as np
import torch
import torch.distributed
import torch.nn.functional as F
from torch import nn

# ------------------------------------------------------------------------------------------------------------
# Configuration


@dataclasses.dataclass
class Config:
    """All settings of a run. Build it with `configure`, which fills in the defaults of the device."""

    max_steps: int  # -1: no end
    batch_size: int  # windows, in each process
    learning_rate: float  # its peak
    block_size: int  # context in characters
    n_layer: int
    n_head: int
    n_embd: int  # channels
    dropout: float
    seed: int = 3407
    vocab_size: int = 0  # from the data

    @property
    def eval_interval(self):  # steps from one evaluation to the next
        return max(100, self.max_steps // 12)

    def __str__(self):
        return ", ".join(f"{k.replace('_', '-')} {v}" for k, v in vars(self).items())


DEFAULTS = {
    #       steps batch  rate  context layers heads channels dropout
    "cpu":  (1500,    2, 0.01,    1024,     2,    2,     128,    0.0),
    "gpu":  (5000,   16, 0.01,    1024,     6,    6,     384,    0.2),
}
LIMITS = {  # the lowest and the highest value of every number that a user can give
    "max_steps": (1, 10**9), "batch_size": (1, 10**6), "learning_rate": (0, 1e30), "block_size": (1, 10**6),
    "n_layer": (1, 1000), "n_head": (1, 1000), "n_embd": (2, 10**5), "dropout": (0, 0.99),
    "seed": (0, 2**32 - 1), "num_samples": (1, 10**6), "max_new_tokens": (1, 10**9), "temperature": (0, 1e9),
    "top_k": (1, 10**6),
}
SIZES = "n_layer", "n_head", "n_embd", "block_size"  # of a model, fixed once it has weights
SAMPLING = "prompt", "num_samples", "max_new_tokens", "temperature", "top_k"
DEFAULT_TEXT = "tinyshakespeare.txt"
DEFAULT_OUT = "out/gpt"
FILES = "model.pt", "log.csv", "loss.png", "attention.png"
FORMAT = "gpt 4"  # of model.pt
VERSION = "1.0.0"


class UserError(Exception):
    """What the user can put right: the command line prints it as one sentence and exits with `status`."""

    def __init__(self, message, status=2):
        super().__init__(message)
        self.status = status


def check_limits(values):
    """Raises UserError for the first of {name: number} that is outside its LIMITS."""
    for name in values.keys() & LIMITS.keys():
        value, (low, high) = values[name], LIMITS[name]
        if value is not None and not low <= value <= high and (name, value) != ("max_steps", -1):
            raise UserError(f"--{name.replace('_', '-')} must be from {low} to {high}, not {value}")


def configure(device="cpu", **values):
    """The Config for a kind of device, e.g. `configure("cpu", n_layer=3)`.

    Raises UserError for values that make no sense, TypeError for settings that do not exist.
    """
    check_limits(values)
    config = dataclasses.replace(Config(*DEFAULTS["cpu" if str(device) == "cpu" else "gpu"]), **values)
    if config.n_embd % (2 * config.n_head):
        raise UserError(f"--n-embd {config.n_embd} does not divide into --n-head {config.n_head} heads of even size")
    return config


def pick_device(name):
    """`auto` is a GPU if there is one: Nvidia's or Apple's. Under torchrun every process has its own.

    Raises UserError if the device cannot be used.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if name == "cuda":
        name = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    try:
        return (torch.zeros(1, device=name) + 1).cpu() and torch.device(name)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise UserError(f"device {name!r} cannot be used here; try --device cpu") from None


def precision_of(device):
    """bfloat16 where the hardware multiplies it faster than float32, else float32."""
    if device.type == "cpu":  # (torch says so in private; where it does not, float32 is right)
        fast = getattr(torch.cpu, "_is_avx512_bf16_supported", bool)() or getattr(torch.cpu, "_is_amx_tile_supported", bool)()
    else:
        fast = device.type == "cuda" and torch.cuda.is_bf16_supported()
    return torch.bfloat16 if fast else torch.float32


# ------------------------------------------------------------------------------------------------------------
# Data

HERE = Path(__file__).resolve().parent


def find_file(name):
    """A path as it is; a bare file name in the working directory, beside this script, and in data/."""
    places = [Path.cwd(), HERE, HERE.parent / "data"] if Path(name).name == str(name) else [Path()]
    for path in (place / name for place in places):
        if path.exists():
            return path
    raise UserError(f"{name}: no such file; looked in {', '.join(map(str, places))}")


def read_file(name):
    """The text of a UTF-8 file, every line end a newline. Raises UserError if it cannot be read as text."""
    try:
        text = find_file(name).read_bytes().decode().removeprefix("\ufeff")
    except OSError as error:
        raise UserError(f"{name}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        byte, offset = error.object[error.start], error.start
        raise UserError(f"{name} is not UTF-8: byte 0x{byte:02x} at offset {offset}; convert it first") from None
    if "\0" in text:
        raise UserError(f"{name} is a binary file (byte 0 after {text.index(chr(0))} characters)")
    if not text.strip():
        raise UserError(f"{name} is empty or blank")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()


class Vocab:
    """The characters of a text; token i is `chars[i]`. Those of `first` come first, the others sorted."""

    def __init__(self, text, first=""):
        self.chars = first + "".join(sorted(set(text) - set(first)))

    def __len__(self):
        return len(self.chars)

    def encode(self, text):
        """An array of tokens. Raises UserError that names the characters it does not have."""
        if unknown := sorted(set(text) - set(self.chars)):
            raise UserError(f"the model never saw {' '.join(map(repr, unknown))}; it knows {self}")
        table = np.zeros(sys.maxunicode + 1, np.min_scalar_type(len(self)))  # code point -> token
        table[[ord(char) for char in self.chars]] = np.arange(len(self))
        codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
        return np.concatenate([table[part] for part in np.array_split(codes, 1 + len(codes) // 2**22)])

    def decode(self, tokens):
        return "".join(self.chars[i] for i in tokens)

    def __str__(self):
        return repr(self.chars[:100])[1:-1]


def split(tokens, block_size):
    """The first 90 % for training, the last 10 % for validation, each at least a context and a character."""
    n = min(int(0.9 * len(tokens)), len(tokens) - block_size - 1)
    if n < block_size + 1:
        raise UserError(f"the text is too short: {len(tokens)} characters; a context of {block_size} needs "
                        f"{2 * block_size + 2}: give more text or a smaller --block-size")
    return {"training": tokens[:n], "validation": tokens[n:]}


# ------------------------------------------------------------------------------------------------------------
# Counts: lecture 2's first model, done right


class Counts:
    """(1) How often each character followed the last n: interpolated Kneser-Ney (Kneser & Ney 1995).

    q(c | n letters) = max(count - D, 0) / total + D kinds / total * q(c | n - 1 letters), and so on down to
    1 / V. So a context that was seen rarely hands most of its say to the shorter one. The longest contexts
    count how often a character followed; a shorter one counts in how many longer ones it did: "Francisco" is
    frequent, but only after "San". A group of letters is one number, its letters are the digits to base V:
    with a, b, c = 0, 1, 2 and V = 3 the group "cab" is 2 * 9 + 0 * 3 + 1 = 19. Its context "ca" is 19 // 3.

    A model that learns to trust counts must not see its own text in them. So there are several tables: table
    k leaves out the k-th part of the text and answers for just that part; the last one has the whole text.
    """

    PARTS, PIECES, LONGEST, DISCOUNT = 8, 4, 6, 0.9  # every part is this many pieces, spread over the text
    ENOUGH = 4_000_000  # characters; what comes after them is not counted

    def __init__(self, V, groups, counts, length=0):
        """`groups`: numbers of n + 1 letters, sorted, with the table as first digit; of a text so long."""
        self.V, self.n, self.length = V, self.longest(V), length
        self.groups, self.counts, self.levels = groups, counts, []
        for length in range(self.n, -1, -1):
            contexts, start = np.unique(groups // V, return_index=True)
            kinds = np.diff(np.append(start, len(groups)))
            self.levels.insert(0, (contexts, start, kinds, np.add.reduceat(counts, start), groups % V, counts))
            table, group = np.divmod(groups, V ** (self.n + 1))
            groups, counts = np.unique(table * V ** (self.n + 1) + group % V**length, return_counts=True)

    @classmethod
    def longest(cls, V):
        return next(n for n in range(cls.LONGEST, -1, -1) if (cls.PARTS + 1) * V ** (n + 1) < 2**63)

    @classmethod
    def count(cls, tokens, V):
        """The counts of a text, with all tables."""
        tokens, n = tokens[: cls.ENOUGH].astype(np.int64), cls.longest(V)
        padded = np.concatenate([np.zeros(n, np.int64), tokens])
        groups = sum(padded[i : i + len(tokens)] * V ** (n - i) for i in range(n + 1))
        parts = np.arange(len(tokens)) * cls.PARTS * cls.PIECES // len(tokens) % cls.PARTS
        tables = [groups[parts != k] + k * V ** (n + 1) for k in range(cls.PARTS + 1)]
        return cls(V, *np.unique(np.concatenate(tables), return_counts=True), len(tokens))

    def table_without(self, positions):
        """The tables that do not know these positions of the text."""
        part = positions * self.PARTS * self.PIECES // self.length % self.PARTS
        return np.where(positions < self.length, part, self.PARTS)

    def whole(self):
        """The groups and counts of the last table alone, which is all that a trained model needs."""
        last = self.groups >= self.PARTS * self.V ** (self.n + 1)
        return self.groups[last], self.counts[last]

    def log_probs(self, text, table=PARTS):
        """(B, n + T) letters, and which table each row asks: log q (B, T, V) of the letter after each of T."""
        V, n = self.V, self.n
        B, T = text.shape[0], text.shape[1] - n
        number = sum(text[:, i + 1 : i + 1 + T] * V ** (n - 1 - i) for i in range(n)) + np.zeros((B, T), np.int64)
        table = np.broadcast_to(np.reshape(table, (-1, 1)), (B, T)).ravel() * V**n
        q = np.full((B * T, V), 1 / V, np.float32)
        for length, (contexts, start, kinds, total, letter, count) in enumerate(self.levels):
            wanted = table + number.ravel() % V**length
            at = np.searchsorted(contexts, wanted).clip(max=len(contexts) - 1)
            row = np.flatnonzero(contexts[at] == wanted)
            at = at[row]
            q[row] *= (self.DISCOUNT * kinds[at] / total[at])[:, None]
            ends = np.cumsum(kinds[at])  # every found context has an entry for each kind of letter
            entry = np.repeat(start[at] - ends + kinds[at], kinds[at]) + np.arange(ends[-1] if len(ends) else 0)
            share = (count[entry] - self.DISCOUNT) / np.repeat(total[at], kinds[at])
            q[np.repeat(row, kinds[at]), letter[entry]] += share.astype(np.float32)
        return torch.from_numpy(np.log(q)).view(B, T, V)


# ------------------------------------------------------------------------------------------------------------
# The model


def norm(x):
    """(3) RMSNorm without weights: every vector divided by its root mean square."""
    return F.rms_norm(x, (x.size(-1),))


def rotate(x, start):
    """(4) Rotary positions: turn x (B, H, T, D), whose first position is `start`, in pairs of channels.

    The pair i, i + D/2 turns by an angle that grows from position to position: by 1 radian in the first pair,
    by about 1/10000 in the last. The product of a query and a key then depends on their distance alone.
    """
    T, D = x.shape[-2:]
    speed = 10000.0 ** -(torch.arange(0, D, 2, device=x.device) / D)
    angles = torch.outer(torch.arange(start, start + T, device=x.device), speed)  # (T, D/2)
    cos, sin = angles.cos().type_as(x), angles.sin().type_as(x)
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, a * sin + b * cos), dim=-1)


def attention_weights(q, k):
    """How much each query looks at each key, (B, H, T, S); a row sums to one, and none looks ahead.

    q (B, H, T, D) are the last T of the S positions that k (B, H, S, D) has: T = S unless some are cached.
    """
    scores = (q / math.sqrt(q.size(-1))) @ k.mT
    T, S = scores.shape[-2:]
    future = scores.new_full((T, S), -math.inf).triu(S - T + 1)
    return (scores + future).softmax(dim=-1)


class KeysAndValues:
    """What generation keeps of a layer, so that a step costs one character's work.

    Only the last `size` are kept. Positions are rotary, that is relative, so nothing is computed again when
    the window slides. Keys of the deeper layers then know a little of what has left the window, which does no
    harm (a test compares it with a sliding recomputation).
    """

    def __init__(self, size):
        self.size, self.length, self.k, self.v = size, 0, None, None

    def add(self, k, v):
        """Put in k and v (B, H, T, D); returns all that are there, (B, H, S, D)."""
        self.length += k.size(2)
        if self.k is not None:
            k, v = torch.cat((self.k, k), dim=2), torch.cat((self.v, v), dim=2)
        self.k, self.v = k[:, :, -self.size :], v[:, :, -self.size :]
        return self.k, self.v


class Cache:
    """What generation keeps: the keys and values of every layer, and the last characters."""

    def __init__(self, config):
        self.layers = [KeysAndValues(config.block_size) for _ in range(config.n_layer)]
        self.size, self.text = config.block_size, None

    def add_text(self, idx):
        text = idx if self.text is None else torch.cat((self.text, idx), dim=1)
        self.text = text[:, -self.size :]
        return self.text


class Attention(nn.Module):
    """Multi-head causal self-attention (Vaswani et al. 2017), all heads in one matrix product."""

    def __init__(self, config):
        super().__init__()
        self.n_head = config.n_head
        self.qkv = nn.Linear(config.n_embd, 3 * config.n_embd, bias=False)
        self.proj = nn.Linear(config.n_embd, config.n_embd, bias=False)

    def queries_keys_values(self, x, start=0):
        B, T, _ = x.shape
        q, k, v = self.qkv(x).view(B, T, 3, self.n_head, -1).permute(2, 0, 3, 1, 4)  # each (B, H, T, D)
        return rotate(norm(q), start), rotate(norm(k), start), v  # (5) QK-norm

    def forward(self, x, cache=None):
        q, k, v = self.queries_keys_values(x, cache.length if cache else 0)
        if cache:
            k, v = cache.add(k, v)
        if self.training and x.device.type == "cpu":  # faster there in training than the line below
            heads = attention_weights(q, k) @ v
        else:
            heads = F.scaled_dot_product_attention(q, k, v, is_causal=q.size(2) > 1)  # the same
        return self.proj(heads.transpose(1, 2).reshape(x.shape))


class Block(nn.Module):
    """Attention lets the positions talk, the MLP lets each think; both add to the residual stream."""

    def __init__(self, config):
        super().__init__()
        self.attn = Attention(config)
        self.up = nn.Linear(config.n_embd, 4 * config.n_embd, bias=False)
        self.down = nn.Linear(4 * config.n_embd, config.n_embd, bias=False)
        self.drop = nn.Dropout(config.dropout)

    def forward(self, x, cache=None):
        x = x + self.drop(self.attn(norm(x), cache))
        return x + self.drop(self.down(F.relu(self.up(norm(x))).square()))  # (6) squared ReLU


class Copy(nn.Module):
    """(2) A head that copies: which character followed when the last letters stood in the window before?

    Transformers learn such "induction heads" (Olsson et al. 2022) from far more text than ours; here it is
    written by hand. It looks for the longest match, up to eight letters, and learns for each length how far
    to trust it. Names and words that the text has just begun to use are what it knows.
    """

    LONGEST = 8

    def __init__(self):
        super().__init__()
        self.trust = nn.Parameter(torch.linspace(-6, 0, self.LONGEST + 1))  # of each length, before the sigmoid

    def forward(self, log_probs, text):
        """The last T positions of text (B, S): their log_probs (B, T, V), mixed with what the matches say."""
        (B, S), T = text.shape, log_probs.size(1)
        alike = torch.ones(B, T, S, dtype=torch.bool, device=text.device).tril(S - T - 1)  # only what is before
        length = torch.zeros(B, T, S, dtype=torch.uint8, device=text.device)
        for k in range(self.LONGEST):  # is the letter k positions before the same too?
            queries, keys = F.pad(text, (k, 0), value=-1)[:, S - T : S], F.pad(text, (k, 0), value=-2)[:, :S]
            alike = alike & (queries[:, :, None] == keys[:, None, :])
            length += alike
        longest = length.amax(dim=2)  # (B, T)
        best = (length == longest[:, :, None]) & (length > 0)  # (B, T, S)
        following = F.one_hot(text.roll(-1, dims=1), log_probs.size(2)).to(log_probs.dtype)  # (B, S, V)
        copied = best.to(log_probs.dtype) @ following / best.sum(2, keepdim=True).clamp(min=1)  # (B, T, V)
        trust = self.trust[longest.long()].sigmoid()[:, :, None] * (longest > 0)[:, :, None]
        return torch.log((1 - trust) * log_probs.exp() + trust * copied + 1e-9)


class GPT(nn.Module):
    """A decoder-only transformer over characters (Radford et al. 2018), beside counts and a copying head."""

    def __init__(self, config):
        super().__init__()
        self.config, self.counts = config, None  # Counts, set by whoever has the text
        C, V = config.n_embd, config.vocab_size
        self.embed = nn.Embedding(V, C)
        self.from_counts = nn.Linear(V, C, bias=False)
        self.drop = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.head = nn.Linear(C, V, bias=False)
        self.weight = nn.Parameter(torch.ones(()))  # of the counts
        self.copy = Copy()
        for name, p in self.named_parameters():
            if name.endswith(("proj.weight", "down.weight", "head.weight")):
                nn.init.zeros_(p)  # a block adds nothing at first, and the first guess is that of the counts
            elif p.dim() == 2 and name != "embed.weight":
                nn.init.normal_(p, std=0.5 / math.sqrt(p.size(1)))

    def forward(self, idx, log_q, cache=None):
        """Log-probabilities (B, T, V) of the character after each of idx (B, T).

        `log_q` (B, T, V): what the counts say, `model.counts.log_probs`. `cache`: idx goes on where it ends.
        """
        layers, text = (cache.layers, cache.add_text(idx)) if cache else (itertools.repeat(None), idx)
        x = self.drop(self.embed(idx) + self.from_counts(log_q.exp()) * math.sqrt(log_q.size(2)))  # (B, T, C)
        for block, layer in zip(self.blocks, layers):
            x = block(x, layer)
        logits = self.head(norm(x)).float() + self.weight * log_q  # (B, T, V)
        return self.copy(logits.log_softmax(dim=2), text)


# ------------------------------------------------------------------------------------------------------------
# Optimizers and the learning rate


class Muon(torch.optim.Optimizer):
    """Momentum, every update made orthogonal, so that all directions of a matrix learn equally fast.

    Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks"; scaled as in Liu et al.
    2025, "Muon is Scalable for LLM Training", so that it takes the learning rate and weight decay of AdamW.
    `torch.optim.Muon` computes in bfloat16 and treats one matrix after the other, which is slow on a CPU.
    """

    def __init__(self, params, lr, weight_decay):
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            shapes = {}  # matrices of one shape are made orthogonal together
            for p in group["params"]:
                momentum = self.state[p].setdefault("momentum", torch.zeros_like(p))
                momentum.lerp_(p.grad, 0.05)
                update = p.grad.lerp(momentum, 0.95)  # Nesterov: look ahead
                shapes.setdefault(p.shape, []).append((p, update))
            for shape, pairs in shapes.items():
                updates = orthogonalize(torch.stack([update for _, update in pairs]))
                for (p, _), update in zip(pairs, updates):
                    p.mul_(1 - group["lr"] * group["weight_decay"])
                    p.sub_(update, alpha=group["lr"] * 0.2 * math.sqrt(max(shape)))


def orthogonalize(matrices):
    """(N, rows, columns): each matrix with its singular values near 1 and its singular vectors kept.

    Five steps of a Newton-Schulz iteration. An odd polynomial of a matrix acts on its singular values alone;
    this one takes all but tiny ones into the range from 0.7 to 1.2.
    """
    if matrices.shape[1] > matrices.shape[2]:
        return orthogonalize(matrices.mT).mT  # the same, with a smaller product below
    x = matrices / (torch.linalg.matrix_norm(matrices, keepdim=True) + 1e-7)
    for _ in range(5):
        a = x @ x.mT
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x


def make_optimizers(model, config):
    """(7) Muon for the matrices of the blocks, Adam (Kingma & Ba 2015) for the embeddings and the head."""
    blocks = list(model.blocks.parameters())
    others = [p for name, p in model.named_parameters() if not name.startswith("blocks.")]
    return [
        Muon(blocks, lr=config.learning_rate, weight_decay=0.0),
        torch.optim.Adam(others, lr=config.learning_rate / 2, betas=(0.8, 0.95), fused=True),
    ]


def schedule(step, config):
    """The share of the peak learning rate: up in a straight line, then down in one to 1 % at the last step."""
    warmup = 100 if config.max_steps < 0 else min(100, config.max_steps / 10)
    rise = min(1, (step + 1) / warmup)
    fall = 1 if config.max_steps < 0 else max(0.01, 1 - step / config.max_steps)
    return min(rise, fall)


def set_learning_rate(optimizers, step, config):
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * schedule(step, config)


# ------------------------------------------------------------------------------------------------------------
# Training


def windows(tokens, starts, block_size, counts, held_out=False):
    """From each start block_size characters (B, T), the same one position later, and what the counts say of them.

    The counts look at the letters before a window too. `held_out`: ask the tables that do not know the window.
    """
    taken = tokens[starts[:, None] + np.arange(block_size + 1)].astype(np.int64)
    before = starts[:, None] + np.arange(-counts.n, 0)
    text = np.concatenate([np.where(before < 0, 0, tokens[before]), taken[:, :-1]], axis=1)
    table = counts.table_without(starts) if held_out else counts.PARTS
    return torch.from_numpy(taken[:, :-1]), torch.from_numpy(taken[:, 1:]), counts.log_probs(text, table)


@functools.lru_cache(maxsize=2)
def epoch_starts(seed, epoch, length, block_size):
    """Where the windows of an epoch start: all that fit side by side, from an offset of its own, in any order."""
    rng, count = np.random.default_rng((seed, epoch)), max(1, (length - 1) // block_size - 1)
    return rng.integers(min(block_size, length - block_size * count)) + block_size * rng.permutation(count)


def training_batch(tokens, config, step, team, counts):
    """This process's share of the batch of a step, as from `windows`; seed and step decide which windows."""
    count = max(1, (len(tokens) - 1) // config.block_size - 1)  # windows of an epoch
    first = (step * team.size + team.rank) * config.batch_size
    starts = [epoch_starts(config.seed, i // count, len(tokens), config.block_size)[i % count]
              for i in range(first, first + config.batch_size)]
    return windows(tokens, np.array(starts), config.block_size, counts, held_out=True)


def loss_of(logits, y, reduction="mean"):
    """Cross-entropy of logits (B, T, V) and targets y (B, T): nats per character, targets of -1 left out."""
    losses = F.cross_entropy(logits.flatten(0, 1), y.flatten(), ignore_index=-1, reduction=reduction)
    return losses.view(y.shape) if reduction == "none" else losses


@torch.no_grad()
def evaluate(model, tokens, team=None, held_out=False):
    """(loss, standard error): the mean over all windows of a context that do not overlap, in evaluation mode.

    The processes of a team share the windows. The error takes the windows as independent of one another.
    `held_out`: tokens begin the training text; the counts leave out the part that they are asked about.
    """
    was_training, team = model.training, team or Team()
    model.eval()
    T = model.config.block_size
    starts, losses = np.arange((len(tokens) - 1) // T) * T, []
    for i in range(32 * team.rank, len(starts), 32 * team.size):
        x, y, log_q = windows(tokens, starts[i : i + 32], T, model.counts, held_out)
        logits = model(x.to(device_of(model)), log_q.to(device_of(model)))
        losses.append(loss_of(logits.cpu(), y, reduction="none").mean(1).double())
    model.train(was_training)
    losses = torch.cat(losses) if losses else torch.zeros(0)
    total, squares = team.sum(losses.sum().item(), losses.square().sum().item())
    n = len(starts)
    return total / n, math.sqrt(max(0, squares / n - (total / n) ** 2) / n)


def train(text, config, out=DEFAULT_OUT, *, device="auto", source="", checkpoint=None, max_steps=None,
          init_from=None, **sampling):
    """Train a model on a text, write model.pt, log.csv and loss.png into `out`, print the progress.

    Returns a Result: the model with the weights of the best validation loss, its vocab, the run's figures.
    `init_from`: a folder, the run begins with its weights (finetuning). `sampling`: what `generate` takes.
    `checkpoint`: go on with that run, up to `max_steps`; see `resume`. Raises UserError, and
    KeyboardInterrupt after Ctrl-C, when all is saved.
    """
    # Prepare: the data, the model, its optimizers, and the run.
    check_limits({"max_steps": max_steps} | sampling)
    device = pick_device(device)
    team = Team(device)
    before = read_checkpoint(init_from) if init_from else checkpoint
    vocab = Vocab(text, first=before["chars"] if before else "")
    vocab.encode(sampling.get("prompt", ""))  # a bad prompt is found before the training, not after it
    data = split(vocab.encode(text), config.block_size)
    some = data["training"][: max(len(data["validation"]) // 4, config.block_size + 1)]  # for a quick loss
    config = dataclasses.replace(config, vocab_size=len(vocab))
    torch.manual_seed(config.seed)
    model = GPT(config).to(device)
    model.counts = Counts.count(data["training"], len(vocab))
    if init_from:
        load_known_weights(model, before)
    optimizers = make_optimizers(model, config)
    precision = precision_of(device)
    compiled = device.type == "cuda" and importlib.util.find_spec("triton") is not None
    run = Run(
        out, config, model, optimizers, checkpoint, max_steps, team,
        facts={"chars": vocab.chars, "source": source, "digest": digest(text),
               "counts": [torch.from_numpy(array) for array in model.counts.whole()]},
        evaluate=lambda: (evaluate(model, some, team, True)[0], evaluate(model, data["validation"], team)[0]),
        sample=lambda step: print_texts(model, vocab, **sampling | {"num_samples": 1, "max_new_tokens": 200, "seed": step}),
    )
    parts = ", ".join(f"{len(part):,} {name}" for name, part in data.items())
    run.describe(f"{Path(source).name or 'a text'}, {len(text):,} characters ({parts}), {len(vocab)} different: {vocab}",
                 f"{precision}{', compiled' * compiled}".removeprefix("torch."))
    wrapped = team.wrap(torch.compile(model) if compiled else model)  # the same weights

    # The loop. All that happens between two steps, from evaluation to Ctrl-C, is in Run.
    with run:
        for step in run:
            x, y, log_q = training_batch(data["training"], config, step, team, model.counts)
            with torch.autocast(device.type, precision, enabled=precision != torch.float32):
                logits = wrapped(x.to(device), log_q.to(device))
            loss = loss_of(logits, y.to(device))
            model.zero_grad()
            loss.backward()
            set_learning_rate(optimizers, step, config)
            for optimizer in optimizers:
                optimizer.step()
            run.loss = loss.item()

    # The result: the best weights, their loss, a sample.
    progress = run.finish()
    results = {"validation": evaluate(model, data["validation"], team), "parameters": size_of(model),
               "seconds": progress.seconds, "progress": progress}
    print(f"validation loss {results['validation'][0]:.4f} (standard error {results['validation'][1]:.4f}) with the "
          f"weights of step {progress.best_step}, the best; {progress.seconds:.0f} s of training")
    if team.rank == 0:
        print_texts(model, vocab, **{"seed": config.seed} | sampling)
    print(f"in {out}: {', '.join(name for name in FILES if (Path(out) / name).exists())}")
    return Result(model, vocab, results)


def load_known_weights(model, checkpoint):
    """Take the best weights of a run; rows and columns of new characters keep their fresh values."""
    weights = model.state_dict()
    for name, known in checkpoint["progress"].best.items():
        weights[name][tuple(slice(n) for n in known.shape)] = known
    model.load_state_dict(weights)


@dataclasses.dataclass
class Progress:
    """What a run has reached. With the weights and the optimizers it is all that resuming needs."""

    step: int = 0
    end: int = 0  # the step to stop at; -1: no end
    seconds: float = 0.0  # of training alone
    best_step: int = 0
    best_loss: float = math.inf  # in validation
    best: dict = dataclasses.field(default_factory=dict, repr=False)  # the weights of that step
    losses: list = dataclasses.field(default_factory=list, repr=False)  # of every batch
    log: list = dataclasses.field(default_factory=list, repr=False)  # step, seconds, training and val. loss


class Result(typing.NamedTuple):
    """What `train` returns. `results` has (loss, standard error) of the validation, the number of parameters,
    the seconds of training and the Progress of the run."""

    model: nn.Module
    vocab: Vocab
    results: dict

    def __repr__(self):  # one line in a notebook
        loss, seconds = self.results["validation"][0], self.results["seconds"]
        return f"<{type(self.model).__name__}: validation {loss:.4f} after {seconds:.0f} s>"


def resume(out=DEFAULT_OUT, text=None, *, source="", max_steps=None, **options):
    """Go on with the run in a folder, exactly where it stopped, up to `max_steps` in all; returns a Result.

    `text` is needed only if the run did not read it from a file. `options`: what `train` takes. Raises
    UserError if there is no such run, or the text is not the same.
    """
    checkpoint = read_checkpoint(out)
    source = source or checkpoint["source"]
    if text is None and not source:
        raise UserError(f"the run in {out} did not read its text from a file: give it again, with -i FILE or "
                        f"gpt.resume({str(out)!r}, text=...)")
    text = read_file(source) if text is None else text
    if digest(text) != checkpoint["digest"]:
        raise UserError(f"{source or 'this text'} is another text than that of the run in {out}; take another -o")
    return train(text, checkpoint["config"], out, source=source, checkpoint=checkpoint, max_steps=max_steps, **options)


# ------------------------------------------------------------------------------------------------------------
# Sampling


def draw(logits, temperature, top_k, generator):
    """A token for each row of logits (B, V) on the CPU, by the rules of `generate`."""
    if top_k:
        kept = logits.topk(min(top_k, logits.size(1)))
        logits = torch.full_like(logits, -math.inf).scatter(1, kept.indices, kept.values)
    if temperature == 0:
        return logits.argmax(dim=1)
    logits = (logits - logits.amax(dim=1, keepdim=True)).double() / temperature  # (no overflow)
    return torch.multinomial(logits.softmax(dim=1), 1, generator=generator)[:, 0]


@torch.inference_mode()
def generate(model, vocab, prompt="", num_samples=1, max_new_tokens=500, temperature=0.8, top_k=None, seed=None,
             stream=None, cached=True):
    """A list of `num_samples` texts, the prompt and `max_new_tokens` characters more; they grow as one batch.

    temperature: 0 takes the likeliest character, below 1 plays safe, above 1 dares more. top_k: only the k
    likeliest. stream: called with every new character of the first text. Raises UserError for characters that
    the model never saw.
    """
    was_training = model.training
    model.eval()
    generator = torch.Generator()
    generator.seed() if seed is None else generator.manual_seed(seed)
    start = prompt or ("\n" if "\n" in vocab.chars else vocab.chars[0])
    tokens = torch.from_numpy(vocab.encode(start).astype(np.int64)).repeat(num_samples, 1).to(device_of(model))
    cache, size, n = Cache(model.config) if cached else None, model.config.block_size, model.counts.n
    new = tokens[:, -size:]  # what the model has not seen yet
    for _ in range(max_new_tokens):
        context = F.pad(tokens, (n, 0))[:, -n - new.size(1) :]  # zeros stand for what was before the prompt
        log_q = model.counts.log_probs(context.cpu().numpy()).to(tokens.device)
        drawn = draw(model(new, log_q, cache)[:, -1].cpu(), temperature, top_k, generator)
        tokens = torch.cat((tokens, drawn[:, None].to(tokens.device)), dim=1)
        new = tokens[:, -1:] if cached else tokens[:, -size:]
        if stream:
            stream(vocab.chars[drawn[0]])
    model.train(was_training)
    return [vocab.decode(row)[len(start) - len(prompt) :] for row in tokens.tolist()]


def print_texts(model, vocab, num_samples=1, prompt="", **sampling):
    """One text appears as it is made; several when all are done."""
    if num_samples > 1:
        print(f"\n{'-' * 79}\n".join(generate(model, vocab, prompt, num_samples, **sampling)))
        return
    print(prompt, end="", flush=True)
    generate(model, vocab, prompt, stream=lambda char: print(char, end="", flush=True), **sampling)
    print()


# ------------------------------------------------------------------------------------------------------------
# Pictures


def new_figure(width, height):
    """An empty figure (inches). Without pyplot, so a notebook's own plots stay as they are."""
    from matplotlib.figure import Figure  # here, since it takes a second

    return Figure(figsize=(width, height), dpi=120, layout="constrained")


def save_figure(figure, path):
    """Write a picture in one piece."""
    picture = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # characters that the font does not have become boxes
        figure.savefig(picture, format="png")
    write_file(path, picture.getvalue())


def draw_losses(progress, path):
    """The batch loss faint, its running mean, the validation loss."""
    figure = new_figure(8, 5)
    ax = figure.subplots()
    losses, steps, validation = progress.losses, *([row[i] for row in progress.log] for i in (0, 3))
    if losses:
        width = 1 + len(losses) // 50
        mean = np.convolve(losses, np.ones(width) / width, mode="valid")
        ax.plot(losses, color="tab:blue", alpha=0.25, linewidth=0.5, label="batch")
        ax.plot(range(width - 1, len(losses)), mean, color="tab:blue", label=f"mean of {width} batches")
    ax.plot(steps, validation, ".-", color="tab:orange", label=f"validation, {progress.best_loss:.4f} at best")
    best = min(progress.best_loss, *losses[-100:], 100)
    ax.set(xlabel="step", ylabel="loss (nats per character)", ylim=(best - 0.1, best + 1.2))
    ax.grid(alpha=0.3)
    ax.legend(loc="upper right")
    save_figure(figure, path)


@torch.no_grad()
def draw_attention(model, vocab, text, path):
    """attention.png: a row for each layer, a column for each head; a table's rows say where it looks."""
    longest, layers, heads = model.config.block_size, model.config.n_layer, model.config.n_head
    if not 2 <= len(text) <= longest:
        raise UserError(f"--attention takes a text of 2 to {longest} characters, not {len(text)}")
    inputs = []
    hooks = [block.attn.register_forward_pre_hook(lambda _, args: inputs.append(args[0])) for block in model.blocks]
    tokens = torch.from_numpy(vocab.encode(text).astype(np.int64))[None]
    log_q = model.counts.log_probs(F.pad(tokens, (model.counts.n, 0)).numpy())
    model(tokens.to(device_of(model)), log_q.to(device_of(model)))
    for hook in hooks:
        hook.remove()
    side = max(3, 0.14 * len(text))  # inches
    figure = new_figure(side * heads, side * layers + 0.5)
    axes = figure.subplots(layers, heads, squeeze=False)
    labels = [{"\n": "\u21b5", " ": "\u2423"}.get(char, char) for char in text]
    for layer, (block, x) in enumerate(zip(model.blocks, inputs)):
        q, k, _ = block.attn.queries_keys_values(x)
        for head, (ax, table) in enumerate(zip(axes[layer], attention_weights(q, k)[0])):
            ax.imshow(table.cpu().sqrt(), cmap="Blues", vmin=0, vmax=1)
            ax.set_title(f"layer {layer + 1}, head {head + 1}")
            ax.set_xticks(range(len(text)), labels, fontsize=7, parse_math=False)
            ax.set_yticks(range(len(text)), labels, fontsize=7, parse_math=False)
    figure.suptitle("each row: how much this character looks at those before it (square root of the weight)")
    save_figure(figure, path)
    print(f"written: {path}")


# ------------------------------------------------------------------------------------------------------------
# Machinery: processes, the run between two steps, files, checkpoints, the command line. To understand the model
# you can stop here. makemore.py has the same, but for the processes.


class Team:
    """The processes of a data-parallel run, as torchrun started them; without torchrun a team of one."""

    def __init__(self, device=None):
        self.rank, self.size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
        self.device = device or torch.device("cpu")
        if self.size > 1 and not torch.distributed.is_initialized():
            backend = "nccl" if self.device.type == "cuda" else "gloo"
            torch.distributed.init_process_group(backend, timeout=datetime.timedelta(seconds=50))
            atexit.register(torch.distributed.destroy_process_group)

    def wrap(self, model):
        """The model in what averages the gradients of all processes."""
        return nn.parallel.DistributedDataParallel(model) if self.size > 1 else model

    def sum(self, *values):
        """The sum of each value over all processes."""
        if self.size == 1:
            return values
        totals = torch.tensor(values, dtype=torch.float32, device=self.device)
        torch.distributed.all_reduce(totals)
        return totals.tolist()

    def only_first(self, action):
        """The first process does it; if it fails there, all fail."""
        error = None
        if self.rank == 0:
            try:
                action()
            except UserError as caught:
                error = caught
        if self.sum(error is not None)[0]:
            raise error or UserError("the first process failed")


class Run:
    """All that happens between two steps: evaluate, keep the best weights, save, report, sample, stop.

    `for step in run` gives the steps that are left; the loop puts the loss of its batch into `run.loss`.
    Ctrl-C ends the loop between two steps, when all is saved. `facts` go into the checkpoint as they are.
    """

    def __init__(self, out, config, model, optimizers, checkpoint, max_steps, team, facts, evaluate,
                 sample):
        self.out, self.config, self.model, self.optimizers = Path(out), config, model, optimizers
        self.team, self.facts, self.evaluate, self.sample = team, facts, evaluate, sample
        self.progress = restore(checkpoint, model, optimizers, team) if checkpoint else Progress(end=config.max_steps)
        self.progress.end = max_steps or self.progress.end
        self.first, self.pressed, self.stopped = self.progress.step, False, False  # pressed: in this process
        if 0 < self.progress.end < self.first:
            raise UserError(f"--max-steps {max_steps} is the total, and the run is at step {self.first} already")

    def describe(self, data, precision):
        """Print the first lines of a run."""
        end, processes = self.progress.end, f", {self.team.size} processes" * (self.team.size > 1)
        print(f"device: {device_of(self.model)}, {torch.get_num_threads()} threads, {precision}{processes}")
        print(f"data: {data}\nmodel: {size_of(self.model):,} parameters")
        print(f"settings: {self.config}")
        if self.first:
            print(f"resuming at step {self.first} of {end if end > 0 else 'no end'}; the learning rate comes down "
                  f"until step {self.config.max_steps}, as the run was begun" * (end != self.config.max_steps > 0))

    def __enter__(self):
        if not self.first:
            self.team.only_first(lambda: prepare_folder(self.out))
        self.handler = None
        if threading.current_thread() is threading.main_thread():  # Python allows handlers only there
            self.handler = signal.signal(signal.SIGINT, self.on_ctrl_c)
        self.saved = self.shown = time.monotonic()
        return self

    def __exit__(self, *_):
        if self.handler:
            signal.signal(signal.SIGINT, self.handler)

    def on_ctrl_c(self, *_):
        """The first Ctrl-C waits for the end of the step, the second does not. (torchrun sends two for one.)"""
        if self.pressed and self.team.size == 1:
            raise KeyboardInterrupt
        self.pressed = True

    def __iter__(self):
        progress, config = self.progress, self.config
        self.model.train()
        while True:
            step = progress.step
            if step % config.eval_interval == 0 or step == progress.end:
                self.look()
            if step == progress.end:
                self.stopped = self.team.sum(self.pressed)[0] > 0
            if self.stopped or step == progress.end:
                return
            seed = (config.seed * 1_000_003 + step) * self.team.size + self.team.rank
            torch.manual_seed(seed)  # for dropout; so no random state is stored
            start = time.perf_counter()
            yield step
            progress.seconds += time.perf_counter() - start
            progress.step += 1
            late = time.monotonic() - self.saved > 15
            loss, stopped, late = self.team.sum(self.loss, self.pressed, late)  # one reduction a step
            progress.losses.append(loss / self.team.size)
            self.check_finite(loss)
            self.stopped = stopped > 0
            if self.stopped or late:
                self.save()
            if self.team.rank == 0 and sys.stdout and sys.stdout.isatty() and time.monotonic() - self.shown > 0.2:
                print(f"{self.status(f'batch loss {progress.losses[-1]:.4f}'):64}", end="\r", flush=True)  # the live line
                self.shown = time.monotonic()

    def look(self):
        """Evaluate, keep the best weights, save, report; every fourth time show samples too."""
        progress, step = self.progress, self.progress.step
        if progress.log and progress.log[-1][0] == step:
            return  # before a resume
        training, validation = self.evaluate()
        self.check_finite(validation)
        progress.log.append((step, progress.seconds, training, validation))
        if validation < progress.best_loss:
            progress.best_step, progress.best_loss = step, validation
            progress.best = {name: value.cpu().clone() for name, value in self.model.state_dict().items()}
        self.save()
        if step == 0:
            V = self.config.vocab_size
            print(f"step 0: loss {validation:.2f} (a uniform guess: ln {V} = {math.log(V):.2f})", flush=True)
        else:
            print(self.status(f"train {training:.4f}, validation {validation:.4f}"), flush=True)
        if self.team.rank == 0 and step % (4 * self.config.eval_interval) == 0 and 0 < step != progress.end:
            self.sample(step)

    def status(self, losses):
        """A line of progress: step, losses, time of a step, time left."""
        step, end, pace = self.progress.step, self.progress.end, self.progress.seconds / self.progress.step
        left = round(pace * (end - step))
        return (f"step {step:>5}{f'/{end}' * (end > 0)}: {losses}, {1000 * pace:.1f} ms a step"
                + f", {left // 60}:{left % 60:02} left" * (left > 0))

    def check_finite(self, loss):
        """UserError with status 1 if the loss is no longer finite; the last checkpoint is from before that."""
        if not math.isfinite(loss):
            raise UserError(f"training diverged at step {self.progress.step}: the loss is not finite; the last "
                            f"good checkpoint is kept in {self.out}; try a smaller --learning-rate", status=1)

    def save(self):
        """Save in the first process; a failure there ends all."""
        self.check_finite(sum(value.sum().item() for value in self.model.state_dict().values()))
        self.team.only_first(self.write)
        self.saved = time.monotonic()

    def write(self):
        """Write model.pt, all that resuming, sampling and `load` need, in plain types; and log.csv."""
        content = io.BytesIO()
        torch.save({
            "format": FORMAT, "config": vars(self.config), "threads": torch.get_num_threads(), **self.facts,
            "processes": self.team.size, "progress": vars(self.progress), "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }, content)
        write_file(self.out / "model.pt", content.getvalue())
        rows = [f"{step},{seconds:.3f},{a:.6f},{b:.6f}\n" for step, seconds, a, b in self.progress.log]
        write_file(self.out / "log.csv", "".join(["step,seconds,train_loss,val_loss\n", *rows]).encode())

    def finish(self):
        """Draw the losses, give the model its best weights, return the Progress. After Ctrl-C end here."""
        self.team.only_first(lambda: draw_losses(self.progress, self.out / "loss.png"))
        if self.stopped:
            print(f"stopped after step {self.progress.step}; all is saved; the same command with --resume goes on "
                  f"(in Python: gpt.resume({str(self.out)!r}))")
            raise KeyboardInterrupt
        self.model.load_state_dict(self.progress.best)
        self.model.eval()
        return self.progress


def device_of(model):
    return next(iter(model.state_dict().values())).device


def size_of(model):
    return sum(p.numel() for p in model.parameters())


def write_file(path, content):
    """Replace a file in one piece: if we are killed, the old one or the new one is there, never a half."""
    temporary = Path(f"{path}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as f:
            f.write(content)
            f.flush()
            os.fsync(f.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise UserError(f"cannot write {path}: {error.strerror}", status=1) from None


def prepare_folder(out):
    """Make the folder; what an earlier run left in it moves aside, model.pt to model.1.pt and so on."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        old = [path for path in map(out.joinpath, FILES) if path.exists()]
        aside = ([path.with_suffix(f".{n}{path.suffix}") for path in old] for n in itertools.count(1))
        new = next(paths for paths in aside if not any(path.exists() for path in paths))
        for path, free in zip(old, new):
            path.rename(free)
            print(f"moved aside: {path} to {free.name}")
    except OSError as error:
        raise UserError(f"cannot use {out} as the output folder: {error.strerror}") from None


def read_checkpoint(out):
    """The content of model.pt in a folder. Raises UserError if there is none, or it is damaged or foreign."""
    path = Path(out) / "model.pt"
    if not path.exists():
        raise UserError(f"no checkpoint: {path} does not exist; train first, without --resume and --sample-only")
    try:
        checkpoint = torch.load(path, weights_only=True, map_location="cpu") if zipfile.is_zipfile(path) else {}
        if (found := checkpoint["format"]) == FORMAT:
            [checkpoint[name] for name in ("chars", "source", "digest", "threads", "processes", "counts", "model", "optimizers")]
            return checkpoint | {"config": Config(**checkpoint["config"]), "progress": Progress(**checkpoint["progress"])}
        problem = f"is a checkpoint of {found}, and this is {FORMAT}; train anew, with another -o"
    except Exception:  # noqa: BLE001 (torch.load fails in as many ways as there are damaged files)
        problem = "is damaged, or not a checkpoint"
    raise UserError(f"{path} {problem}")


def load(out, device="cpu"):
    """(model, vocab) of a trained model: the weights of the best validation loss, ready for evaluation."""
    checkpoint = read_checkpoint(out)
    model = GPT(checkpoint["config"])
    model.load_state_dict(checkpoint["progress"].best)
    model.counts = Counts(len(checkpoint["chars"]), *(array.numpy() for array in checkpoint["counts"]))
    return model.to(device).eval(), Vocab("", first=checkpoint["chars"])


def restore(checkpoint, model, optimizers, team):
    """Put weights and optimizers back as they were, return the Progress.

    UserError for another number of threads or processes: a sum that is split in another way is rounded
    differently.
    """
    before, now = checkpoint["threads"], torch.get_num_threads()
    if checkpoint["processes"] != team.size:
        raise UserError(f"the run was started with {checkpoint['processes']} process(es), here are {team.size}")
    if device_of(model).type == "cpu" and before != now:
        raise UserError(f"the run was started with {before} threads, here are {now}; set OMP_NUM_THREADS={before}")
    model.load_state_dict(checkpoint["model"])
    for optimizer, state in zip(optimizers, checkpoint["optimizers"]):
        optimizer.load_state_dict(state)
    return checkpoint["progress"]


def check_same(values, config):
    """UserError if a flag contradicts the settings of an earlier run."""
    for name, value in values.items():
        if value != getattr(config, name):
            raise UserError(f"--{name.replace('_', '-')} {value} contradicts the run in the folder, "
                            f"which has {getattr(config, name)}")


class Parser(argparse.ArgumentParser):
    def error(self, message):
        raise UserError(f"{message}; --help shows all settings")


def parse_arguments(argv):
    parser = Parser(prog="gpt", description="A text in, more text like it out.",
                    epilog="The defaults of a device are in the table DEFAULTS of gpt.py.")
    whole, real = {"type": int, "metavar": "N"}, {"type": float, "metavar": "X"}
    add = parser.add_argument_group("files and what to do").add_argument
    add("-i", "--input-file", metavar="FILE", help=f"a UTF-8 text (default: {DEFAULT_TEXT})")
    add("-o", "--work-dir", metavar="DIR", default=DEFAULT_OUT, help=f"its folder (default: {DEFAULT_OUT})")
    add("--resume", action="store_true", help="go on with the run in the folder")
    add("--sample-only", action="store_true", help="only sample from the model in the folder")
    add("--init-from", metavar="DIR", help="begin with the weights of the run in DIR (finetuning)")
    add("--attention", metavar="TEXT", help="with --sample-only: draw what every head looks at")
    add("--version", action="version", version=f"%(prog)s {VERSION}, torch {torch.__version__}")
    add = parser.add_argument_group("sampling").add_argument
    add("--num-samples", **whole, default=1, help="how many texts (default: 1)")
    add("--max-new-tokens", **whole, default=500, help="characters of a text (default: 500)")
    add("--prompt", metavar="TEXT", default="", help="how the texts begin; FILE:NAME reads it from a file")
    add("--temperature", **real, default=0.8, help="0: always the likeliest; 1: as learned (default: 0.8)")
    add("--top-k", **whole, help="draw from the N likeliest characters only (default: all)")
    add = parser.add_argument_group("model").add_argument
    add("--block-size", **whole, help="context in characters")
    add("--n-layer", **whole, help="number of layers")
    add("--n-head", **whole, help="number of attention heads")
    add("--n-embd", **whole, help="channels")
    add("--dropout", **real, help="share of the embeddings and of the blocks' outputs left out in training")
    add = parser.add_argument_group("training").add_argument
    add("--max-steps", **whole, help="steps in total, also when resuming; -1: no end")
    add("-b", "--batch-size", **whole, help="windows in a batch, in each process")
    add("-l", "--learning-rate", **real, help="its peak")
    add("--seed", **whole, help="for weights, batches and samples (default: 3407)")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps, ... (default: auto)")
    return parser.parse_args(argv)


def execute(args):
    """Do what the arguments ask for."""
    given = {name: value for name, value in vars(args).items() if value is not None}
    check_limits(given)
    sampling = {name: getattr(args, name) for name in SAMPLING}
    if args.prompt.startswith("FILE:"):
        sampling["prompt"] = read_file(args.prompt.removeprefix("FILE:")).removesuffix("\n")
    values = {name: given[name] for name in given.keys() & LIMITS.keys() - set(SAMPLING)}
    if args.sample_only + args.resume + bool(args.init_from) > 1 or args.sample_only and args.max_steps:
        raise UserError("--sample-only, --resume and --init-from cannot be combined, nor --sample-only and --max-steps")
    if args.attention and not args.sample_only:
        raise UserError("--attention needs --sample-only")
    if args.sample_only:
        seed = values.pop("seed", None)
        check_same(values, read_checkpoint(args.work_dir)["config"])
        model, vocab = load(args.work_dir, pick_device(args.device))
        if args.attention:
            draw_attention(model, vocab, args.attention, Path(args.work_dir) / "attention.png")
        else:
            print_texts(model, vocab, seed=seed, **sampling)
        return
    options = {"device": args.device, **sampling}
    text, name = None, args.input_file or DEFAULT_TEXT
    if args.input_file or not args.resume:
        text, options["source"] = read_file(name), str(find_file(name).resolve())
    if args.resume:
        max_steps = values.pop("max_steps", None)
        check_same(values, read_checkpoint(args.work_dir)["config"])
        resume(args.work_dir, text, max_steps=max_steps, **options)
        return
    if args.init_from:
        if fixed := sorted(values.keys() & set(SIZES)):
            raise UserError(f"--{fixed[0].replace('_', '-')} cannot be combined with --init-from, which has its size")
        known = read_checkpoint(args.init_from)["config"]
        values |= {name: getattr(known, name) for name in SIZES}
    train(text, configure(pick_device(args.device), **values), args.work_dir, init_from=args.init_from, **options)


def main(argv=None):
    """The command line. Returns None, or the exit status of what went wrong. Only the first process prints."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # letters the terminal lacks are no reason to stop
    rank = os.environ.get("RANK", "0")
    try:
        with contextlib.nullcontext() if rank == "0" else contextlib.redirect_stdout(io.StringIO()):
            execute(parse_arguments(argv))
        print(end="", flush=True)
    except UserError as error:
        print(f"gpt{f', process {rank}' * (rank != '0')}: {error}", file=sys.stderr)
        return error.status
    except BrokenPipeError:  # as in `makemore ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        return 130
    except SystemExit:  # --help and --version have printed what they know
        pass
    return None


if __name__ == "__main__":
    sys.exit(main())
