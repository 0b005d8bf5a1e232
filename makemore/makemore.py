"""makemore: a file of words in, more words like them out.

    python makemore.py -i names.txt                      train the default model (a Transformer), sample names
    python makemore.py --type mlp -o out/mlp             another model, another folder
    python makemore.py --sample-only --prompt em         names from the trained model in out/
    python makemore.py --resume                          go on where the last run stopped
    python makemore.py --type all                        every model, one table, one picture

A character-level language model reads a word letter by letter and predicts at every place the letter that
comes next. Token 0 marks the start and the end of a word, so that "emma" makes five predictions:

    . -> e     .e -> m     .em -> m     .emm -> a     .emma -> .

All models here do that one job. They stand in the order of the course "Neural Networks: Zero to Hero":

    ngram         counts of letter groups                                   lecture 2
    bigram        the same table, learned by gradient descent               lecture 2
    mlp           the last letters as vectors, one tanh layer               lecture 3
    batchnorm     deeper, with batch normalisation                          lecture 4
    ninja         the same, its gradients written by hand                   lecture 5
    wavenet       neighbours fused pairwise, level by level                 lecture 6
    bow, rnn, gru, lstm                                                     between the lectures
    transformer   the GPT-2 block                                           lecture 7

Contents: data, models, defaults, the training loop, sampling, pictures; the machinery (checkpoints, errors,
arguments). The loss is everywhere the mean negative log-likelihood in nats per character, the end included.
"""
import argparse
import contextlib
import dataclasses
import io
import itertools
import math
import os
import shlex
import signal
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

# ------------------------------------------------------------------------------------------------------------
# Data

MAX_LENGTH = 64  # characters; longer lines are left out, and a sample that finds no end is cut here


class UserError(Exception):
    """What the user can put right: the command line prints it as one sentence and exits with `status`."""

    def __init__(self, message, status=2):
        super().__init__(message)
        self.status = status


class Vocab:
    """The characters of a word list, sorted. Token 0 is the boundary, token i is `chars[i - 1]`."""

    def __init__(self, chars):
        self.chars = "".join(sorted(set(chars)))
        self.table = np.zeros(0x110000, dtype=np.int64)  # Unicode code point -> token
        self.table[[ord(c) for c in self.chars]] = np.arange(1, len(self.chars) + 1)

    def __len__(self):
        return len(self.chars) + 1

    def encode(self, text):
        """The tokens of a text, without boundaries; UserError names the characters that have none."""
        unknown = sorted(set(text) - set(self.chars))
        if unknown:
            raise UserError(f"the model never saw {''.join(unknown)!r}; it knows {self}")
        return [int(self.table[ord(c)]) for c in text]

    def decode(self, tokens):
        return "".join("." if t == 0 else self.chars[t - 1] for t in tokens)

    def __str__(self):  # "a-z" rather than twenty-six letters
        runs = []
        for c in self.chars:
            if runs and ord(c) == ord(runs[-1][-1]) + 1:
                runs[-1] += c
            else:
                runs.append(c)
        return "".join(f"{run[0]}-{run[-1]}" if len(run) > 2 else run for run in runs).replace(" ", "space")


class Words:
    """A list of words as a flat tensor of tokens, `. e m m a . o l i v i a .`: word i begins at `starts[i]`.

    A million words are encoded in less than a second, since no loop runs over words or characters.
    """

    def __init__(self, words, vocab):
        self.words, self.vocab = words, vocab
        codes = np.frombuffer("\n".join(["", *words, ""]).encode("utf-32-le"), dtype=np.uint32)
        flat = vocab.table[codes]  # the newlines become token 0
        boundaries = np.flatnonzero(flat == 0)
        self.tokens = torch.from_numpy(np.pad(flat, (0, MAX_LENGTH)))  # so that no batch reads past the end
        self.starts = torch.from_numpy(boundaries[:-1])
        self.lengths = torch.from_numpy(np.diff(boundaries))  # characters and the end: predictions per word
        self.epoch = None  # which epoch `self.batches` holds

    def __len__(self):
        return len(self.words)

    def batch(self, index):
        """Inputs x and targets y of some words, both (B, T), T the longest. Padding: 0 in x, -1 in y."""
        lengths = self.lengths[index, None]  # (B, 1)
        t = torch.arange(int(lengths.max()))  # (T,)
        place = self.starts[index, None] + t  # (B, T)
        inside = t < lengths
        x = self.tokens[place].where(inside, 0)
        y = self.tokens[place + 1].where(inside, -1)
        return x, y

    def training_batch(self, step, batch_size, seed, by_length=True):
        """The batch of a step: every epoch visits the words in a new order, drawn from seed and epoch alone.

        `by_length` puts words of like length together (sorted within forty batches), so that almost no
        padding is left: an epoch of names.txt takes 170,000 places instead of 275,000 (batches of 128).
        """
        batch_size = min(batch_size, len(self))
        per_epoch = len(self) // batch_size
        epoch, i = divmod(step, per_epoch)
        key = (epoch, batch_size, seed, by_length)
        if self.epoch != key:
            generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
            order = torch.randperm(len(self), generator=generator)[: per_epoch * batch_size]
            if by_length:
                groups = order.split(40 * batch_size)
                order = torch.cat([group[self.lengths[group].argsort(stable=True)] for group in groups])
            shuffled = torch.randperm(per_epoch, generator=generator)
            self.epoch, self.batches = key, order.view(per_epoch, batch_size)[shuffled]
        return self.batch(self.batches[i])


