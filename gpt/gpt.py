"""gpt: a text in, more text like it out; a transformer written as one is written today.

    python gpt.py                                        three minutes on two CPU cores: almost Shakespeare
    python gpt.py -i my.txt -o out/my                    another text, another folder
    python gpt.py --sample-only --prompt "ROMEO:"        text from the trained model in out/
    python gpt.py --resume                               go on where the last run stopped
    python gpt.py --sample-only --attention "some text"  what every head looks at: attention.png
    torchrun --standalone --nproc_per_node=2 gpt.py      two processes, each with a batch of its own

Read `Transformer` in makemore.py first: the GPT-2 block (Radford et al. 2019). This file departs from it
here, each at a place marked with its number. Behind it: how much higher the validation loss ended without it,
in nats per character, at equal training time (800 steps of the default model, or as many as take as long
without it; the mean of three seeds and the standard error of the difference).

    (1) n-gram embeddings (Pagnoni et al. 2024)                       0.133 +- 0.009
    (2) Muon for the matrices (Jordan et al. 2024), not AdamW         0.018 +- 0.006
    (3) rotary positions (Su et al. 2021), not learned ones           0.022 +- 0.007
    (4) calibration (Guo et al. 2017)                                 0.013 +- 0.001; after 2,800 steps 0.056

(1) to (3) were measured before (4) was there, with a table of 164 thousand rows instead of 262 thousand.
Tried with one or two seeds and not kept, being worth less than 0.01 then: QK-norm, token shift, squared ReLU.
"""
import argparse
import atexit
import contextlib
import dataclasses
import datetime
import hashlib
import importlib.util
import io
import math
import os
import shlex
import signal
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.distributed
import torch.nn.functional as F
from torch import nn

# ------------------------------------------------------------------------------------------------------------
# Configuration. Without size flags the device picks a row. Behind "Try:" stands a line to change, and the
# validation loss that it gave beside that of the line as it was when tried: one run each, a minute on two
# cores unless it says otherwise, in which differences below 0.02 may be chance.

SIZES = ("n_layer", "n_head", "n_embd", "block_size")
COLUMNS = (*SIZES, "batch_size", "max_steps", "dropout", "learning_rate")
DEFAULTS = {
    #       layers heads channels context batch steps dropout  rate
    "cpu":  (    2,    2,     128,    256,    8, 2800,    0.0, 0.02),
    # Try: 1 layer: 1.532 in 0.6 of the time, 2 gave 1.512. A rate of 0.01: 1.587, not 1.554.
    "gpu":  (    6,    6,     384,    256,   64, 5000,    0.2, 0.02),
}  # fmt: skip


class UserError(Exception):
    """What the user can put right: the command line prints it as one sentence and exits with `status`."""

    def __init__(self, message, status=2):
        super().__init__(message)
        self.status = status


