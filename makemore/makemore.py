"""makemore: words in, more words like them out.

    python makemore.py -i names.txt                      train the default model, a Transformer; sample names
    python makemore.py --type mlp -o out/mlp             another model, another folder
    python makemore.py --sample-only --prompt em         names from the trained model in out/makemore
    python makemore.py --resume                          continue where the last run stopped
    python makemore.py --type all                        every model, one table, one picture

A character-level language model reads a word letter by letter and predicts, at every position, the next
letter. Token 0 marks the start and the end of a word, so "emma" makes five predictions:

    . -> e     .e -> m     .em -> m     .emm -> a     .emma -> .

All models here do that one job. Their order is that of the course "Neural Networks: Zero to Hero":

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
import builtins
import codecs
import contextlib
import copy
import dataclasses
import functools
import hashlib
import io
import itertools
import math
import operator
import os
import shlex
import signal
import sys
import time
import typing
import warnings
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
    """All settings of a run. `configure` makes one from the defaults of a type.

    None means that the type does not use the setting. `SETTINGS`, in the machinery, has the limits.
    """

    type: str
    max_steps: int  # -1: no end
    max_length: int = 256  # characters; longer words are left out
    batch_size: int | None = None  # words
    learning_rate: float | None = None  # the peak
    weight_decay: float | None = None
    block_size: int | None = None  # context length, in letters; the default 0 is the longest word and its end
    n_layer: int | None = None
    n_head: int | None = None
    n_embd: int | None = None  # channels of a letter's vector
    n_embd2: int | None = None  # channels of a hidden layer or a state
    dropout: float | None = None  # probability
    seed: int = 3407
    vocab_size: int = 0  # from the data

    @property
    def end(self):
        """The step at which the run ends."""
        return math.inf if self.max_steps == -1 else self.max_steps


DEFAULTS = {
    "ngram": Config("ngram", max_steps=1, block_size=3),
    "bigram": Config("bigram", max_steps=3000, batch_size=128, learning_rate=0.01, weight_decay=0.01),
    "mlp": Config("mlp", max_steps=8000, batch_size=128, learning_rate=0.01, weight_decay=0.01,
                  block_size=3, n_embd=10, n_embd2=200),
    "batchnorm": Config("batchnorm", max_steps=3000, batch_size=128, learning_rate=0.003, weight_decay=0.01,
                        block_size=8, n_layer=3, n_embd=16, n_embd2=128),
    "ninja": Config("ninja", max_steps=3000, batch_size=128, learning_rate=0.003, weight_decay=0.01,
                    block_size=8, n_layer=3, n_embd=16, n_embd2=128),
    "wavenet": Config("wavenet", max_steps=5000, batch_size=128, learning_rate=0.01, weight_decay=0.01,
                      block_size=8, n_embd=24, n_embd2=128, dropout=0.1),
    "bow": Config("bow", max_steps=6000, batch_size=128, learning_rate=0.01, weight_decay=0.01,
                  block_size=0, n_embd=64, n_embd2=64),
    "rnn": Config("rnn", max_steps=6000, batch_size=128, learning_rate=0.005, weight_decay=0.01,
                  n_embd=64, n_embd2=128, dropout=0.1),
    "gru": Config("gru", max_steps=6000, batch_size=128, learning_rate=0.005, weight_decay=0.01,
                  n_embd=64, n_embd2=128, dropout=0.2),
    "lstm": Config("lstm", max_steps=6000, batch_size=128, learning_rate=0.005, weight_decay=0.01,
                   n_embd=64, n_embd2=192, dropout=0.3),
    "transformer": Config("transformer", max_steps=2500, batch_size=128, learning_rate=0.005,
                          weight_decay=0.1, block_size=0, n_layer=4, n_head=4, n_embd=64, dropout=0.1),
}
DEFAULT_WORDS = "names.txt"
DEFAULT_OUT = "out/makemore"


def configure(type="transformer", like=None, **values):
    """The Config of a type, e.g. `configure("mlp", n_embd=16, max_steps=1000)`.

    A model of your own has no defaults; `like` names the type to take them from. Settings that a type does
    not use are ignored. Raises UserError for impossible values, TypeError for settings that do not exist.
    """
    if type not in MODELS:
        raise UserError(f"no model is called {type!r}; there are {', '.join(MODELS)}")
    if like is None:
        like = type
    if like not in DEFAULTS:
        raise UserError(f'{like!r} has no defaults; name a type that has: configure("{type}", like="mlp")')
    config = dataclasses.replace(DEFAULTS[like], type=type)
    for name, value in values.items():
        if name not in SETTINGS:
            raise TypeError(f"configure() has no setting {name!r}; there are {', '.join(SETTINGS)}")
        value = check_number(name, value)
        is_used = getattr(config, name) is not None
        if issubclass(MODELS[type], NGram) and name == "max_steps":  # it counts in one step
            is_used = False
        if is_used:
            setattr(config, name, value)
    return check_config(config)


# ------------------------------------------------------------------------------------------------------------
# Data


def read_words(name):
    """The words of a file, one per line, without the white space around them and without empty lines."""
    words = [line.strip() for line in read_file(name).split("\n")]
    return [word for word in words if word]


def clean(words, max_length, verbose=False):
    """The words without duplicates, so that no word is in two splits, and without those that are too long.

    `verbose` prints what was left out. Raises UserError if fewer than ten words remain.
    """
    words = check_words(words)
    if verbose and len(words) > 500_000:  # it takes seconds until the next line is printed
        print(f"preparing {len(words):,} words", flush=True)
    kept = list(dict.fromkeys(word for word in words if len(word) <= max_length))
    too_long = sum(len(word) > max_length for word in words)
    if len(kept) < 10:
        raise UserError(too_few_words(words, kept, too_long, max_length))
    if verbose:
        print_left_out(words, kept, too_long, max_length)
    return kept


class Vocab:
    """The characters of a text; token i is `chars[i]`. Those in `first` come first, the others sorted.

    Token 0 is the newline: it separates the words of a file, so no word contains it. It is shown as a dot.
    """

    def __init__(self, text, first="\n"):
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
        chars = self.chars.removeprefix("\n")
        shown = ""
        for char in chars[:100]:
            shown += char if char.isprintable() else char.encode("unicode_escape").decode()
        return shown + " ..." if len(chars) > 100 else shown


class Words:
    """Words as one row of tokens, `. e m m a . o l i v i a .`: `starts[i]` is the dot before word i.

    A million words are encoded in less than a second, because no loop runs over words or characters.
    """

    def __init__(self, words, vocab, device="cpu"):
        self.words = words
        self.vocab = vocab
        tokens = torch.from_numpy(vocab.encode("\n".join(["", *words, ""]))).to(device)
        boundaries = (tokens == 0).nonzero()[:, 0]
        self.starts = boundaries[:-1]
        self.lengths = boundaries.diff()  # of each word: its letters and its end
        self.tokens = F.pad(tokens, (0, int(self.lengths.max())))  # so that no batch reads past the end

    def __len__(self):
        return len(self.words)

    def batch(self, index):
        """Inputs x and targets y of the words `index`, (B, T) each. Padding after a word: 0 in x, -1 in y."""
        lengths = self.lengths[index, None]  # (B, 1)
        t = torch.arange(int(lengths.max()), device=lengths.device)  # (T,)
        position = self.starts[index, None] + t  # (B, T)
        inside = t < lengths  # (B, T)
        x = self.tokens[position].long().where(inside, 0)
        y = self.tokens[position + 1].long().where(inside, -1)
        return x, y

    def training_batch(self, step, batch_size, seed, by_length=True):
        """The batch of a step. Every epoch has its own order, which seed and epoch decide.

        An epoch visits every word once, except the few that are left over and do not fill a batch.
        `by_length` puts words of similar length together (it sorts within groups of forty batches), so that
        there is little padding: an epoch of names.txt takes 174,000 positions, not 280,000 (batches of 128).
        """
        batch_size = min(batch_size, len(self))
        epoch, i = divmod(step, len(self) // batch_size)
        return self.batch(epoch_batches(self, epoch, batch_size, seed, by_length)[i])

    def batches_by_length(self, positions, number):
        """The indices of the first `number` words, longest words first, in batches.

        A batch has at most `positions` positions; a word that is longer makes a batch of its own.
        """
        order = self.lengths[:number].argsort(descending=True, stable=True)
        while len(order):
            longest = int(self.lengths[order[0]])
            batch, order = order.tensor_split([max(1, positions // longest)])
            yield batch


@functools.lru_cache(maxsize=1)  # all batches of an epoch are made at once
def epoch_batches(data, epoch, batch_size, seed, by_length):
    """The words of every batch of an epoch: indices, (number of batches, batch_size)."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    number = len(data) // batch_size
    order = torch.randperm(len(data), generator=generator)[: number * batch_size]
    if by_length:
        lengths = data.lengths.cpu()
        groups = order.split(40 * batch_size)
        order = torch.cat([group[lengths[group].argsort(stable=True)] for group in groups])
    batches = order.view(number, batch_size)
    return batches[torch.randperm(number, generator=generator)]


