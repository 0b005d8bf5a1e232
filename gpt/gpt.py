"""gpt: a text in, more text like it out; a transformer written the way transformers are written today.

    python gpt.py                                      a few minutes on two CPU cores: almost Shakespeare
    python gpt.py -i my.txt -o out/my                  another text, another folder
    python gpt.py --sample-only --prompt "ROMEO:"      text from the trained model in out/gpt
    python gpt.py --resume                             continue where the last run stopped
    torchrun --standalone --nproc_per_node=2 gpt.py    two processes, each with a batch of its own

Read `Block` and `Transformer` in makemore.py first: GPT-2 (Radford et al. 2019). This file departs from them
in six ways. The code for each is marked with its number. The figure at the end is how much higher the
validation loss is with GPT-2's part in its place, after the seconds that 150 steps take (README: "What each
part is worth"):

    (1) counts, lecture 2's model (Kneser & Ney 1995): as an input 0.021, in the output 0.065, both      0.781
    (2) a head that copies what followed the same letters before (Olsson et al. 2022)                    0.061
    (3) RMSNorm (Zhang & Sennrich 2019), without weights, and no biases anywhere                 no difference
    (4) rotary positions (Su et al. 2021)                                                        no difference
    (5) QK-norm (Henry et al. 2020)                                                              no difference
    (6) squared ReLU (So et al. 2021)                                                            no difference

Many of today's open models have (3) to (6) or their like. None has (1) or (2), which do most of the work.

Contents: configuration, data, counts, model, learning rate, training, sampling, pictures; then the machinery,
the same as in makemore.py. The loss is always the mean negative log-likelihood in nats per character.
"""
import argparse
import atexit
import contextlib
import dataclasses
import functools
import hashlib
import io
import itertools
import math
import os
import signal
import sys
import time
import typing
import zipfile
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

# ------------------------------------------------------------------------------------------------------------
# Configuration


def number(low, high, text, **default):
    """A field of Config: a number, its lowest and highest value, and the text for --help."""
    return dataclasses.field(metadata={"number": (low, high, text)}, **default)


@dataclasses.dataclass
class Config:
    """All settings of a run. `configure` builds it from the defaults of a device."""

    max_steps: int = number(1, 10**9, "total number of steps, also after --resume; -1: no end")
    batch_size: int = number(1, 10**6, "windows in a batch, in each process")
    learning_rate: float = number(0, 1e9, "the peak of the learning rate")
    block_size: int = number(1, 10**6, "context length, in characters")
    n_layer: int = number(1, 1000, "number of layers")
    n_head: int = number(1, 1000, "number of attention heads")
    n_embd: int = number(2, 10**5, "channels of a character's vector")
    dropout: float = number(0, 0.99, "share of a layer's outputs set to 0 in training")
    seed: int = number(0, 2**32 - 1, "default: 3407; with --sample-only: a new one every time", default=3407)
    vocab_size: int = 0  # from the data

    @property
    def end(self):  # the step at which the run ends
        return math.inf if self.max_steps == -1 else self.max_steps


# "Try:" names a change and how much higher the validation loss is with it; the edit is in tests/ledger.py.
# Try: a batch of 4 with a context of 512: no difference. Try: 4 heads: no difference.
DEFAULTS = {
    #       steps batch  rate  context layers heads channels dropout
    "cpu":  (1500,    2, 0.003,   1024,     2,    2,     128,    0.0),
    "gpu":  (5000,   16, 0.001,   1024,     6,    6,     384,    0.2),
}
SAMPLING = {
    "num_samples": (1, 10**6, "how many texts (default: 1)"),
    "max_new_tokens": (1, 10**9, "characters of a text (default: 500)"),
    "temperature": (0, 1e9, "0: always the most likely character; 1: as learned (default: 0.6)"),
    "top_k": (1, 10**6, "draw from the N most likely characters only (default: all)"),
}
SETTINGS = {field.name: field.metadata["number"] for field in dataclasses.fields(Config) if field.metadata}
SIZES = "n_layer", "n_head", "n_embd", "block_size"  # --init-from takes these over
DEFAULT_TEXT = "tinyshakespeare.txt"
DEFAULT_OUT = "out/gpt"
FILES = "model.pt", "log.csv", "loss.png"
FORMAT = "gpt 7"  # of model.pt
CONTENT = "chars", "source", "digest", "counts", "threads", "processes", "progress", "model", "optimizer"
VERSION = "1.0.0"


class UserError(Exception):
    """An error that the command line prints as one sentence. `status`: 2, a wrong command; 1, all else."""

    def __init__(self, message, status=2):
        super().__init__(message)
        self.status = status


def flag(name):
    return f"--{name.replace('_', '-')}"


def check_limits(values):
    """`values`: {name: number}. Raises UserError if one is not between its lowest and highest value."""
    for name, (low, high, _) in (SETTINGS | SAMPLING).items():
        value = values.get(name)
        if value is not None and not low <= value <= high and (name, value) != ("max_steps", -1):
            raise UserError(f"{flag(name)} must be from {low} to {high}, not {value}")


def check_same(values, config):
    """Raises UserError if a flag contradicts the settings of an earlier run."""
    for name, value in values.items():
        if value != (known := getattr(config, name)):
            raise UserError(f"{flag(name)} {value} contradicts the run in the folder, which has {known}")


def configure(device="cpu", **values):
    """The Config for a kind of device, e.g. `configure("cpu", n_layer=3)`.

    Raises UserError for impossible values, TypeError for settings that do not exist.
    """
    check_limits(values)
    kind = "cpu" if str(device).startswith("cpu") else "gpu"
    config = dataclasses.replace(Config(*DEFAULTS[kind]), **values)
    if config.n_embd % (2 * config.n_head):
        raise UserError(f"--n-embd {config.n_embd} does not divide into {config.n_head} heads of even size")
    return config


