"""makemore: a file of words in, more words like them out.

    python makemore.py -i names.txt                      train the default model, a Transformer; sample names
    python makemore.py --type mlp -o out/mlp             another model, another folder
    python makemore.py --sample-only --prompt em         names from the trained model in out/makemore
    python makemore.py --resume                          continue where the last run stopped
    python makemore.py --type all                        every model, one table, one picture

A character-level language model reads a word letter by letter and predicts, at every position, the next
letter. Token 0 marks the start and the end of a word, so "emma" makes five predictions:

    . -> e     .e -> m     .em -> m     .emm -> a     .emma -> .

All models here do that one job. They stand in the order of the course "Neural Networks: Zero to Hero":

    ngram         counts of letter groups                                   lecture 2
    bigram        a table of letter pairs, learned by gradient descent      lecture 2
    mlp           the last letters as vectors, one tanh layer               lecture 3
    batchnorm     deeper, with batch normalisation                          lecture 4
    ninja         the same, with gradients written by hand                  lecture 5
    wavenet       neighbours joined in pairs, level by level                lecture 6
    bow, rnn, gru, lstm                                                     not in the lectures
    transformer   the GPT-2 block                                           lecture 7

Contents: configuration, data, models, optimizers, training, sampling, pictures; then the machinery. The loss
is always the mean negative log-likelihood in nats per character; the end of a word counts as a character.
"""
import argparse
import contextlib
import copy
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
import warnings
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
    """All settings of a run. `configure` builds it from the defaults of a type."""

    type: str
    max_steps: int = number(1, 10**9, "total number of steps, also after --resume; -1: no end")
    batch_size: int | None = number(1, 10**6, "words in a batch")
    learning_rate: float | None = number(0, 1e9, "the peak of the learning rate")
    weight_decay: float | None = number(0, 1e9, "a step shrinks matrices by this times the learning rate")
    block_size: int | None = number(1, 10**6, "context length, in letters")
    n_layer: int | None = number(1, 1000, "number of layers")
    n_head: int | None = number(1, 1000, "number of attention heads")
    n_embd: int | None = number(1, 10**5, "channels of a letter's vector")
    n_embd2: int | None = number(1, 10**5, "channels of a hidden layer or a state")
    dropout: float | None = number(0, 0.99, "share of a layer's outputs set to 0 in training")
    seed: int = number(0, 2**32 - 1, "default: 3407; with --sample-only: a new one every time", default=3407)
    vocab_size: int = 0  # from the data

    @property
    def end(self):  # the step at which the run ends
        return math.inf if self.max_steps == -1 else self.max_steps


DEFAULTS = {  # None: the type does not use it. block 0: as long as the longest word and its end.
    #              steps batch    rate  decay  block  layers  heads  embd embd2  dropout
    "ngram":       (   1, None,   None,  None,     3,   None,  None, None, None, None),
    "bigram":      (3000,  128,   1e-2,  1e-2,  None,   None,  None, None, None, None),
    "mlp":         (8000,  128,   1e-2,  1e-2,     3,   None,  None,   10,  200, None),
    "batchnorm":   (3000,  128,   3e-3,  1e-2,     8,      3,  None,   16,  128, None),
    "ninja":       (3000,  128,   3e-3,  1e-2,     8,      3,  None,   16,  128, None),
    "wavenet":     (5000,  128,   1e-2,  1e-2,     8,   None,  None,   24,  128,  0.1),
    "bow":         (6000,  128,   1e-2,  1e-2,     0,   None,  None,   64,   64, None),
    "rnn":         (6000,  128,   5e-3,  1e-2,  None,   None,  None,   64,  128,  0.1),
    "gru":         (6000,  128,   5e-3,  1e-2,  None,   None,  None,   64,  128,  0.2),
    "lstm":        (6000,  128,   5e-3,  1e-2,  None,   None,  None,   64,  192,  0.3),
    "transformer": (2500,  128,   5e-3,  1e-1,     0,      4,     4,   64, None,  0.1),
}
SAMPLING = {
    "num_samples": (1, 10**6, "how many words (default: 20)"),
    "temperature": (0, 1e9, "0: always the most likely letter; 1: as learned (default)"),
    "top_k": (1, 10**6, "draw from the N most likely letters only (default: all)"),
}
SETTINGS = {field.name: field.metadata["number"] for field in dataclasses.fields(Config) if field.metadata}
MAX_LENGTH = 64  # characters; longer words are left out, and a sample is cut this far after its prompt
DEFAULT_WORDS = "names.txt"
DEFAULT_OUT = "out/makemore"
FILES = "model.pt", "log.csv", "loss.png", "losses.png", "pairs.png", "letters.png", "diagnose.png"
FORMAT = "makemore 4"  # of model.pt
CONTENT = "chars", "source", "digest", "threads", "progress", "model", "optimizers"
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
    """Raises UserError if a flag contradicts the settings of an earlier run. (None: not used by the type.)"""
    for name, value in values.items():
        if (known := getattr(config, name)) not in (None, value):
            raise UserError(f"{flag(name)} {value} contradicts the run in the folder, which has {known}")


def configure(type="transformer", like=None, **values):
    """The Config of a type, e.g. `configure("mlp", n_embd=16, max_steps=1000)`.

    A model of your own has no defaults; `like` names the type to take them from. Settings that a type does
    not use are ignored. Raises UserError for impossible values, TypeError for settings that do not exist.
    """
    if type not in MODELS:
        raise UserError(f"no model is called {type!r}; there are {', '.join(MODELS)}")
    if (like or type) not in DEFAULTS:
        raise UserError(f'{like or type!r} has no defaults; name a type: configure("{type}", like="mlp")')
    check_limits(values)
    config = Config(type, *DEFAULTS[like or type])
    unused = {name for name, value in vars(config).items() if value is None}
    unused |= {"max_steps"} if type == "ngram" else set()  # it counts in one step
    config = dataclasses.replace(config, **{name: values[name] for name in values.keys() - unused})
    n = config.block_size
    if config.n_head and config.n_embd % config.n_head:
        raise UserError(f"--n-embd {config.n_embd} does not divide into {config.n_head} heads")
    if type == "wavenet" and (n < 2 or n & (n - 1)):
        raise UserError(f"--block-size must be a power of two for wavenet (2, 4, 8, 16, ...), not {n}")
    return config