def split(words):
    """80 % of the words to train on, 10 % for validation, 10 % to test: always the same, whatever --seed."""
    order = torch.randperm(len(words), generator=torch.Generator().manual_seed(1337)).tolist()
    tenth = max(1, len(words) // 10)
    parts = {"test": order[:tenth], "validation": order[tenth : 2 * tenth], "training": order[2 * tenth :]}
    return {name: [words[i] for i in parts[name]] for name in ("training", "validation", "test")}


def is_real(x):
    """(B, T) bool: False on padding, which is a 0 anywhere but at the start of a word."""
    real = x != 0
    real[:, 0] = True
    return real


def windows(x, n):
    """(B, T) -> (B, T, n): at every place the last n tokens, with start tokens in front of the word."""
    return F.pad(x, (n - 1, 0)).unfold(1, n, 1)


# ------------------------------------------------------------------------------------------------------------
# The models. Each is built from a Config and maps tokens x (B, T) to logits (B, T, V): the row at place t
# scores the token after x[:, t] and depends on nothing to the right of t; `context` says how many tokens it
# looks back. The rest relies on no more than that. Behind "Try:" stands a line to change, and the validation
# loss that it gave: one run with --max-steps 1000 each, changed and unchanged.


class NGram(nn.Module):
    """Counts of letter groups, add-alpha smoothed (Shannon 1948, "A Mathematical Theory of Communication").

    P(next | last n letters) = (count(letters, next) + alpha) / (count(letters) + alpha V). With n = 8 there
    would be 27^9 counts, nearly all zero: only what occurs is kept. Level k holds groups of k letters as
    sorted keys (number of the group's first k - 1 letters) * V + last letter; a group's number is its place.
    """

    # Try: a context of 4 in DEFAULTS: 2.192, with 3 it is 2.127. Longer groups say more, but most occur once.

    def __init__(self, config):
        super().__init__()
        self.context, self.vocab_size = config.block_size, config.vocab_size
        for name in [*(f"keys{k}" for k in range(self.context + 1)), "totals", "counts"]:
            self.register_buffer(name, torch.zeros(0, dtype=torch.int64))
        self.register_buffer("alpha", torch.tensor(1.0))

    def fit(self, x, y):
        """Count all groups of a batch in one pass (x, y from `Words.batch`)."""
        real = y >= 0
        letters = [*windows(x, self.context).unbind(2), y]  # n + 1 tensors (B, T)
        number = torch.zeros_like(y[real])
        for k, letter in enumerate(letters):
            self.totals = self.counts  # of the groups one letter shorter
            keys, number, self.counts = torch.unique(
                number * self.vocab_size + letter[real], return_inverse=True, return_counts=True
            )
            setattr(self, f"keys{k}", keys)

    def find(self, k, number, letter):
        """Number of the group that `letter` makes of group `number`, -1 where it was never seen."""
        keys, wanted = getattr(self, f"keys{k}"), number * self.vocab_size + letter
        place = torch.searchsorted(keys, wanted)
        found = F.pad(keys, (0, 1), value=-1)[place] == wanted  # (a key too large lands on the padding)
        return place.where(found & (number >= 0), -1)

    def forward(self, x):
        number = torch.zeros_like(x)
        for k, letter in enumerate(windows(x, self.context).unbind(2)):
            number = self.find(k, number, letter)  # (B, T)
        every_letter = torch.arange(self.vocab_size, device=x.device)
        group = self.find(self.context, number[..., None], every_letter)  # (B, T, V)
        total = F.pad(self.totals, (0, 1))[number]  # number -1 picks the zero at the end
        count = F.pad(self.counts, (0, 1))[group]
        return (count + self.alpha).log() - (total + self.alpha * self.vocab_size).log()[..., None]

    def load_state_dict(self, state):
        for name, value in state.items():  # the tables have the size that the data gave them
            setattr(self, name, value)


class Bigram(nn.Module):
    """The table of letter pairs, learned: row i holds the logits of the letters after letter i (lecture 2).

    A one-hot vector times a matrix W picks a row of W, so the lookup *is* a linear layer on one-hot inputs.
    Gradient descent finds log counts; weight decay pulls logits to 0, a uniform guess: it is the smoothing.
    """

    def __init__(self, config):
        super().__init__()
        self.context = 1
        self.table = nn.Embedding(config.vocab_size, config.vocab_size)
        nn.init.normal_(self.table.weight, std=0.02)

    def forward(self, x):
        return self.table(x)  # (B, T, V)


class MLP(nn.Module):
    """The last n letters as vectors, laid end to end, through one tanh layer.

    Bengio et al. 2003, "A Neural Probabilistic Language Model" (lecture 3). A bigram table with n letters of
    context would have V^n rows; here letters that behave alike can share what is learned about them.
    """

    def __init__(self, config):
        super().__init__()
        self.context = config.block_size
        self.embed = nn.Embedding(config.vocab_size, config.n_embd)
        # Try: nn.ReLU() in place of nn.Tanh(): 2.148, unchanged 2.151. A context of 5 in DEFAULTS: 2.100.
        self.layers = nn.Sequential(nn.Linear(self.context * config.n_embd, config.n_embd2), nn.Tanh())
        self.head = nn.Linear(config.n_embd2, config.vocab_size)
        kaiming(self)

    def forward(self, x):
        vectors = self.embed(windows(x, self.context))  # (B, T, n, n_embd)
        return self.head(self.layers(vectors.flatten(2)))  # (B, T, V)


def kaiming(model):
    """Weights that keep the size of what passes tanh layers (He et al. 2015): std = gain / sqrt(fan in).

    The last layer starts small, so that the first loss is a uniform guess, ln V, and not a confident error.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=(5 / 3) / math.sqrt(module.in_features))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    with torch.no_grad():
        model.head.weight *= 0.1  # Try: leave it out. The MLP's first loss is 3.89, after 1,000 steps 2.162.


class BatchNorm(nn.Module):
    """Every channel to mean 0 and variance 1 over the batch, then scaled and shifted by what is learned.

    Ioffe & Szegedy 2015, "Batch Normalization". In training mean and variance are the batch's, at evaluation
    their running averages, so that a prediction does not depend on the other words of its batch.
    """

    def __init__(self, channels, momentum=0.1):
        super().__init__()
        self.momentum = momentum
        self.gain = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x, real=None):
        """x (..., C) -> (..., C); `real` (...) says which rows are no padding and count in the statistics."""
        mean, var = self.running_mean, self.running_var
        if self.training:
            rows = x if real is None else x[real]  # (N, C)
            var, mean = torch.var_mean(rows, dim=0, correction=0)
            with torch.no_grad():
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(var * len(rows) / max(1, len(rows) - 1), self.momentum)
        scale = (var + 1e-5) ** -0.5
        normalized = (x - mean) * scale
        if not torch.is_grad_enabled():
            self.scale, self.normalized = scale, normalized  # what a backward pass by hand needs (Ninja)
        return normalized * self.gain + self.bias


class BatchNormMLP(nn.Module):
    """A deeper MLP that trains well since every layer is normalised (lecture 4).

    The places of all words are laid under one another, padding left out: (N, n) windows.
    """

    def __init__(self, config):
        super().__init__()
        self.context = config.block_size
        self.embed = nn.Embedding(config.vocab_size, config.n_embd)
        sizes = [self.context * config.n_embd] + [config.n_embd2] * config.n_layer
        # No bias here: batch normalisation would take it away again, and has its own.
        self.linears = nn.ModuleList(nn.Linear(a, b, bias=False) for a, b in itertools.pairwise(sizes))
        self.norms = nn.ModuleList(BatchNorm(b) for b in sizes[1:])
        self.tanhs = nn.ModuleList(nn.Tanh() for _ in sizes[1:])
        self.head = nn.Linear(config.n_embd2, config.vocab_size)
        kaiming(self)

    def hidden(self, letters):
        """(N, n) -> the input of every layer: [(N, n * n_embd), (N, n_embd2), (N, n_embd2), ...]"""
        h = [self.embed(letters).flatten(1)]
        for linear, norm, tanh in zip(self.linears, self.norms, self.tanhs):
            h.append(tanh(norm(linear(h[-1]))))  # Try: tanh(linear(h[-1])): 2.084, unchanged 2.075.
        return h

    def forward(self, x):
        real = is_real(x)  # (B, T), N of them true
        logits = self.head(self.hidden(windows(x, self.context)[real])[-1])  # (N, V)
        return logits.new_zeros(*x.shape, logits.shape[1]).index_put((real,), logits)  # (B, T, V)


class Ninja(BatchNormMLP):
    """BatchNormMLP trained without autograd: every derivative written by hand (lecture 5, "backprop ninja").

    `compare_gradients` shows how far each is from autograd's.
    """

    @torch.no_grad()
    def forward_backward(self, x, y):
        """The loss of a batch; fills every parameter's `.grad`. Below, `dx` is the loss' derivative by x."""
        real = y >= 0
        letters, target = windows(x, self.context)[real], y[real]  # (N, n), (N,)
        h = self.hidden(letters)
        logits = self.head(h[-1])  # (N, V)
        log_probs = logits.log_softmax(1)
        rows = torch.arange(len(target), device=x.device)
        loss = -log_probs[rows, target].mean()

        # Cross-entropy: the probabilities, less 1 at the target, over the number of rows.
        dlogits = log_probs.exp()
        dlogits[rows, target] -= 1
        dlogits /= len(target)
        # Linear, out = h @ W.T + b: the shapes leave only one way to write it.
        self.head.weight.grad = dlogits.T @ h[-1]
        self.head.bias.grad = dlogits.sum(0)
        dh = dlogits @ self.head.weight
        for i in reversed(range(len(self.linears))):
            linear, norm = self.linears[i], self.norms[i]
            # Tanh: 1 - tanh^2.
            dnorm = dh * (1 - h[i + 1] ** 2)
            norm.gain.grad = (dnorm * norm.normalized).sum(0)
            norm.bias.grad = dnorm.sum(0)
            # Batch norm: every row moves the mean and the variance, and by them all other rows.
            dz = dnorm * norm.gain
            dz = norm.scale * (dz - dz.mean(0) - norm.normalized * (dz * norm.normalized).mean(0))
            linear.weight.grad = dz.T @ h[i]
            dh = dz @ linear.weight
        # Embedding: a letter that was picked several times collects the sum.
        dvectors = dh.view(-1, self.embed.weight.shape[1])  # (N * n, n_embd)
        self.embed.weight.grad = torch.zeros_like(self.embed.weight).index_add(0, letters.flatten(), dvectors)
        return loss


def compare_gradients(model, batch):
    """Print, per parameter of a Ninja, its gradient's largest difference to autograd's; return the largest.

    `batch` is (x, y) from `Words.batch`. The running statistics move as in a training step.
    """
    x, y = batch
    model.train()
    model.forward_backward(x, y)
    ours = {name: p.grad for name, p in model.named_parameters()}
    model.zero_grad()
    loss_of(model(x), y).backward()
    worst = 0.0
    for name, p in model.named_parameters():
        difference = (ours[name] - p.grad).abs().max().item()
        worst = max(worst, difference)
        print(f"{name:18} {tuple(p.shape)!s:12} exact: {difference == 0!s:5}  "
              f"largest difference {difference:.1e}")  # fmt: skip
    return worst


class WaveNet(nn.Module):
    """A tree that fuses neighbours pairwise, level by level (van den Oord et al. 2016, "WaveNet"; lecture 6).

        logits                    head                    (B, T, V)
        level 2                     o                     (B, T, n_embd2)
                            ________|________
        level 1             o               o             (B, T + 4, n_embd2)    t - 4, t
                         ___|___         ___|___
        level 0          o     o         o     o          (B, T + 6, n_embd2)    t - 2, t
                        / \\   / \\       / \\   / \\
        letters        .   .  .   .     .   e m   m       (B, T + 7, n_embd)     t - 1, t    block_size 8

    The tree of the next place shares all but one node a level with the tree of every second, fourth, ...
    place, so all trees of a word are computed at once: level k joins the nodes at t - 2^k and t, a dilated
    causal convolution. Start tokens in front serve as padding.
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
            pairs = torch.cat([h[:, : -(2**k)], h[:, 2**k :]], dim=2)  # (B, shorter by 2^k, 2 * channels)
            h = linear(pairs)
            h = self.drop(tanh(norm(h, F.pad(real, (h.shape[1] - x.shape[1], 0), value=True))))
        return self.head(h)  # (B, T, V)


class BagOfWords(nn.Module):
    """The mean of all letters so far, then a small MLP (the causal bag of words of makemore).

    The mean is attention with equal weights; a running sum gives it at every place at once.
    """

    def __init__(self, config):
        super().__init__()
        self.context = config.block_size
        self.embed = nn.Embedding(config.vocab_size, config.n_embd)
        self.position = nn.Embedding(config.block_size, config.n_embd)
        self.mlp = nn.Sequential(
            nn.Linear(config.n_embd, config.n_embd2), nn.Tanh(), nn.Linear(config.n_embd2, config.n_embd)
        )
        self.head = nn.Linear(config.n_embd, config.vocab_size)
        kaiming(self)

    def forward(self, x):
        t = torch.arange(x.shape[1], device=x.device)
        h = self.embed(x) + self.position(t)  # (B, T, n_embd)  Try: no position: 2.193, unchanged 2.203.
        h = h + h.cumsum(1) / (t + 1)[:, None]
        h = h + self.mlp(h)
        return self.head(h)  # (B, T, V)


class RNN(nn.Module):
    """A state that is carried from letter to letter (Elman 1990; as a language model Mikolov et al. 2010).

    h' = tanh(W x + U h + b). What does not need the state, W x, is one matrix product for all time steps;
    then one loop, which the GRU and the LSTM below share: they only differ in the cell.
    """

    context = 10**9  # there is no end to it
    gates = 1  # rows of W and U, in units of the state's size
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
        return (torch.tanh(inputs + self.from_state(h)),)  # Try: torch.relu: 2.075, unchanged 2.091.

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

    r = sigmoid(..) resets, z = sigmoid(..) keeps, n = tanh(W x + r * (U h)) is new, h' = z h + (1 - z) n. The
    reset comes after the product with U, as in PyTorch's nn.GRU, so that one product serves all gates.
    """

    gates = 3

    def cell(self, inputs, h):
        reset_x, keep_x, new_x = inputs.chunk(3, dim=1)
        reset_h, keep_h, new_h = self.from_state(h).chunk(3, dim=1)
        r = torch.sigmoid(reset_x + reset_h)
        z = torch.sigmoid(keep_x + keep_h)
        n = torch.tanh(new_x + r * new_h)  # Try: new_h without r *: 2.070, unchanged 2.063.
        return (n + z * (h - n),)


class LSTM(RNN):
    """A second state, the memory c, that is only added to and scaled (Hochreiter & Schmidhuber 1997).

    c' = f c + i g, h' = o tanh(c'), with gates i, f, o (the forget gate f: Gers et al. 2000) and news g.
    """

    gates = 4
    states = 2

    def cell(self, inputs, h, c):
        i, f, g, o = (inputs + self.from_state(h)).chunk(4, dim=1)
        # Try: c + ..., never forget: 2.101, unchanged 2.065.
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c


def attention(q, k, v):
    """Every place looks at itself and what is to the left, (B, heads, T, head size) each.

    Vaswani et al. 2017, "Attention Is All You Need". The model calls PyTorch's fused
    `F.scaled_dot_product_attention(q, k, v, is_causal=True)`, which computes just these three lines.
    """
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # (B, heads, T, T)
    scores = scores.masked_fill(torch.ones_like(scores, dtype=torch.bool).triu(1), -math.inf)  # no look ahead
    return scores.softmax(dim=-1) @ v


class Block(nn.Module):
    """The GPT-2 block: letters exchange what they know (attention), then each thinks for itself (MLP)."""

    def __init__(self, config):
        super().__init__()
        C = config.n_embd
        self.n_head, self.dropout = config.n_head, config.dropout
        self.norm1 = nn.LayerNorm(C)
        self.qkv = nn.Linear(C, 3 * C)
        self.proj = nn.Linear(C, C)
        self.norm2 = nn.LayerNorm(C)
        self.up = nn.Linear(C, 4 * C)
        self.down = nn.Linear(4 * C, C)

    def forward(self, x):
        B, T, C = x.shape
        qkv = self.qkv(self.norm1(x)).view(B, T, 3, self.n_head, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (B, heads, T, size)
        heads = F.scaled_dot_product_attention(q, k, v, is_causal=True)  # = attention(q, k, v)
        x = x + self.drop(self.proj(heads.transpose(1, 2).reshape(B, T, C)))
        x = x + self.drop(self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh")))
        return x

    def drop(self, x):
        return F.dropout(x, self.dropout, self.training)


class Transformer(nn.Module):
    """GPT-2 in small (lecture 7).

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
                nn.init.zeros_(p)  # every block begins by passing on what it gets
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
}  # fmt: skip

# ------------------------------------------------------------------------------------------------------------
# Defaults: what differs by type, in one place. None: not used; block_size 0: the longest word and its end.

COLUMNS = ("max_steps", "batch_size", "learning_rate", "weight_decay", "block_size",
           "n_layer", "n_head", "n_embd", "n_embd2", "dropout")  # fmt: skip
DEFAULTS = {
    #              steps batch    rate  decay  block  layers  heads  embd embd2  dropout
    "ngram":       (   1, None,   None,  None,     3,   None,  None, None, None, None),
    "bigram":      (3000,  128,   1e-2,  1e-2,     1,   None,  None, None, None, None),
    "mlp":         (8000,  128,   1e-2,  1e-2,     3,   None,  None,   10,  200, None),
    "batchnorm":   (3000,  128,   3e-3,  1e-2,     8,      3,  None,   16,  128, None),
    "ninja":       (3000,  128,   3e-3,  1e-2,     8,      3,  None,   16,  128, None),
    "wavenet":     (5000,  128,   1e-2,  1e-2,     8,   None,  None,   24,  128,  0.1),
    "bow":         (6000,  128,   1e-2,  1e-2,     0,   None,  None,   64,   64, None),
    "rnn":         (6000,  128,   5e-3,  1e-2,  None,   None,  None,   64,  128,  0.1),
    "gru":         (6000,  128,   5e-3,  1e-2,  None,   None,  None,   64,  128,  0.2),
    "lstm":        (6000,  128,   5e-3,  1e-2,  None,   None,  None,   64,  128,  0.2),
    "transformer": (2500,  128,   5e-3,  1e-1,     0,      4,     4,   64, None,  0.1),
}  # fmt: skip


@dataclasses.dataclass
class Config:
    """All values of a run. Build it with `configure`, which fills in the defaults of the type."""

    type: str
    max_steps: int  # -1: for ever
    batch_size: int | None  # words
    learning_rate: float | None
    weight_decay: float | None
    block_size: int | None  # context in tokens
    n_layer: int | None
    n_head: int | None
    n_embd: int | None
    n_embd2: int | None
    dropout: float | None
    seed: int = 3407
    vocab_size: int = 0  # from the data

    @property
    def eval_interval(self):
        return 500 if self.max_steps < 0 else max(1, self.max_steps // 20)

    def __str__(self):
        return ", ".join(f"{k.replace('_', '-')} {v}" for k, v in vars(self).items() if v is not None)


def configure(type="transformer", **values):
    """The Config of a type, e.g. `configure("mlp", n_embd=16, max_steps=1000)`. Unused values are left out.

    UserError for values that make no sense, TypeError for a setting that does not exist.
    """
    if type not in MODELS:
        raise UserError(f"no model is called {type!r}; there are {', '.join(MODELS)}")
    defaults = dict(zip(COLUMNS, DEFAULTS[type]))
    unknown = set(values) - set(defaults) - {"seed"}
    if unknown:
        raise TypeError(f"no such setting: {', '.join(sorted(unknown))}")
    if type == "ngram":
        values.pop("max_steps", None)  # counting takes one
    for name, value in values.items():
        if name in ("learning_rate", "weight_decay", "dropout"):
            if not 0 <= value < math.inf:
                raise UserError(f"--{name.replace('_', '-')} must be a number from 0 up, not {value}")
            if name == "dropout" and value >= 1:
                raise UserError(f"dropout must be below 1, not {value}")
        elif name == "seed":
            check_seed(value)
        elif value < 1 and not (name == "max_steps" and value == -1):
            raise UserError(f"--{name.replace('_', '-')} must be at least 1, not {value}")
    used = {name: value for name, value in values.items() if name == "seed" or defaults[name] is not None}
    config = Config(type, **(defaults | used))
    if config.n_head and config.n_embd % config.n_head:
        raise UserError(f"--n-embd {config.n_embd} does not divide into --n-head {config.n_head} heads")
    if type == "wavenet" and (config.block_size < 2 or config.block_size & (config.block_size - 1)):
        raise UserError("--block-size must be a power of two for wavenet (2, 4, 8, 16, ...), "
                        f"not {config.block_size}")  # fmt: skip
    if type == "bigram" and config.block_size != 1:
        raise UserError("a bigram sees one letter: --block-size 1 (or use --type ngram)")
    if type == "ngram" and config.block_size > 8:
        raise UserError(f"--block-size must be 1 to 8 for ngram, not {config.block_size}")
    return config


def check_seed(seed):
    if not 0 <= seed < 2**32:
        raise UserError(f"--seed must be from 0 to 4294967295, not {seed}")


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
    """Mean loss over all words of `data` and its standard error, in evaluation mode. Words, not letters, are
    independent of one another, so the error is the ratio estimator's over words."""
    was_training = model.training
    model.eval()
    device = device_of(model)
    sums, order = [], data.lengths.argsort(stable=True)
    at_once = 20_000_000 // (len(data.vocab) * int(data.lengths.max()))  # words: it bounds the logits' size
    for index in order.split(min(1000, max(1, at_once))):
        x, y = data.batch(index)
        losses = loss_of(model(x.to(device)), y.to(device), reduction="none")  # (words, T)
        sums.append(losses.sum(1).double().cpu())
    model.train(was_training)
    sums, lengths = torch.cat(sums), data.lengths[order]
    mean = sums.sum() / lengths.sum()
    return mean.item(), ((sums - mean * lengths).square().sum().sqrt() / lengths.sum()).item()


def learning_rate(step, config):
    """Up in a straight line over the first steps, then down in a straight line to 1 % of the peak."""
    warmup = 100 if config.max_steps < 0 else min(100, config.max_steps / 10)
    rise = min(1, (step + 1) / warmup)
    fall = 1 if config.max_steps < 0 else max(0.01, 1 - step / config.max_steps)
    return config.learning_rate * min(rise, fall)


class Muon(torch.optim.Optimizer):
    """Momentum, every update made orthogonal, so that no direction of a matrix learns at the cost of another.

    Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks". `torch.optim.Muon` does the
    same one matrix at a time and in bfloat16, which takes a CPU more than ten times as long.
    """

    def __init__(self, params, lr, weight_decay):
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            shapes = {}  # matrices of one shape are treated together
            for p in group["params"]:
                momentum = self.state[p].setdefault("momentum", torch.zeros_like(p))
                momentum.lerp_(p.grad, 0.05)
                update = p.grad.lerp(momentum, 0.95)  # Nesterov: look ahead
                shapes.setdefault(p.shape, []).append((p, update))
            for shape, pairs in shapes.items():
                updates = orthogonalize(torch.stack([update for _, update in pairs]))
                for (p, _), update in zip(pairs, updates):
                    p.mul_(1 - group["lr"] * group["weight_decay"])
                    p.sub_(update, alpha=group["lr"] * 0.2 * math.sqrt(max(shape)))  # as large as AdamW's


def orthogonalize(matrices):
    """(n, rows, columns): every singular value to about 1, by five steps of a polynomial (Newton-Schulz)."""
    if matrices.shape[1] > matrices.shape[2]:
        return orthogonalize(matrices.mT).mT  # the same, with a smaller product below
    x = matrices / (torch.linalg.matrix_norm(matrices, keepdim=True) + 1e-7)
    for _ in range(5):
        a = x @ x.mT
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x


def make_optimizers(model, config):
    """AdamW (Loshchilov & Hutter 2019), but Muon for the matrices inside of a transformer's blocks.

    Weight decay is for matrices, not for gains and biases.
    """
    matrices = {name: p for name, p in model.named_parameters() if p.dim() == 2}
    blocks = [p for name, p in matrices.items() if name.startswith("blocks.")]
    others = [p for name, p in matrices.items() if not name.startswith("blocks.")]
    groups = [
        {"params": others, "weight_decay": config.weight_decay},
        {"params": [p for p in model.parameters() if p.dim() < 2], "weight_decay": 0.0},
    ]
    optimizers = [torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.99), fused=True)]
    if blocks:
        optimizers.append(Muon(blocks, lr=config.learning_rate, weight_decay=config.weight_decay))
    return optimizers