@dataclasses.dataclass
class Config:
    """All values of a run. Build it with `configure`, which fills in the defaults of the device."""

    n_layer: int
    n_head: int
    n_embd: int  # channels
    block_size: int  # context in characters
    batch_size: int  # windows a step, in each process
    max_steps: int  # -1: for ever
    dropout: float  # share of the embeddings and of what the blocks add that is left out in training
    learning_rate: float  # of the matrices, at its peak
    seed: int = 3407
    vocab_size: int = 0  # from the data
    # Try: an ngram of 5: 1.525, 8: 1.526, when 6 gave 1.512. Dropout 0.8, 2,400 steps: 1.516, not 1.514.
    ngram: int = 6  # the longest n-gram with an embedding of its own
    ngram_slots: int = 262139  # rows of the table that they share; a prime spreads the hashes
    ngram_dropout: float = 0.5  # share of the look-ups left out in training

    @property
    def eval_interval(self):
        return 200 if self.max_steps < 0 else max(1, self.max_steps // 12)

    def __str__(self):
        return ", ".join(f"{k.replace('_', '-')} {v}" for k, v in vars(self).items() if "ngram" not in k)


def flag(name):
    return "--" + name.replace("_", "-")


def configure(device="cpu", **values):
    """The Config for a kind of device, e.g. `configure("cpu", n_layer=2)`; UserError for senseless values."""
    config = Config(**(dict(zip(COLUMNS, DEFAULTS["cpu" if str(device) == "cpu" else "gpu"])) | values))
    for name, value in vars(config).items():
        if name in ("learning_rate", "dropout", "ngram_dropout"):
            share = name != "learning_rate"
            if not 0 <= value < (1 if share else 1e30):  # above, float32 overflows
                raise UserError(f"{flag(name)} must be a number from 0 up{', below 1' * share}, not {value}")
        elif name not in ("seed", "vocab_size") and value < 1 and not (name == "max_steps" and value == -1):
            raise UserError(f"{flag(name)} must be at least 1, not {value}")
    if config.n_embd % (2 * config.n_head):
        raise UserError(f"--n-embd {config.n_embd} does not divide into --n-head {config.n_head} heads "
                        "of even size")  # fmt: skip
    return config


def pick_device(name):
    """`auto` is the GPU if there is one. UserError if the device cannot be used."""
    if name == "auto":
        name = f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu"
    try:
        probe = torch.zeros(1, device=name)
        probe.item()
        return probe.device
    except (RuntimeError, AssertionError, NotImplementedError):
        raise UserError(f"device {name!r} cannot be used here; try --device cpu") from None


def bfloat16_pays(device, width):
    """Is bfloat16 faster for matrices of this width? Where the hardware has it, if they are not small."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    in_hardware = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return device.type == "cpu" and in_hardware and width >= 64


def compilation_pays(device):
    """Is torch.compile worth its time? On a GPU; on a CPU it saves in three minutes what compiling takes."""
    return device.type == "cuda" and importlib.util.find_spec("triton") is not None


# ------------------------------------------------------------------------------------------------------------
# The model


def attention(q, k, v):
    """Causal attention spelled out: what it gives, (B, H, T, D), and its weights, (B, H, T, S).

    q (B, H, T, D) are the last T of the S places that k and v (B, H, S, D) have: T = S unless some are
    cached. A row of the weights sums to one.
    """
    scores = (q / math.sqrt(q.size(-1))) @ k.mT  # (B, H, T, S): in row t how well each key answers query t
    T, S = scores.shape[-2:]
    future = scores.new_full((T, S), -math.inf).triu(S - T + 1)
    weights = (scores + future).softmax(dim=-1)
    return weights @ v, weights


def rotation(start, T, D, device):
    """Cosine and sine, (T, D/2), of the angles of T places from `start` on.

    From place to place they grow, by 1 radian in the first pair of channels, by about 1/10000 in the last.
    """
    speed = 10000.0 ** -(torch.arange(0, D, 2, device=device) / D)
    angles = torch.outer(torch.arange(start, start + T, device=device), speed)
    return angles.cos(), angles.sin()


def rotate(x, turn):
    """Turn channels of x (..., T, D) in pairs, i and i + D/2, by the angles of `turn`, from `rotation`.

    The product of a query and a key then depends on their distance alone (RoPE, Su et al. 2021).
    """
    (a, b), (cos, sin) = x.chunk(2, dim=-1), turn
    return torch.cat((a * cos - b * sin, a * sin + b * cos), dim=-1)


class Attention(nn.Module):
    """Multi-head causal self-attention (Vaswani et al. 2017), all heads in one matrix product."""

    def __init__(self, config):
        super().__init__()
        self.n_head = config.n_head
        self.qkv = nn.Linear(config.n_embd, 3 * config.n_embd)
        self.proj = nn.Linear(config.n_embd, config.n_embd)

    def forward(self, x, turn, past=None, weights=None):
        B, T, C = x.shape
        qkv = self.qkv(x).view(B, T, 3, self.n_head, C // self.n_head).permute(2, 0, 3, 1, 4)
        q, k = rotate(qkv[:2], turn)  # (3) rotary positions; each (B, H, T, D)
        v = qkv[2]
        if past is not None:  # generation: the keys and values of the last characters too
            k, v = past.add(k, v)
        if weights is None and (x.is_cuda or not self.training):
            y = F.scaled_dot_product_attention(q, k, v, is_causal=T > 1)  # the same, no weights in memory
        else:  # training on a CPU with bfloat16 a step takes 1.2 times as long with the line above
            y, table = attention(q, k, v)
            if weights is not None:
                weights.append(table)
        return self.proj(y.transpose(1, 2).reshape(B, T, C))


class MLP(nn.Module):
    """Two layers, four times as wide inside."""

    def __init__(self, config):
        super().__init__()
        self.fc = nn.Linear(config.n_embd, 4 * config.n_embd)
        self.proj = nn.Linear(4 * config.n_embd, config.n_embd)

    def forward(self, x):
        return self.proj(F.gelu(self.fc(x)))  # Try: F.relu(self.fc(x)).square(): 1.584, unchanged 1.584.


class Block(nn.Module):
    """Attention lets the places talk, the MLP lets each think; both add to the residual stream."""

    def __init__(self, config):
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(config.n_embd), Attention(config)
        self.norm2, self.mlp = nn.LayerNorm(config.n_embd), MLP(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x, turn, past=None, weights=None):
        x = x + self.dropout(self.attn(self.norm1(x), turn, past, weights))
        return x + self.dropout(self.mlp(self.norm2(x)))


class NgramEmbedding(nn.Module):
    """(1) Every group of 2 to n characters that ends at a place has a vector of its own, from a hashed table.

    A look-up costs no matrix product, and gives the first layer what it would otherwise have to find out:
    which letters stood before. Two groups that hash to one row share it. Dropout leaves out half of the
    look-ups, whole ones, so that the model does not rely on groups that it has seen once.
    """

    def __init__(self, config):
        super().__init__()
        self.longest, self.slots = config.ngram, config.ngram_slots
        powers = [pow(1_000_003, i, self.slots) for i in reversed(range(self.longest))]
        self.register_buffer("powers", torch.tensor(powers), persistent=False)
        self.dropout = nn.Dropout(config.ngram_dropout)
        self.table = nn.EmbeddingBag(self.slots, config.n_embd, mode="sum", sparse=True)
        nn.init.zeros_(self.table.weight)

    def forward(self, idx, before=None):
        B, T = idx.shape
        if before is None:
            before = idx[:, :0]
        text = torch.cat((before, idx), 1) + 1
        text = F.pad(text, (self.longest - 1 - before.size(1), 0))  # 0: nothing stood there
        groups = text.unfold(1, self.longest, 1)  # (B, T, n): each character and the n - 1 before it
        keys = (groups * self.powers).flip(2).cumsum(2)[..., 1:]  # numbers for the last 2, 3, ..., n of them
        rows = (keys % self.slots).flatten(0, 1)  # (B * T, n - 1)
        keep = self.dropout(torch.ones(rows.shape, device=rows.device))
        return self.table(rows, per_sample_weights=keep).view(B, T, -1)


class GPT(nn.Module):
    """A decoder-only transformer over characters (Radford et al. 2018), n-gram embeddings at its input."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        C, V = config.n_embd, config.vocab_size
        self.char = nn.Embedding(V, C)
        self.ngram = NgramEmbedding(config)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.norm = nn.LayerNorm(C)
        self.head = nn.Linear(C, V, bias=False)
        self.register_buffer("temperature", torch.ones(()))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.5 * C**-0.5)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for module in [block.attn.proj for block in self.blocks] + [block.mlp.proj for block in self.blocks]:
            nn.init.zeros_(module.weight)  # a block adds nothing at first: simple, and worth 0.002
        nn.init.zeros_(self.head.weight)  # every character equally likely: the first loss is ln V

    def forward(self, idx, cache=None, weights=None):
        """Logits (B, T, V) of the character after each of idx (B, T).

        `cache`, from `Cache(model)`: idx goes on where the calls before ended (T is 1 then).
        `weights`: a list that takes the attention weights (B, H, T, T) of each layer.
        """
        T = idx.size(1)
        start, before = (cache.length, cache.tail) if cache else (0, None)
        turn = rotation(start, T, self.config.n_embd // self.config.n_head, idx.device)
        x = self.dropout(self.char(idx) + self.ngram(idx, before))  # (B, T, C)
        for i, block in enumerate(self.blocks):
            x = block(x, turn, cache.layers[i] if cache else None, weights)
        if cache:
            cache.remember(idx)
        logits = self.head(self.norm(x)).float()
        return logits if self.training else logits / self.temperature  # what `evaluate` found best


class KeysAndValues:
    """The last `size` keys and values of a layer, a ring: the newest takes the place of the oldest.

    Attention does not mind the order, since a key has its position in its rotation.
    """

    def __init__(self, size):
        self.size, self.length = size, 0

    def add(self, k, v):
        """Put in k and v (B, H, T, D), T = 1 unless it is empty; returns all that are there."""
        if not self.length:
            self.k, self.v = (x.new_empty(*x.shape[:2], self.size, x.size(3)) for x in (k, v))
        T, place = k.size(2), self.length % self.size
        self.k[:, :, place : place + T], self.v[:, :, place : place + T] = k, v
        self.length += T
        return self.k[:, :, : self.length], self.v[:, :, : self.length]


class Cache:
    """What generation keeps, so that a step costs one character's work: every layer's keys and values.

    Only the last block_size of them are kept. Positions are rotary, that is relative, so past the end of the
    context nothing is computed again: the window slides, every step costs the same. Keys of the deeper layers
    then know a little of what has left the window, which does no harm (a test compares it with a sliding
    recomputation).
    """

    def __init__(self, model):
        self.layers = [KeysAndValues(model.config.block_size) for _ in model.blocks]
        self.tail = None  # the last characters, for the n-grams (B, n - 1)
        self.tail_length = model.config.ngram - 1

    @property
    def length(self):  # characters so far
        return self.layers[0].length

    def remember(self, idx):
        tail = idx if self.tail is None else torch.cat((self.tail, idx), 1)
        self.tail = tail[:, -self.tail_length :]


# ------------------------------------------------------------------------------------------------------------
# (2) Muon


def orthogonalize(matrices):
    """Stacked matrices (N, rows, columns), each replaced by about the nearest with singular values all 1.

    Five steps of a Newton-Schulz iteration: an odd polynomial of X acts on its singular values alone, and
    this one drives everything between 0 and 1 to about 1.
    """
    tall = matrices.size(1) > matrices.size(2)
    x = matrices.mT if tall else matrices
    if bfloat16_pays(x.device, x.size(1)):
        x = x.bfloat16()
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        a = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(a, a, a, beta=-4.7750, alpha=2.0315), x, beta=3.4445)
    return (x.mT if tall else x).type_as(matrices)