def split(words):
    """80 % of the words for training, 10 % for validation, 10 % for the test; the same with every --seed.

    Of more than a million words, 100,000 are enough to validate and 100,000 to test.
    """
    order = torch.randperm(len(words), generator=torch.Generator().manual_seed(1337)).tolist()
    tenth = min(max(1, len(words) // 10), 100_000)
    parts = {"training": order[2 * tenth :], "validation": order[tenth : 2 * tenth], "test": order[:tenth]}
    return {name: [words[i] for i in part] for name, part in parts.items()}


def fit_to_data(config, words, vocab):
    """The config with vocab_size and block_size filled in. Raises UserError if the words do not fit."""
    V = len(vocab)
    longest = max(map(len, words)) + 1  # with its end
    block_size = config.block_size
    if block_size == 0:
        block_size = longest
    model_class = MODELS[config.type]
    if issubclass(model_class, (Transformer, BagOfWords)) and block_size < longest:
        raise UserError(f"--block-size {block_size} is too short: "
                        f"the longest word and its end need {longest}")
    if issubclass(model_class, NGram) and V ** (block_size + 1) >= 2**63:
        raise UserError(f"--block-size {block_size} is too long: with {V} letters, group numbers exceed 2^63")
    return dataclasses.replace(config, vocab_size=V, block_size=block_size)


def is_real(x):
    """(B, T) bool: False at padding, which is any 0 after the first position."""
    return F.pad(x[:, 1:] != 0, (1, 0), value=True)


def contexts(x, n):
    """(B, T) -> (B, T, n): the last n tokens at every position, with start tokens in front of the word."""
    return F.pad(x, (n - 1, 0)).unfold(1, n, 1)


def ranges(start, end):
    """The numbers of several ranges, one range after the other, and for each the index of its range.

    From 4 to 7 and from 9 to 11, the numbers are 4, 5, 6, 9, 10 and the indices 0, 0, 0, 1, 1.
    """
    lengths = end - start
    index = torch.repeat_interleave(lengths)
    before = lengths.cumsum(0) - lengths  # how many numbers the ranges before it have
    numbers = torch.arange(len(index), device=start.device) - before[index] + start[index]
    return numbers, index


# ------------------------------------------------------------------------------------------------------------
# Models. Each is built from a Config and maps tokens x (B, T) to logits (B, T, V): the row at position t
# scores the token after x[:, t] and, in evaluation, depends on nothing to the right of t. `context` says how
# many tokens the model looks back. Nothing else is needed: a class of your own goes into MODELS, and it can
# borrow the defaults of another type, `configure("mine", like="mlp")`.
# "Try:" names a change and how much higher (+) or lower (-) the validation loss is with it, after as many
# seconds as 1,000 steps take without it (`python tests/benchmark.py makemore --ledger`; three seeds).


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
        self.context = config.block_size
        self.vocab_size = config.vocab_size
        self.register_buffer("groups", torch.zeros(1, dtype=torch.int64))
        self.register_buffer("counts", torch.zeros(1, dtype=torch.int64))
        self.register_buffer("alpha", torch.tensor(1.0))

    def first_number(self, x):
        """(B, T): at every position, the number of the group of the last n letters followed by token 0."""
        powers = self.vocab_size ** torch.arange(self.context, 0, -1, device=x.device)
        return (contexts(x, self.context) * powers).sum(2)

    def fit(self, x, y):
        """Count all groups of some words and add them to the counts; x and y are from `Words.batch`."""
        numbers = self.first_number(x) + y  # (B, T)
        groups, counts = torch.unique(numbers[y >= 0], return_counts=True)
        # Merge them with the groups that have been counted before.
        self.groups, place = torch.unique(torch.cat([self.groups, groups]), return_inverse=True)
        self.counts = torch.zeros_like(self.groups).index_add(0, place, torch.cat([self.counts, counts]))

    def forward(self, x):
        first = self.first_number(x).flatten()  # (N,), N = B T
        # The groups of a context are neighbours among the sorted numbers.
        start = torch.searchsorted(self.groups, first)
        end = torch.searchsorted(self.groups, first + self.vocab_size)
        group, row = ranges(start, end)
        counts = self.alpha.repeat(len(first), self.vocab_size)  # (N, V)
        counts[row, self.groups[group] - first[row]] += self.counts[group]
        counts = counts.view(*x.shape, -1)  # (B, T, V)
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
            rows = x.flatten(0, -2) if real is None else x[real]  # (N, C)
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
        # No bias here: batch normalisation would subtract it again, and has a bias of its own.
        self.linears = nn.ModuleList(nn.Linear(a, b, bias=False) for a, b in itertools.pairwise(sizes))
        self.norms = nn.ModuleList(BatchNorm(b) for b in sizes[1:])
        self.tanhs = nn.ModuleList(nn.Tanh() for _ in sizes[1:])
        self.head = nn.Linear(config.n_embd2, config.vocab_size)
        kaiming(self)

    def forward(self, x):
        real = is_real(x)  # (B, T), N of them true
        h = self.embed(contexts(x, self.context)[real]).flatten(1)  # (N, n * n_embd)
        for linear, norm, tanh in zip(self.linears, self.norms, self.tanhs):
            h = tanh(norm(linear(h)))  # (N, n_embd2)  Try: tanh(linear(h)): -0.027 (a step is cheaper)
        logits = self.head(h)  # (N, V)
        out = logits.new_zeros(*x.shape, logits.shape[1])  # (B, T, V)
        out[real] = logits  # back to one row per word; the loss ignores the zeros at the padding
        return out


class Ninja(BatchNormMLP):
    """BatchNormMLP trained without autograd: every derivative written by hand (lecture 5, "backprop ninja").

    README.md shows how to compare each of them with autograd's.
    """

    @torch.no_grad()
    def forward_backward(self, x, y):
        """The loss of a batch; sets every parameter's `.grad`. `dx` stands for d loss / dx."""
        real = y >= 0
        letters = contexts(x, self.context)[real]  # (N, n)
        target = y[real]  # (N,)
        h = self.embed(letters).flatten(1)  # (N, n * n_embd)
        layers = []  # what backward needs of each
        for linear, norm in zip(self.linears, self.norms):
            z = linear(h)  # (N, n_embd2)
            normed, scale = norm.normalize(z)  # (N, n_embd2), (n_embd2,)
            out = torch.tanh(normed * norm.gain + norm.bias)
            layers.append((linear, norm, h, normed, scale, out))
            h = out
        log_probs = self.head(h).log_softmax(1)  # (N, V)
        loss = -log_probs.gather(1, target[:, None]).mean()

        # Cross-entropy: the probabilities, minus 1 at the target, divided by the number of rows.
        dlogits = (log_probs.exp() - F.one_hot(target, log_probs.shape[1])) / len(target)
        # Linear, out = h @ W.T + b: the shapes leave only one way to write it.
        self.head.weight.grad = dlogits.T @ h
        self.head.bias.grad = dlogits.sum(0)
        dh = dlogits @ self.head.weight
        for linear, norm, h, normed, scale, out in reversed(layers):
            # Tanh: 1 - tanh^2.
            dtanh = dh * (1 - out**2)
            # Gain and bias.
            norm.gain.grad = (dtanh * normed).sum(0)
            norm.bias.grad = dtanh.sum(0)
            # Batch norm: every row changes the mean and the variance, and through them all other rows.
            dnormed = dtanh * norm.gain
            dz = scale * (dnormed - dnormed.mean(0) - normed * (dnormed * normed).mean(0))
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
    level k joins the nodes at t - 2^k and t (a dilated causal convolution). Start tokens pad the front.
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
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(sizes[-1], config.vocab_size)
        kaiming(self)

    def forward(self, x):
        real = is_real(x)
        h = self.embed(F.pad(x, (self.context - 1, 0)))  # (B, T + n - 1, n_embd)
        distance = 1  # between the two nodes that are joined: 1, 2, 4, ...
        for linear, norm, tanh in zip(self.linears, self.norms, self.tanhs):
            left = h[:, :-distance]
            right = h[:, distance:]
            h = linear(torch.cat([left, right], dim=2))  # (B, shorter by the distance, n_embd2)
            front = h.shape[1] - x.shape[1]  # start tokens, which count as real
            h = self.dropout(tanh(norm(h, F.pad(real, (front, 0), value=True))))
            distance *= 2
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

    def __init__(self, config):
        super().__init__()
        self.size = config.n_embd2
        self.embed = nn.Embedding(config.vocab_size, config.n_embd)
        self.from_input = nn.Linear(config.n_embd, self.gates * self.size)
        self.from_state = nn.Linear(self.size, self.gates * self.size)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(self.size, config.vocab_size)

    def first_state(self, zeros):
        return zeros

    def cell(self, inputs, h):
        """The output of a time step, (B, size), and the state for the next one: here the same."""
        h = torch.tanh(inputs + self.from_state(h))  # Try: torch.relu: -0.028.
        return h, h

    def forward(self, x):
        inputs = self.from_input(self.dropout(self.embed(x.T)))  # (T, B, gates * size)
        state = self.first_state(inputs.new_zeros(len(x), self.size))
        outputs = []
        for step in inputs:
            output, state = self.cell(step, state)
            outputs.append(output)
        return self.head(self.dropout(torch.stack(outputs, dim=1)))  # (B, T, V)


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
        h = n + z * (h - n)
        return h, h


class LSTM(RNN):
    """A second state, the memory c, that is only added to and scaled (Hochreiter & Schmidhuber 1997).

    c' = f c + i g, h' = o tanh(c'), with gates i, f, o (forget gate f: Gers et al. 2000) and new content g.
    """

    gates = 4

    def first_state(self, zeros):
        return zeros, zeros

    def cell(self, inputs, state):
        h, c = state
        i, f, g, o = (inputs + self.from_state(h)).chunk(4, dim=1)
        # Try: c + ..., never forget: +0.030.
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        return h, (h, c)


def attention(q, k, v):
    """Every position takes a weighted mean of v at itself and to its left; q, k, v (B, heads, T, head size).

    Vaswani et al. 2017, "Attention Is All You Need". The model calls PyTorch's fused
    `F.scaled_dot_product_attention(q, k, v, is_causal=True)`, which computes the same as these lines.
    """
    scores = q @ k.mT / math.sqrt(q.shape[-1])  # (B, heads, T, T)
    future = torch.ones_like(scores, dtype=torch.bool).triu(1)  # above the diagonal: positions to the right
    scores = scores.masked_fill(future, -math.inf)
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
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x):
        B, T, C = x.shape
        q, k, v = self.qkv(self.norm1(x)).chunk(3, dim=2)  # (B, T, C) each
        q = q.view(B, T, self.n_head, -1).transpose(1, 2)  # (B, heads, T, head size)
        k = k.view(B, T, self.n_head, -1).transpose(1, 2)
        v = v.view(B, T, self.n_head, -1).transpose(1, 2)
        heads = F.scaled_dot_product_attention(q, k, v, is_causal=True)  # = attention(q, k, v)
        heads = heads.transpose(1, 2).reshape(B, T, C)  # side by side again
        x = x + self.dropout(self.proj(heads))
        h = F.gelu(self.up(self.norm2(x)), approximate="tanh")  # (B, T, 4 * C)
        return x + self.dropout(self.down(h))


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
    """AdamW (Loshchilov & Hutter 2019), but Muon for the matrices inside a transformer's blocks.

    Weight decay applies to matrices, embeddings among them, but not to gains and biases. The rates are 0 here
    because the loop sets them at every step.
    """
    blocks, matrices, vectors = [], [], []
    for name, p in model.named_parameters():
        if p.dim() != 2:
            vectors.append(p)
        elif name.startswith("blocks."):
            blocks.append(p)
        else:
            matrices.append(p)
    decay = config.weight_decay
    groups = [{"params": matrices, "weight_decay": decay}, {"params": vectors, "weight_decay": 0.0}]
    optimizers = [torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.99), fused=True)]
    if blocks:
        optimizers.append(Muon(blocks, lr=0.0, weight_decay=decay))
    return optimizers


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