def count(model, data):
    """Fit an NGram: count, then take the alpha of the best validation loss. Returns the training loss."""
    x, y = data["training"].batch(torch.arange(len(data["training"])))
    model.fit(x.to(device_of(model)), y.to(device_of(model)))
    losses = {}
    for alpha in (0.01, 0.03, 0.1, 0.3, 1.0):
        model.alpha.fill_(alpha)
        losses[alpha] = evaluate(model, data["validation"])[0]
        print(f"  alpha {alpha:<4} validation {losses[alpha]:.4f}")
    model.alpha.fill_(min(losses, key=losses.get))
    return torch.tensor(evaluate(model, data["training"])[0])


@dataclasses.dataclass
class Progress:
    """What a run has reached; with weights, optimizer and random state it is all that resuming needs."""

    step: int = 0
    end: int = 0  # where to stop
    seconds: float = 0.0  # of training; evaluation and sampling left out
    losses: list = dataclasses.field(default_factory=list)  # one per step
    log: list = dataclasses.field(default_factory=list)  # rows of log.csv: step, seconds, train and val loss
    best_step: int = 0
    best_loss: float = math.inf
    best: dict = dataclasses.field(default_factory=dict)  # the weights of the best validation loss


def train(words, config, out="out", *, device="auto", source="", checkpoint=None, max_steps=None,
          diagnose=False, num_samples=20, **sampling):  # fmt: skip
    """Train a model on a list of words, write model.pt, log.csv and loss.png into `out`, print the progress.

    Returns (model, vocab, results), the model with the weights of the best validation loss; results has
    (loss, standard error) of each part of the data, parameters, seconds, progress, samples. A `checkpoint`
    from `read_checkpoint` goes on where it stopped, up to `max_steps`. `sampling`: prompt, temperature,
    top_k. Raises UserError, and KeyboardInterrupt after Ctrl-C, when all is saved.
    """
    words, device = clean(words), pick_device(device)
    vocab = Vocab("".join(words))
    vocab.encode(sampling.get("prompt", ""))  # a bad prompt is found before the training, not after it
    data = {name: Words(part, vocab) for name, part in split(words).items()}
    some = Words(data["training"].words[: len(data["validation"])], vocab)  # for a quick training loss
    config = fit_to_data(config, words, vocab)
    if diagnose and config.type not in ("mlp", "batchnorm", "ninja", "wavenet"):
        raise UserError(f"--diagnose is for mlp, batchnorm, ninja and wavenet, not for {config.type}")

    torch.manual_seed(config.seed)
    model = MODELS[config.type](config).to(device)
    optimizers = [] if config.type == "ngram" else make_optimizers(model, config)
    progress = restore(checkpoint, model, optimizers) if checkpoint else Progress()
    progress.end = end = max_steps or progress.end or config.max_steps
    if 0 < end < progress.step:
        raise UserError(f"--max-steps {end} is the total, "
                        f"and the run in {out} is at step {progress.step} already")  # fmt: skip
    describe(config, vocab, data, source, model, progress)
    if not checkpoint:
        prepare_folder(out)

    def save():
        check_finite(model.state_dict().values(), progress.step, out)
        save_checkpoint(out, config, vocab, words, source, progress, model, optimizers)
        return time.monotonic()

    by_length = not any(isinstance(module, BatchNorm) for module in model.modules())  # batches must be alike
    report = Report(config, progress)
    watch = Diagnosis(model, config, data["training"]) if diagnose else None
    saved = time.monotonic()
    model.train()
    with hold_ctrl_c() as interrupted:
        while True:
            step = progress.step
            due = step % config.eval_interval == 0 or step == end
            logged = progress.log and progress.log[-1][0] == step
            if due and not logged:
                losses = evaluate(model, some)[0], evaluate(model, data["validation"])[0]
                check_finite(losses, step, out)
                progress.log.append((step, progress.seconds, *losses))
                if losses[1] < progress.best_loss:
                    progress.best_step, progress.best_loss = step, losses[1]
                    progress.best = {name: value.cpu().clone() for name, value in model.state_dict().items()}
                saved = save()
                report.line()
                if step % (5 * config.eval_interval) == 0 and 0 < step != end:
                    print_samples(generate(model, vocab, num_samples=10, seed=step, **sampling), data)
            if interrupted or step == end:
                break

            start = time.perf_counter()
            if config.type == "ngram":
                loss = count(model, data)
            else:
                x, y = data["training"].training_batch(step, config.batch_size, config.seed, by_length)
                x, y = x.to(device), y.to(device)
                if config.type == "ninja":
                    loss = model.forward_backward(x, y)
                else:
                    loss = loss_of(model(x), y)
                    model.zero_grad()
                    loss.backward()
                with watch.step(step) if watch else contextlib.nullcontext():
                    for optimizer in optimizers:
                        for group in optimizer.param_groups:
                            group["lr"] = learning_rate(step, config)
                        optimizer.step()
            progress.losses.append(loss.item())
            progress.step += 1
            progress.seconds += time.perf_counter() - start
            check_finite(progress.losses[-1:], progress.step, out)
            if time.monotonic() - saved > 15:
                saved = save()
        if interrupted:
            save()

    draw_losses({config.type: progress}, Path(out) / "loss.png")
    if interrupted:
        print(f"\nstopped after step {progress.step}; all is saved. To go on: "
              f"{command()} -o {shlex.quote(str(out))} --resume")  # fmt: skip
        raise KeyboardInterrupt
    pictures = ["loss.png", *(watch.finish(out) if watch else [])]
    model.load_state_dict(progress.best)
    model.eval()
    results = {name: evaluate(model, words) for name, words in data.items()}
    print(f"with the weights of step {progress.best_step}, which has the best validation loss:\nloss: "
          + ", ".join(f"{name} {loss:.4f}" for name, (loss, _) in results.items())
          + f" (standard error {results['test'][1]:.4f})")  # fmt: skip
    names = generate(model, vocab, num_samples=num_samples, seed=config.seed, **sampling)
    print_samples(names, data)
    pictures += draw_tables(model, vocab, data["training"], out)
    print(f"in {out}: model.pt, log.csv, {', '.join(pictures)}")
    results.update(parameters=sum(p.numel() for p in model.parameters()), seconds=progress.seconds,
                   progress=progress, samples=names)  # fmt: skip
    return model, vocab, results