def pick_device(name):
    """`auto` means a GPU if there is one, CUDA or Apple's. Under torchrun every process takes a CUDA
    GPU of its own.

    Raises UserError if the device cannot be used.
    """
    if name == "auto":
        mps = torch.backends.mps.is_available() and "RANK" not in os.environ  # (it cannot work with others)
        name = "cuda" if torch.cuda.is_available() else "mps" if mps else "cpu"
    if name == "cuda":
        name = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    try:
        (torch.zeros(1, device=name) + 1).cpu()  # a trial
        return torch.device(name)
    except (RuntimeError, AssertionError):
        raise UserError(f"device {name!r} cannot be used here; try --device cpu") from None


# ------------------------------------------------------------------------------------------------------------
# Data

HERE = Path(__file__).resolve().parent


def find_file(name):
    """The path of a file. A bare name may be in the working directory, beside this script or in data/."""
    places = [Path.cwd(), HERE, HERE.parent / "data"] if Path(name).name == str(name) else [Path()]
    for path in (place / name for place in places):
        if path.exists():
            return path
    raise UserError(f"{name}: no such file; looked in {', '.join(map(str, places))}")


def read_file(name):
    """The text of a UTF-8 file, a newline at every line end. Raises UserError if the file is not text."""
    try:
        text = find_file(name).read_text("utf-8").removeprefix("\ufeff")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {name}: {error}") from None
    if "\0" in text or not text.strip():
        raise UserError(f"{name} is {'a binary file' if text.strip() else 'empty or blank'}")
    return text


def write_file(path, content):
    """Replace a file: if the program is killed, the old file or the new one is there, never half of one."""
    temporary = Path(f"{path}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UserError(f"cannot write {path}: {error.strerror}", status=1) from None


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()


class Vocab:
    """The characters of a text; token i is `chars[i]`. Those in `first` come first, the others sorted."""

    def __init__(self, text, first=""):
        self.chars = first + "".join(sorted(set(text) - set(first)))

    def __len__(self):
        return len(self.chars)

    def encode(self, text):
        """The tokens of a text, an array. Raises UserError if it has characters that the vocab lacks."""
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
    """The first 90 % for training, the rest for validation; each gets at least block_size + 1 characters."""
    n = min(int(0.9 * len(tokens)), len(tokens) - block_size - 1)
    if n < block_size + 1:
        raise UserError(f"the text is too short: {len(tokens)} characters; a context of {block_size} needs "
                        f"{2 * block_size + 2}: give more text or a smaller --block-size")
    return {"training": tokens[:n], "validation": tokens[n:]}


# ------------------------------------------------------------------------------------------------------------
# Counts: lecture 2's first model, done right


class Counts:
    """(1) How often each character followed the last n: interpolated Kneser-Ney (Kneser & Ney 1995;
    Chen & Goodman 1998).

    Lecture 2 adds 1 to every count, so that no probability is 0. Here every count gives up D = 0.9 instead.
    The next shorter context, without the first letter, decides who gets the share that this frees:

        q(c | context) = max(count(c) - D, 0) / total + D kinds / total * q(c | shorter context)

    `kinds` is how many different characters followed. If "e" followed "th" three times and "a" once, total
    is 4 and kinds is 2. Then q(e | th) = 2.1 / 4 + 0.45 q(e | h), and "o", which never followed, gets only
    0.45 q(o | h). A rare context leaves more to the shorter one. Below the empty context, every q is 1 / V.

    The longest contexts count how often c followed. A shorter one counts how many different letters stood
    before it when c followed, because "Francisco" is frequent, but a bad guess unless "San" comes before it.

    A group of letters is one number whose digits in base V are the letters. With a, b, c = 0, 1, 2 and V = 3,
    "cab" is 2 * 9 + 0 * 3 + 1 = 19. Its context, "ca", is 19 // 3 = 6; its last two letters, "ab", 19 % 9.

    A table that has counted the text to predict knows the answers, and the model would learn to trust counts
    too much. So in training, table k leaves out the k-th part of the text and predicts only the letters of
    that part. One more table counts the whole text, for validation and sampling.
    """

    # Try: counts of 4 letters, LONGEST = 4: +0.061.
    PARTS, PIECES, LONGEST, DISCOUNT = 8, 4, 6, 0.9  # a part is PIECES pieces, spread over the text
    ENOUGH = 4_000_000  # characters; the rest of a longer text is not counted

    def __init__(self, V, groups, counts, size=0):
        """Groups of n + 1 letters, sorted, the table as first digit; their counts; how many
        letters were counted in all."""
        self.V, self.n, self.size = V, self.longest(V), size
        self.groups, self.counts, self.levels = groups, counts, []
        for length in range(self.n, -1, -1):  # letters in a context
            contexts, start = np.unique(groups // V, return_index=True)  # its groups stand from `start` on
            kinds = np.diff(np.append(start, len(groups)))
            total = np.add.reduceat(counts, start)
            self.levels.insert(0, (contexts, start, kinds, total, groups % V, counts))
            table, group = np.divmod(groups, V ** (self.n + 1))
            # For the shorter contexts, each different group counts once, however often it occurred.
            groups, counts = np.unique(table * V ** (self.n + 1) + group % V**length, return_counts=True)

    @classmethod
    def longest(cls, V):
        """The most letters a context can have if the numbers of all tables must stay below 2^63."""
        return next(n for n in range(cls.LONGEST, -1, -1) if (cls.PARTS + 1) * V ** (n + 1) < 2**63)

    @classmethod
    def count(cls, tokens, V):
        """Count a text, in all tables."""
        tokens, n = tokens[: cls.ENOUGH].astype(np.int64), cls.longest(V)
        padded = np.concatenate([np.zeros(n, np.int64), tokens])
        groups = sum(padded[i : i + len(tokens)] * V ** (n - i) for i in range(n + 1))
        parts = cls.part_of(np.arange(len(tokens)), len(tokens))
        tables = [groups[parts != k] + k * V ** (n + 1) for k in range(cls.PARTS + 1)]
        return cls(V, *np.unique(np.concatenate(tables), return_counts=True), len(tokens))

    @classmethod
    def part_of(cls, positions, size):
        """The part, 0 to PARTS - 1, to which each of these positions of a text of `size` letters belongs."""
        return positions * cls.PARTS * cls.PIECES // size % cls.PARTS

    def table_without(self, positions):
        """For each of these positions of the text, the table that leaves it out."""
        return np.where(positions < self.size, self.part_of(positions, self.size), self.PARTS)

    def whole(self):
        """The groups and counts of the last table, the only one that a trained model needs."""
        last = self.groups >= self.PARTS * self.V ** (self.n + 1)
        return self.groups[last], self.counts[last]

    def log_probs(self, text, table=PARTS):
        """log q (B, T, V) after each of the last T letters of text (B, n + T), from its table (B, T)."""
        V, n = self.V, self.n
        B, T = text.shape[0], text.shape[1] - n
        number = sum((text[:, i + 1 : i + 1 + T] * V ** (n - 1 - i) for i in range(n)), np.zeros((B, T), int))
        table = np.broadcast_to(table, (B, T)).ravel() * V**n
        q = np.full((B * T, V), 1 / V, np.float32)  # a row for each position
        for length, (contexts, start, kinds, total, letter, count) in enumerate(self.levels):
            wanted = table + number.ravel() % V**length
            found = np.searchsorted(contexts, wanted).clip(max=len(contexts) - 1)
            row = np.flatnonzero(contexts[found] == wanted)  # the rows whose context was counted
            found = found[row]
            many = kinds[found]  # a context has an entry for each kind of character that followed
            q[row] *= (self.DISCOUNT * many / total[found])[:, None]
            # The entries of each row, start, start + 1, ..., one row after the other.
            entry = np.repeat(start[found] - np.cumsum(many) + many, many) + np.arange(many.sum())
            share = (count[entry] - self.DISCOUNT) / np.repeat(total[found], many)
            q[np.repeat(row, many), letter[entry]] += share.astype(np.float32)
        return torch.from_numpy(np.log(q)).view(B, T, V)


# ------------------------------------------------------------------------------------------------------------
# The model


def norm(x):
    """(3) RMSNorm without weights: every vector divided by its root mean square."""
    return F.rms_norm(x, (x.size(-1),))


def rotate(x, start):
    """(4) Rotary positions: turn each pair of channels in x (B, H, T, D), whose first position is `start`.

    From one position to the next, the first pair turns by 1 radian, each further pair by less, and the last
    by about 1/7500 (D = 64). A pair is the channels i and i + D/2. The product of a query and a key then
    depends on how far apart they are, not on where they stand.
    """
    T, D = x.shape[-2:]
    speed = 10000.0 ** -(torch.arange(0, D, 2, device=x.device) / D)
    angles = torch.outer(torch.arange(start, start + T, device=x.device), speed)  # (T, D/2)
    cos, sin = angles.cos().type_as(x), angles.sin().type_as(x)
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, a * sin + b * cos), dim=-1)