def loss_of(logits, y, reduction="mean"):
    """Cross-entropy of logits (B, T, V) and targets y (B, T): nats per character, padding (-1) left out."""
    losses = F.cross_entropy(logits.flatten(0, 1), y.flatten(), ignore_index=-1, reduction=reduction)
    return losses.view(y.shape) if reduction == "none" else losses


def device_of(model):
    return next(iter(model.state_dict().values())).device  # (an NGram has no parameters, but buffers)


@torch.no_grad()
def evaluate(model, data, characters=None, progress=None):
    """(loss, standard error): the mean over all characters of `data`, in evaluation mode.

    All words, or the first ones with about `characters` characters in all. Words are independent of one
    another, letters of a word are not. So the loss is treated as a ratio, the sum of the words' losses over
    the sum of their lengths, with the standard error of a ratio (Cochran 1977); nan for a single word.
    `progress` shows a line during long evaluations.
    """
    number = len(data)  # of words
    if characters is not None:
        number = int((data.starts < characters).sum())
    was_training = model.training
    model.eval()
    sums, lengths = [], []  # of each word: the sum of its losses, its length
    done = 0
    # A few positions at a time: faster, and light on memory even if the vocabulary is large.
    positions = min(10_000, 5_000_000 // len(data.vocab))
    for index in data.batches_by_length(positions, number):
        x, y = data.batch(index)
        sums.append(loss_of(model(x), y, reduction="none").sum(1).cpu().double())
        lengths.append(data.lengths[index].cpu())
        done += len(index)
        if progress:
            progress.show(f"evaluating: {done:,} of {number:,} words")
    if progress:
        progress.clear()
    model.train(was_training)
    sums = torch.cat(sums)
    lengths = torch.cat(lengths)
    mean = sums.sum() / lengths.sum()
    deviations = sums - mean * lengths
    error = math.nan
    if len(sums) > 1:
        error = (deviations.square().sum() * len(sums) / (len(sums) - 1)).sqrt().item() / lengths.sum().item()
    return mean.item(), error


def most_evaluated(vocab):
    """The most characters that a run evaluates of each part of the data."""
    return min(EVALUATED, LOGITS // len(vocab))


def count(model, data, progress):
    """Fit an NGram: count, then choose the alpha with the best validation loss. Returns the training loss."""
    training = data["training"]
    done = 0
    for index in training.batches_by_length(1_000_000, len(training)):
        x, y = training.batch(index)
        model.fit(x, y)
        done += len(index)
        progress.show(f"counting: {done:,} of {len(training):,} words")
    progress.clear()
    losses = {}
    for alpha in (0.01, 0.03, 0.1, 0.3, 1.0):
        model.alpha.fill_(alpha)
        losses[alpha], _ = evaluate(model, data["validation"], most_evaluated(training.vocab), progress)
        print(f"  alpha {alpha:<4} validation {losses[alpha]:.4f}")
    model.alpha.fill_(min(losses, key=losses.get))
    return evaluate(model, training, most_evaluated(training.vocab), progress)[0]


def train(words, config, out=DEFAULT_OUT, *, device="auto", source="", checkpoint=None, diagnose=False,
          **sampling):
    """Train a model on a list of words, write model.pt, log.csv and pictures into `out`, print the progress.

    Returns a Result: the model with the weights of the best validation loss, its vocab, the run's figures.
    `device`, `diagnose`: as on the command line. `source`: the file that the words are from, for `resume`.
    `checkpoint`: continue that run, see `resume`. `sampling`: options of `generate`. Raises UserError; raises
    KeyboardInterrupt after Ctrl-C, once everything is saved. Torch's random numbers and number of threads
    are set for the run and put back at its end, so train one model at a time, not several in threads.
    """
    # Check and complete what was given.
    config = check_config(config)
    device = pick_device(device)
    source = absolute(source)
    words = clean(words, config.max_length, verbose=True)
    vocab = Vocab("".join(words))
    sampling = check_sampling(vocab, {"seed": config.seed, "max_length": config.max_length} | sampling)
    config = fit_to_data(config, words, vocab)

    # Prepare the data, the model, its optimizers and the run.
    parts = split(words)
    sizes = ", ".join(f"{len(part):,} {name}" for name, part in parts.items())
    origin = Path(source).name or "words"
    print(f"data: {origin}, {len(words):,} words ({sizes}), letters {vocab}", flush=True)
    if len(words) > 1_000_000:
        print("encoding the words", flush=True)
    data = {name: Words(part, vocab, device) for name, part in parts.items()}
    with seeded(config.seed):
        model = MODELS[config.type](config).to(device)
    optimizers = make_optimizers(model, config)
    run = Run(out, config, model, vocab, optimizers, data, sampling, source, digest_of(words), checkpoint)
    run.introduce()
    if diagnose:
        run.diagnosis = Diagnosis(model, data["training"])

    # The loop. Run does everything that happens between two steps, from evaluation to Ctrl-C.
    has_batch_norm = any(isinstance(module, BatchNorm) for module in model.modules())
    by_length = not has_batch_norm  # its statistics need batches of mixed lengths
    with seeded(config.seed), run:
        for step in run:
            if isinstance(model, NGram):
                run.loss = count(model, data, run.progress)
                continue
            x, y = data["training"].training_batch(step, config.batch_size, config.seed, by_length)
            if isinstance(model, Ninja):
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
    return run.result()


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
    out = folder_of(out)
    checkpoint = read_checkpoint(out)
    config = checkpoint["config"]
    if words is None:
        source = source or checkpoint["source"]
        if not source:
            raise UserError(f"the run in {out} did not read its words from a file: give them again, with "
                            f"-i FILE or makemore.resume({str(out)!r}, words=...)")
        words = read_words(source)
    words = clean(words, config.max_length)
    if digest_of(words) != checkpoint["digest"]:
        raise UserError(f"{source or 'this list'} does not have the words of the run in {out}; "
                        "to train on other words, start a run in another folder")
    if max_steps is not None and not issubclass(MODELS[config.type], NGram):  # which counts in one step
        config = dataclasses.replace(config, max_steps=max_steps)
    return train(words, config, out, source=source or checkpoint["source"], checkpoint=checkpoint, **options)


def train_all(words, out, values, options):
    """Train every type for the same number of steps, each in a folder; then print a table, draw a picture."""
    folder = Path(out).absolute()
    configs = [configure(name, **{"max_steps": 2000} | values) for name in DEFAULTS]
    words = clean(words, configs[0].max_length, verbose=True)
    vocab = Vocab("".join(words))
    for config in configs:
        fit_to_data(config, words, vocab)  # raises UserError before any type is trained
    prepare_folder(folder, ["losses.png"])
    results = {}
    for config in configs:
        print(f"\n== {config.type} ==")
        results[config.type] = train(words, config, folder / config.type, **options).results
    print(f"\n{'type':12} {'parameters':>10} {'seconds':>8} {'validation':>10} {'test':>7}  a sample")
    for name, result in results.items():
        print(f"{name:12} {result['parameters']:>10,} {result['seconds']:>8.1f} "
              f"{result['validation'][0]:>10.4f} {result['test'][0]:>7.4f}  {result['samples'][0]}")
    draw_losses({name: result["run"] for name, result in results.items()}, folder / "losses.png")
    print(f"picture: {Path(out) / 'losses.png'}")


# ------------------------------------------------------------------------------------------------------------
# Sampling


def load(out=DEFAULT_OUT, device="cpu", last=False):
    """(model, vocab) of the run in a folder: the weights of the best validation loss, in evaluation mode.

    `last`: the weights of the last step instead. Raises UserError if there is no such run.
    """
    checkpoint = read_checkpoint(out)
    config = checkpoint["config"]
    if config.type not in MODELS:
        raise UserError(f"the model in {out} is of type {config.type!r}; register it in MODELS first")
    model = MODELS[config.type](config)
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
def generate(model, vocab, prompt="", num_samples=20, temperature=1.0, top_k=None, seed=None, max_length=256,
             progress=None):
    """A list of `num_samples` words that begin with `prompt`, sampled letter by letter.

    temperature: 0 takes the most likely letter, below 1 is more careful, above 1 more daring. top_k: only
    the k most likely letters. seed: the same one gives the same words, if as many are sampled. All words grow
    together as rows of a batch, until each has ended or has `max_length` letters after its prompt. `progress`
    shows a line when it takes long. Raises UserError for a prompt with characters that are not in the
    vocabulary.
    """
    options = check_sampling(vocab, {
        "prompt": prompt, "num_samples": num_samples, "temperature": temperature, "top_k": top_k,
        "seed": seed, "max_length": max_length})
    generator = torch.Generator()
    if options["seed"] is None:
        generator.seed()
    else:
        generator.manual_seed(options["seed"])
    num_samples = options["num_samples"]
    start = [0, *vocab.encode(prompt).tolist()]
    tokens = torch.tensor(start).repeat(num_samples, 1)  # (num_samples, t)
    growing = torch.arange(num_samples)  # the rows that have not ended
    was_training = model.training
    model.eval()
    while len(growing) and tokens.shape[1] < len(start) + options["max_length"]:
        if progress:
            progress.show(f"sampling: letter {tokens.shape[1]} of {len(growing):,} words")
        parts = tokens[growing, -model.context :].to(device_of(model)).split(1000)
        logits = torch.cat([model(part)[:, -1].float().cpu() for part in parts])  # (growing, V)
        drawn = torch.zeros(num_samples, dtype=torch.int64)
        drawn[growing] = draw(logits, options["temperature"], options["top_k"], generator)
        tokens = torch.cat([tokens, drawn[:, None]], dim=1)
        growing = drawn.nonzero()[:, 0]
    if progress:
        progress.clear()
    model.train(was_training)
    return [vocab.decode(row[1:]).split("\n")[0] for row in tokens.tolist()]


def print_words(names, data):
    """Print sampled words: first those that are new, then those in each part of the data. Long words and
    those with commas get a line each."""
    remaining = set(names)
    groups = {}
    for name, part in data.items():
        groups[f"in {name}"] = remaining.intersection(part.words)
        remaining -= groups[f"in {name}"]
    for mark, group in {"new": remaining, **groups}.items():
        found = [name or "(nothing)" for name in names if name in group]
        if any("," in name or len(name) > 40 for name in found):
            print(f"  {mark}:")
            for name in found:
                print(f"    {name}")
        elif found:
            print(f"  {mark}: {', '.join(found)}")


# ------------------------------------------------------------------------------------------------------------
# Pictures


def new_figure(width, height):
    """An empty figure (inches). It does not use pyplot, so it leaves a notebook's own plots alone."""
    from matplotlib.figure import Figure  # imported here because it takes a second

    warnings.filterwarnings("ignore", "Glyph .* missing")  # a character that the font lacks becomes a box
    return Figure(figsize=(width, height), dpi=120)


def save_figure(figure, path):
    """Write a figure as a PNG file."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    write_file(path, picture.getvalue())


def draw_loss(run, path):
    """The losses of a run: every batch, their running mean, validation, and a uniform guess."""
    uniform = math.log(len(run.vocab))
    ax = new_figure(8, 5).add_axes((0.09, 0.1, 0.88, 0.87))
    label = f"a uniform guess: ln {len(run.vocab)} = {uniform:.2f}"
    ax.axhline(uniform, color="gray", linestyle="--", label=label)
    if isinstance(run.model, NGram):  # one step, so there is no curve
        ax.axhline(run.best_loss, color="C1", label=f"validation, {run.best_loss:.4f}")
        ax.set(xticks=[], xlabel="counted in one step", ylim=(0, uniform + 0.2))
    else:
        width = 1 + len(run.losses) // 50
        mean = np.convolve(run.losses, np.ones(width) / width, mode="valid")
        steps, _, _, validation = zip(*run.log)
        ax.plot(run.losses, color="C0", alpha=0.25, linewidth=0.5, label="batch")
        ax.plot(range(width - 1, len(run.losses)), mean, color="C0", label=f"mean of {width} batches")
        ax.plot(steps, validation, ".-", color="C1", label=f"validation, {run.best_loss:.4f} at best")
        lowest = min((loss for loss in (*mean, run.best_loss) if math.isfinite(loss)), default=0)
        ax.set(xlabel="step", ylim=(lowest - 0.2, uniform + 0.2))
    ax.set_ylabel("loss (nats per character)")
    ax.grid(alpha=0.3)
    ax.legend(fontsize="small", loc="upper right")
    save_figure(ax.figure, path)


COLORS = {  # the color of each learned type
    "bigram": "tab:purple", "mlp": "tab:blue", "batchnorm": "tab:orange", "ninja": "sandybrown",
    "wavenet": "tab:green", "bow": "#b0b0b0", "rnn": "#909090", "gru": "#707070", "lstm": "#505050",
    "transformer": "tab:red",
}


def draw_losses(runs, path):
    """`runs`: {type: Run}. The validation losses over the seconds of training; a straight line for counts.

    One color per lecture (grays: in no lecture). The labels are in the order of the losses, as close to the
    ends of their curves as they can be without touching.
    """
    best = min((run.best_loss for run in runs.values() if math.isfinite(run.best_loss)), default=0)
    low = best - 0.05
    high = best + 0.85
    slowest = max(run.log[-1][1] for run in runs.values())
    ax = new_figure(10, 6).add_axes((0.07, 0.09, 0.71, 0.88))
    label_at = low
    for name, run in sorted(runs.items(), key=lambda item: item[1].best_loss):
        color = COLORS.get(name, "black")
        end = slowest
        if name in COLORS:
            _, seconds, _, validation = zip(*run.log[1:])
            end = seconds[-1]
            ax.plot(seconds, validation, color=color)
        else:
            ax.axhline(run.best_loss, color=color, linestyle="--", linewidth=1)
        label_at = max(label_at + 0.034 * (high - low), run.best_loss)
        line = {"arrowstyle": "-", "color": color, "alpha": 0.4, "linewidth": 0.7, "relpos": (0, 0.5)}
        ax.annotate(f"{name} {run.best_loss:.3f}", (end, run.best_loss), (1.02, label_at), color=color,
                    va="center", textcoords=ax.get_yaxis_transform(), parse_math=False, arrowprops=line)
    ax.set(xlabel="seconds of training", ylabel="validation loss (nats per character)", xscale="log",
           ylim=(low, high))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.grid(alpha=0.3, which="both")
    save_figure(ax.figure, path)


def boundary(vocab):
    """How a picture shows token 0: as a dot, or as \\n if the words contain dots."""
    return "\\n" if "." in vocab.chars else "."


def draw_pairs(model, vocab, training, path):
    """How often one letter follows another: counted in the training words, and beside it, for a Bigram, what
    its learned table expects. Only the thirty most frequent letters, so that the numbers stay readable: each
    takes a millisecond to draw."""
    letters = [boundary(vocab), *vocab.chars[1:]]
    frequency = torch.bincount(training.tokens, minlength=len(vocab))
    shown = frequency.argsort(descending=True)[:30].sort().values  # tokens
    # Pairs are neighbours in the row of all words. The padding at its end is not a pair.
    end = int(training.starts[-1] + training.lengths[-1])
    place = torch.full((len(vocab),), len(shown), dtype=torch.int32, device=shown.device)  # of each letter
    place[shown] = torch.arange(len(shown), dtype=torch.int32, device=shown.device)
    size = len(shown) + 1  # with one place for all letters that are not shown
    first = place[training.tokens[:end].int()]
    second = place[training.tokens[1 : end + 1].int()]
    counts = torch.bincount(first * size + second, minlength=size * size).view(size, size).cpu().double()
    tables = {"counted": counts[:-1, :-1]}
    if isinstance(model, Bigram):
        probabilities = model.table.weight.detach()[shown].double().softmax(1)[:, shown].cpu()
        tables["learned"] = counts[:-1].sum(1, keepdim=True) * probabilities
    side = max(5, 0.33 * len(shown))  # of a table, in inches; the title needs five
    width = len(tables) * (side + 1)
    height = side + 1.5
    figure = new_figure(width, height)
    names = [letters[i] for i in shown.tolist()]
    for k, (title, table) in enumerate(tables.items()):
        left = 0.7 + k * (side + 1)
        ax = figure.add_axes((left / width, 0.6 / height, side / width, side / height))
        ax.imshow(table.sqrt().numpy(), cmap="Blues")
        for i in range(len(shown)):
            for j in range(len(shown)):
                number = round(table[i, j].item())
                if number > 0:
                    color = "white" if table[i, j] > table.max() / 4 else "black"
                    ax.text(j, i, number, ha="center", va="center", fontsize=7, color=color)
        ax.set_xticks(range(len(names)), names, parse_math=False)
        ax.set_yticks(range(len(names)), names, parse_math=False)
        ax.tick_params(top=True, labeltop=True)
        ax.set(xlabel="next letter", ylabel="letter",
               title=f"Pairs in the training words, {title} (colors: square roots)")
    save_figure(figure, path)


def draw_letters(model, vocab, training, path):
    """The vectors of the fifty most frequent letters in a plane: those that behave alike are close together.

    With `--n-embd 2` the picture shows all there is; otherwise, the first two principal components.
    """
    weight = model.embed.weight.detach().cpu().double()  # (V, n_embd)
    frequency = torch.bincount(training.tokens, minlength=len(vocab)).cpu()
    shown = frequency.argsort(descending=True)[:50].tolist()
    centred = weight - weight[shown].mean(0)
    if weight.shape[1] < 3:
        points = F.pad(centred, (0, 2 - weight.shape[1]))  # a vector of one number gets a zero
        labels = ["first number", "second number"]
    else:
        _, sizes, components = torch.linalg.svd(centred[shown], full_matrices=False)
        points = centred @ components[:2].T
        share = sizes.square() / sizes.square().sum()
        labels = [f"first principal component ({100 * share[0]:.0f} % of the variance)",
                  f"second ({100 * share[1]:.0f} %)"]
    ax = new_figure(7, 7).add_axes((0.11, 0.09, 0.86, 0.86))
    for i in shown:
        letter = boundary(vocab) if i == 0 else vocab.chars[i]
        color = "orange" if letter.lower() in "aeiou" else "lightblue"
        a, b = points[i].tolist()
        ax.scatter(a, b, s=200, color=color)
        ax.text(a, b, letter, ha="center", va="center", parse_math=False)
    ax.set(title="The vectors of the letters (vowels: orange)", xlabel=labels[0], ylabel=labels[1])
    save_figure(ax.figure, path)


class Diagnosis:
    """What lecture 4 measures: activations and gradients of the tanh layers at the beginning and at the end
    of a run (or of what --resume adds to it) and, after every step, how far the weights moved.

    Beside them: the same network with a bad start, in which the weight matrix of every linear layer but the
    head is five times as large. (Batch norm undoes it: in `batchnorm`, both look alike.)
    """

    def __init__(self, model, training):
        self.model = model
        self.x, self.y = training.batch(torch.arange(min(256, len(training))))
        self.before = {}  # weights before a step
        self.ratios = []  # of every step: log10(update / weight) of every matrix
        self.figure = new_figure(13, 10)
        self.axes = self.figure.subplot_mosaic(
            [[f"{kind}, {when}" for when in ("a bad start", "at the beginning", "at the end")]
             for kind in ("activations", "gradients")] + [["updates"] * 3])
        bad = copy.deepcopy(model)
        for name, module in bad.named_modules():
            if isinstance(module, nn.Linear) and name != "head":
                module.weight.data *= 5
        self.look("a bad start", bad)
        self.look("at the beginning", model)

    def look(self, when, model):
        """Run a batch through a copy; print and draw, for every tanh layer, its output and the derivative of
        the loss with respect to its input: what passes back through it."""
        twin = copy.deepcopy(model).train()
        outputs = []
        for module in twin.modules():
            if isinstance(module, nn.Tanh):
                module.register_forward_hook(lambda module, inputs, output: outputs.append(output))
        with seeded(0):  # for dropout
            loss = loss_of(twin(self.x), self.y)
        if not outputs:
            raise UserError(f"--diagnose looks at nn.Tanh layers; {type(twin).__name__} has none")
        gradients = torch.autograd.grad(loss, outputs)
        for number, (output, gradient) in enumerate(zip(outputs, gradients), 1):
            gradient = gradient * (1 - output.detach() ** 2)
            saturated = output.flatten(0, -2).abs() > 0.97  # (N, channels)
            print(f"{when}: layer {number}, {100 * saturated.float().mean():.2f} % saturated, "
                  f"{saturated.all(dim=0).sum()} dead units; gradients: std {gradient.std():.1e}")
            self.draw_histogram(f"activations, {when}", number, output.detach())
            self.draw_histogram(f"gradients, {when}", number, gradient)

    def draw_histogram(self, title, number, values):
        density, edges = np.histogram(values.float().cpu().numpy(), 40, density=True)
        middles = (edges[1:] + edges[:-1]) / 2
        self.axes[title].plot(middles, density, label=f"layer {number}, std {values.std():.2g}")

    def measure(self):
        """Between two steps: how far did the last one move the weights?"""
        weights = {}
        for name, p in self.model.named_parameters():
            if p.dim() == 2:
                weights[name.removesuffix(".weight")] = p.detach().clone()
        if self.before:
            ratios = []
            for name, p in weights.items():
                ratio = (p - self.before[name]).std() / self.before[name].std()
                ratios.append(math.log10(ratio.item() + 1e-12))
            self.ratios.append(ratios)
        self.before = weights

    def finish(self, path):
        """Measure once more, print the updates, draw everything."""
        self.measure()
        self.look("at the end", self.model)
        ax = self.axes["updates"]
        for name, ratios in zip(self.before, zip(*self.ratios)):
            print(f"{name:18} log10(update/weight): median {np.median(ratios):+.2f}, last {ratios[-1]:+.2f}")
            ax.plot(ratios, linewidth=0.8, label=name)
        ax.axhline(-3, color="black", linestyle="--", label="a good value is about -3")
        ax.set(xlabel="step", ylabel="log10(std of update / std of weight)")
        for title, ax in self.axes.items():
            ax.set_title(title.replace("a bad start", "a bad start (weights x 5)"))
            if title.startswith("activations"):
                ax.legend(fontsize=8, loc="upper center")
                highest = ax.get_ylim()[1]
                ax.set(xlim=(-1, 1), ylim=(0, 1.3 * highest), xticks=(-1, -0.5, 0, 0.5, 1),
                       xlabel="output of tanh", ylabel="density")
                ax.axvspan(-1, -0.97, color="red", alpha=0.2)  # saturated
                ax.axvspan(0.97, 1, color="red", alpha=0.2)
            elif title.startswith("gradients"):
                ax.legend(fontsize=8, loc="lower center")
                ax.set(yscale="log", xlabel="d loss / d input of tanh", ylabel="density")
                ax.ticklabel_format(axis="x", style="sci", scilimits=(0, 0))
                ax.locator_params(axis="x", nbins=5)
            else:
                ax.legend(fontsize=8, loc="lower center", ncols=3)
        self.figure.tight_layout()
        save_figure(self.figure, path)


# ------------------------------------------------------------------------------------------------------------
# Machinery: errors, limits, files, checkpoints, what happens between two steps, the command line. You can
# stop reading here and still understand the models. gpt.py has the same machinery.

VERSION = "1.0.0"
FORMAT = "makemore 5"  # of model.pt
# The entries of model.pt, besides its format and its config.
CONTENT = "chars", "source", "digest", "threads", "progress", "model", "optimizers"
FILES = "model.pt", "log.csv", "loss.png", "losses.png", "pairs.png", "letters.png", "diagnose.png"
HERE = Path(__file__).resolve().parent
EVALUATED = 1_000_000  # characters: of a larger part of the data, only so many are evaluated,
LOGITS = 100_000_000  # and fewer if they would need more logits than this


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
    "max_length": Number(int, 1, 10**4, "leave out longer words, end samples there (default: 256)"),
    "batch_size": Number(int, 1, 10**6, "words in a batch"),
    "learning_rate": Number(float, 0, 10**9, "the peak of the learning rate"),
    "weight_decay": Number(float, 0, 10**9, "decoupled weight decay, matrices only"),
    "block_size": Number(int, 1, 10**6, "context length, in letters"),
    "n_layer": Number(int, 1, 1000, "number of layers"),
    "n_head": Number(int, 1, 1000, "number of attention heads"),
    "n_embd": Number(int, 1, 10**5, "channels of a letter's vector"),
    "n_embd2": Number(int, 1, 10**5, "channels of a hidden layer or a state"),
    "dropout": Number(float, 0, 0.99, "dropout probability"),
    "seed": Number(int, 0, 2**32 - 1, "default: 3407; with --sample-only: a new one every time"),
}
SAMPLING = {
    "num_samples": Number(int, 1, 10**6, "how many words (default: 20)"),
    "temperature": Number(float, 0, 10**9, "0: always the most likely letter; 1: as learned (default)"),
    "top_k": Number(int, 1, 10**6, "draw from the N most likely letters only (default: all)"),
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
        raise UserError(f"makemore.configure(type) makes the config; this is {config!r}")
    if config.type not in MODELS:
        raise UserError(f"no model is called {config.type!r}; there are {', '.join(MODELS)}")
    values = {"type": str(config.type)}
    for name in SETTINGS:
        value = getattr(config, name)
        can_be_none = config.type not in DEFAULTS or getattr(DEFAULTS[config.type], name) is None
        if value is None and can_be_none:  # the type does not use it
            continue
        if name == "block_size" and value == 0:  # as long as the longest word: see fit_to_data
            continue
        values[name] = check_number(name, value)
    config = dataclasses.replace(config, **values)
    if config.n_head and config.n_embd % config.n_head:
        raise UserError(f"--n-embd {config.n_embd} does not divide into {config.n_head} heads")
    # A power of two has a single 1 in binary.
    is_wavenet = issubclass(MODELS[config.type], WaveNet)
    if is_wavenet and (config.block_size < 2 or config.block_size.bit_count() != 1):
        raise UserError(f"--block-size must be a power of two for wavenet (2, 4, 8, 16, ...), "
                        f"not {config.block_size}")
    return config


def check_sampling(vocab, options):
    """The options of `generate` as plain values. Raises UserError for impossible values, TypeError for
    options that do not exist."""
    checked = {}
    for name, value in options.items():
        if name == "prompt":
            if not isinstance(value, str) or "\n" in value:
                raise UserError(f"a prompt must be one line of text, not {value!r}")
            vocab.encode(value)  # raises UserError for letters that are not in the vocabulary
            checked[name] = value
        elif name in ("top_k", "seed") and value is None:
            checked[name] = None
        elif name in SAMPLING or name in ("seed", "max_length"):
            checked[name] = check_number(name, value)
        else:
            raise TypeError(f"train() and generate() have no option {name!r}; settings such as max_steps "
                            "go into configure()")
    return checked


def check_words(words):
    """The words as a list, without white space around them and without empty ones. Raises UserError if they
    are not words."""
    if isinstance(words, (str, bytes, Path)) or not hasattr(words, "__iter__"):
        raise UserError(f"the words must be a list, not {str(words)[:40]!r}; makemore.read_words(name) reads "
                        "them from a file")
    checked = []
    for word in words:
        if not isinstance(word, str):
            raise UserError(f"a word must be text, not {word!r}")
        word = word.strip()
        if "\n" in word:
            raise UserError(f"a word must be one line, not {word!r}")
        if word:
            checked.append(word)
    text = "".join(checked)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{text[error.start]!r} is half of a character; it cannot be in a word") from None
    return checked


def too_few_words(words, kept, too_long, max_length):
    """The message if fewer than ten different words remain: it names the cause."""
    message = f"need at least 10 distinct words, found {len(kept)}"
    if too_long:
        message += (f"; {too_long:,} of {len(words):,} lines are longer than --max-length {max_length} "
                    f"(the longest has {max(map(len, words)):,} characters)")
        if len(words) < 10:
            message += "; write each word on a line of its own"
    elif len(words) > len(kept):
        message += f"; the other {len(words) - len(kept):,} lines repeat them"
    return message


def print_left_out(words, kept, too_long, max_length):
    """Say which lines are not used. Losing more than a twentieth of them for their length stands out."""
    duplicates = len(words) - len(kept) - too_long
    if duplicates:
        print(f"left out as duplicates: {duplicates:,}")
    if too_long:
        print(f"left out as longer than {max_length} characters: {too_long:,}")
    if too_long > len(words) / 20:
        share = 100 * too_long / len(words)
        print(f"WARNING: {share:.0f} % of the words are left out, as they are longer than --max-length "
              f"{max_length}. The longest has {max(map(len, words)):,} characters.")


def check_same(values, config):
    """Raises UserError if a flag contradicts the settings of an earlier run."""
    for name, value in values.items():
        known = getattr(config, name)
        if known is not None and known != value:  # None: the type does not use it
            raise UserError(f"{flag(name)} {value} contradicts the run in the folder, which has {known}")


def pick_device(name):
    """`auto` means a CUDA GPU if there is one, or else the CPU. Apple's GPU is used only if asked for.

    Raises UserError if the device cannot be used.
    """
    name = str(name)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        (torch.zeros(1, device=name) + 1).cpu()  # a trial
        return torch.device(name)
    except (RuntimeError, AssertionError):
        raise UserError(f"device {name!r} cannot be used here; try --device cpu") from None


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
    """The absolute path of the file that the words are from, as text; "" if there is none."""
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


def digest_of(words):
    """A fingerprint of the words: different words have different fingerprints."""
    return hashlib.sha256("\n".join(words).encode()).hexdigest()


def prepare_folder(folder, names=FILES):
    """Make the folder; rename what an earlier run left in it, model.pt to model.1.pt and so on."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        number = 1
        while any(folder.glob(f"*.{number}.*")):
            number += 1
        for name in names:
            path = folder / name
            if path.exists():
                moved = path.rename(path.with_suffix(f".{number}{path.suffix}"))
                print(f"moved aside: {name} to {moved.name}")
    except OSError as error:
        raise UserError(f"cannot use {relative(folder)} as the output folder: {error.strerror}") from None


def read_checkpoint(out):
    """The content of a checkpoint: of model.pt in a folder, or of a file. Raises UserError if it is missing,
    damaged or not ours."""
    path = Path(out)
    if not path.is_file():
        path = path / "model.pt"
    if not path.exists():
        others = sorted(Path(out).glob("*/model.pt"))  # of --type all
        others = ", ".join(str(other.parent) for other in others)
        todo = f"choose one of {others}" if others else "train a model first"
        raise UserError(f"{path} does not exist; {todo}")
    try:
        with zipfile.ZipFile(path):  # on any other file torch would print warnings
            checkpoint = torch.load(path, weights_only=True, map_location="cpu")
        found = checkpoint["format"]
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except Exception:  # noqa: BLE001 (torch.load fails in as many ways as there are damaged files)
        raise UserError(f"{path} is damaged, or not a checkpoint") from None
    if found != FORMAT:
        raise UserError(f"{path} has format {found}; this version reads {FORMAT}; choose another folder")
    try:
        content = {name: checkpoint[name] for name in CONTENT}
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

    SAVED = "step", "seconds", "best_step", "best_loss", "best", "losses", "log"

    def __init__(self, out, config, model, vocab, optimizers, data, sampling, source, digest, checkpoint):
        self.out = out  # as given, for messages
        self.folder = Path(out).absolute()  # the working directory may change
        self.config = config
        self.model = model
        self.vocab = vocab
        self.optimizers = optimizers
        self.data = data
        self.sampling = sampling
        self.source = source
        self.digest = digest
        self.threads = torch.get_num_threads()
        self.parameters = sum(p.numel() for p in model.parameters())  # how many
        self.step = 0
        self.seconds = 0.0  # of training alone
        self.best_step = 0  # by validation loss
        self.best_loss = math.inf
        self.best = {}  # the weights
        self.losses = []  # of each batch
        self.log = []  # (step, seconds, training, validation) of each evaluation
        self.progress = Progress(sys.stdout)
        self.diagnosis = None
        self.handler = None  # of Ctrl-C before the run
        self.pressed = False  # Ctrl-C, perhaps in the middle of a step
        self.stopped = False  # Ctrl-C, seen between two steps
        if checkpoint:
            self.restore(checkpoint)
        if config.end < self.step:
            raise UserError(f"--max-steps {config.end} counts all steps, "
                            f"and this run has already done {self.step}")

    def restore(self, checkpoint):
        """Continue where the run of a checkpoint stopped."""
        # The number of threads changes the order of summation, hence the rounding.
        self.threads = checkpoint["threads"]
        self.model.load_state_dict(checkpoint["model"])
        for optimizer, state in zip(self.optimizers, checkpoint["optimizers"]):
            optimizer.load_state_dict(state)
        for name in self.SAVED:
            setattr(self, name, checkpoint["progress"][name])

    def introduce(self):
        """Print what is trained, with which settings."""
        uniform = math.log(len(self.vocab))
        given = {name: value for name, value in vars(self.config).items() if value is not None}
        print(f"model: {self.parameters:,} parameters; a uniform guess has a loss of {uniform:.4f}")
        print("settings: " + ", ".join(f"{name} {value}" for name, value in given.items()))
        print(f"device: {device_of(self.model)}, threads: {self.threads}")

    def __enter__(self):
        if self.log:
            print(f"resuming at step {self.step}")
        else:
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
            due = self.step % max(100, self.config.max_steps // 20) == 0 or self.step == self.config.end
            done = bool(self.log) and self.log[-1][0] == self.step  # before a resume
            if due and not done:
                self.report()
            if self.stopped or self.step == self.config.end:
                return
            if self.diagnosis:
                self.diagnosis.measure()
            # For dropout. Each step seeds anew, so no random state needs to be stored.
            torch.manual_seed(self.config.seed * 1_000_003 + self.step)
            start = time.perf_counter()
            yield self.step
            self.seconds += time.perf_counter() - start
            self.step += 1
            self.losses.append(self.loss)
            self.stopped = self.pressed  # read only here, so that the step is saved before the loop ends
            if self.stopped or time.monotonic() - self.saved > 15:
                self.save()
            self.progress.show(self.describe(f"batch {self.loss:.4f}"))

    def report(self):
        """Evaluate, keep the best weights, save, print the losses; print samples the first two times and then
        every fourth time."""
        characters = min(most_evaluated(self.vocab), 100_000)  # enough to compare steps
        validation, _ = evaluate(self.model, self.data["validation"], characters, self.progress)
        if math.isnan(validation):
            validation = math.inf  # so that it can be compared
        since = self.log[-1][0] if self.log else 0  # the step of the last evaluation
        batches = self.losses[since:]
        training = sum(batches) / len(batches) if batches else math.nan
        self.log.append((self.step, self.seconds, training, validation))
        is_better = validation < self.best_loss
        is_counted = isinstance(self.model, NGram)  # counts are always better than none
        if is_better or not self.best or is_counted:
            self.best = {name: value.cpu().clone() for name, value in self.model.state_dict().items()}
            self.best_step = self.step
            self.best_loss = validation
        self.save()
        losses = f"validation {validation:.4f}"
        if batches:
            losses += f", batches {training:.4f}"
        self.progress.say(self.describe(losses))
        number = len(self.log) - 1
        if (number == 1 or number % 4 == 0) and self.step != self.config.end and validation < math.inf:
            longest = int(self.data["training"].lengths.max())
            few = {"num_samples": 5, "seed": self.step, "max_length": longest, "progress": self.progress}
            print_words(generate(self.model, self.vocab, **self.sampling | few), self.data)

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
            "format": FORMAT, "config": vars(self.config), "chars": self.vocab.chars,
            "source": self.source, "digest": self.digest, "threads": self.threads,
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
        draw_loss(self, self.folder / "loss.png")
        if self.stopped or self.pressed:
            print(f"stopped after step {self.step}; everything is saved; run it again with --resume to "
                  f"continue (in Python: makemore.resume({str(self.out)!r}))")
            raise KeyboardInterrupt
        if self.diagnosis:
            self.diagnosis.finish(self.folder / "diagnose.png")
        self.model.load_state_dict(self.best)
        self.model.eval()

    def result(self):
        """Evaluate the best weights, print their losses and samples, draw what they have learned."""
        results = {}
        for name, part in self.data.items():
            results[name] = evaluate(self.model, part, most_evaluated(self.vocab), self.progress)
        losses = ", ".join(f"{name} {loss:.4f}" for name, (loss, _) in results.items())
        error = results["test"][1]
        noise = "of one word" if math.isnan(error) else f"standard error {error:.4f}"
        self.progress.say(f"loss: {losses} ({noise}) with the weights of step {self.best_step}, "
                          f"the best in validation; {self.seconds:.0f} s of training")
        if self.data["training"].starts[-1] >= most_evaluated(self.vocab):
            print(f"(losses of the first {most_evaluated(self.vocab):,} characters, if there are more)")
        if self.best_step == 0:
            step, _, training, validation = self.log[-1]
            if training < self.log[0][3] < validation:
                cause = "learned its words by heart (use more words, dropout or a smaller model)"
            else:
                cause = "diverged (use a smaller --learning-rate) or was too short"
            print(f"WARNING: validation never got below its first value: the run {cause}. "
                  f"These are the weights that it started with. At the last step, {step}: validation "
                  f"{validation:.4f}, batches {training:.4f}; --sample-only --last samples from them.")
        samples = generate(self.model, self.vocab, progress=self.progress, **self.sampling)
        print_words(samples, self.data)
        if isinstance(self.model, (NGram, Bigram)):
            draw_pairs(self.model, self.vocab, self.data["training"], self.folder / "pairs.png")
        if isinstance(getattr(self.model, "embed", None), nn.Embedding):
            draw_letters(self.model, self.vocab, self.data["training"], self.folder / "letters.png")
        print(f"in {self.out}: {', '.join(name for name in FILES if (self.folder / name).exists())}")
        results |= {
            "parameters": self.parameters, "seconds": self.seconds, "run": self, "samples": samples}
        return Result(self.model, self.vocab, results)


# The command line


class Parser(argparse.ArgumentParser):
    def error(self, message):
        raise UserError(f"{message}; --help shows all settings")


def parse_arguments(argv):
    parser = Parser(prog="makemore", description="Words in, more words like them out. The "
                    "defaults depend on --type: see DEFAULTS in makemore.py.")
    group = parser.add_argument_group("files and what to do")
    group.add_argument("-i", "--input-file", metavar="FILE",
                       help=f"words, one per line (default: {DEFAULT_WORDS})")
    group.add_argument("-o", "--work-dir", metavar="DIR", default=DEFAULT_OUT,
                       help=f"run folder (default: {DEFAULT_OUT})")
    group.add_argument("--type", choices=[*MODELS, "all"], metavar="TYPE",
                       help=f"{', '.join(MODELS)} (default: transformer); all: every type, one table")
    action = group.add_mutually_exclusive_group()
    action.add_argument("--resume", action="store_true", help="continue the run in the folder")
    action.add_argument("--sample-only", action="store_true",
                        help="do not train; sample from the model in the folder")
    group.add_argument("--last", action="store_true",
                       help="with --sample-only: the weights of the last step, not those of the best one")
    group.add_argument("--diagnose", action="store_true",
                       help="measure the tanh layers: activations, gradients, updates")
    group.add_argument("--prompt", metavar="TEXT", default="", help="beginning of every word")
    group.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps, ... (default: auto)")
    group.add_argument("-n", "--num-workers", help=argparse.SUPPRESS)  # of Karpathy's makemore; ignored here
    group.add_argument("--version", action="version",
                       version=f"%(prog)s {VERSION}, torch {torch.__version__}")
    short = {"batch_size": "-b", "learning_rate": "-l", "weight_decay": "-w"}
    for title, numbers in (("settings", SETTINGS), ("sampling", SAMPLING)):
        group = parser.add_argument_group(title)
        for name, number in numbers.items():
            flags = [flag(name)]
            if name in short:
                flags.insert(0, short[name])
            metavar = "N" if number.kind is int else "X"
            group.add_argument(*flags, type=number.kind, metavar=metavar, help=number.help)
    return parser.parse_args(argv)


def execute(args):
    """Do what the arguments ask for."""
    settings, options = {}, {"prompt": args.prompt}
    for name, value in vars(args).items():
        if value is not None and name in SETTINGS:
            settings[name] = check_number(name, value)
        if value is not None and name in SAMPLING:
            options[name] = check_number(name, value)
    if args.last and not args.sample_only:
        raise UserError("--last needs --sample-only")
    if args.sample_only:
        sample_only(args, settings, options)
        return
    options |= {"device": args.device, "diagnose": args.diagnose}
    words = None
    if args.input_file is not None or not args.resume:
        options["source"] = DEFAULT_WORDS if args.input_file is None else args.input_file
        words = read_words(options["source"])
    if args.resume:
        config = read_checkpoint(args.work_dir)["config"]
        if "max_steps" in settings:
            options["max_steps"] = settings.pop("max_steps")
        check_same({"type": args.type or config.type, **settings}, config)
        resume(args.work_dir, words, **options)
    elif args.type == "all":
        train_all(words, args.work_dir, settings, options)
    else:
        chosen = args.type or "transformer"
        unused = [flag(name) for name in settings if getattr(DEFAULTS[chosen], name) is None]
        if unused:
            print(f"{chosen} does not use {', '.join(unused)}")
        train(words, configure(chosen, **settings), args.work_dir, **options)


def sample_only(args, settings, options):
    """Print samples of a trained model, with the part of the data that has them if the words are there."""
    if args.diagnose:
        raise UserError("--diagnose cannot be combined with --sample-only")
    checkpoint = read_checkpoint(args.work_dir)
    config = checkpoint["config"]
    if "seed" in settings:  # of the samples
        options["seed"] = settings.pop("seed")
    check_same({"type": args.type or config.type, **settings}, config)
    model, vocab = load(args.work_dir, args.device, args.last)
    progress = Progress(sys.stderr)  # so that standard output has nothing but the words
    names = generate(model, vocab, max_length=config.max_length, progress=progress, **options)
    words = []
    if args.input_file is not None:
        words = clean(read_words(args.input_file), config.max_length)
        if digest_of(words) != checkpoint["digest"]:
            raise UserError(f"{args.input_file} does not have the words of the run in {args.work_dir}")
    elif checkpoint["source"]:
        with contextlib.suppress(UserError):  # the file may be gone
            words = clean(read_words(checkpoint["source"]), config.max_length)
    origin = {}
    if digest_of(words) == checkpoint["digest"]:
        for part, members in split(words).items():
            for name in set(names).intersection(members):
                origin[name] = f"\tin {part}"
    for name in names:
        print(name + origin.get(name, ""))


def main(argv=None):
    """The command line. Returns None, or the exit status of a failure."""
    if argv is None and hasattr(builtins, "__IPYTHON__"):  # a notebook: sys.argv is its kernel's
        argv = []
    with contextlib.suppress(AttributeError):  # a character that the terminal lacks must not stop us
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        execute(parse_arguments(argv))
        print(end="", flush=True)  # a closed pipe is noticed here, not at the exit
    except UserError as error:
        print(f"makemore: {error}", file=sys.stderr)
        return error.status
    except OSError as error:
        try:
            sys.stdout.flush()
        except OSError:  # standard output is a closed pipe (`makemore ... | head`) or the disk is full
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return 141
        print(f"makemore: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except SystemExit:  # after --help and --version
        return None


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # torch is imported now
    sys.exit(main(sys.argv[1:]))