def fit_to_data(config, words, vocab):
    """The config with what the words decide. UserError if they are too long for its context."""
    longest = max(map(len, words)) + 1  # and its end
    if config.type in ("transformer", "bow") and 0 < config.block_size < longest:
        raise UserError(f"--block-size {config.block_size} is too short: "
                        f"the longest word and its end take {longest}")  # fmt: skip
    block_size = longest if config.block_size == 0 else config.block_size
    return dataclasses.replace(config, vocab_size=len(vocab), block_size=block_size)


def describe(config, vocab, data, source, model, progress):
    """The first lines that a run prints: device, data, model, settings."""
    size = sum(p.numel() for p in model.parameters())
    parts = ", ".join(f"{len(words):,} {name}" for name, words in data.items())
    print(f"device: {device_of(model)}, {torch.get_num_threads()} threads")
    print(f"data: {Path(source).name or 'words'}, {sum(map(len, data.values())):,} words ({parts}), "
          f"characters: {vocab}")  # fmt: skip
    print(f"model: {config.type}, {f'{size:,} parameters' if size else 'no parameters, only counts'}")
    print(f"settings: {config}")
    if progress.step:
        print(f"resuming at step {progress.step} of {progress.end if progress.end > 0 else 'no end'}")
        if 0 < config.max_steps != progress.end:
            print(f"the learning rate comes down until step {config.max_steps}, "
                  "as the run was begun, and then stays")  # fmt: skip