def attention_weights(q, k):
    """How much each query looks at each key (B, H, T, T): every row sums to one, and no row looks ahead.

    q and k are (B, H, T, D). The model calls `F.scaled_dot_product_attention`, which computes the same as
    `attention_weights(q, k) @ v` in less time and memory.
    """
    scores = q @ k.mT / math.sqrt(q.size(-1))
    return scores.masked_fill(torch.ones_like(scores, dtype=torch.bool).triu(1), -math.inf).softmax(dim=-1)


class Cache:
    """What generation keeps of the last `size` characters, so that it computes only the new one at each step.

    It keeps the text, and the keys and values of every layer. Only the distance between positions matters, so
    nothing is computed again when the window slides. Keys and values of the deeper layers still know a little
    of what has left the window, which does no harm (a test compares it with computing the window again).
    """

    def __init__(self, size):
        self.size, self.length, self.kept = size, 0, {}

    def extend(self, name, new):
        """Append `new` (..., T, channels) to what is kept under a name; return the last `size` positions."""
        old = self.kept.get(name, new[..., :0, :])
        self.kept[name] = torch.cat((old, new), dim=-2)[..., -self.size :, :]
        return self.kept[name]


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

    def forward(self, x, start=0, cache=None):
        q, k, v = self.queries_keys_values(x, start)
        if cache:
            k, v = cache.extend((self, "keys"), k), cache.extend((self, "values"), v)
        heads = F.scaled_dot_product_attention(q, k, v, is_causal=q.size(2) > 1)  # (B, H, T, D)
        return self.proj(heads.transpose(1, 2).reshape(x.shape))


class Block(nn.Module):
    """Positions exchange what they know (attention), then each works on its own (MLP); both add to x."""

    def __init__(self, config):
        super().__init__()
        self.attn = Attention(config)
        self.up = nn.Linear(config.n_embd, 4 * config.n_embd, bias=False)
        self.down = nn.Linear(4 * config.n_embd, config.n_embd, bias=False)
        self.drop = nn.Dropout(config.dropout)

    def forward(self, x, start=0, cache=None):
        x = x + self.drop(self.attn(norm(x), start, cache))
        # Try: SwiGLU (Shazeer 2020), F.silu(a) * b with as many weights: no difference.
        return x + self.drop(self.down(F.relu(self.up(norm(x))).square()))  # (6) squared ReLU