class Muon(torch.optim.Optimizer):
    """Momentum, its steps orthogonalized (Jordan et al. 2024): all directions of a matrix learn equally fast.

    torch.optim.Muon does the same in bfloat16, on a CPU with such instructions in the same time; one without
    emulates them: 72 ms for 512 x 128 on one core, here 3. Matrices of one shape are orthogonalized together.
    """

    def __init__(self, params, lr, momentum=0.95):
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            stacks = {}  # shape: its matrices
            for p in group["params"]:
                stacks.setdefault(p.shape, []).append(p)
            for (rows, columns), matrices in stacks.items():
                updates = []
                for p in matrices:
                    velocity = self.state[p].setdefault("momentum", torch.zeros_like(p))
                    velocity.lerp_(p.grad, 1 - group["momentum"])
                    updates.append(p.grad.lerp(velocity, group["momentum"]))  # Nesterov: one look ahead
                for p, update in zip(matrices, orthogonalize(torch.stack(updates))):
                    p.add_(update, alpha=-group["lr"] * max(1, rows / columns) ** 0.5)


def make_optimizers(model, config, team):
    """Muon for the blocks' matrices, Adam (Kingma & Ba 2015) for the rest, gradient descent for the n-grams.

    A row of the n-gram table is met now and then. Adam would move it as far for one chance meeting as a
    common row for hundreds; gradient descent moves it in proportion, so that rare groups stay near zero. Its
    rate is multiplied by the characters of a step, whose mean the loss is: a meeting counts the same in any
    batch.
    """
    rate, characters = config.learning_rate, config.batch_size * config.block_size * team.size
    tables = set(model.ngram.parameters())
    matrices = {p for p in model.blocks.parameters() if p.dim() == 2}
    others = [p for p in model.parameters() if p not in tables | matrices]
    optimizers = [
        Muon([p for p in model.parameters() if p in matrices], lr=rate),
        torch.optim.Adam(others, lr=rate / 5, betas=(0.8, 0.95), fused=True),
        # Try: 8 * rate: 1.514 after 2,400 steps. 4: 1.496, 2: 1.492.
        torch.optim.SGD(tables, lr=3 * rate * characters),
    ]
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    return optimizers


def schedule(step, config):
    """The share of the peak learning rate: down in a straight line, to 1 % when the run ends."""
    return 1 if config.max_steps < 0 else max(0.01, 1 - step / config.max_steps)


# ------------------------------------------------------------------------------------------------------------
# Generation


@torch.inference_mode()
def generate(model, vocab, prompt="", num_samples=1, max_new_tokens=500, temperature=0.8, top_k=None,
             seed=None, stream=None, cached=True):  # fmt: skip
    """A list of `num_samples` texts, the prompt and `max_new_tokens` characters more; they grow as one batch.

    temperature: 0 takes the likeliest character, below 1 plays safe, above 1 dares more; top_k: only the k
    likeliest. stream: called with every new character of the first text. UserError for unknown characters.
    """
    was_training = model.training
    model.eval()
    generator = torch.Generator()
    generator.seed() if seed is None else generator.manual_seed(seed)
    device, block_size = next(model.parameters()).device, model.config.block_size
    start = vocab.encode(prompt) if prompt else vocab.encode("\n" if "\n" in vocab.chars else vocab.chars[0])
    tokens = torch.tensor(start, device=device).repeat(num_samples, 1)
    cache = Cache(model) if cached else None
    new = tokens[:, -block_size:]  # what the model has not seen yet
    for _ in range(max_new_tokens):
        logits = model(new, cache)[:, -1].cpu()  # (samples, V)
        if top_k:
            kept = logits.topk(min(top_k, len(vocab)))
            logits = torch.full_like(logits, -math.inf).scatter(1, kept.indices, kept.values)
        if temperature == 0:
            drawn = logits.argmax(dim=1, keepdim=True)
        else:
            logits = (logits - logits.amax(dim=1, keepdim=True)).double() / temperature  # (no overflow)
            drawn = torch.multinomial(logits.softmax(dim=1), 1, generator=generator)
        tokens = torch.cat((tokens, drawn.to(device)), dim=1)
        new = tokens[:, -1:] if cached else tokens[:, -block_size:]
        if stream:
            stream(vocab.decode(drawn[0].tolist()))
    model.train(was_training)
    skip = 0 if prompt else 1
    return [vocab.decode(row[skip:]) for row in tokens.tolist()]