class Report:
    """The progress line: step, losses, speed, time left."""

    def __init__(self, config, progress):
        self.progress, self.vocab_size = progress, config.vocab_size
        self.first, self.seconds, self.start = progress.step, progress.seconds, time.monotonic()

    def line(self):
        end = self.progress.end
        step, seconds, train_loss, val_loss = self.progress.log[-1]
        if step == 0:
            uniform = f"ln {self.vocab_size} = {math.log(self.vocab_size):.2f}"
            print(f"step 0: loss {val_loss:.2f} (a uniform guess: {uniform})", flush=True)
            return
        text = (f"step {step:>5}{f'/{end}' if end > 0 else ''}: "
                f"train {train_loss:.4f}, validation {val_loss:.4f}")  # fmt: skip
        done = step - self.first
        if done:
            text += f", {1000 * (seconds - self.seconds) / done:.1f} ms a step"
        if done and step < end:
            left = round((time.monotonic() - self.start) / done * (end - step))
            text += f", {left // 60}:{left % 60:02} left"
        print(text, flush=True)


def print_samples(names, data):
    """Sampled words, marked: new, or which part of the data has them."""
    origin = {word: name for name, part in data.items() for word in part.words}
    for mark in ("new", *data):
        found = [name for name in names if origin.get(name, "new") == mark]
        if found:
            print(f"  {mark if mark == 'new' else 'in ' + mark}: "
                  f"{', '.join(name or '(nothing)' for name in found)}")  # fmt: skip


# ------------------------------------------------------------------------------------------------------------
# Sampling


@torch.no_grad()
def generate(model, vocab, prompt="", num_samples=10, temperature=1.0, top_k=None, seed=None):
    """A list of `num_samples` words that begin with `prompt`, sampled letter by letter.

    temperature: 0 takes the likeliest letter, below 1 plays safe, above 1 dares more; top_k: only the k
    likeliest. All words grow at once as rows of a batch; a row that has drawn the end leaves it. UserError
    for a prompt with characters that the model never saw.
    """
    was_training = model.training
    model.eval()
    generator = torch.Generator()
    generator.seed() if seed is None else generator.manual_seed(seed)
    tokens = torch.tensor([0, *vocab.encode(prompt)]).repeat(num_samples, 1)  # (rows, t)
    rows = torch.arange(num_samples)  # which sample a row is
    device = device_of(model)
    names = [""] * num_samples
    for length in range(len(prompt), len(prompt) + MAX_LENGTH + 1):
        parts = tokens[:, -model.context :].to(device).split(1000)
        logits = torch.cat([model(part)[:, -1].float().cpu() for part in parts])  # (rows, V)
        if top_k:
            kept = logits.topk(min(top_k, len(vocab)))
            logits = torch.full_like(logits, -math.inf).scatter(1, kept.indices, kept.values)
        if temperature == 0:
            drawn = logits.argmax(dim=1)
        else:
            logits = (logits - logits.amax(dim=1, keepdim=True)).double() / temperature  # (no overflow)
            drawn = torch.multinomial(logits.softmax(dim=1), 1, generator=generator)[:, 0]
        ended = (drawn == 0) | (length == len(prompt) + MAX_LENGTH)
        for row, name in zip(rows[ended].tolist(), tokens[ended].tolist()):
            names[row] = vocab.decode(name[1:])
        tokens, rows = torch.cat([tokens, drawn[:, None]], dim=1)[~ended], rows[~ended]
        if not len(rows):
            break
    model.train(was_training)
    return names