class Copy(nn.Module):
    """(2) A head that copies: what followed the last letters when they occurred earlier in the window?

    Say "ROMEO" was there, and the text has come to "ROM" again. `match` finds the earlier "M"; the `length`
    of this match is 3, "ROM" (at most 8). `best` marks the earlier positions with the longest match. `copied`
    says what followed them, here always "E", as probabilities. `trust`, learned for each length, weighs
    `copied` against the model's own prediction. So names and words that the text has only just introduced can
    come back. Transformers learn such "induction heads" by themselves (Olsson et al. 2022), but from far
    more text than ours; this one is written by hand.
    """

    LONGEST = 8

    def __init__(self):
        super().__init__()
        self.trust = nn.Parameter(torch.linspace(-6, 0, self.LONGEST + 1))  # by length, before the sigmoid

    def forward(self, log_probs, text):
        """Mix log_probs (B, T, V), for the last T positions of text (B, S), with the copies found in text."""
        S, (_, T, V) = text.size(1), log_probs.shape
        rows = min(S, T + self.LONGEST - 1)  # the T positions and the letters just before them
        same = text[:, S - rows :, None] == text[:, None, :]  # (B, rows, S)
        match = same = same.tril(S - rows - 1)  # the same letter, at an earlier position
        length = match.byte()
        for _ in range(self.LONGEST - 1):
            match = same & F.pad(match, (1, 0, 1, 0))[:, :-1, :-1]  # and the letters before match too
            length = length + match
        length = length[:, rows - T :]  # of the match that ends at each earlier position, (B, T, S)
        longest = length.amax(dim=2, keepdim=True)
        best = ((length == longest) & (longest > 0)).to(log_probs.dtype)
        following = F.one_hot(text.roll(-1, dims=1), V).to(log_probs.dtype)  # (B, S, V); the last is unused
        copied = best @ following / best.sum(2, keepdim=True).clamp(min=1)  # (B, T, V)
        trust = self.trust.sigmoid()[longest.long()] * (longest > 0)  # (B, T, 1)
        return torch.log((1 - trust) * log_probs.exp() + trust * copied + 1e-9)


class GPT(nn.Module):
    """A decoder-only transformer over characters (Radford et al. 2018), with counts and a copying head."""

    def __init__(self, config):
        super().__init__()
        self.config, self.counts = config, None  # `train` and `load` set the Counts
        C, V = config.n_embd, config.vocab_size
        self.embed = nn.Embedding(V, C)
        self.from_counts = nn.Linear(V, C, bias=False)  # (1) as an input
        self.drop = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.head = nn.Linear(C, V, bias=False)
        self.weight = nn.Parameter(torch.tensor(1.0))  # (1) of the counts in the output
        self.copy = Copy()
        # Try: without "proj.weight", "down.weight": +0.001.
        for name, p in self.named_parameters():
            if name.endswith(("proj.weight", "down.weight", "head.weight")):
                nn.init.zeros_(p)  # at first the transformer adds nothing to counts and copies
            elif p.dim() == 2 and name != "embed.weight":
                nn.init.normal_(p, std=2 / math.sqrt(p.size(1)))

    def forward(self, idx, log_q, cache=None):
        """Log-probabilities (B, T, V) of the character after each of idx (B, T).

        `log_q` (B, T, V): what the counts predict, `model.counts.log_probs`. `cache`: what came before idx;
        idx is then a single character, or the whole beginning of a text.
        """
        start, text = 0, idx
        if cache:
            start, text = cache.length, cache.extend("text", idx[:, :, None])[:, :, 0]
            cache.length += idx.size(1)
        x = self.drop(self.embed(idx) + self.from_counts(log_q.exp()) * math.sqrt(log_q.size(2)))  # (B, T, C)
        for block in self.blocks:
            x = block(x, start, cache)
        logits = self.head(norm(x)).float() + self.weight * log_q  # (B, T, V)
        return self.copy(logits.log_softmax(dim=2), text)


# ------------------------------------------------------------------------------------------------------------
# The learning rate


def schedule(step, config):
    """The share of the peak learning rate: linear warmup, then linear decay to 1 % (none without an end)."""
    rise = (step + 1) / min(100, config.end / 10)
    return min(1, rise, max(0.01, 1 - step / config.end))


def set_learning_rate(optimizer, step, config):
    for group in optimizer.param_groups:
        group["lr"] = config.learning_rate * schedule(step, config)


# ------------------------------------------------------------------------------------------------------------
# Training


class Team:
    """The processes of a data-parallel run, started by torchrun; without torchrun, a team of one."""

    def __init__(self, device):
        self.rank, self.size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
        self.device = device
        if self.size > 1 and not torch.distributed.is_initialized():
            torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
            atexit.register(torch.distributed.destroy_process_group)

    def sum(self, *values):
        """The sum of each value over all processes."""
        if self.size == 1:
            return values
        totals = torch.tensor(values, dtype=torch.float32, device=self.device)
        torch.distributed.all_reduce(totals)
        return totals.tolist()


def windows(tokens, starts, block_size, counts, held_out=False):
    """Windows at `starts`: inputs x (B, T), targets y one position later, what counts predict (B, T, V).

    The counts look at the letters before a window too. `held_out`: each target is predicted
    by the table that left it out.
    """
    positions = starts[:, None] + np.arange(-counts.n, block_size + 1)
    text = np.where(positions < 0, 0, tokens[positions.clip(min=0)]).astype(np.int64)  # 0 before the text
    table = counts.table_without(positions[:, counts.n + 1 :]) if held_out else counts.PARTS
    log_q = counts.log_probs(text[:, :-1], table)
    taken = torch.from_numpy(text[:, counts.n :])
    return taken[:, :-1], taken[:, 1:], log_q