def pick_device(name):
    """`auto` means a CUDA GPU if there is one, or else the CPU. Apple's GPU is used only if asked for.

    Raises UserError if the device cannot be used.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
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


def read_words(name):
    """The words of a file, one per line, without the white space around them and without empty lines."""
    return [word for line in read_file(name).split("\n") if (word := line.strip())]


def clean(words):
    """The words without duplicates, so that no word is in two splits, and without those that are too long."""
    unique = list(dict.fromkeys(word for word in words if len(word) <= MAX_LENGTH and "\n" not in word))
    if len(unique) < 10:
        raise UserError(f"only {len(unique)} different words of up to {MAX_LENGTH} characters; 10 are needed")
    return unique


def digest(words):
    return hashlib.sha256("\n".join(words).encode()).hexdigest()


class Vocab:
    """The characters of a text; token i is `chars[i]`. Those in `first` come first, the others sorted.

    Token 0 is the newline: it separates the words of a file, so no word contains it. It is shown as a dot.
    """

    def __init__(self, text, first="\n"):
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
        return repr(self.chars.removeprefix("\n")[:100])[1:-1]


class Words:
    """Words as one row of tokens, `. e m m a . o l i v i a .`: `starts[i]` is the dot before word i.

    A million words are encoded in less than a second, because no loop runs over words or characters.
    """

    def __init__(self, words, vocab, device="cpu"):
        self.words, self.vocab = words, vocab
        tokens = torch.from_numpy(vocab.encode("\n".join(["", *words, ""])).astype(np.int64)).to(device)
        boundaries = (tokens == 0).nonzero()[:, 0]
        self.starts, self.lengths = boundaries[:-1], boundaries.diff()  # length: letters and the end
        self.tokens = F.pad(tokens, (0, int(self.lengths.max())))  # so that no batch reads past the end

    def __len__(self):
        return len(self.words)

    def batch(self, index):
        """Inputs x and targets y of the words `index`, (B, T) each. Padding after a word: 0 in x, -1 in y."""
        lengths = self.lengths[index, None]  # (B, 1)
        t = torch.arange(int(lengths.max()), device=lengths.device)  # (T,)
        position = self.starts[index, None] + t  # (B, T)
        inside = t < lengths
        return self.tokens[position].where(inside, 0), self.tokens[position + 1].where(inside, -1)

    def training_batch(self, step, batch_size, seed, by_length=True):
        """The batch of a step. Every epoch has its own order, which seed and epoch decide.

        An epoch visits every word once, except the few that are left over and do not fill a batch.
        `by_length` puts words of similar length together (it sorts within groups of forty batches), so that
        there is little padding: an epoch of names.txt takes 174,000 positions, not 280,000 (batches of 128).
        """
        batch_size = min(batch_size, len(self))
        epoch, i = divmod(step, len(self) // batch_size)
        return self.batch(epoch_batches(self, epoch, batch_size, seed, by_length)[i])


@functools.lru_cache(maxsize=1)
def epoch_batches(data, epoch, batch_size, seed, by_length):
    """The words of every batch of an epoch: indices, (number of batches, batch_size)."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    order = torch.randperm(len(data), generator=generator)[: len(data) // batch_size * batch_size]
    if by_length:
        lengths, groups = data.lengths.cpu(), order.split(40 * batch_size)
        order = torch.cat([group[lengths[group].argsort(stable=True)] for group in groups])
    return order.view(-1, batch_size)[torch.randperm(len(order) // batch_size, generator=generator)]


def split(words):
    """80 % of the words for training, 10 % for validation, 10 % for the test; the same with every --seed."""
    order = torch.randperm(len(words), generator=torch.Generator().manual_seed(1337)).tolist()
    tenth = max(1, len(words) // 10)
    parts = {"training": order[2 * tenth :], "validation": order[tenth : 2 * tenth], "test": order[:tenth]}
    return {name: [words[i] for i in part] for name, part in parts.items()}


def fit_to_data(config, words, vocab):
    """The config with vocab_size and block_size filled in. Raises UserError if the words do not fit."""
    longest = max(map(len, words)) + 1  # with its end
    n, V = longest if config.block_size == 0 else config.block_size, len(vocab)
    if config.type in ("transformer", "bow") and n < longest:
        raise UserError(f"--block-size {n} is too short: the longest word and its end need {longest}")
    if config.type == "ngram" and V ** (n + 1) >= 2**63:
        raise UserError(f"--block-size {n} is too long: with {V} letters, group numbers exceed 2^63")
    return dataclasses.replace(config, vocab_size=V, block_size=n)


def is_real(x):
    """(B, T) bool: False at padding, which is any 0 after the first position."""
    return F.pad(x[:, 1:] != 0, (1, 0), value=True)


def contexts(x, n):
    """(B, T) -> (B, T, n): the last n tokens at every position, with start tokens in front of the word."""
    return F.pad(x, (n - 1, 0)).unfold(1, n, 1)


# ------------------------------------------------------------------------------------------------------------
# The models. Each is built from a Config and maps tokens x (B, T) to logits (B, T, V): the row at position t
# scores the token after x[:, t] and, in evaluation, depends on nothing to the right of t. `context` says how
# many tokens the model looks back. Nothing else is needed: a class of your own goes into MODELS, and it can
# borrow the defaults of another type, `configure("mine", like="mlp")`.
# "Try:" names a change and how much higher (+) or lower (-) the validation loss is with it, after the same
# seconds of training (`python tests/benchmark.py makemore --ledger`: 1,000 steps, three seeds).


class NGram(nn.Module):
    """Counts of letter groups with add-alpha smoothing: every count is raised by alpha.

    Jurafsky & Martin, "Speech and Language Processing", call it add-k. After the last n letters,
    P(next | letters) = (count(letters, next) + alpha) / (count(letters) + alpha V). For pairs of
    letters that is a table and a loop, `N[i, j] += 1`. With n letters the table would have V^(n + 1) cells:
    27^9 for n = 8, nearly all of them zero. So only the groups that occur are kept. A group is one number
    whose digits in base V are its letters: with V = 27, "abc" is 1 * 27^2 + 2 * 27 + 3. The numbers are
    sorted, which makes looking one up quick.
    """

    # Try: a context of 4 in DEFAULTS: +0.065. Longer groups say more, but many occur once.

    def __init__(self, config):
        super().__init__()
        self.context, self.vocab_size = config.block_size, config.vocab_size
        self.register_buffer("groups", torch.zeros(1, dtype=torch.int64))
        self.register_buffer("counts", torch.zeros(1, dtype=torch.int64))
        self.register_buffer("alpha", torch.tensor(1.0))

    def first_number(self, x):
        """(B, T): at every position, the number of the group that the last n letters and token 0 make."""
        powers = self.vocab_size ** torch.arange(self.context, 0, -1, device=x.device)
        return (contexts(x, self.context) * powers).sum(2)

    def fit(self, x, y):
        """Count all groups of all words at once; x and y are from `Words.batch`."""
        self.groups, self.counts = torch.unique((self.first_number(x) + y)[y >= 0], return_counts=True)

    def forward(self, x):
        letters = torch.arange(self.vocab_size, device=x.device)
        numbers = self.first_number(x)[..., None] + letters  # (B, T, V)
        index = torch.searchsorted(self.groups, numbers).clamp(max=len(self.groups) - 1)
        counts = self.counts[index].where(self.groups[index] == numbers, 0) + self.alpha
        return (counts / counts.sum(2, keepdim=True)).log()

    def load_state_dict(self, state):
        for name, value in state.items():  # the sizes of these tables depend on the data
            setattr(self, name, value.to(self.alpha.device))


class Bigram(nn.Module):
    """A learned table of letter pairs: row i holds the logits of the letters after letter i (lecture 2).

    A one-hot vector times a matrix W picks a row of W, so the look-up *is* a linear layer on one-hot inputs.
    Gradient descent finds the log counts, up to a constant in each row. Weight decay pulls all logits to 0,
    which is a uniform guess, so it does the smoothing.
    """

    def __init__(self, config):
        super().__init__()
        self.context = 1
        self.table = nn.Embedding(config.vocab_size, config.vocab_size)
        nn.init.normal_(self.table.weight, std=0.02)

    def forward(self, x):
        return self.table(x)  # (B, T, V)


class MLP(nn.Module):
    """The vectors of the last n letters, concatenated, go through one tanh layer.

    Bengio et al. 2003, "A Neural Probabilistic Language Model" (lecture 3). A table of counts with n letters
    of context has V^n rows; here letters that behave alike can share what is learned about them.
    """

    def __init__(self, config):
        super().__init__()
        self.context = config.block_size
        self.embed = nn.Embedding(config.vocab_size, config.n_embd)
        # Try: nn.ReLU() in place of nn.Tanh(): -0.013. A context of 5 in DEFAULTS: -0.049.
        self.layers = nn.Sequential(nn.Linear(self.context * config.n_embd, config.n_embd2), nn.Tanh())
        self.head = nn.Linear(config.n_embd2, config.vocab_size)
        kaiming(self)

    def forward(self, x):
        vectors = self.embed(contexts(x, self.context))  # (B, T, n, n_embd)
        return self.head(self.layers(vectors.flatten(2)))  # (B, T, V)


def kaiming(model):
    """Initial weights that keep the scale of the activations: std = gain / sqrt(fan in) (He et al. 2015).

    5/3 is PyTorch's gain for tanh. The last layer starts small, so that the first guess is nearly uniform,
    with a loss near ln V, and not confidently wrong.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=(5 / 3) / math.sqrt(module.in_features))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    with torch.no_grad():
        model.head.weight *= 0.1  # Try: leave it out. The MLP's first loss is 3.89; no difference at the end.


class BatchNorm(nn.Module):
    """Gives every channel mean 0 and variance 1 over the batch, then scales and shifts it by learned numbers.

    Ioffe & Szegedy 2015, "Batch Normalization". In training, mean and variance are those of the batch. In
    evaluation they are running averages, so that a prediction does not depend on the rest of its batch.
    """

    def __init__(self, channels, momentum=0.1):
        super().__init__()
        self.momentum = momentum
        self.gain = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x, real=None):
        """x (..., C) -> (..., C); `real` (...) marks rows that are not padding, the only ones counted."""
        return self.normalize(x, real)[0] * self.gain + self.bias

    def normalize(self, x, real=None):
        """x (..., C) with mean 0 and variance 1, and the scale (C,) that it was multiplied by."""
        mean, var = self.running_mean, self.running_var
        if self.training:
            rows = x if real is None else x[real]  # (N, C)
            var, mean = torch.var_mean(rows, dim=0, correction=0)
            with torch.no_grad():
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(var * len(rows) / max(1, len(rows) - 1), self.momentum)
        scale = (var + 1e-5) ** -0.5
        return (x - mean) * scale, scale


class BatchNormMLP(nn.Module):
    """A deeper MLP in which every layer is normalised before its tanh (lecture 4).

    The contexts of all words form one matrix of N rows, one for each letter to predict and none for padding.
    """

    def __init__(self, config):
        super().__init__()
        self.context = config.block_size
        self.embed = nn.Embedding(config.vocab_size, config.n_embd)
        sizes = [self.context * config.n_embd] + [config.n_embd2] * config.n_layer
        # No bias here: batch normalisation would subtract it again, and has its own.
        self.linears = nn.ModuleList(nn.Linear(a, b, bias=False) for a, b in itertools.pairwise(sizes))
        self.norms = nn.ModuleList(BatchNorm(b) for b in sizes[1:])
        self.tanhs = nn.ModuleList(nn.Tanh() for _ in sizes[1:])
        self.head = nn.Linear(config.n_embd2, config.vocab_size)
        kaiming(self)

    def forward(self, x):
        real = is_real(x)  # (B, T), N of them true
        h = self.embed(contexts(x, self.context)[real]).flatten(1)  # (N, n * n_embd)
        for linear, norm, tanh in zip(self.linears, self.norms, self.tanhs):
            h = tanh(norm(linear(h)))  # (N, n_embd2)  Try: tanh(linear(h)): -0.027, as it is faster.
        logits = self.head(h)  # (N, V)
        # Back to one row per word; the loss ignores padding, so any number will do there.
        return logits.new_zeros(*x.shape, logits.shape[1]).index_put((real,), logits)  # (B, T, V)


class Ninja(BatchNormMLP):
    """BatchNormMLP trained without autograd: every derivative written by hand (lecture 5, "backprop ninja").

    README compares each of them with autograd's.
    """

    @torch.no_grad()
    def forward_backward(self, x, y):
        """The loss of a batch; sets every parameter's `.grad`. `dx` stands for d loss / dx."""
        real = y >= 0
        letters, target = contexts(x, self.context)[real], y[real]  # (N, n), (N,)
        h, layers = self.embed(letters).flatten(1), []
        for linear, norm in zip(self.linears, self.norms):
            n, scale = norm.normalize(linear(h))  # (N, n_embd2), (n_embd2,)
            out = torch.tanh(n * norm.gain + norm.bias)
            layers.append((linear, norm, h, n, scale, out))
            h = out
        log_probs = self.head(h).log_softmax(1)  # (N, V)
        loss = -log_probs.gather(1, target[:, None]).mean()

        # Cross-entropy: the probabilities, minus 1 at the target, divided by the number of rows.
        dlogits = (log_probs.exp() - F.one_hot(target, log_probs.shape[1])) / len(target)
        # Linear, out = h @ W.T + b: the shapes leave only one way to write it.
        self.head.weight.grad = dlogits.T @ h
        self.head.bias.grad = dlogits.sum(0)
        dh = dlogits @ self.head.weight
        for linear, norm, h, n, scale, out in reversed(layers):
            # Tanh: 1 - tanh^2.
            dnorm = dh * (1 - out**2)
            norm.gain.grad = (dnorm * n).sum(0)
            norm.bias.grad = dnorm.sum(0)
            # Batch norm: every row changes the mean and the variance, and through them all other rows.
            dn = dnorm * norm.gain
            dz = scale * (dn - dn.mean(0) - n * (dn * n).mean(0))
            linear.weight.grad = dz.T @ h
            dh = dz @ linear.weight
        # Embedding: a letter that occurs several times gets the sum of its derivatives.
        dvectors = dh.view(-1, self.embed.weight.shape[1])  # (N * n, n_embd)
        self.embed.weight.grad = torch.zeros_like(self.embed.weight).index_add(0, letters.flatten(), dvectors)
        return loss


class WaveNet(nn.Module):
    r"""A tree that joins neighbours in pairs, level by level (van den Oord et al. 2016; lecture 6).

        letters        .     .     .     .     .     e     m     m       (B, T + 7, n_embd)
                        \   /       \   /       \   /       \   /
        level 0           o           o           o           o          (B, T + 6, n_embd2)    joins t - 1, t
                            \       /               \       /
        level 1                 o                       o                (B, T + 4, n_embd2)    joins t - 2, t
                                   \                 /
        level 2                             o                            (B, T, n_embd2)        joins t - 4, t
                                            |
        head                             logits                          (B, T, V)              block_size 8

    The trees of different positions share most of their nodes, so all trees of a word are computed at once:
    level k joins the nodes at t - 2^k and t (a dilated causal convolution). Start tokens fill up the front.
    """

    def __init__(self, config):
        super().__init__()
        self.context = config.block_size
        depth = self.context.bit_length() - 1  # context = 2^depth
        self.embed = nn.Embedding(config.vocab_size, config.n_embd)
        sizes = [config.n_embd] + [config.n_embd2] * depth
        self.linears = nn.ModuleList(nn.Linear(2 * a, b, bias=False) for a, b in itertools.pairwise(sizes))
        self.norms = nn.ModuleList(BatchNorm(b) for b in sizes[1:])
        self.tanhs = nn.ModuleList(nn.Tanh() for _ in sizes[1:])
        self.drop = nn.Dropout(config.dropout)
        self.head = nn.Linear(sizes[-1], config.vocab_size)
        kaiming(self)

    def forward(self, x):
        real = is_real(x)
        h = self.embed(F.pad(x, (self.context - 1, 0)))  # (B, T + n - 1, n_embd)
        for k, (linear, norm, tanh) in enumerate(zip(self.linears, self.norms, self.tanhs)):
            h = linear(torch.cat([h[:, : -(2**k)], h[:, 2**k :]], dim=2))  # (B, shorter by 2^k, n_embd2)
            h = self.drop(tanh(norm(h, F.pad(real, (h.shape[1] - x.shape[1], 0), value=True))))
        return self.head(h)  # (B, T, V)


class BagOfWords(nn.Module):
    """The mean of all letters so far, then a small MLP (the "causal bag of words" of Karpathy's makemore).

    The mean is attention with equal weights; a running sum gives it at every position at once.
    """

    def __init__(self, config):
        super().__init__()
        self.context = config.block_size
        self.embed = nn.Embedding(config.vocab_size, config.n_embd)
        self.position = nn.Embedding(config.block_size, config.n_embd)
        self.mlp = nn.Sequential(nn.Linear(config.n_embd, config.n_embd2), nn.Tanh(),
                                 nn.Linear(config.n_embd2, config.n_embd))
        self.head = nn.Linear(config.n_embd, config.vocab_size)
        kaiming(self)

    def forward(self, x):
        t = torch.arange(x.shape[1], device=x.device)
        h = self.embed(x) + self.position(t)  # (B, T, n_embd)  Try: no position: -0.008.
        h = h + h.cumsum(1) / (t + 1)[:, None]
        return self.head(h + self.mlp(h))  # (B, T, V)


class RNN(nn.Module):
    """A state that is carried from letter to letter (Elman 1990; Mikolov et al. 2010 for language models).

    h' = tanh(W x + b + U h + c). W x + b does not need the state, so one matrix product does it for all time
    steps; then a loop does the rest. The GRU and the LSTM below share both: only the cell differs.
    """

    context = 10**9  # no limit
    gates = 1  # W and U have this many times `size` rows
    states = 1  # vectors carried along

    def __init__(self, config):
        super().__init__()
        self.size = config.n_embd2
        self.embed = nn.Embedding(config.vocab_size, config.n_embd)
        self.from_input = nn.Linear(config.n_embd, self.gates * self.size)
        self.from_state = nn.Linear(self.size, self.gates * self.size)
        self.drop = nn.Dropout(config.dropout)
        self.head = nn.Linear(self.size, config.vocab_size)

    def cell(self, inputs, h):
        return (torch.tanh(inputs + self.from_state(h)),)  # Try: torch.relu: -0.028.

    def forward(self, x):
        inputs = self.from_input(self.drop(self.embed(x.T)))  # (T, B, gates * size)
        state = (inputs.new_zeros(len(x), self.size),) * self.states
        outputs = []
        for step in inputs:
            state = self.cell(step, *state)
            outputs.append(state[0])  # (B, size)
        return self.head(self.drop(torch.stack(outputs, dim=1)))  # (B, T, V)


class GRU(RNN):
    """Gates that choose what to forget (Cho et al. 2014, "Learning Phrase Representations using RNN ...").

    Reset r = sigmoid(..), keep z = sigmoid(..), new n = tanh(W x + b + r * (U h + c)), h' = z h + (1 - z) n.
    The reset comes after the product with U, as in PyTorch's nn.GRU, so that one product serves all gates.
    """

    gates = 3

    def cell(self, inputs, h):
        reset_x, keep_x, new_x = inputs.chunk(3, dim=1)
        reset_h, keep_h, new_h = self.from_state(h).chunk(3, dim=1)
        r = torch.sigmoid(reset_x + reset_h)
        z = torch.sigmoid(keep_x + keep_h)
        n = torch.tanh(new_x + r * new_h)  # Try: new_h without r *: +0.007.
        return (n + z * (h - n),)


class LSTM(RNN):
    """A second state, the memory c, that is only added to and scaled (Hochreiter & Schmidhuber 1997).

    c' = f c + i g, h' = o tanh(c'), with gates i, f, o (forget gate f: Gers et al. 2000) and new content g.
    """

    gates = 4
    states = 2

    def cell(self, inputs, h, c):
        i, f, g, o = (inputs + self.from_state(h)).chunk(4, dim=1)
        # Try: c + ..., never forget: +0.030.
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c


def attention(q, k, v):
    """Every position takes a weighted mean of v at itself and to its left; q, k, v (B, heads, T, head size).

    Vaswani et al. 2017, "Attention Is All You Need". The model calls PyTorch's fused
    `F.scaled_dot_product_attention(q, k, v, is_causal=True)`, which computes the same as these three lines.
    """
    scores = q @ k.mT / math.sqrt(q.shape[-1])  # (B, heads, T, T)
    scores = scores.masked_fill(torch.ones_like(scores, dtype=torch.bool).triu(1), -math.inf)  # no look ahead
    return scores.softmax(dim=-1) @ v


class Block(nn.Module):
    """The GPT-2 block: positions exchange what they know (attention), then each works on its own (MLP)."""

    def __init__(self, config):
        super().__init__()
        C = config.n_embd
        self.n_head = config.n_head
        self.norm1 = nn.LayerNorm(C)
        self.qkv = nn.Linear(C, 3 * C)
        self.proj = nn.Linear(C, C)
        self.norm2 = nn.LayerNorm(C)
        self.up = nn.Linear(C, 4 * C)
        self.down = nn.Linear(4 * C, C)
        self.drop = nn.Dropout(config.dropout)

    def forward(self, x):
        B, T, C = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(B, T, 3, self.n_head, -1).permute(2, 0, 3, 1, 4)
        heads = F.scaled_dot_product_attention(q, k, v, is_causal=True)  # = attention(q, k, v)
        x = x + self.drop(self.proj(heads.transpose(1, 2).reshape(B, T, C)))
        return x + self.drop(self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh")))


class Transformer(nn.Module):
    """GPT-2's architecture, smaller; the last layer does not share the weights of the embedding (lecture 7).

    Vaswani et al. 2017; Radford et al. 2019, "Language Models are Unsupervised Multitask Learners".
    """

    def __init__(self, config):
        super().__init__()
        self.context = config.block_size
        self.embed = nn.Embedding(config.vocab_size, config.n_embd)
        self.position = nn.Embedding(config.block_size, config.n_embd)
        self.blocks = nn.Sequential(*(Block(config) for _ in range(config.n_layer)))
        self.norm = nn.LayerNorm(config.n_embd)
        self.head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        for name, p in self.named_parameters():
            if name.endswith(("proj.weight", "down.weight", "bias")):
                nn.init.zeros_(p)  # at first, every block passes on what it gets
            elif name.startswith("blocks.") and p.dim() == 2:
                nn.init.normal_(p, std=1 / math.sqrt(p.shape[1]))
            elif p.dim() == 2:
                nn.init.normal_(p, std=0.02 if name == "head.weight" else 0.3)

    def forward(self, x):
        h = self.embed(x) + self.position.weight[: x.shape[1]]  # (B, T, n_embd)
        return self.head(self.norm(self.blocks(h)))  # (B, T, V)


MODELS = {
    "ngram": NGram, "bigram": Bigram, "mlp": MLP, "batchnorm": BatchNormMLP, "ninja": Ninja,
    "wavenet": WaveNet, "bow": BagOfWords, "rnn": RNN, "gru": GRU, "lstm": LSTM, "transformer": Transformer,
}


# ------------------------------------------------------------------------------------------------------------
# Optimizers and the learning rate


class Muon(torch.optim.Optimizer):
    """Momentum whose update is made orthogonal, so that all directions of a matrix learn equally fast.

    Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks"; scaled as in Liu et al.
    2025, "Muon is Scalable for LLM Training", so that AdamW's learning rate and weight decay suit it too.
    `torch.optim.Muon` does it in bfloat16 and one matrix at a time, which is slow on a CPU.
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
                shapes.setdefault(p.shape, []).append((p, p.grad.lerp(momentum, 0.95)))  # Nesterov
            for shape, pairs in shapes.items():
                updates = orthogonalize(torch.stack([update for _, update in pairs]))
                for (p, _), update in zip(pairs, updates):
                    p.mul_(1 - group["lr"] * group["weight_decay"])
                    p.sub_(update, alpha=group["lr"] * 0.2 * math.sqrt(max(shape)))


def orthogonalize(matrices):
    """Move the singular values of matrices (N, rows, columns) close to 1; keep their singular vectors.

    Five steps of a Newton-Schulz iteration. An odd polynomial of a matrix changes its singular values alone.
    This one moves all but tiny ones into the range from 0.68 to 1.20.
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
    """AdamW (Loshchilov & Hutter 2019), but Muon for the matrices inside a transformer's blocks.

    Weight decay applies to matrices, embeddings among them, but not to gains and biases.
    """
    matrices = [(name, p) for name, p in model.named_parameters() if p.dim() == 2]
    blocks = [p for name, p in matrices if name.startswith("blocks.")]
    others = [p for name, p in matrices if not name.startswith("blocks.")]
    vectors = [p for p in model.parameters() if p.dim() != 2]
    decay = config.weight_decay
    groups = [{"params": others, "weight_decay": decay}, {"params": vectors, "weight_decay": 0.0}]
    return [torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.99), fused=True),  # the loop sets the rate
            Muon([{"params": blocks}], lr=0.0, weight_decay=decay)]


def schedule(step, config):
    """The share of the peak learning rate: linear warmup, then linear decay to 1 % (none without an end)."""
    rise = (step + 1) / min(100, config.end / 10)
    return min(1, rise, max(0.01, 1 - step / config.end))


def set_learning_rate(optimizers, step, config):
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * schedule(step, config)


# ------------------------------------------------------------------------------------------------------------
# Training


def loss_of(logits, y, reduction="mean"):
    """Cross-entropy of logits (B, T, V) and targets y (B, T): nats per character, padding (-1) left out."""
    losses = F.cross_entropy(logits.flatten(0, 1), y.flatten(), ignore_index=-1, reduction=reduction)
    return losses.view(y.shape) if reduction == "none" else losses


def device_of(model):
    return next(iter(model.state_dict().values())).device


@torch.no_grad()
def evaluate(model, data):
    """(loss, standard error): the mean over all characters of `data`, in evaluation mode.

    Words are independent of one another, letters of a word are not. So the loss is treated as a ratio, the
    sum of the words' losses over the sum of their lengths, with the standard error of a ratio (Cochran 1977).
    """
    was_training = model.training
    model.eval()
    sums, order = [], data.lengths.argsort(stable=True)
    at_once = 20_000_000 // (len(data.vocab) * int(data.lengths.max()))  # words; keeps the logits small
    for index in order.split(min(1000, max(1, at_once))):
        x, y = data.batch(index)
        sums.append(loss_of(model(x), y, reduction="none").sum(1).cpu().double())
    model.train(was_training)
    sums, lengths = torch.cat(sums), data.lengths[order].cpu()
    mean = sums.sum() / lengths.sum()
    return mean.item(), ((sums - mean * lengths).square().sum().sqrt() / lengths.sum()).item()


def count(model, data):
    """Fit an NGram: count, then choose the alpha with the best validation loss. Returns the training loss."""
    model.fit(*data["training"].batch(torch.arange(len(data["training"]))))
    losses = {}
    for alpha in (0.01, 0.03, 0.1, 0.3, 1.0):
        model.alpha.fill_(alpha)
        losses[alpha], _ = evaluate(model, data["validation"])
        print(f"  alpha {alpha:<4} validation {losses[alpha]:.4f}")
    model.alpha.fill_(min(losses, key=losses.get))
    return evaluate(model, data["training"])[0]


def train(words, config, out=DEFAULT_OUT, *, device="auto", source="", checkpoint=None, diagnose=False,
          **sampling):
    """Train a model on a list of words, write model.pt, log.csv and pictures into `out`, print the progress.

    Returns a Result: the model with the weights of the best validation loss, its vocab, the run's figures.
    `device`, `diagnose`: as on the command line. `source`: the file that the words are from, for `resume`.
    `checkpoint`: continue that run, see `resume`. `sampling`: options of `generate`. Raises UserError; raises
    KeyboardInterrupt after Ctrl-C, once everything is saved.
    """
    # Prepare the data, the model, its optimizers and the run.
    check_limits(sampling)
    given, words, device = len(words), clean(words), pick_device(device)
    if len(words) < given:
        print(f"left out: {given - len(words):,} duplicates and words of more than {MAX_LENGTH} characters")
    vocab = Vocab("".join(words))
    data = {name: Words(part, vocab, device) for name, part in split(words).items()}
    config = fit_to_data(config, words, vocab)
    torch.manual_seed(config.seed)
    model = MODELS[config.type](config).to(device)
    generate(model, vocab, **sampling | {"num_samples": 1})  # refuse bad options now, not at the end
    optimizers = make_optimizers(model, config)
    facts = {"chars": vocab.chars, "source": source, "digest": digest(words)}
    run = Run(out, config, model, vocab, optimizers, data, sampling, facts, checkpoint)
    size, parts = sum(p.numel() for p in model.parameters()), [f"{len(data[name]):,} {name}" for name in data]
    print(f"device: {device}, {torch.get_num_threads()} threads")
    print(f"data: {Path(source).name or 'words'}, {len(words):,} words ({', '.join(parts)}), letters {vocab}")
    print(f"model: {size:,} parameters; a uniform guess has a loss of {math.log(len(vocab)):.4f}")
    print("settings:", ", ".join(f"{k} {v}" for k, v in vars(config).items() if v is not None))
    if diagnose:
        run.diagnosis = Diagnosis(model, data["training"])

    # The loop. Run does everything that happens between two steps, from evaluation to Ctrl-C.
    by_length = not any(isinstance(module, BatchNorm) for module in model.modules())  # needs varied batches
    with run:
        for step in run:
            if config.type == "ngram":
                run.loss = count(model, data)
                continue
            x, y = data["training"].training_batch(step, config.batch_size, config.seed, by_length)
            if config.type == "ninja":
                loss = model.forward_backward(x, y)
            else:
                loss = loss_of(model(x), y)
                model.zero_grad()
                loss.backward()
            set_learning_rate(optimizers, step, config)
            for optimizer in optimizers:
                optimizer.step()
            run.loss = loss.item()

    # The result: the best weights, their losses, samples and pictures.
    run.finish()
    results = {name: evaluate(model, part) for name, part in data.items()}
    losses = ", ".join(f"{name} {loss:.4f}" for name, (loss, _) in results.items())
    print(f"loss: {losses} (standard error {results['test'][1]:.4f}) with the weights of step "
          f"{run.best_step}, the best in validation; {run.seconds:.0f} s of training")
    names = generate(model, vocab, **{"seed": config.seed} | sampling)
    print_words(names, data)
    if isinstance(model, (NGram, Bigram)):
        draw_pairs(model, vocab, data["training"], Path(out) / "pairs.png")
    if isinstance(getattr(model, "embed", None), nn.Embedding):
        draw_letters(model, vocab, Path(out) / "letters.png")
    print(f"in {out}: {', '.join(name for name in FILES if (Path(out) / name).exists())}")
    results |= {"parameters": size, "seconds": run.seconds, "run": run, "samples": names}
    return Result(model, vocab, results)


class Result(typing.NamedTuple):
    """What `train` returns. `results`: "training", "validation" and "test", (loss, standard error) each;
    "parameters", how many; "seconds" of training; "run", the Run with the losses of all steps; "samples"."""

    model: nn.Module
    vocab: Vocab
    results: dict

    def __repr__(self):  # one line in a notebook
        return f"<{type(self.model).__name__}: test {self.results['test'][0]:.4f}>"


def resume(out=DEFAULT_OUT, words=None, *, source="", max_steps=None, **options):
    """Continue the run in a folder exactly where it stopped; returns a Result. `options`: those of `train`.

    `words` are needed only if the run did not read them from a file. `max_steps`: a new total; the learning
    rate then falls until that step. Raises UserError if there is no such run, or if the words differ.
    """
    checkpoint = read_checkpoint(out)
    config, source = checkpoint["config"], source or checkpoint["source"]
    if words is None and not source:
        raise UserError(f"the run in {out} did not read its words from a file: give them again, with -i FILE "
                        f"or makemore.resume({str(out)!r}, words=...)")
    words = read_words(source) if words is None else words
    if digest(clean(words)) != checkpoint["digest"]:
        raise UserError(f"{source or 'this list'} does not have the words of the run in {out}")
    if max_steps is not None and config.type != "ngram":  # which counts in one step
        config = dataclasses.replace(config, max_steps=max_steps)
    return train(words, config, out, source=source, checkpoint=checkpoint, **options)


def train_all(words, out, values, options):
    """Train every type for the same number of steps, each in a folder; then print a table, draw a picture."""
    words = clean(words)
    vocab, values = Vocab("".join(words)), {"max_steps": 2000} | values
    configs = [fit_to_data(configure(name, **values), words, vocab) for name in DEFAULTS]
    results = {}
    for config in configs:
        print(f"\n== {config.type} ==")
        results[config.type] = train(words, config, Path(out) / config.type, **options).results
    print(f"\n{'type':12} {'parameters':>10} {'seconds':>8} {'validation':>10} {'test':>7}  a sample")
    for name, result in results.items():
        print(f"{name:12} {result['parameters']:>10,} {result['seconds']:>8.1f} "
              f"{result['validation'][0]:>10.4f} {result['test'][0]:>7.4f}  {result['samples'][0]}")
    draw_losses({name: result["run"] for name, result in results.items()}, Path(out) / "losses.png")
    print(f"picture: {Path(out) / 'losses.png'}")


# ------------------------------------------------------------------------------------------------------------
# Sampling


def load(out, device="cpu"):
    """(model, vocab) of the run in a folder: the weights of the best validation loss, in evaluation mode."""
    checkpoint = read_checkpoint(out)
    config = checkpoint["config"]
    if config.type not in MODELS:
        raise UserError(f"the model in {out} is of type {config.type!r}; put its class into MODELS first")
    model = MODELS[config.type](config)
    model.load_state_dict(checkpoint["progress"]["best"])
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
def generate(model, vocab, prompt="", num_samples=20, temperature=1.0, top_k=None, seed=None):
    """A list of `num_samples` words that begin with `prompt`, sampled letter by letter.

    temperature: 0 takes the most likely letter, below 1 is more careful, above 1 more daring. top_k: only
    the k most likely letters. seed: the same one gives the same words. All words grow together as rows of
    a batch, until each has ended or has MAX_LENGTH letters more. Raises UserError for a prompt with
    characters that the model never saw.
    """
    generator = torch.Generator()
    generator.seed() if seed is None else generator.manual_seed(seed)
    if "\n" in prompt:
        raise UserError(f"a prompt must be one line, not {prompt!r}")
    tokens = torch.tensor([0, *vocab.encode(prompt).tolist()]).repeat(num_samples, 1)  # (num_samples, t)
    growing = torch.arange(num_samples)  # the rows that have not ended
    was_training = model.training
    model.eval()
    while len(growing) and tokens.shape[1] <= len(prompt) + MAX_LENGTH:
        parts = tokens[growing, -model.context :].to(device_of(model)).split(1000)
        logits = torch.cat([model(part)[:, -1].float().cpu() for part in parts])  # (growing, V)
        drawn = torch.zeros(num_samples, dtype=torch.int64)
        drawn[growing] = draw(logits, temperature, top_k, generator)
        tokens, growing = torch.cat([tokens, drawn[:, None]], dim=1), drawn.nonzero()[:, 0]
    model.train(was_training)
    return [vocab.decode(row[1:]).split("\n")[0] for row in tokens.tolist()]


def print_words(names, data):
    """Print sampled words: first those that are new, then those in each part of the data."""
    origin = {word: f"in {name}" for name, part in data.items() for word in part.words}
    for mark in ("new", "in training", "in validation", "in test"):
        if found := [name or "(nothing)" for name in names if origin.get(name, "new") == mark]:
            print(f"  {mark}: {', '.join(found)}")


# ------------------------------------------------------------------------------------------------------------
# Pictures


def new_figure(width, height, layout="constrained"):
    """An empty figure (inches). It does not use pyplot, so it leaves a notebook's own plots alone."""
    from matplotlib.figure import Figure  # imported here because it takes a second

    warnings.filterwarnings("ignore", "Glyph .* missing")  # a character that the font lacks becomes a box
    return Figure(figsize=(width, height), dpi=120, layout=layout)


def save_figure(figure, path):
    """Write a figure as a PNG file."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    write_file(path, picture.getvalue())


def draw_losses(runs, path):
    """`runs`: {type: Run}. Draw the validation losses; with a single run, also the batches and their mean."""
    ax = new_figure(8, 5, layout=None).add_axes((0.08, 0.1, 0.9, 0.88))
    best = min(run.best_loss for run in runs.values())
    for i, (name, run) in enumerate(runs.items()):
        if len(runs) == 1:
            width = 1 + len(run.losses) // 50
            mean = np.convolve(run.losses, np.ones(width) / width, mode="valid")
            ax.plot(run.losses, color="C0", alpha=0.25, linewidth=0.5, label="batch")
            ax.plot(range(width - 1, len(run.losses)), mean, color="C0", label=f"mean of {width} batches")
        steps, _, _, validation = zip(*run.log)
        label = f"{name}: validation, {run.best_loss:.4f} at best"
        ax.plot(steps, validation, ".-" if i < 10 else ".--", color=f"C{i + 1}", label=label)  # ten colors
    ax.set(xlabel="step", ylabel="loss (nats per character)", ylim=(best - 0.2, best + 1.2))
    ax.grid(alpha=0.3)
    ax.legend(fontsize="small")
    save_figure(ax.figure, path)


def draw_pairs(model, vocab, training, path):
    """How often one letter follows another: as counted, or as expected by a Bigram's learned table."""
    V, letters = len(vocab), [".", *vocab.chars[1:]]
    x, y = training.batch(torch.arange(len(training)))
    pairs = torch.bincount(x[y >= 0] * V + y[y >= 0], minlength=V * V).view(V, V).cpu().double()
    if isinstance(model, Bigram):
        pairs = pairs.sum(1, keepdim=True) * model.table.weight.detach().cpu().double().softmax(1)
    shown = pairs.sum(1).argsort(descending=True)[:40].sort().values.tolist()  # forty stay readable
    ax = new_figure(11, 11).subplots()
    ax.imshow(pairs[shown][:, shown].sqrt().numpy(), cmap="Blues")
    for (i, a), (j, b) in itertools.product(enumerate(shown), repeat=2):
        ax.text(j, i, f"{letters[a]}{letters[b]}\n{pairs[a, b]:.0f}", ha="center", va="center", fontsize=7,
                color="white" if pairs[a, b] > pairs.max() / 4 else "black", parse_math=False)
    ax.set(xlabel="next letter", ylabel="letter", xticks=[], yticks=[],
           title=f"Pairs in the training words, {'expected' if isinstance(model, Bigram) else 'counted'}")
    save_figure(ax.figure, path)


def draw_letters(model, vocab, path):
    """The letters' vectors in a plane, by their first two principal components. Letters that behave alike are
    close together."""
    weight = model.embed.weight.detach().cpu().double()  # (V, n_embd)
    centred = F.pad(weight - weight.mean(0), (0, 1))  # (zeros, in case a vector has one number)
    _, _, axes = torch.linalg.svd(centred, full_matrices=False)  # rows of `axes`: principal components
    points = (centred @ axes[:2].T).tolist()
    ax = new_figure(7, 7).subplots()
    ax.scatter(*zip(*points), s=200, color="lightblue")
    for letter, (a, b) in zip("." + vocab.chars[1:], points):
        ax.text(a, b, letter, ha="center", va="center", parse_math=False)
    ax.set(title="The letters by their first two principal components", xlabel="first", ylabel="second")
    save_figure(ax.figure, path)


class Diagnosis:
    """What lecture 4 measures: activations and gradients of the tanh layers at the beginning and at the end
    of a run (or of what --resume adds to it) and, after every step, how far the weights moved."""

    def __init__(self, model, training):
        self.model, (self.x, self.y) = model, training.batch(torch.arange(min(256, len(training))))
        self.before, self.ratios = {}, []  # weights before a step; log10(update / weight) of every step
        self.figure = new_figure(10, 9)
        self.axes = self.figure.subplot_mosaic([
            ["activations at the beginning", "activations at the end"],
            ["gradients at the beginning", "gradients at the end"], ["updates", "updates"]])
        self.look("at the beginning")

    def look(self, when):
        """Run a batch through a copy; print and draw outputs and gradients of every tanh layer."""
        twin, outputs = copy.deepcopy(self.model).train(), {}
        for name, module in twin.named_modules():
            if isinstance(module, nn.Tanh):
                module.register_forward_hook(lambda _, __, output, name=name: outputs.update({name: output}))
        loss = loss_of(twin(self.x), self.y)
        if not outputs:
            raise UserError(f"--diagnose looks at nn.Tanh layers; {type(twin).__name__} has none")
        for (name, output), gradient in zip(outputs.items(), torch.autograd.grad(loss, [*outputs.values()])):
            saturated = output.flatten(0, -2).abs() > 0.97  # (N, channels)
            print(f"{when}: {name:10} {100 * saturated.float().mean():5.2f} % saturated, "
                  f"{saturated.all(dim=0).sum()} dead units; gradients: std {gradient.std():.1e}")
            for kind, values in (("activations", output.detach()), ("gradients", gradient)):
                density, edges = np.histogram(values.float().cpu().numpy(), 100, density=True)
                self.axes[f"{kind} {when}"].plot(edges[:-1], density, label=f"{name}: std {values.std():.1e}")

    def measure(self):
        """Between two steps: how far did the last one move the weights?"""
        weights = {name: p.detach().clone() for name, p in self.model.named_parameters() if p.dim() == 2}
        if self.before:
            moved = [(p - self.before[name]).std() / self.before[name].std() for name, p in weights.items()]
            self.ratios.append([math.log10(ratio.item() + 1e-12) for ratio in moved])
        self.before = weights

    def finish(self, path):
        """Measure once more, print the updates, draw everything."""
        self.measure()
        self.look("at the end")
        for name, ratios in zip(self.before, zip(*self.ratios)):
            print(f"{name:18} log10(update/weight): median {np.median(ratios):+.2f}, last {ratios[-1]:+.2f}")
            self.axes["updates"].plot(ratios, linewidth=0.8, label=name)
        self.axes["updates"].axhline(-3, color="black", linestyle="--", label="a good value is about -3")
        self.axes["updates"].set(xlabel="step", ylabel="log10(std of update / std of weight)")
        for title, ax in self.axes.items():
            ax.set_title(title)
            ax.legend(fontsize=8)
        save_figure(self.figure, path)


# ------------------------------------------------------------------------------------------------------------
# Machinery: what happens between two steps, files, checkpoints, the command line. You can stop reading here
# and still understand the models. gpt.py has the same machinery, for several processes.


class Run:
    """Everything that happens between two steps: evaluate, keep the best weights, save, report, sample, stop.

    `for step in run` yields the steps that are left; the loop stores the loss of its batch in `run.loss`.
    Ctrl-C ends the loop between two steps, once everything is saved. `facts` are added to the checkpoint.
    """

    PROGRESS = "step", "seconds", "best_step", "best_loss", "best", "losses", "log"  # saved

    def __init__(self, out, config, model, vocab, optimizers, data, sampling, facts, checkpoint):
        self.out, self.config, self.model, self.vocab = Path(out), config, model, vocab
        self.optimizers, self.data, self.sampling, self.facts = optimizers, data, sampling, facts
        self.step, self.seconds = 0, 0.0  # seconds of training alone
        self.best_step, self.best_loss, self.best = 0, math.inf, {}  # by validation loss; `best`: the weights
        self.losses, self.log = [], []  # of each batch; (step, seconds, training, validation) of each look
        self.diagnosis, self.pressed, self.stopped, self.handler = None, False, False, None
        if checkpoint:
            torch.set_num_threads(checkpoint["threads"])  # their number decides how sums are rounded
            model.load_state_dict(checkpoint["model"])
            for optimizer, state in zip(optimizers, checkpoint["optimizers"]):
                optimizer.load_state_dict(state)
            vars(self).update(checkpoint["progress"])
        if config.end < self.step:
            raise UserError(f"--max-steps {config.end} is the total, but the run is at step {self.step}")

    def __enter__(self):
        if self.log:
            print(f"resuming at step {self.step}")
        else:
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
            due = self.step % max(100, self.config.max_steps // 20) == 0 or self.step == self.config.end
            if due and not (self.log and self.log[-1][0] == self.step):  # else it was done before a resume
                self.look()
            if self.stopped or self.step == self.config.end:
                return
            if self.diagnosis:
                self.diagnosis.measure()
            torch.manual_seed(self.config.seed * 1_000_003 + self.step)  # for dropout; no state to store
            start = time.perf_counter()
            yield self.step
            self.seconds += time.perf_counter() - start
            self.step += 1
            self.losses.append(self.loss)
            self.stopped = self.pressed  # asked once a step, so that no step is left unsaved
            if self.stopped or time.monotonic() - self.saved > 15:
                self.save()
            if sys.stdout and sys.stdout.isatty() and time.monotonic() - self.shown > 0.2:  # the live line
                self.report(f"batch {self.losses[-1]:.4f}", end="\r")
                self.shown = time.monotonic()

    def look(self):
        """Evaluate, keep the best weights, save, report; every fourth time, print a sample too."""
        validation, _ = evaluate(self.model, self.data["validation"])
        batches = self.losses[self.log[-1][0] :] if self.log else []  # since the last evaluation
        training = sum(batches) / len(batches) if batches else math.nan
        self.log.append((self.step, self.seconds, training, validation))
        if validation < self.best_loss:
            self.best_step, self.best_loss = self.step, validation
            self.best = {name: value.cpu().clone() for name, value in self.model.state_dict().items()}
        self.save()
        self.report(f"validation {validation:.4f}" + f", batches {training:.4f}" * bool(batches))
        if len(self.log) % 4 == 1 and self.step not in (0, self.config.end):
            few = {"num_samples": 10, "seed": self.step}
            print_words(generate(self.model, self.vocab, **self.sampling | few), self.data)

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
        torch.save({
            "format": FORMAT, "config": vars(self.config), "threads": torch.get_num_threads(), **self.facts,
            "progress": {name: getattr(self, name) for name in self.PROGRESS}, "model": weights,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }, content)
        write_file(self.out / "model.pt", content.getvalue())
        rows = [f"{step},{seconds:.3f},{a:.6f},{b:.6f}\n" for step, seconds, a, b in self.log]
        write_file(self.out / "log.csv", "".join(["step,seconds,train_loss,val_loss\n", *rows]).encode())

    def finish(self):
        """Draw the losses; give the model its best weights or, after Ctrl-C, raise KeyboardInterrupt."""
        draw_losses({self.config.type: self}, self.out / "loss.png")
        if self.stopped or self.pressed:
            print(f"stopped after step {self.step}; everything is saved; the same command with --resume "
                  f"goes on (in Python: makemore.resume({str(self.out)!r}))")
            raise KeyboardInterrupt
        if self.diagnosis:
            self.diagnosis.finish(self.out / "diagnose.png")
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
        problem = "does not exist; train a model first"
    except Exception:  # noqa: BLE001 (torch.load fails in as many ways as there are damaged files)
        problem = "is damaged, or not a checkpoint"
    raise UserError(f"{path} {problem}")


class Parser(argparse.ArgumentParser):
    def error(self, message):
        raise UserError(f"{message}; --help shows all settings")


def parse_arguments(argv):
    parser = Parser(prog="makemore", description="Words in, more like them out. Defaults: see DEFAULTS.")
    group = parser.add_argument_group("files and what to do")
    add, either = group.add_argument, group.add_mutually_exclusive_group().add_argument
    add("-i", "--input-file", metavar="FILE", help=f"words, one per line (default: {DEFAULT_WORDS})")
    add("-o", "--work-dir", metavar="DIR", default=DEFAULT_OUT, help=f"run folder (default: {DEFAULT_OUT})")
    add("--type", choices=[*MODELS, "all"], metavar="TYPE",
        help=f"{', '.join(MODELS)} (default: transformer); all: every type, one table")
    either("--resume", action="store_true", help="continue the run in the folder")
    either("--sample-only", action="store_true", help="do not train; sample from the model in the folder")
    add("--diagnose", action="store_true", help="measure the tanh layers: activations, gradients, updates")
    add("--prompt", metavar="TEXT", default="", help="beginning of every word")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps, ... (default: auto)")
    add("-n", "--num-workers", help=argparse.SUPPRESS)  # from Karpathy's makemore; ignored here
    add("--version", action="version", version=f"%(prog)s {VERSION}, torch {torch.__version__}")
    for title, numbers in (("settings", SETTINGS), ("sampling", SAMPLING)):
        add = parser.add_argument_group(title).add_argument
        for name, (_, high, text) in numbers.items():
            short = {"batch_size": ["-b"], "learning_rate": ["-l"], "weight_decay": ["-w"]}.get(name, [])
            add(*short, flag(name), type=type(high), metavar="N" if type(high) is int else "X", help=text)
    return parser.parse_args(argv)


def execute(args):
    """Do what the arguments ask for."""
    given = {name: value for name, value in vars(args).items() if value is not None}
    check_limits(given)
    settings = {name: given[name] for name in SETTINGS if name in given}
    options = {name: given[name] for name in ("prompt", *SAMPLING) if name in given}
    if args.sample_only or args.resume:
        checkpoint = read_checkpoint(args.work_dir)
        own = {"seed"} if args.sample_only else {"max_steps"}  # these may differ from the run in the folder
        options |= {name: settings.pop(name) for name in own & settings.keys()}
        check_same({"type": args.type or checkpoint["config"].type} | settings, checkpoint["config"])
    if args.sample_only:
        model, vocab = load(args.work_dir, pick_device(args.device))
        names, origin = generate(model, vocab, **options), {}
        with contextlib.suppress(UserError):  # if the words are available, mark samples that are among them
            words = clean(read_words(args.input_file or checkpoint["source"]))
            if digest(words) == checkpoint["digest"]:
                origin = {word: f"\tin {name}" for name, part in split(words).items() for word in part}
        print("\n".join(name + origin.get(name, "") for name in names))
        return
    words, options = None, {"device": args.device, "diagnose": args.diagnose, **options}
    if args.input_file or not args.resume:
        name = args.input_file or DEFAULT_WORDS
        words, options["source"] = read_words(name), str(find_file(name).resolve())
    if args.resume:
        resume(args.work_dir, words, **options)
    elif args.type == "all":
        train_all(words, args.work_dir, settings, options)
    else:
        train(words, configure(args.type or "transformer", **settings), args.work_dir, **options)


def main(argv=None):
    """The command line. Returns None, or the exit status of a failure."""
    with contextlib.suppress(AttributeError):  # a character that the terminal lacks must not stop us
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        execute(parse_arguments(argv))
        print(end="", flush=True)  # a closed pipe is noticed here, not at the exit
    except UserError as error:
        print(f"makemore: {error}", file=sys.stderr)
        return error.status
    except BrokenPipeError:  # as in `makemore ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        return 130
    except SystemExit:  # after --help and --version
        return None


if __name__ == "__main__":
    sys.exit(main())