def word_nll(model, vocab, word):
    """How surprising a word is: [(letter, loss in nats), ...], the end as "." in last place."""
    tokens = torch.tensor([[0, *vocab.encode(word), 0]], device=device_of(model))
    x, y = tokens[:, :-1], tokens[:, 1:]
    with torch.no_grad():
        losses = loss_of(model(x), y, reduction="none")[0]
    return list(zip(word + ".", losses.tolist()))


# ------------------------------------------------------------------------------------------------------------
# Pictures


def figure(width=8, height=5, rows=1, columns=1):
    """A figure and its axes; matplotlib is imported only here, since it takes a second."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt.subplots(rows, columns, figsize=(width, height), dpi=120, layout="constrained")


def save_figure(fig, path):
    """Write a picture in one piece and close it."""
    import matplotlib.pyplot as plt

    picture = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # letters that the font lacks become boxes
        fig.savefig(picture, format="png")
    plt.close(fig)
    write_file(path, picture.getvalue())


def draw_losses(runs, path):
    """`runs`: {type: Progress}. One: batch loss faint, running mean, validation. Several: validation only."""
    fig, ax = figure()
    for name, progress in runs.items():
        losses = np.array(progress.losses)
        steps, _, _, val = (np.array(column) for column in zip(*progress.log))
        if len(runs) == 1 and len(losses) > 1:
            width = max(1, len(losses) // 50)
            ax.plot(np.arange(1, len(losses) + 1), losses, color="tab:blue", alpha=0.25, linewidth=0.5,
                    label="batch")  # fmt: skip
            mean = np.convolve(losses, np.ones(width) / width, mode="valid")
            ax.plot(np.arange(width, len(losses) + 1), mean, color="tab:blue",
                    label=f"mean of {width} batches")  # fmt: skip
        if name == "ngram" and len(runs) > 1:
            ax.axhline(val[-1], color="black", linestyle=":", label=f"{name} {val[-1]:.3f}")
        else:
            ax.plot(steps, val, ".-", color="tab:orange" if len(runs) == 1 else None,
                    label="validation" if len(runs) == 1 else f"{name} {min(val):.3f}")  # fmt: skip
    best = min(min(row[3] for row in progress.log) for progress in runs.values())
    top = max(np.median(np.array(p.losses)[: 1 + len(p.losses) // 10]) for p in runs.values())
    title = f"{next(iter(runs))}: loss" if len(runs) == 1 else "Validation loss of every model"
    ax.set(xlabel="step", ylabel="loss (nats per character)",
           ylim=(best - 0.1, max(top, best) + 0.15), title=title)  # fmt: skip
    ax.grid(alpha=0.3)
    ax.legend(loc="upper right", ncols=1 if len(runs) == 1 else 2)
    save_figure(fig, path)


def draw_tables(model, vocab, training, out):
    """Letter pairs of a count model, or letters on a plane for a model with embeddings. Returns the names."""
    letters = ["." if t == 0 else vocab.chars[t - 1] for t in range(len(vocab))]
    if isinstance(model, (NGram, Bigram)):
        x, y = training.batch(torch.arange(len(training)))
        pairs = torch.bincount(x[y >= 0] * len(vocab) + y[y >= 0], minlength=len(vocab) ** 2)
        pairs = pairs.view(len(vocab), -1).double()  # (letter, next letter)
        title = "Letter pairs in the training words"
        if isinstance(model, Bigram):
            learned = model.table.weight.detach().cpu().double().softmax(1)
            pairs = pairs.sum(1, keepdim=True) * learned
            title = "Letter pairs by the learned table (expected counts)"
        shown = pairs.sum(1).argsort(descending=True)[:40].sort().values  # forty at most stay readable
        fig, ax = figure(11, 11)
        ax.imshow(pairs[shown][:, shown].sqrt(), cmap="Blues")
        for i, a in enumerate(shown):
            for j, b in enumerate(shown):
                dark = pairs[a, b] > pairs.max() / 4
                ax.text(j, i, f"{letters[a]}{letters[b]}\n{pairs[a, b]:.0f}", ha="center", va="center",
                        fontsize=7, color="white" if dark else "black", parse_math=False)  # fmt: skip
        ax.set(xlabel="next letter", ylabel="letter", title=title)
        ax.set_xticks(range(len(shown)), [letters[t] for t in shown])
        ax.set_yticks(range(len(shown)), [letters[t] for t in shown])
        save_figure(fig, Path(out) / "pairs.png")
        return ["pairs.png"]
    weight = model.embed.weight.detach().cpu().double()
    centred = weight - weight.mean(0)
    _, sizes, axes = torch.linalg.svd(centred, full_matrices=False)  # rows of `axes`: principal components
    share = 100 * sizes**2 / (sizes**2).sum()
    points = centred @ axes[:2].T
    fig, ax = figure(7, 7)
    ax.scatter(points[:, 0], points[:, 1], s=200, color="lightblue")
    for letter, (a, b) in zip(letters, points.tolist()):
        ax.text(a, b, letter, ha="center", va="center", parse_math=False)
    ax.set(xlabel=f"first principal component ({share[0]:.0f} % of the variance)",
           ylabel=f"second principal component ({share[1]:.0f} %)",
           title="The letters as the model sees them")  # fmt: skip
    save_figure(fig, Path(out) / "letters.png")
    return ["letters.png"]


class Diagnosis:
    """What lecture 4 looks at, for the tanh networks of lectures 3 to 6: activations and gradients of every
    layer at the beginning and at the end, and how fast the weights move."""

    def __init__(self, model, config, training):
        self.model, self.config = model, config
        self.batch = training.batch(torch.arange(min(256, len(training))))
        self.weights = {name: p for name, p in model.named_parameters() if p.dim() == 2}
        self.ratios = {name: [] for name in self.weights}  # log10 of update to weight
        self.steps = []
        self.looks = [("at the beginning", self.look())]

    def look(self):
        """[(layer, activations, gradients), ...] of one training batch, in a twin: the run is not touched."""
        outputs = {}
        with torch.random.fork_rng(devices=[]):
            twin = MODELS[self.config.type](self.config)
            twin.load_state_dict(self.model.state_dict())
            for name, module in twin.named_modules():
                if isinstance(module, nn.Tanh):
                    module.register_forward_hook(
                        lambda module, _, output, name=name: outputs.update({name: output})
                    )
            x, y = self.batch
            loss = loss_of(twin(x), y)
        gradients = torch.autograd.grad(loss, list(outputs.values()))
        return [
            (name, a.detach().flatten(0, -2), g.flatten(0, -2))  # (N, channels) each
            for (name, a), g in zip(outputs.items(), gradients)
        ]

    @contextlib.contextmanager
    def step(self, step):
        """Around an optimizer's step: how far did it really move the weights?"""
        before = {name: p.detach().clone() for name, p in self.weights.items()}
        yield
        self.steps.append(step)
        for name, p in self.weights.items():
            ratio = (p.detach() - before[name]).std() / before[name].std()
            self.ratios[name].append(math.log10(ratio.item() + 1e-12))

    def finish(self, out):
        """Print the numbers and draw diagnose.png; returns its name."""
        self.looks.append(("at the end", self.look()))
        fig, axes = figure(10, 9, 3, 2)
        for column, (when, layers) in enumerate(self.looks):
            print(f"diagnosis {when}:")
            for name, activation, gradient in layers:
                saturated = 100 * (activation.abs() > 0.97).float().mean().item()
                dead = int((activation.abs() > 0.97).all(dim=0).sum())
                print(f"  {name:10} activations: mean {activation.mean():+.2f}, std {activation.std():.2f}, "
                      f"saturated {saturated:5.2f} %, dead units {dead}; "
                      f"gradients: mean {gradient.mean():+.1e}, std {gradient.std():.1e}")  # fmt: skip
                for ax, values, label in (
                    (axes[0, column], activation, f"{name}: {saturated:.1f} % saturated, {dead} dead"),
                    (axes[1, column], gradient, f"{name}: std {gradient.std():.1e}"),
                ):
                    density, edges = torch.histogram(values.cpu().float(), 100, density=True)
                    ax.plot(edges[:-1], density, label=label)
            axes[0, column].set(xlabel="tanh output", ylabel="density", title=f"Activations {when}")
            axes[1, column].set(xlabel="derivative of the loss by it", ylabel="density",
                                title=f"Gradients {when}")  # fmt: skip
            axes[1, column].ticklabel_format(axis="x", style="sci", scilimits=(0, 0))
            axes[0, column].legend(fontsize=8)
            axes[1, column].legend(fontsize=8)
        grid = axes[2, 0].get_gridspec()
        for ax in axes[2]:
            ax.remove()
        ax = fig.add_subplot(grid[2, :])
        for name, ratios in self.ratios.items():
            ax.plot(self.steps, ratios, linewidth=0.8, label=name)
            if ratios:
                print(f"  {name:18} update to weight, log10: first {ratios[0]:+.2f}, "
                      f"median {np.median(ratios):+.2f}, last {ratios[-1]:+.2f}")  # fmt: skip
        ax.axhline(-3, color="black", linestyle="--", label="a good order of magnitude: -3")
        ax.set(xlabel="step", ylabel="log10(std of update / std of weight)",
               title="How fast the weights move")  # fmt: skip
        ax.legend(fontsize=8, ncols=3)
        save_figure(fig, Path(out) / "diagnose.png")
        return ["diagnose.png"]