@functools.lru_cache(maxsize=3)
def epoch_starts(seed, epoch, length, block_size):
    """Where the windows of an epoch start: back to back from a random offset, in random order."""
    rng, count = np.random.default_rng((seed, epoch)), max(1, (length - 1) // block_size - 1)
    return rng.integers(min(block_size, length - block_size * count)) + block_size * rng.permutation(count)


def training_batch(tokens, config, step, team, counts):
    """This process's batch at a step, from `windows`; seed, step and rank decide which windows."""
    count = len(epoch_starts(config.seed, 0, len(tokens), config.block_size))  # windows of an epoch
    first = (step * team.size + team.rank) * config.batch_size
    starts = [epoch_starts(config.seed, i // count, len(tokens), config.block_size)[i % count]
              for i in range(first, first + config.batch_size)]
    # Try: held_out=False: +0.034. What the counts say of a text that they know is too good to be true.
    return windows(tokens, np.array(starts), config.block_size, counts, held_out=True)


def loss_of(logits, y, reduction="mean"):
    """Cross-entropy of logits (B, T, V) and targets y (B, T): nats per character, targets of -1 left out
    (exercise 7.6).

    The model returns log-probabilities, which are logits that softmax leaves as they are.
    """
    losses = F.cross_entropy(logits.flatten(0, 1), y.flatten(), ignore_index=-1, reduction=reduction)
    return losses.view(y.shape) if reduction == "none" else losses


def device_of(model):
    return next(iter(model.state_dict().values())).device


@torch.no_grad()
def evaluate(model, tokens, characters=math.inf):
    """(loss, standard error): the mean over windows that do not overlap, in evaluation mode.

    All windows, or evenly spread ones with at least `characters` characters in all. The standard error
    assumes that the windows are independent of one another.
    """
    was_training, device, T = model.training, device_of(model), model.config.block_size
    model.eval()
    starts, losses = np.arange(0, len(tokens) - T, T)[:: int(max(1, len(tokens) // characters))], []
    for some in np.array_split(starts, min(len(starts), 1 + len(starts) * T // 4096)):
        x, y, log_q = windows(tokens, some, T, model.counts)
        losses.append(loss_of(model(x.to(device), log_q.to(device)).cpu(), y, reduction="none").mean(1))
    model.train(was_training)
    losses = torch.cat(losses).double()
    return losses.mean().item(), losses.std(correction=0).item() / math.sqrt(len(losses))


def train(text, config, out=DEFAULT_OUT, *, device="auto", source="", checkpoint=None, init_from=None,
          **sampling):
    """Train a model on a text, write model.pt, log.csv and loss.png into `out`, print the progress.

    Returns a Result: the model with the weights of the best validation loss, its vocab, the run's figures.
    `device`: as --device. `source`: the file that the text is from, for `resume`. `checkpoint`: continue that
    run, see `resume`. `init_from`: a folder; the run begins with its weights
    (finetuning), but counts its own text. `sampling`: options of `generate`. Raises UserError; raises
    KeyboardInterrupt after Ctrl-C, once everything is saved.
    """
    # Prepare the data, the model, its optimizer and the run.
    check_limits(sampling)
    device = pick_device(device)
    team = Team(device)
    before = read_checkpoint(init_from) if init_from else checkpoint
    vocab = Vocab(text, first=before["chars"] if before else "")
    data = split(vocab.encode(text), config.block_size)
    config = dataclasses.replace(config, vocab_size=len(vocab))
    torch.manual_seed(config.seed)
    model = GPT(config).to(device)
    model.counts = Counts.count(data["training"], len(vocab))
    generate(model, vocab, **sampling | {"max_new_tokens": 0})  # refuse bad options now, not at the end
    if init_from:
        check_same({name: getattr(config, name) for name in SIZES}, before["config"])
        weights = model.state_dict()
        for name, known in before["progress"]["best"].items():  # new characters keep their fresh weights
            weights[name][tuple(slice(n) for n in known.shape)] = known
    # Try: Muon for the blocks, as in makemore.py: no difference.
    optimizer = torch.optim.Adam(model.parameters(), betas=(0.9, 0.95), fused=True)  # the loop sets its rate
    bfloat16 = device.type == "cuda" and torch.cuda.is_bf16_supported()
    compiled = device.type == "cuda" and sys.platform == "linux"
    facts = {"chars": vocab.chars, "source": source, "digest": digest(text),
             "counts": [torch.from_numpy(array) for array in model.counts.whole()]}
    run = Run(out, config, model, vocab, optimizer, data["validation"], sampling, facts, checkpoint, team)
    size = sum(p.numel() for p in model.parameters())
    print(f"device: {device}, {torch.get_num_threads()} threads, {'bfloat16' if bfloat16 else 'float32'}"
          + ", compiled" * compiled + f", {team.size} processes" * (team.size > 1))
    print(f"data: {Path(source).name or 'a text'}, {len(text):,} characters ({len(data['training']):,} for "
          f"training), {len(vocab)} different: {vocab}")
    print(f"model: {size:,} parameters; a uniform guess has a loss of {math.log(len(vocab)):.4f}")
    print("settings:", ", ".join(f"{name} {value}" for name, value in vars(config).items()))
    if Path(source) in (HERE / DEFAULT_TEXT, HERE.parent / "data" / DEFAULT_TEXT):
        print("nanoGPT's 1.4697 is on another edition of this text: the losses cannot be compared")
    parallel = torch.compile(model) if compiled else model  # it shares the weights
    if team.size > 1:
        parallel = nn.parallel.DistributedDataParallel(parallel)  # averages the gradients of all processes

    # The loop. Run does everything that happens between two steps, from evaluation to Ctrl-C.
    with run:
        for step in run:
            x, y, log_q = training_batch(data["training"], config, step, team, model.counts)
            with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
                log_probs = parallel(x.to(device), log_q.to(device))
            loss = loss_of(log_probs, y.to(device))
            model.zero_grad()
            loss.backward()
            set_learning_rate(optimizer, step, config)
            optimizer.step()
            run.loss = loss.item()

    # The result: the best weights, their loss and a sample.
    run.finish()
    loss, error = evaluate(model, data["validation"])
    print(f"validation loss {loss:.4f} (standard error {error:.4f}) on the whole validation text with the "
          f"weights of step {run.best_step}, the best; {run.seconds:.0f} s of training")
    print_texts(model, vocab, **{"seed": config.seed} | sampling)
    print(f"in {out}: {', '.join(name for name in FILES if (Path(out) / name).exists())}")
    return Result(model, vocab, {"validation": (loss, error), "seconds": run.seconds, "run": run})


class Result(typing.NamedTuple):
    """What `train` returns. `results`: "validation", (loss, standard error); "seconds" of training; "run",
    the Run with the losses of all steps."""

    model: nn.Module
    vocab: Vocab
    results: dict

    def __repr__(self):  # one line in a notebook
        return f"<{type(self.model).__name__}: validation {self.results['validation'][0]:.4f}>"


def resume(out=DEFAULT_OUT, text=None, *, source="", max_steps=None, **options):
    """Continue the run in a folder exactly where it stopped; returns a Result. `options`: those of `train`.

    `text` is needed only if the run did not read it from a file. `max_steps`: a new total; the learning rate
    then falls until that step. Raises UserError if there is no such run, or if the text is not the same.
    """
    checkpoint = read_checkpoint(out)
    config, source = checkpoint["config"], source or checkpoint["source"]
    if text is None and not source:
        raise UserError(f"the run in {out} did not read its text from a file: give it again, with -i FILE or "
                        f"gpt.resume({str(out)!r}, text=...)")
    text = read_file(source) if text is None else text
    if digest(text) != checkpoint["digest"]:
        raise UserError(f"{source or 'this text'} is not the text of the run in {out}")
    config = dataclasses.replace(config, max_steps=config.max_steps if max_steps is None else max_steps)
    return train(text, config, out, source=source, checkpoint=checkpoint, **options)


# ------------------------------------------------------------------------------------------------------------
# Sampling


def load(out, device="cpu"):
    """(model, vocab) of the run in a folder: the weights of the best validation loss, in evaluation mode."""
    checkpoint = read_checkpoint(out)
    model = GPT(checkpoint["config"])
    model.load_state_dict(checkpoint["progress"]["best"])
    model.counts = Counts(len(checkpoint["chars"]), *(array.numpy() for array in checkpoint["counts"]))
    return model.to(device).eval(), Vocab("", first=checkpoint["chars"])


def draw(logits, temperature, top_k, generator):
    """Draw a token for each row of logits (B, V), which are on the CPU; `generate` explains the options."""
    if top_k:
        least = logits.topk(min(top_k, logits.size(1))).values[:, -1:]  # (B, 1)
        logits = logits.where(logits >= least, -math.inf)
    if temperature == 0:
        return logits.argmax(dim=1)
    logits = (logits - logits.amax(dim=1, keepdim=True)).double() / temperature  # at most 0: no overflow
    return torch.multinomial(logits.softmax(dim=1), 1, generator=generator)[:, 0]


@torch.no_grad()
def generate(model, vocab, prompt="", num_samples=1, max_new_tokens=500, temperature=0.6, top_k=None,
             seed=None, cached=True):
    """A list of `num_samples` texts: the prompt and `max_new_tokens` more characters, sampled one by one.

    temperature: 0 takes the most likely character, below 1 is more careful, above 1 more daring. top_k:
    only the k most likely characters. seed: the same one gives the same texts. cached: see `Cache`. All
    texts grow together as rows of a batch. Raises UserError for characters that the model never saw.
    """
    generator = torch.Generator()
    generator.seed() if seed is None else generator.manual_seed(seed)
    start = prompt or ("\n" if "\n" in vocab.chars else vocab.chars[0])
    tokens = torch.tensor(vocab.encode(start).tolist(), device=device_of(model)).repeat(num_samples, 1)
    size, n = model.config.block_size, model.counts.n
    cache = Cache(size) if cached else None
    was_training = model.training
    model.eval()
    new = tokens[:, -size:]  # what the model is given at the next step
    for _ in range(max_new_tokens):
        context = F.pad(tokens, (n, 0))[:, -n - new.size(1) :]  # zeros for what came before the prompt
        log_q = model.counts.log_probs(context.cpu().numpy()).to(tokens.device)
        drawn = draw(model(new, log_q, cache)[:, -1].cpu(), temperature, top_k, generator)
        tokens = torch.cat((tokens, drawn[:, None].to(tokens.device)), dim=1)
        new = tokens[:, -1:] if cached else tokens[:, -size:]
    model.train(was_training)
    return [vocab.decode(row)[len(start) - len(prompt) :] for row in tokens.tolist()]


def print_texts(model, vocab, **sampling):
    print(f"\n{'-' * 79}\n".join(generate(model, vocab, **sampling)))


# ------------------------------------------------------------------------------------------------------------
# Pictures


def draw_losses(losses, log, path):
    """Draw the loss of every batch (faint), its running mean, and the validation loss from a Run's log."""
    from matplotlib.figure import Figure  # imported here because it takes a second; leaves pyplot alone

    figure, picture = Figure(figsize=(8, 5), dpi=120), io.BytesIO()
    ax = figure.add_axes((0.08, 0.1, 0.9, 0.88))
    width = 1 + len(losses) // 50
    mean = np.convolve(losses, np.ones(width) / width, mode="valid")
    ax.plot(losses, color="C0", alpha=0.25, linewidth=0.5, label="batch")
    ax.plot(range(width - 1, len(losses)), mean, color="C0", label=f"mean of {width} batches")
    steps, _, _, validation = zip(*log)
    ax.plot(steps, validation, ".-", color="C1", label=f"validation, {min(validation):.4f} at best")
    ax.set(xlabel="step", ylabel="loss (nats per character)",
           ylim=(min([*validation, *losses[-100:]]) - 0.1, max(validation) + 0.2))
    ax.grid(alpha=0.3)
    ax.legend(fontsize="small")
    figure.savefig(picture, format="png")
    write_file(path, picture.getvalue())


# ------------------------------------------------------------------------------------------------------------
# Machinery: what happens between two steps, files, checkpoints, the command line. You can stop reading here
# and still understand the model. makemore.py has the same machinery, for one process.


class Run:
    """Everything that happens between two steps: evaluate, keep the best weights, save, report, sample, stop.

    `for step in run` yields the steps that are left; the loop stores the loss of its batch in `run.loss`.
    Ctrl-C ends the loop between two steps, once everything is saved. `facts` are added to the checkpoint.
    """

    PROGRESS = "step", "seconds", "best_step", "best_loss", "best", "losses", "log"  # saved

    def __init__(self, out, config, model, vocab, optimizer, validation, sampling, facts, checkpoint, team):
        self.out, self.config, self.model, self.vocab, self.team = Path(out), config, model, vocab, team
        self.optimizer, self.validation, self.sampling, self.facts = optimizer, validation, sampling, facts
        self.step, self.seconds = 0, 0.0  # seconds of training alone
        self.best_step, self.best_loss, self.best = 0, math.inf, {}  # by validation loss; `best`: the weights
        self.losses, self.log = [], []  # of each batch; (step, seconds, training, validation) of each look
        self.pressed, self.stopped, self.handler = False, False, None  # Ctrl-C here; Ctrl-C in any process
        if checkpoint:
            if checkpoint["processes"] != team.size:
                raise UserError(f"the run has {checkpoint['processes']} process(es), not {team.size}")
            torch.set_num_threads(checkpoint["threads"])  # their number decides how sums are rounded
            model.load_state_dict(checkpoint["model"])
            optimizer.load_state_dict(checkpoint["optimizer"])
            vars(self).update(checkpoint["progress"])
        if config.end < self.step:
            raise UserError(f"--max-steps {config.end} is the total, but the run is at step {self.step}")

    def __enter__(self):
        if self.log:
            print(f"resuming at step {self.step}")
        elif self.team.rank == 0:
            prepare_folder(self.out)
        with contextlib.suppress(ValueError):  # Python allows signal handlers only in the main thread
            self.handler = signal.signal(signal.SIGINT, self.on_ctrl_c)
        self.saved = self.shown = time.monotonic()

    def __exit__(self, *_):
        if self.handler is not None:  # (0 is a handler too)
            signal.signal(signal.SIGINT, self.handler)

    def on_ctrl_c(self, *_):
        self.pressed = True  # the loop stops after this step

    def __iter__(self):
        self.model.train()
        while True:
            due = self.step % max(100, self.config.max_steps // 10) == 0 or self.step == self.config.end
            if due and not (self.log and self.log[-1][0] == self.step):  # else it was done before a resume
                self.look()
            if self.stopped or self.step == self.config.end:
                return
            # For dropout; so there is no random state to store.
            torch.manual_seed((self.config.seed * 1_000_003 + self.step) * self.team.size + self.team.rank)
            start = time.perf_counter()
            yield self.step
            self.seconds += time.perf_counter() - start
            self.step += 1
            loss, self.stopped = self.team.sum(self.loss, self.pressed)  # one reduction a step
            self.losses.append(loss / self.team.size)
            if self.stopped or time.monotonic() - self.saved > 15:
                self.save()
            if sys.stdout and sys.stdout.isatty() and time.monotonic() - self.shown > 0.2:  # the live line
                self.report(f"batch {self.losses[-1]:.4f}", end="\r")
                self.shown = time.monotonic()

    def look(self):
        """Evaluate, keep the best weights, save, report; every fourth time, print a sample too."""
        validation, _ = evaluate(self.model, self.validation, characters=24_576)
        batches = self.losses[self.log[-1][0] :] if self.log else []  # since the last evaluation
        training = sum(batches) / len(batches) if batches else math.nan
        self.log.append((self.step, self.seconds, training, validation))
        if validation < self.best_loss:
            self.best_step, self.best_loss = self.step, validation
            self.best = {name: value.cpu().clone() for name, value in self.model.state_dict().items()}
        self.save()
        self.report(f"validation {validation:.4f}" + f", batches {training:.4f}" * bool(batches))
        if len(self.log) % 4 == 1 and self.step not in (0, self.config.end):
            short = {"num_samples": 1, "max_new_tokens": 200, "seed": self.step}
            print_texts(self.model, self.vocab, **self.sampling | short)

    def report(self, what, end="\n"):
        """Print a line of progress: the step, what there is to say, the time a step takes, the time left."""
        pace = self.seconds / max(1, self.step)
        left = pace * (self.config.end - self.step)
        text = f"step {self.step:5}/{self.config.end}: {what}{f', {1e3 * pace:.1f} ms a step' * (pace > 0)}"
        text += f", {left // 60:.0f}:{left % 60 // 1:02.0f} left" * (0 < left < math.inf)
        print(f"{text:79}" if end == "\r" else text, end=end, flush=True)

    def save(self):
        """Write model.pt, which holds all that `resume` and `load` need, in plain types, and log.csv.

        Raises UserError if a weight is not finite.
        """
        self.saved, weights, content = time.monotonic(), self.model.state_dict(), io.BytesIO()
        if not math.isfinite(sum(value.sum().item() for value in weights.values())):
            raise UserError(f"training diverged before step {self.step}: a weight is not finite; start again "
                            "with a smaller --learning-rate (the last good checkpoint is kept)", status=1)
        if self.team.rank != 0:
            return
        torch.save({
            "format": FORMAT, "config": vars(self.config), "threads": torch.get_num_threads(), **self.facts,
            "processes": self.team.size, "progress": {name: getattr(self, name) for name in self.PROGRESS},
            "model": weights, "optimizer": self.optimizer.state_dict(),
        }, content)
        write_file(self.out / "model.pt", content.getvalue())
        rows = [f"{step},{seconds:.3f},{a:.6f},{b:.6f}\n" for step, seconds, a, b in self.log]
        write_file(self.out / "log.csv", "".join(["step,seconds,train_loss,val_loss\n", *rows]).encode())

    def finish(self):
        """Draw the losses; give the model its best weights or, after Ctrl-C, raise KeyboardInterrupt."""
        if self.team.rank == 0:
            draw_losses(self.losses, self.log, self.out / "loss.png")
        if self.stopped or self.pressed:
            print(f"stopped after step {self.step}; everything is saved; the same command with --resume "
                  f"goes on (in Python: gpt.resume({str(self.out)!r}))")
            raise KeyboardInterrupt
        self.model.load_state_dict(self.best)
        self.model.eval()


def prepare_folder(out):
    """Make the folder; rename what an earlier run left in it, model.pt to model.1.pt and so on."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        n = next(n for n in itertools.count(1) if not any(out.glob(f"*.{n}.*")))
        for path in (out / name for name in FILES if (out / name).exists()):
            print(f"moved aside: {path} to {path.rename(path.with_suffix(f'.{n}{path.suffix}')).name}")
    except OSError as error:
        raise UserError(f"cannot use {out} as the output folder: {error.strerror}") from None


def read_checkpoint(out):
    """The content of model.pt in a folder. Raises UserError if it is missing, damaged or not ours."""
    path = Path(out) / "model.pt"
    try:
        with zipfile.ZipFile(path):  # on any other file torch would print warnings
            checkpoint = torch.load(path, weights_only=True, map_location="cpu")
        problem = f"is a checkpoint of {checkpoint['format']}, and this is {FORMAT}; choose another folder"
        if checkpoint["format"] == FORMAT:
            return {name: checkpoint[name] for name in CONTENT} | {"config": Config(**checkpoint["config"])}
    except FileNotFoundError:
        gpt2 = " (OpenAI's gpt2 is a different model)" * str(out).startswith("gpt2")
        problem = f"does not exist; train a model first{gpt2}"
    except Exception:  # noqa: BLE001 (torch.load fails in as many ways as there are damaged files)
        problem = "is damaged, or not a checkpoint"
    raise UserError(f"{path} {problem}")


class Parser(argparse.ArgumentParser):
    def error(self, message):
        raise UserError(f"{message}; --help shows all settings")


def parse_arguments(argv):
    parser = Parser(prog="gpt", description="A text in, more text like it out. Defaults: DEFAULTS in gpt.py.")
    group = parser.add_argument_group("files and what to do")
    add, either = group.add_argument, group.add_mutually_exclusive_group().add_argument
    add("-i", "--input-file", metavar="FILE", help=f"a UTF-8 text (default: {DEFAULT_TEXT})")
    add("-o", "--work-dir", metavar="DIR", default=DEFAULT_OUT, help=f"run folder (default: {DEFAULT_OUT})")
    either("--resume", action="store_true", help="continue the run in the folder")
    either("--sample-only", action="store_true", help="do not train; sample from the model in the folder")
    add("--init-from", metavar="DIR", help="start from the weights of the run in DIR (finetuning)")
    add("--prompt", metavar="TEXT", default="", help="beginning of every text; FILE:NAME reads it from NAME")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps, ... (default: auto)")
    add("--version", action="version", version=f"%(prog)s {VERSION}, torch {torch.__version__}")
    for title, numbers in (("settings", SETTINGS), ("sampling", SAMPLING)):
        add = parser.add_argument_group(title).add_argument
        for name, (_, high, text) in numbers.items():
            short = {"batch_size": ["-b"], "learning_rate": ["-l"]}.get(name, [])
            add(*short, flag(name), type=type(high), metavar="N" if type(high) is int else "X", help=text)
    return parser.parse_args(argv)


def execute(args):
    """Do what the arguments ask for."""
    given = {name: value for name, value in vars(args).items() if value is not None}
    check_limits(given)
    settings = {name: given[name] for name in SETTINGS if name in given}
    options = {name: given[name] for name in ("prompt", *SAMPLING) if name in given}
    if args.prompt.startswith("FILE:"):
        options["prompt"] = read_file(args.prompt.removeprefix("FILE:")).removesuffix("\n")
    if args.sample_only or args.resume:
        own = {"seed"} if args.sample_only else {"max_steps"}  # these may differ from the run in the folder
        options |= {name: settings.pop(name) for name in own & settings.keys()}
        check_same(settings, read_checkpoint(args.work_dir)["config"])
    if args.sample_only:
        return print_texts(*load(args.work_dir, pick_device(args.device)), **options)
    text, options = None, {"device": args.device, **options}
    if args.input_file or not args.resume:
        name = args.input_file or DEFAULT_TEXT
        text, options["source"] = read_file(name), str(find_file(name).resolve())
    if args.resume:
        return resume(args.work_dir, text, **options)
    if args.init_from:
        options["init_from"], known = args.init_from, vars(read_checkpoint(args.init_from)["config"])
        settings = {name: known[name] for name in SIZES} | settings
    train(text, configure(pick_device(args.device), **settings), args.work_dir, **options)


def main(argv=None):
    """The command line; only the first process prints. Returns None, or the exit status of a failure."""
    rank = os.environ.get("RANK", "0")
    with contextlib.suppress(AttributeError):  # a character that the terminal lacks must not stop us
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with contextlib.nullcontext() if rank == "0" else contextlib.redirect_stdout(io.StringIO()):
            execute(parse_arguments(argv))
        print(end="", flush=True)  # a closed pipe is noticed here, not at the exit
    except UserError as error:
        print(f"gpt{f', process {rank}' * (rank != '0')}: {error}", file=sys.stderr)
        return error.status
    except BrokenPipeError:  # as in `gpt ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        return 130
    except SystemExit:  # after --help and --version
        return None


if __name__ == "__main__":
    sys.exit(main())