def print_samples(model, vocab, num_samples=1, prompt="", **sampling):
    """One text appears as it is made; several when all are done."""
    if num_samples > 1:
        print(f"\n{'-' * 79}\n".join(generate(model, vocab, prompt, num_samples, **sampling)))
        return
    print(prompt, end="", flush=True)
    generate(model, vocab, prompt, stream=lambda char: print(char, end="", flush=True), **sampling)
    print()


# ------------------------------------------------------------------------------------------------------------
# Data


class Vocab:
    """The characters of a text; token i is `chars[i]`."""

    def __init__(self, chars):
        self.chars = chars
        self.index = {char: i for i, char in enumerate(chars)}

    def __len__(self):
        return len(self.chars)

    def __str__(self):
        shown = self.chars if len(self) <= 100 else self.chars[:100] + "..."
        return repr(shown)[1:-1]

    def encode(self, text):
        """A list of tokens; UserError for characters that are not in the vocabulary."""
        unknown = sorted(set(text) - set(self.index))
        if unknown:
            raise UserError(f"the model never saw {' '.join(map(repr, unknown))}; it knows {self}")
        return [self.index[char] for char in text]

    def decode(self, tokens):
        return "".join(self.chars[i] for i in tokens)


def pieces(content, size=1 << 22):
    """UTF-8 bytes as arrays of code points, millions at a time; every kind of line end becomes a newline."""
    text = io.TextIOWrapper(io.BytesIO(content), encoding="utf-8-sig")
    while part := text.read(size):
        yield np.frombuffer(part.encode("utf-32-le"), np.uint32)


def encode_file(content, known=""):
    """(vocab, tokens) of UTF-8 bytes; the characters `known` come first. A byte a token up to 256 of them."""
    seen, length = np.zeros(sys.maxunicode + 1, bool), 0
    for codes in pieces(content):
        seen[codes] = True
        length += len(codes)
    seen[[ord(char) for char in known]] = False
    vocab = Vocab(known + "".join(map(chr, np.flatnonzero(seen))))
    kind = np.min_scalar_type(max(len(vocab) - 1, 0))
    table = np.zeros(sys.maxunicode + 1, kind)
    table[[ord(char) for char in vocab.chars]] = np.arange(len(vocab))
    tokens, end = np.empty(length, kind), 0
    for codes in pieces(content):
        tokens[end : end + len(codes)] = table[codes]
        end += len(codes)
    return vocab, tokens


HERE = Path(__file__).resolve().parent
DEFAULT_TEXT = "tinyshakespeare.txt"


def find_file(name):
    """A path as it is; a bare file name in the working directory, beside this script, and in data/."""
    places = [Path.cwd(), HERE, HERE.parent / "data"]
    if Path(name).name != str(name):
        if not os.path.exists(name):
            raise UserError(f"{name}: no such file")
        return Path(name)
    for place in places:
        if os.path.exists(place / name):
            return place / name
    raise UserError(f"{name}: no such file; looked in the working directory ({places[0]}), beside the script "
                    f"({places[1]}) and in data/ ({places[2]})")  # fmt: skip


def read_text(name, known=""):
    """(vocab, tokens, digest) of a file; the characters `known` come first. UserError if it is no text."""
    path = find_file(name)
    if path.is_dir():
        raise UserError(f"{name} is a directory; give a text file")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{name}: {error.strerror}") from None
    if b"\0" in content:
        offset = content.index(0)
        raise UserError(f"{name} is a binary file (byte 0 at offset {offset}); give a UTF-8 text file")
    try:
        vocab, tokens = encode_file(content, known)
    except UnicodeDecodeError:
        try:
            content.decode()
        except UnicodeDecodeError as error:
            offset = error.start  # counted from the beginning of the file
            raise UserError(f"{name} is not UTF-8: byte 0x{content[offset]:02x} at offset {offset}; convert "
                            "it first, for instance with iconv") from None  # fmt: skip
    if not len(tokens):
        raise UserError(f"{name} is empty; give a text file")
    digest = hashlib.sha256(vocab.chars.encode("utf-32"))
    digest.update(tokens)
    return vocab, tokens, digest.hexdigest()


def split(tokens, block_size):
    """The first 90 % to train on, the last 10 % to validate, each at least a context and a character long."""
    n = min(int(0.9 * len(tokens)), len(tokens) - block_size - 1)
    if n < block_size + 1:
        raise UserError(f"the text is too short: {len(tokens)} characters; with a context of {block_size} it "
                        f"takes {2 * block_size + 2}; give more text or a smaller --block-size")  # fmt: skip
    return tokens[:n], tokens[n:]


def windows(tokens, starts, block_size):
    """Inputs and targets (B, T): at each start block_size characters, and the same one place further."""
    taken = torch.from_numpy(tokens[starts[:, None] + np.arange(block_size + 1)].astype(np.int64))
    return taken[:, :-1], taken[:, 1:]


def draw_batch(tokens, config, step, team):
    """This process's share of the step's batch; it depends on nothing but the seed and the step."""
    count = config.batch_size * team.size
    starts = np.random.default_rng((config.seed, step)).integers(len(tokens) - config.block_size, size=count)
    return windows(tokens, starts[team.rank * config.batch_size :][: config.batch_size], config.block_size)