# ------------------------------------------------------------------------------------------------------------
# Machinery: files, checkpoints, errors, arguments. To understand the models you can stop here.

HERE = Path(__file__).resolve().parent


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


def read_words(name):
    """The words of a UTF-8 text file, one a line, whitespace around them removed. UserError if it is none."""
    path = find_file(name)
    if path.is_dir():
        raise UserError(f"{name} is a directory; give a text file with one word a line")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{name}: {error.strerror}") from None
    if not content:
        raise UserError(f"{name} is empty; give a text file with one word a line")
    if b"\0" in content:
        raise UserError(f"{name} is a binary file (byte 0 at offset {content.index(0)}); "
                        "give a UTF-8 text file")  # fmt: skip
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{name} is not UTF-8: byte 0x{content[error.start]:02x} at offset {error.start}; "
                        "convert it first, for instance with iconv") from None  # fmt: skip
    words = [line.strip() for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n")]
    words = [word for word in words if word]
    if not words:
        raise UserError(f"{name} has only blank lines; give a text file with one word a line")
    return words


def clean(words):
    """Without words that are too long and without duplicates, so no word is in two splits; both are said."""
    kept = [word for word in words if len(word) <= MAX_LENGTH]
    if len(kept) < len(words):
        left_out = len(words) - len(kept)
        print(f"makemore: warning: {left_out} line(s) of more than {MAX_LENGTH} characters left out",
              file=sys.stderr)  # fmt: skip
    unique = list(dict.fromkeys(kept))
    if len(unique) < len(kept):
        print(f"{len(kept) - len(unique):,} duplicates dropped")
    if len(unique) < 10:
        raise UserError(f"only {len(unique)} different words; "
                        "at least 10 are needed to train, validate and test")  # fmt: skip
    return unique


def pick_device(name):
    """`auto` is the GPU if there is one. UserError if the device cannot be used."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        probe = torch.zeros(1, device=name)
        probe.item()
        return probe.device
    except (RuntimeError, AssertionError, NotImplementedError):
        raise UserError(f"device {name!r} cannot be used here; try --device cpu") from None


def write_file(path, content):
    """Replace a file in one piece: whoever kills us leaves the old one or the new one, never a half."""
    temporary = Path(f"{path}.tmp")
    try:
        with open(temporary, "wb") as f:
            f.write(content)
            f.flush()
            os.fsync(f.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise UserError(f"cannot write {path}: {error.strerror}; the file that was there is kept",
                        status=1) from None  # fmt: skip


def prepare_folder(out):
    """Make the folder; what an earlier run left in it moves aside, model.pt to model.1.pt and so on."""
    out = Path(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        names = ["model.pt", "log.csv", "loss.png", "diagnose.png", "pairs.png", "letters.png", "losses.png"]
        old = [out / name for name in names if (out / name).exists()]
        n = 1
        while any((path.with_suffix(f".{n}{path.suffix}")).exists() for path in old):
            n += 1
        for path in old:
            path.rename(path.with_suffix(f".{n}{path.suffix}"))
    except OSError as error:
        raise UserError(f"cannot use {out} as the output folder: {error.strerror}") from None
    if old:
        print(f"{out} was in use; moved aside: "
              f"{', '.join(f'{p.name} to {p.stem}.{n}{p.suffix}' for p in old)}")  # fmt: skip


def save_checkpoint(out, config, vocab, words, source, progress, model, optimizers):
    """model.pt: all that resuming, sampling and `load` need, in plain types; and log.csv."""
    content = io.BytesIO()
    state = {
        "format": "makemore 1", "config": vars(config), "chars": vocab.chars, "words": "\n".join(words),
        "source": source, "threads": torch.get_num_threads(), "progress": vars(progress),
        "model": model.state_dict(), "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        "rng": torch.get_rng_state(),
    }  # fmt: skip
    torch.save(state, content)
    write_file(Path(out) / "model.pt", content.getvalue())
    rows = [f"{step},{seconds:.3f},{a:.6f},{b:.6f}\n" for step, seconds, a, b in progress.log]
    write_file(Path(out) / "log.csv", "".join(["step,seconds,train_loss,val_loss\n", *rows]).encode())


def read_checkpoint(out):
    """The content of model.pt in a folder. UserError if there is none or it is damaged or foreign."""
    path = Path(out) / "model.pt"
    if not os.path.isfile(path):
        raise UserError(f"no checkpoint: {path} does not exist; "
                        "train first, without --resume and --sample-only")  # fmt: skip
    try:
        checkpoint = torch.load(path, weights_only=True, map_location="cpu")
        if not isinstance(checkpoint, dict) or checkpoint["format"] != "makemore 1":
            raise ValueError
    except Exception:  # noqa: BLE001 (torch.load fails in as many ways as there are damaged files)
        raise UserError(f"{path} is damaged, or no checkpoint of makemore") from None
    return checkpoint


def load(out, device="cpu"):
    """(model, vocab) of a trained model: the weights of the best validation loss, ready for evaluation."""
    return from_checkpoint(read_checkpoint(out), device)


def from_checkpoint(checkpoint, device):
    config = Config(**checkpoint["config"])
    model = MODELS[config.type](config)
    model.load_state_dict(checkpoint["progress"]["best"])
    return model.to(device).eval(), Vocab(checkpoint["chars"])


def words_of(checkpoint, given=None):
    """The words of an earlier run. UserError if the file they came from, or the `given` one, has others."""
    words, source = checkpoint["words"].split("\n"), given or checkpoint["source"]
    if not given:
        try:
            find_file(source)
        except UserError:
            return words  # the file is gone, but the checkpoint has them
    if clean(read_words(source)) != words:
        raise UserError(f"{source} does not hold the words that the run in the checkpoint was started with; "
                        "start a new run with another -o")  # fmt: skip
    return words


def restore(checkpoint, model, optimizers):
    """Put all back as it was at the checkpoint: weights, optimizers, random state; returns the Progress.

    UserError for another number of threads: a sum that is split among others is rounded differently.
    """
    threads = checkpoint["threads"]
    if device_of(model).type == "cpu" and threads != torch.get_num_threads():
        raise UserError(f"the run was started with {threads} threads, here are {torch.get_num_threads()}: "
                        f"an exact resume needs OMP_NUM_THREADS={threads}")  # fmt: skip
    model.load_state_dict(checkpoint["model"])
    for optimizer, state in zip(optimizers, checkpoint["optimizers"]):
        optimizer.load_state_dict(state)
    torch.set_rng_state(checkpoint["rng"])
    return Progress(**checkpoint["progress"])


def check_finite(values, step, out):
    """UserError with status 1 if a loss or a weight is no longer a finite number."""
    if not all(torch.as_tensor(value).isfinite().all() for value in values):
        raise UserError(f"training diverged at step {step}: the loss is not a number; "
                        f"the last good checkpoint is kept in {out}; "
                        "try a smaller --learning-rate", status=1)  # fmt: skip


@contextlib.contextmanager
def hold_ctrl_c():
    """Inside, the first Ctrl-C only fills the list that this gives, so that no step is cut in two."""
    pressed = []

    def on_press(*_):
        if pressed:
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
    return f"python {shlex.quote(sys.argv[0])}" if name.endswith(".py") else "makemore"


def train_all(words, source, args, values, sampling):
    """Every type for the same number of steps, a folder each; then one table and one picture."""
    max_steps = values.pop("max_steps", 2000)
    if max_steps == -1:
        raise UserError("--type all needs an end: give --max-steps")
    if args.diagnose:
        raise UserError("--diagnose takes one type: mlp, batchnorm, ninja or wavenet")
    configs = []
    for name in MODELS:
        fitting = dict(values)
        if DEFAULTS[name][COLUMNS.index("block_size")] in (0, 1):  # it sees the whole word, or one letter
            fitting.pop("block_size", None)
        configs.append(configure(name, max_steps=max_steps, **fitting))
    prepare_folder(args.work_dir)
    runs = {}
    for config in configs:
        print(f"\n== {config.type} ==")
        _, _, runs[config.type] = train(words, config, Path(args.work_dir) / config.type, device=args.device,
                                        source=source, **sampling)  # fmt: skip
    print(f"\n{'type':12} {'parameters':>10} {'seconds':>8} {'validation':>10} {'test':>7}  a sample")
    for name, run in runs.items():
        print(f"{name:12} {run['parameters']:>10,} {run['seconds']:>8.1f} {run['validation'][0]:>10.4f} "
              f"{run['test'][0]:>7.4f}  {run['samples'][0]}")  # fmt: skip
    path = Path(args.work_dir) / "losses.png"
    draw_losses({name: run["progress"] for name, run in runs.items()}, path)
    print(f"picture: {path}")


class Parser(argparse.ArgumentParser):
    def error(self, message):
        raise UserError(f"{message}; --help shows all settings")


def parse_arguments(argv):
    parser = Parser(prog="makemore", description="A file of words in, more words like them out.",
                    epilog="What is not given has the default of the type: "
                           "the table DEFAULTS in makemore.py.")  # fmt: skip
    whole, real = {"type": int, "metavar": "N"}, {"type": float, "metavar": "X"}
    add = parser.add_argument_group("files and what to do").add_argument
    add("-i", "--input-file", metavar="FILE", help="words, one a line (default: names.txt)")
    add("-o", "--work-dir", metavar="DIR", default="out",
        help="for model.pt, log.csv, pictures (default: out)")  # fmt: skip
    add("--resume", action="store_true", help="go on with the run in the folder")
    add("--sample-only", action="store_true", help="only sample from the model in the folder")
    add("--diagnose", action="store_true",
        help="look into the tanh networks: activations, gradients, updates")  # fmt: skip
    add = parser.add_argument_group("sampling").add_argument
    add("--num-samples", **whole, default=20, help="how many words (default: 20)")
    add("--prompt", metavar="TEXT", default="", help="how the words begin")
    add("--temperature", **real, default=1.0, help="0: always the likeliest letter; 1: as learned (default)")
    add("--top-k", **whole, default=-1, help="draw from the N likeliest letters only (default: -1, all)")
    add = parser.add_argument_group("model").add_argument
    add("--type", choices=[*MODELS, "all"], metavar="TYPE",
        help=f"{', '.join(MODELS)} (default: transformer); all: every type, one table")  # fmt: skip
    add("--block-size", **whole, help="context in letters")
    add("--n-layer", **whole, help="number of layers")
    add("--n-head", **whole, help="number of attention heads")
    add("--n-embd", **whole, help="channels of a letter's vector")
    add("--n-embd2", **whole, help="channels elsewhere: hidden layers, states")
    add = parser.add_argument_group("training").add_argument
    add("--max-steps", **whole, help="steps in total, also when resuming; -1: for ever")
    add("-b", "--batch-size", **whole, help="words in a batch")
    add("-l", "--learning-rate", **real, help="its peak")
    add("-w", "--weight-decay", **real, help="how fast weights shrink, relative to the learning rate")
    add("--seed", **whole, help="for weights, batches and samples (default: 3407)")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps, ... (default: auto)")
    add("-n", "--num-workers", help=argparse.SUPPRESS)  # of the original makemore; there are no workers here
    return parser.parse_args(argv)


def run(args):
    """What the arguments ask for."""
    names = ("block_size", "n_layer", "n_head", "n_embd", "n_embd2",
             "max_steps", "batch_size", "learning_rate", "weight_decay", "seed")  # fmt: skip
    values = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    if args.num_samples < 1:
        raise UserError(f"--num-samples must be at least 1, not {args.num_samples}")
    if args.top_k < 1 and args.top_k != -1:
        raise UserError(f"--top-k must be at least 1, not {args.top_k}")
    if not 0 <= args.temperature < math.inf:
        raise UserError(f"--temperature must be a number from 0 up, not {args.temperature}")
    sampling = {"prompt": args.prompt, "temperature": args.temperature, "num_samples": args.num_samples,
                "top_k": args.top_k if args.top_k > 0 else None}  # fmt: skip
    if not (args.resume or args.sample_only):
        name = args.input_file or "names.txt"
        words, source = read_words(name), str(find_file(name).resolve())
        if args.type == "all":
            return train_all(words, source, args, values, sampling)
        config = configure(args.type or "transformer", **values)
        train(words, config, args.work_dir, device=args.device, source=source,
              diagnose=args.diagnose, **sampling)  # fmt: skip
        return
    if args.type == "all":
        raise UserError("--resume and --sample-only take one model: give its folder, such as -o out/mlp")
    checkpoint = read_checkpoint(args.work_dir)
    config = Config(**checkpoint["config"])
    if args.type not in (None, config.type):
        raise UserError(f"the checkpoint in {args.work_dir} is of type {config.type}, not {args.type}")
    seed = values.pop("seed", None) if args.sample_only else None
    check_seed(seed or 0)
    max_steps = values.pop("max_steps", None)
    if config.type == "ngram":
        max_steps = None  # counting takes one step
    if max_steps is not None and max_steps < 1 and max_steps != -1:
        raise UserError(f"--max-steps must be at least 1 (or -1, for ever), not {max_steps}")
    for name, value in values.items():
        if getattr(config, name) not in (None, value):
            raise UserError(f"--{name.replace('_', '-')} {value} contradicts the checkpoint, which has "
                            f"{getattr(config, name)}; leave it out or start a new run")  # fmt: skip
    if args.sample_only:
        model, vocab = from_checkpoint(checkpoint, pick_device(args.device))
        print("\n".join(generate(model, vocab, seed=seed, **sampling)))
        return
    words = words_of(checkpoint, args.input_file)
    train(words, config, args.work_dir, device=args.device, source=checkpoint["source"],
          checkpoint=checkpoint, max_steps=max_steps, diagnose=args.diagnose, **sampling)  # fmt: skip


def main(argv=None):
    """The command line; returns the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # letters the terminal lacks are no reason to stop
    try:
        run(parse_arguments(argv))
        sys.stdout.flush()
    except UserError as error:
        print(f"makemore: {error}", file=sys.stderr)
        return error.status
    except BrokenPipeError:  # as in `makemore ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:  # the terminal or the file that our lines go to is gone
        print(f"makemore: cannot write the output: {error.strerror}", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