# ------------------------------------------------------------------------------------------------------------
# Training


def loss_of(logits, y):
    return F.cross_entropy(logits.flatten(0, 1), y.flatten())  # nats per character


@torch.no_grad()
def evaluate(model, tokens, team, calibrate=False):
    """The exact loss, the mean over all windows of a context that do not overlap, shared out to the team.

    `calibrate` (Guo et al. 2017): a network that has read its text more than once is too sure of itself on
    any other. Its logits are divided by one number from then on, the one that makes this loss least.
    """
    was_training = model.training
    model.eval()
    T, device = model.config.block_size, next(model.parameters()).device
    starts = np.arange((len(tokens) - 1) // T) * T
    temperatures = [1.0]
    if calibrate:
        model.temperature.fill_(1)
        temperatures = np.linspace(1, 2, 21).tolist()
    totals = np.zeros(len(temperatures))
    for i in range(32 * team.rank, len(starts), 32 * team.size):
        x, y = windows(tokens, starts[i : i + 32], T)
        logits, y = model(x.to(device)), y.to(device)
        totals += [loss_of(logits / t, y).item() * len(x) for t in temperatures]
    model.train(was_training)
    losses = [team.sum(total) / len(starts) for total in totals.tolist()]
    best = int(np.argmin(losses))
    if calibrate:
        model.temperature.fill_(temperatures[best])
    return losses[best]


@dataclasses.dataclass
class Progress:
    """What a run has reached; with the weights and the optimizers it is all that resuming needs."""

    step: int = 0
    end: int = 0  # the step to stop at; -1: never
    seconds: float = 0.0  # of training; evaluation and sampling left out
    losses: list = dataclasses.field(default_factory=list)  # one per step
    log: list = dataclasses.field(default_factory=list)  # of log.csv: step, seconds, train loss, val loss
    best_step: int = 0
    best_loss: float = math.inf
    best: dict = dataclasses.field(default_factory=dict)  # the weights of the best validation loss


def train(vocab, tokens, config, out="out", *, device="auto", source="", digest="", checkpoint=None,
          weights=None, max_steps=None, **sampling):  # fmt: skip
    """Train a model on tokens, write model.pt, log.csv and loss.png into `out`, print the progress.

    Returns (model, vocab, progress), the model with the weights of the best validation loss. A `checkpoint`
    from `read_checkpoint` goes on where it stopped, up to `max_steps`; a fresh run begins with `weights` if
    given. `sampling`: what `generate` takes. Raises UserError, and KeyboardInterrupt after Ctrl-C, when all
    is saved.
    """
    device = pick_device(device)
    config.vocab_size = len(vocab)
    training, validation = split(tokens, config.block_size)
    some = training[: max(len(validation) // 4, config.block_size + 1)]  # for a quick training loss
    vocab.encode(sampling.get("prompt", ""))
    team = Team(device)
    torch.manual_seed(config.seed)
    model = GPT(config).to(device)
    model.ngram.table.sparse = device.type == "cpu"  # a gradient of the rows met; NCCL takes whole ones only
    if weights:
        model.load_state_dict(weights)
    optimizers = make_optimizers(model, config, team)
    progress = Progress()
    if checkpoint:
        progress = restore(checkpoint, model, optimizers, team)
    progress.end = end = max_steps or progress.end or config.max_steps
    bfloat16, compiled = bfloat16_pays(device, config.n_embd), compilation_pays(device)
    precision = torch.autocast(device.type, torch.bfloat16, enabled=bfloat16)
    processes = f", {team.size} processes" * (team.size > 1)
    print(f"device: {device}, {torch.get_num_threads()} threads, {'bfloat16' if bfloat16 else 'float32'}, "
          f"{'compiled' if compiled else 'not compiled'}{processes}")  # fmt: skip
    print(f"data: {len(tokens):,} characters{f' from {source}' * bool(source)} ({len(training):,} training, "
          f"{len(validation):,} validation), {len(vocab)} different: {vocab}")  # fmt: skip
    print(f"model: {sum(p.numel() for p in model.parameters()):,} parameters, "
          f"{model.ngram.table.weight.numel():,} of them in the n-gram tables")  # fmt: skip
    print(f"settings: {config}")
    if checkpoint:
        print(f"resuming at step {progress.step} of {end}")
        if 0 < config.max_steps < end:
            print(f"the learning rate has come down by step {config.max_steps} and stays there")
    else:
        team.only_first(lambda: prepare_folder(out))

    began, saved = (progress.step, progress.seconds), time.monotonic()

    def save():
        nonlocal saved
        content = (config, vocab, source, digest, progress, model, optimizers, team)
        team.only_first(lambda: save_checkpoint(out, *content))
        saved = time.monotonic()

    def save_when_due():
        """Save every 15 s, and after Ctrl-C in any process. Was it Ctrl-C?"""
        stop, late = team.any(bool(interrupted), time.monotonic() - saved > 15)
        if stop or late:
            save()
        return stop

    def look(step):
        """Evaluate, keep the best weights, save, report; now and then show a sample."""
        val_loss = evaluate(model, validation, team, calibrate=True)  # (4) calibration
        check_finite(val_loss, step, out)
        losses = evaluate(model, some, team), val_loss
        progress.log.append((step, progress.seconds, *losses))
        if losses[1] < progress.best_loss:
            progress.best_step, progress.best_loss = step, losses[1]
            progress.best = {name: value.cpu().clone() for name, value in model.state_dict().items()}
        save()
        report(progress, config, end, config.batch_size * config.block_size * team.size, began)
        if step % (4 * config.eval_interval) == 0 and 0 < step < end and team.rank == 0:
            settings = sampling | {"max_new_tokens": 200, "num_samples": 1, "seed": step}
            (sample,) = generate(model, vocab, **settings)
            print("  " + sample.strip().replace("\n", "\n  "), flush=True)

    forward = team.wrap(torch.compile(model) if compiled else model)  # the same weights
    model.train()
    with hold_ctrl_c(team) as interrupted:
        while True:
            step = progress.step
            looked = progress.log and progress.log[-1][0] == step
            if (step % config.eval_interval == 0 or step == end) and not looked:
                look(step)
            if step == end:
                break
            start = time.perf_counter()
            torch.manual_seed((config.seed * 1_000_003 + step) * team.size + team.rank)  # of dropout
            x, y = draw_batch(training, config, step, team)
            with precision:
                loss = loss_of(forward(x.to(device)), y.to(device))
            mean = team.sum(loss.item()) / team.size
            check_finite(mean, step, out)
            if save_when_due():
                break
            loss.backward()
            for optimizer in optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = group["peak"] * schedule(step, config)
                optimizer.step()
                optimizer.zero_grad()
            progress.losses.append(mean)
            progress.step += 1
            progress.seconds += time.perf_counter() - start

    team.only_first(lambda: draw_losses(progress, Path(out) / "loss.png"))
    if progress.step != end:
        print(f"\nstopped after step {progress.step}, all is saved; to go on: {command()} "
              f"-o {shlex.quote(str(out))} --resume")  # fmt: skip
        raise KeyboardInterrupt
    model.load_state_dict(progress.best)
    model.eval()
    print(f"validation loss {progress.best_loss:.4f} (the best, at step {progress.best_step}, with its "
          f"weights), {progress.seconds:.0f} s of training")  # fmt: skip
    return model, vocab, progress


def report(progress, config, end, characters, start):
    """The progress line: step, losses, speed, time left. `start`: step and seconds this run began with."""
    step, seconds, train_loss, val_loss = progress.log[-1]
    if step == 0:
        V = config.vocab_size
        print(f"step 0: loss {val_loss:.2f} (a uniform guess: ln {V} = {math.log(V):.2f})", flush=True)
        return
    text = f"step {step:>5}{f'/{end}' if end > 0 else ''}: train {train_loss:.4f}, validation {val_loss:.4f}"
    if step > start[0]:
        pace = (seconds - start[1]) / (step - start[0])  # seconds a step
        left = round(pace * max(0, end - step))
        text += f", {characters / pace:,.0f} characters a second, {left // 60}:{left % 60:02} left"
    print(text, flush=True)


# ------------------------------------------------------------------------------------------------------------
# Pictures


def new_figure(width, height, rows=1, columns=1):
    """A figure and its axes; matplotlib is imported only here, since it takes a second."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt.subplots(rows, columns, figsize=(width, height), dpi=120, layout="constrained", squeeze=False)


def save_figure(figure, path):
    """Write a picture in one piece and close it."""
    import matplotlib.pyplot as plt

    write_file(path, lambda f: figure.savefig(f, format="png"))
    plt.close(figure)


def draw_losses(progress, path):
    """Batch loss faint, its running mean, validation, the best point marked."""
    figure, [[ax]] = new_figure(8, 5)
    losses = np.array(progress.losses)
    steps, _, _, val = zip(*progress.log)
    if len(losses) > 1:
        width = max(1, len(losses) // 50)
        batches = np.arange(1, len(losses) + 1)
        ax.plot(batches, losses, color="tab:blue", alpha=0.25, linewidth=0.5, label="batch")
        mean = np.convolve(losses, np.ones(width) / width, mode="valid")
        ax.plot(batches[width - 1 :], mean, color="tab:blue", label=f"mean of {width} batches")
    ax.plot(steps, val, ".-", color="tab:orange", label="validation")
    ax.plot(progress.best_step, progress.best_loss, "*", color="tab:red", markersize=12,
            label=f"best: {progress.best_loss:.4f} at step {progress.best_step}")  # fmt: skip
    ax.set_ylim(min(progress.best_loss, *losses[-100:], 9) - 0.05, progress.best_loss + 1.2)
    ax.set(xlabel="step", ylabel="loss (nats per character)", title="gpt: training and validation loss")
    ax.legend()
    save_figure(figure, path)


@torch.no_grad()
def draw_attention(model, vocab, text, path):
    """attention.png: a row for each layer, a column for each head; a table's rows say where it looks."""
    longest = model.config.block_size
    if not 2 <= len(text) <= longest:
        raise UserError(f"--attention takes a text of 2 to {longest} characters, not {len(text)}")
    tables = []
    model(torch.tensor([vocab.encode(text)], device=next(model.parameters()).device), weights=tables)
    labels = [{"\n": "\u21b5", " ": "\u2423"}.get(char, char) for char in text]
    layers, heads = len(tables), tables[0].size(1)
    side = max(3, 0.14 * len(text))  # inches
    figure, axes = new_figure(side * heads, side * layers + 0.5, layers, heads)
    for layer, row in enumerate(axes):
        for head, ax in enumerate(row):
            ax.imshow(tables[layer][0, head].cpu().sqrt().numpy(), cmap="Blues", vmin=0, vmax=1)
            ax.set_title(f"layer {layer + 1}, head {head + 1}")
            ax.set_xticks(range(len(text)), labels, fontsize=7)
            ax.set_yticks(range(len(text)), labels, fontsize=7)
    figure.suptitle("each row: how much this character looks at those before it (square root of the weight)")
    figure.supxlabel("looked at")
    figure.supylabel("looking")
    save_figure(figure, path)
    print(f"written: {path}")


# ------------------------------------------------------------------------------------------------------------
# Machinery: files, checkpoints, processes, errors, arguments. To understand the model you can stop here.

class Team:
    """The processes of a data-parallel run, as torchrun started them; without torchrun a team of one."""

    def __init__(self, device):
        self.rank, self.size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
        self.device = device
        if self.size > 1 and not torch.distributed.is_initialized():
            torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo",
                                                 timeout=datetime.timedelta(seconds=50))  # fmt: skip
            atexit.register(torch.distributed.destroy_process_group)

    def wrap(self, model):  # in what averages the gradients of all
        return nn.parallel.DistributedDataParallel(model) if self.size > 1 else model

    def sum(self, value):
        if self.size == 1:
            return value
        total = torch.tensor(value, dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(total)
        return total.item()

    def any(self, *flags):
        """For each flag: is it up in any process?"""
        return [self.sum(float(flag)) > 0 for flag in flags]

    def only_first(self, action):
        """The first process does it; if it fails, all fail."""
        error = None
        if self.rank == 0:
            try:
                action()
            except UserError as caught:
                error = caught
        if self.any(error is not None)[0]:
            raise error or UserError("the first process failed")


def write_file(path, write):
    """Replace a file in one piece: whoever kills us leaves the old one or the new one, never a half."""
    temporary = Path(f"{path}.tmp")
    try:
        with open(temporary, "wb") as f:
            write(f)
            f.flush()
            os.fsync(f.fileno())
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        cause = error if isinstance(error, OSError) else error.__context__  # torch.save hides it
        reason = getattr(cause, "strerror", error)
        raise UserError(f"cannot write {path}: {reason}; the file that was there is kept") from None


def prepare_folder(out):
    """Make the folder; what an earlier run left in it moves aside, model.pt to model.1.pt and so on."""
    out = Path(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        ours = [out / name for name in ("model.pt", "log.csv", "loss.png", "attention.png")]
        old = [path for path in ours if path.exists()]
        n = 1
        while any(path.with_suffix(f".{n}{path.suffix}").exists() for path in old):
            n += 1
        for path in old:
            path.rename(path.with_suffix(f".{n}{path.suffix}"))
    except OSError as error:
        raise UserError(f"cannot use {out} as the output folder: {error.strerror}") from None
    if old:
        moves = ", ".join(f"{path.name} to {path.stem}.{n}{path.suffix}" for path in old)
        print(f"{out} was in use; moved aside: {moves}")


def save_checkpoint(out, config, vocab, source, digest, progress, model, optimizers, team):
    """model.pt: all that resuming, sampling and `load` need, in plain types; and log.csv."""
    state = {
        "format": "gpt 3", "config": vars(config), "chars": vocab.chars, "source": source, "digest": digest,
        "threads": torch.get_num_threads(), "processes": team.size, "progress": vars(progress),
        "model": model.state_dict(), "optimizers": [optimizer.state_dict() for optimizer in optimizers],
    }  # fmt: skip
    write_file(Path(out) / "model.pt", lambda f: torch.save(state, f))
    rows = [f"{step},{seconds:.3f},{a:.6f},{b:.6f}\n" for step, seconds, a, b in progress.log]
    text = "".join(["step,seconds,train_loss,val_loss\n", *rows])
    write_file(Path(out) / "log.csv", lambda f: f.write(text.encode()))


def read_checkpoint(out):
    """The content of model.pt in a folder. UserError if there is none or it is damaged or foreign."""
    path = Path(out) / "model.pt"
    if not path.is_file():
        raise UserError(f"no checkpoint: {path} does not exist; train first, without --resume and "
                        "--sample-only")  # fmt: skip
    try:
        checkpoint = torch.load(path, weights_only=True, map_location="cpu")
        if checkpoint["format"] != "gpt 3":
            raise ValueError
    except Exception:  # noqa: BLE001 (torch.load fails in as many ways as there are damaged files)
        raise UserError(f"{path} is damaged, or no checkpoint of gpt") from None
    return checkpoint


def restore(checkpoint, model, optimizers, team):
    """Put a run's state back, return its Progress. The number of threads and processes must be the same: a
    sum that is split otherwise is rounded otherwise."""
    threads, processes = checkpoint["threads"], checkpoint["processes"]
    if processes != team.size:
        raise UserError(f"the run was started with {processes} process(es), here are {team.size}; "
                        f"resume it with torchrun --nproc_per_node={processes}")  # fmt: skip
    if team.device.type == "cpu" and threads != torch.get_num_threads():
        raise UserError(f"the run was started with {threads} threads, here are {torch.get_num_threads()}: "
                        f"an exact resume needs OMP_NUM_THREADS={threads}")  # fmt: skip
    model.load_state_dict(checkpoint["model"])
    for optimizer, state in zip(optimizers, checkpoint["optimizers"]):
        optimizer.load_state_dict(state)
    return Progress(**checkpoint["progress"])


def load(out, device="cpu"):
    """(model, vocab) of a trained model: the weights of the best validation loss, ready for evaluation."""
    return from_checkpoint(read_checkpoint(out), device)


def from_checkpoint(checkpoint, device):
    model = GPT(Config(**checkpoint["config"]))
    model.load_state_dict(checkpoint["progress"]["best"])
    return model.to(device).eval(), Vocab(checkpoint["chars"])


def grown_weights(checkpoint, config):
    """The best weights of a checkpoint for a longer vocabulary: old rows kept, fresh ones behind."""
    torch.manual_seed(config.seed)
    weights, fresh = checkpoint["progress"]["best"], GPT(config).state_dict()
    for name in ("char.weight", "head.weight"):
        fresh[name][: len(weights[name])] = weights[name]
    return weights | {name: fresh[name] for name in ("char.weight", "head.weight")}


def check_finite(loss, step, out):
    """UserError with status 1 if the loss is no number any more."""
    if not math.isfinite(loss):
        raise UserError(f"training diverged at step {step}: the loss is {loss}; the last good checkpoint is "
                        f"kept in {out}; try a smaller --learning-rate", status=1)  # fmt: skip


@contextlib.contextmanager
def hold_ctrl_c(team):
    """Inside, the first Ctrl-C only fills the list that this gives, so that no step is cut in two. torchrun
    passes the one that it got itself on to its processes: there the second is the same one."""
    pressed = []

    def on_press(*_):
        if pressed and team.size == 1:
            raise KeyboardInterrupt
        pressed.append(True)

    before = signal.signal(signal.SIGINT, on_press)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)


def command():
    """How the user called us, for messages that say how to go on."""
    name = Path(sys.argv[0]).name
    return f"python {shlex.quote(sys.argv[0])}" if name.endswith(".py") else "gpt"


GROUPS = {
    "files and what to do": {
        "-i --input-file": {"help": f"a UTF-8 text (default: {DEFAULT_TEXT})"},
        "-o --work-dir": {"default": "out", "help": "folder for the model and pictures (default: out)"},
        "--resume": {"action": "store_true", "help": "go on with the run in the folder"},
        "--sample-only": {"action": "store_true", "help": "only sample from the model in the folder"},
        "--init-from": {"metavar": "DIR", "help": "begin with the weights of the run in DIR"},
        "--attention": {"metavar": "TEXT", "help": "with --sample-only: draw what every head looks at"},
    },
    "sampling": {
        "--num-samples": {"type": int, "default": 1, "help": "how many texts (default: 1)"},
        "--max-new-tokens": {"type": int, "default": 500, "help": "characters of a text (default: 500)"},
        "--prompt": {"default": "", "help": "how the texts begin (default: with a new line)"},
        "--temperature": {"type": float, "default": 0.8, "help": "0: greedy; 1: as learned (default: 0.8)"},
        "--top-k": {"type": int, "help": "draw from the k likeliest characters only (default: all)"},
    },
    "model": {
        "--block-size": {"type": int, "help": "context in characters"},
        "--n-layer": {"type": int, "help": "number of layers"},
        "--n-head": {"type": int, "help": "number of attention heads"},
        "--n-embd": {"type": int, "help": "channels"},
        "--dropout": {"type": float, "help": "share of embeddings and blocks' outputs left out in training"},
    },
    "training": {
        "--max-steps": {"type": int, "help": "steps in total, also when resuming; -1: for ever"},
        "-b --batch-size": {"type": int, "help": "windows in a batch, in each process"},
        "-l --learning-rate": {"type": float, "help": "its peak, of the matrices"},
        "--seed": {"type": int, "help": "default: 3407"},
        "--device": {"default": "auto", "help": "auto, cpu, cuda, cuda:1, mps, ... (default: auto)"},
    },
}


def parse_arguments(argv):
    parser = argparse.ArgumentParser(
        prog="gpt",
        description="A text in, more text like it out.",
        epilog="Without a value here, a setting has its device's default: see DEFAULTS in gpt.py.",
    )
    for title, flags in GROUPS.items():
        group = parser.add_argument_group(title)
        for names, settings in flags.items():
            group.add_argument(*names.split(), **settings)
    return parser.parse_args(argv)


def run(args):
    """What the arguments ask for."""
    for name in ("num_samples", "max_new_tokens", "top_k"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            raise UserError(f"{flag(name)} must be at least 1, not {getattr(args, name)}")
    if not 0 <= args.temperature < math.inf:
        raise UserError(f"--temperature must be a number from 0 up, not {args.temperature}")
    if args.resume + args.sample_only + bool(args.init_from) > 1:
        raise UserError("take one of --resume, --sample-only and --init-from")
    if args.attention and not args.sample_only:
        raise UserError("--attention goes with --sample-only")
    values = {name: getattr(args, name) for name in (*COLUMNS, "seed") if getattr(args, name) is not None}
    names = ("prompt", "temperature", "num_samples", "max_new_tokens", "top_k")
    sampling = {name: getattr(args, name) for name in names}
    device, source, known, max_steps = pick_device(args.device), args.input_file or DEFAULT_TEXT, "", None
    folder = args.init_from or args.work_dir
    checkpoint = read_checkpoint(folder) if args.resume or args.sample_only or args.init_from else None
    if args.sample_only:
        seed = values.pop("seed", None)
        check_same(values, checkpoint)
        model, vocab = from_checkpoint(checkpoint, device)
        if not args.attention:
            return print_samples(model, vocab, seed=seed, **sampling)
        return draw_attention(model, vocab, args.attention, Path(folder) / "attention.png")
    if checkpoint:
        known = checkpoint["chars"]
    if args.resume:
        max_steps, reached = values.pop("max_steps", None), checkpoint["progress"]["step"]
        if max_steps is not None and configure(max_steps=max_steps) and 0 < max_steps < reached:
            raise UserError(f"the run is at step {reached} already; --max-steps is the total, {max_steps} is "
                            "less")  # fmt: skip
        check_same(values, checkpoint)
        source, config = args.input_file or checkpoint["source"], Config(**checkpoint["config"])
    elif args.init_from:
        if given := [flag(name) for name in SIZES if name in values]:
            raise UserError(f"{given[0]} goes not with --init-from: the checkpoint in {folder} has its size")
        config = configure(device, **{name: checkpoint["config"][name] for name in SIZES} | values)
    else:
        config = configure(device, **values)
    vocab, tokens, digest = read_text(source, known)
    if args.resume and digest != checkpoint["digest"]:
        raise UserError(f"{source} has changed since the run was started; start a new one with another -o")
    config.vocab_size, weights = len(vocab), None
    if args.init_from:
        weights = grown_weights(checkpoint, config)
        print(f"from {folder}: {len(known)} characters known, {len(vocab) - len(known)} new")
    start = {"checkpoint": checkpoint if args.resume else None, "weights": weights, "max_steps": max_steps}
    model, vocab, _ = train(vocab, tokens, config, args.work_dir, device=device, source=source, digest=digest,
                            **start, **sampling)  # fmt: skip
    print_samples(model, vocab, seed=config.seed, **sampling)
    print(f"in {args.work_dir}: model.pt, log.csv, loss.png")
    return None


def check_same(values, checkpoint):
    """UserError if a flag contradicts the checkpoint."""
    for name in values:
        if values[name] != checkpoint["config"][name]:
            raise UserError(f"{flag(name)} {values[name]} contradicts the checkpoint, which has "
                            f"{checkpoint['config'][name]}; leave it out or start a new run")  # fmt: skip


def main(argv=None):
    """The command line; returns the exit status. Of several processes the first alone prints."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # letters that it lacks are no reason to stop
    first = os.environ.get("RANK", "0") == "0"
    with contextlib.nullcontext() if first else contextlib.redirect_stdout(io.StringIO()):
        try:
            run(parse_arguments(argv))
            sys.stdout.flush()
        except UserError as error:
            if first:
                print(f"gpt: {error}", file=sys.stderr)
            return error.status
        except BrokenPipeError:  # as in `gpt ... | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 141
        except OSError as error:  # the terminal or the file that our lines go to is gone
            print(f"gpt: cannot write the output: {error.strerror}", file=sys.stderr)
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        except KeyboardInterrupt:
            return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
