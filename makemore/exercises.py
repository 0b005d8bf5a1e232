"""The exercises of lectures 2 to 6. Each is a function to fill in; its docstring is the task.

    python makemore/exercises.py                     one line per exercise: to do, right or wrong
    python makemore/exercises.py 4.2                 one exercise, with its whole task
    python makemore/exercises.py --copy mine.py      a copy to work in: git pull never conflicts with it

Replace `raise NotImplementedError` with your own lines, and run the file again. The checks are below the
exercises; they give the answers away, so look at them last. The solutions are in tests/solutions.py. A
function must not change its arguments unless the task says so: work on a copy.

Shapes: N examples, n letters of context, V = 27 tokens, d channels of a letter's vector, H hidden units;
B words, T positions, C channels. Token 0 is the "." before and after a word, tokens 1 to 26 are the letters
a to z.
"""
import argparse
import contextlib
import copy
import csv
import functools
import inspect
import itertools
import json
import math
import numbers
import random
import sys
import textwrap
import time
import traceback
from pathlib import Path
from types import SimpleNamespace

import torch
import torch.nn.functional as F

FOLDER = Path(__file__).resolve().parent  # of makemore.py; --copy writes the path itself into the copy
if __name__ == "__main__":
    sys.path.insert(0, str(FOLDER))
    torch.set_num_threads(1)  # with networks this small, more threads wait for one another

import makemore  # from FOLDER, also if this is a copy elsewhere

LETTERS = ".abcdefghijklmnopqrstuvwxyz"  # token i is LETTERS[i]

# ------------------------------------------------------------------------------------------------------------
# Lecture 2: counting, and the same by gradient descent


def pairs(words):
    """2.1 Letter pairs by hand (lecture 2; `NGram` in makemore.py with a context of 1).

    Count how often each letter follows each other letter. Every word has a "." before and after it, so "ava"
    has the pairs ".a", "av", "va" and "a.". Then turn the counts into probabilities of the second letter,
    given the first. Use nothing but Python: dicts are enough.

    In: a list of words. Out: two dicts, the counts and the probabilities. Their keys are the pairs, as
    strings of two letters; pairs that do not occur are left out.
    """
    raise NotImplementedError


def trigrams(words, alpha):
    """2.2 A trigram model (lecture 2, first exercise; `NGram` with a context of 2).

    P[i, j, k] is the probability of letter k after the letters i, j. Two "." stand before each word, one
    after it: "ava" has the groups "..a", ".av", "ava", "va.". Add alpha to every count before you divide.

    In: a list of words over a to z; alpha, a float.
    Out: a tensor (27, 27, 27); P[i, j].sum() is 1 for all i, j.
    """
    raise NotImplementedError


def split(words, seed):
    """2.3 Training, validation and test words (lecture 2, second exercise; `split` in makemore.py).

    Put the words in random order and cut them into 80 % for training, 10 % for validation and 10 % for the
    test, rounded as you like. The same seed must give the same parts. Do not change the list you are given.

    In: a list of words, at least ten; seed, an int. Out: three lists that together hold all words.
    """
    raise NotImplementedError


def tune_smoothing(loss, alphas):
    """2.4 Tune on the validation words, test once (lecture 2, third exercise; `count` in makemore.py).

    Choose the smoothing of a count model with three letters of context. Then say how good the model is on
    words that had no part in the choice. Look at the test words only once, at the end.

    In: loss(part, alpha), a function that returns the loss on a part of the words, which is "training",
    "validation" or "test"; alphas, a list of floats. Out: the alpha you chose, and the loss to report.
    """
    raise NotImplementedError


def rows(W, x):
    """2.5 A row of W instead of one-hot times W (lecture 2, fourth exercise; `Bigram` in makemore.py).

    The logits of a bigram model are F.one_hot(x, 27).float() @ W. Compute them without a one-hot vector and
    without a matrix product. Why is the result the same?

    In: W (27, 27), floats; x (N,), tokens. Out: the logits (N, 27).
    """
    raise NotImplementedError


def bigram_loss(W, x, y):
    """2.6 The loss, for logits of any size (lecture 2, fifth exercise; `loss_of` in makemore.py).

    The lecture computes exp, then the sum, then log. Do it in a way that also works for logits of 1,000,
    either with F.cross_entropy or with your own lines. What goes wrong in the lecture's way? Subtracting the
    largest logit from every row is half of the cure; look at the log, too.

    In: W (27, 27), the logits of the next letter for each letter;
    x (N,) and y (N,), letters and next letters.
    Out: the mean negative log-likelihood, a tensor without dimensions.
    """
    raise NotImplementedError


def kneser_ney(words, n, discount):
    """2.7 A better n-gram (lecture 2, sixth exercise; Kneser & Ney 1995).

    Adding alpha to every count is a poor way to smooth, because it treats all unseen letters alike. It is
    better to ask a shorter context. Subtract a discount D from every count, and give what you subtracted to
    the next shorter context (interpolated as in Chen & Goodman 1999):

        q_k(letter | k letters) = max(count - D, 0) / total
                                  + D * kinds / total * q_(k-1)(letter | k - 1 letters)

    count is how often the letter followed these k letters, total is the sum of the counts of all letters
    there, and kinds is how many different letters followed. Where total is 0, q_k is q_(k-1). The last one is
    uniform: q_(-1) = 1/27.

    The idea of Kneser and Ney is in the counts. Only the longest contexts (k = n) count occurrences. A
    shorter context counts in how many different contexts, longer by one letter, the letter followed; its
    total and kinds come from these counts.

    n "." stand before each word, one after it. With n = 5 and a discount of 0.9 the test loss must be below
    2.05.

    In: a list of words; n, at least 1; the discount, a float. Out: a function. It takes the beginning of a
    word ("" at first, then "e", "em", ...) and returns a list of 27 floats, the distribution of the next
    letter, in the order of LETTERS. Only the last n letters of the beginning count, with "." in front if it
    is shorter.
    """
    raise NotImplementedError


# ------------------------------------------------------------------------------------------------------------
# Lecture 3: the MLP


def mlp(x, C, W1, b1, W2, b2):
    """3.1 Embeddings, concatenation, tanh, logits (lecture 3; `MLP` in makemore.py).

    Look up a vector for each letter of the context, concatenate the vectors, and put them through a tanh
    layer and a linear layer.

    In: x (N, n), tokens; C (V, d), the vectors; W1 (n * d, H), b1 (H,), W2 (H, V), b2 (V,).
    Out: the logits (N, V).
    """
    raise NotImplementedError


def output_layer(H, V):
    """3.2 The first loss is ln 27 (lectures 3 and 4; the last lines of `kaiming` in makemore.py).

    Before training the network knows nothing, so its loss should be that of a uniform guess, ln V. With
    W2 = torch.randn(H, V) it is many times that. Choose the weights and biases of the last layer such that
    the first loss is ln V, within 0.02. The hidden units lie between -1 and 1.

    In: H and V, ints. Out: W2 (H, V) and b2 (V,).
    """
    raise NotImplementedError


def configuration():
    """3.3 Beat 2.17 (lecture 3; the row "mlp" of `DEFAULTS` in makemore.py).

    The lecture's network ends at a validation loss of 2.17 after 200,000 steps. Find settings that get below
    that in 500. The check trains the network in a few seconds and prints the loss it reached. makemore.py's
    own settings reach 2.188.

    Out: a dict with any of block_size, n_embd, n_embd2, learning_rate and weight_decay,
    such as {"n_embd": 12}.
    """
    raise NotImplementedError


def direct(x, C, W1, b1, W2, b2, W3):
    """3.4 An idea of Bengio et al. 2003: direct connections (lecture 3, third exercise).

    In equation (1) of "A Neural Probabilistic Language Model" the vectors of the letters also reach the
    logits directly, through a matrix of their own, past the tanh layer. Add this to 3.1.

    In: as in 3.1, and W3 (n * d, V). Out: the logits (N, V).
    """
    raise NotImplementedError


# ------------------------------------------------------------------------------------------------------------
# Lecture 4: initialisation and batch normalisation


def zero_start():
    """4.1 All weights zero (lecture 4, first exercise; `kaiming` in makemore.py does better).

    The network of 3.1 is trained by gradient descent. Which of C, W1, b1, W2 and b2 have changed

        "all": after one step, if all five start at zero?
        "all, 100 steps": after a hundred steps, if all five start at zero?
        "W2 and b2": after one step, if these two start at zero and the others are random?
        "W1 and b1": after one step, if these two start at zero and the others are random?

    Answer with a pencil first. Out: a dict with these four keys; the values are sets of names, such as
    {"W1", "C"}.
    """
    raise NotImplementedError


def batch_norm(x, gain, bias, mean, var, training, momentum=0.1, eps=1e-5):
    """4.2 Batch normalisation written out (lecture 4; `BatchNorm` in makemore.py).

    In training, normalise every channel by the mean and the variance of the batch (the mean of the squared
    distances: divide by N). Then move the running mean and the running variance a fraction `momentum` of the
    way towards the batch's; the variance to move towards is the unbiased one (divide by N - 1). At
    evaluation, normalise by the running mean and variance, and leave them as they are. Add eps to the
    variance, so that nothing is divided by zero.

    In: x (N, H); gain, bias, mean, var (H,), of which the last two are the running ones (do not change them
    in place); training, a bool.
    Out: the result (N, H), the new running mean (H,), the new running variance (H,).
    """
    raise NotImplementedError


def fold(W, gain, bias, mean, var, eps=1e-5):
    """4.3 Fold a batch norm into the layer before it (lecture 4, second exercise).

    At evaluation, x @ W followed by batch normalisation (4.2 with training=False) is just a linear layer.
    Find its weights and its biases.

    In: W (n, H); gain, bias, mean, var (H,). Out: a new W (n, H) and b (H,), so that x @ W + b is the same.
    """
    raise NotImplementedError


# ------------------------------------------------------------------------------------------------------------
# Lecture 5: backpropagation by hand


def forward(p, x, y):
    """The network of lecture 5 in small steps, for exercise 5.1. Every step has a name."""
    v = SimpleNamespace(**p)  # C (V, d), W1 (n * d, H), b1, gain, bias (H,), W2 (H, V), b2 (V,)
    N = len(x)
    v.vectors = v.C[x]  # (N, n, d)
    v.flat = v.vectors.view(N, -1)  # (N, n * d)
    v.linear = v.flat @ v.W1 + v.b1  # (N, H)
    v.mean = v.linear.sum(0, keepdim=True) / N  # (1, H)
    v.centred = v.linear - v.mean  # (N, H)
    v.squared = v.centred**2  # (N, H)
    v.var = v.squared.sum(0, keepdim=True) / N  # (1, H)
    v.inverse_std = (v.var + 1e-5) ** -0.5  # (1, H)
    v.normalized = v.centred * v.inverse_std  # (N, H)
    v.before_tanh = v.normalized * v.gain + v.bias  # (N, H)
    v.h = v.before_tanh.tanh()  # (N, H)
    v.logits = v.h @ v.W2 + v.b2  # (N, V)
    v.largest = v.logits.max(1, keepdim=True).values  # (N, 1)
    v.shifted = v.logits - v.largest  # (N, V)
    v.counts = v.shifted.exp()  # (N, V)
    v.total = v.counts.sum(1, keepdim=True)  # (N, 1)
    v.inverse_total = v.total**-1  # (N, 1)
    v.probs = v.counts * v.inverse_total  # (N, V)
    v.log_probs = v.probs.log()  # (N, V)
    v.loss = -v.log_probs[range(N), y].mean()
    return v


BACKWARD = (
    "log_probs", "probs", "inverse_total", "total", "counts", "shifted", "largest", "logits", "h", "W2", "b2",
    "before_tanh", "gain", "bias", "normalized", "inverse_std", "var", "squared", "centred", "mean", "linear",
    "flat", "W1", "b1", "vectors", "C",
)


def backward(v, x, y):
    """5.1 Backward through every step (lecture 5, first exercise; `Ninja` in makemore.py does it in fewer).

    `forward`, above, computes the loss in small steps. Go through them from the last to the first, and write
    down the derivative of the loss with respect to each tensor. Run the check as often as you like: it
    compares one tensor after the other, in the order of BACKWARD, and reports the first that is missing or
    wrong.

    The variance divides by N. The lecture divides it by N - 1, so its line for `squared` differs.

    The derivative with respect to `largest` is zero except for rounding, because subtracting a number from a
    whole row changes no probability. So the check cannot tell whether its sign is right.

    In: v, the tensors by name (v.logits, v.W2, ...), float64: make new ones with torch.zeros_like, or with
    dtype=v.C.dtype; x (N, n) and y (N,), tokens. Out: a dict from the names in BACKWARD to the derivatives,
    each in the shape of its tensor.
    """
    raise NotImplementedError


def cross_entropy_gradient(logits, y):
    """5.2 Cross-entropy in one formula (lecture 5, second exercise; `Ninja.forward_backward`).

    Most of 5.1 cancels out. Write the derivative of the mean cross-entropy with respect to the logits as a
    single formula.

    In: logits (N, V), float64; y (N,), tokens. Out: (N, V), float64 too.
    """
    raise NotImplementedError


def batch_norm_gradient(dout, x, gain, eps=1e-5):
    """5.3 Batch normalisation in one formula (lecture 5, third exercise; `Ninja.forward_backward`).

    out = (x - mean) / sqrt(var + eps) * gain + bias, with the mean and the variance (divide by N, not by
    N - 1 as in the lecture) of each column of x. Write the derivative of the loss with respect to x as a
    single formula. Every row of x moves the mean and the variance, and through them all other rows.

    In: dout (N, H), the derivative of the loss with respect to out; x (N, H); gain (H,). Out: (N, H). All are
    float64: make new tensors with torch.zeros_like, or with dtype=x.dtype.
    """
    raise NotImplementedError


def train_step(p, x, y, learning_rate):
    """5.4 A network trained with your own gradients (lecture 5, fourth exercise; `Ninja` in makemore.py).

    One step of gradient descent without autograd, which the check turns off. The network is

        h = tanh(batch_norm(C[x].flatten(1) @ W1))        logits = h @ W2 + b2

    with the batch norm of 5.3. Compute the loss and all gradients, then change the tensors of p in place.

    In: p, a dict of C (V, d), W1 (n * d, H), gain (H,), bias (H,), W2 (H, V), b2 (V,), all float64; x (N, n)
    and y (N,), tokens; learning_rate, a float. Out: the loss before the step, a float or a tensor.
    """
    raise NotImplementedError


# ------------------------------------------------------------------------------------------------------------
# Lecture 6: the tree


def tree(x, weights):
    """6.1 A tree by reshaping (lecture 6; the drawing in `WaveNet`, makemore.py).

    On every level two neighbours become one: concatenate their channels, the older one first, multiply by the
    weights of the level, and take tanh. After three levels, eight vectors have become one.

    In: x (B, 8, C); weights, a list of W (2C, H), (2H, H) and (2H, H). Out: (B, H).
    """
    raise NotImplementedError


def dilated(x, weights):
    """6.2 The same as a dilated causal convolution (lecture 6; `WaveNet.forward` in makemore.py).

    A word of T letters has T windows of eight letters, one for each position, and their trees share most of
    their nodes. Compute all trees in one pass over the word, every node once, without a loop over positions.
    (The check looks only at the numbers.)

    In: x (B, T + 7, C), the vectors of a word with seven more in front of it; weights as in 6.1.
    Out: (B, T, H); position t is the tree of x[:, t : t + 8].
    """
    raise NotImplementedError


def search():
    """6.3 Beat 1.993 (lecture 6; the row "wavenet" of `DEFAULTS` in makemore.py).

    The lecture ends with a network whose validation loss is 1.993, on its own list of names, and leaves it to
    you to do better. With our list, makemore.py's default wavenet reaches 1.994. Write a harness of your own,
    in a file of your own: a loop over settings that calls

        makemore.train(words, makemore.configure("wavenet", **settings), folder)

    with words = makemore.read_words("names.txt") and a new folder for each run, and then prints a table of
    the settings and their validation losses. `python makemore/makemore.py --help` lists the settings.
    Choose by the validation loss; look at the test loss once, of the run you chose. A default run takes about
    three minutes on two cores.

    Out: a list of the folders of at least three finished runs with different settings, the best one first,
    below 1.993. The check does not train: it reads log.csv and model.pt in these folders.
    """
    raise NotImplementedError


# ------------------------------------------------------------------------------------------------------------
# The checks. `mistakes` lists what common mistakes give, each with its hint.
# If you add functions of your own, their names must not begin with _ or check_, nor be Wrong, verdict,
# write_copy, main or EXERCISES: the definitions below would replace them.


def _compare(what, got, expected, tolerance=1e-5, mistakes=(), otherwise=""):
    """Raises Wrong unless `got` has the shape and the numbers of `expected`, a tensor or a float.

    `otherwise` is the hint for a result of the right shape that is none of the mistakes.
    """
    if isinstance(expected, float):  # then a tensor with one number is fine too
        if not isinstance(got, numbers.Real) and not (isinstance(got, torch.Tensor) and got.numel() == 1):
            raise Wrong(f"{what}: expected a number, got {_short(got)}")
        expected = torch.tensor(expected, dtype=torch.float64)
        got = torch.tensor(float(got), dtype=torch.float64)
    shape = tuple(expected.shape)
    if not isinstance(got, torch.Tensor):
        wanted = f"a tensor {shape}" if shape else "a tensor with one number (without .item())"
        raise Wrong(f"{what}: expected {wanted}, got {_short(got)}")
    if _close(got, expected, tolerance):
        return
    hint = ""
    if got.shape == expected.shape:
        hint = otherwise
        if got.dtype == torch.float32 and expected.dtype == torch.float64 and _close(got, expected, 1e-5):
            hint = "these are float32 numbers, the task has float64: dtype=torch.float64"
    for value, text in mistakes:
        if _close(got, value, tolerance):
            hint = text
            break
    if hint:
        hint = f"; {hint}"
    if got.shape != expected.shape:
        raise Wrong(f"{what}: expected the shape {shape}, got {tuple(got.shape)}{hint}")
    difference = (got.double() - expected.double()).abs().nan_to_num(math.inf)
    index = tuple(int(i) for i in torch.unravel_index(difference.argmax(), shape))
    if index:
        what += f" at {list(index)}"
    expected, got = _digits(expected[index].item(), got[index].item())
    raise Wrong(f"{what}: expected {expected}, got {got}{hint}")


def _close(got, value, tolerance):
    """Are these two the same, in shape and in numbers? nan equals nan."""
    value = torch.as_tensor(value, dtype=torch.float64)
    return value.shape == got.shape and torch.allclose(
        got.double(), value, rtol=tolerance, atol=tolerance, equal_nan=True)


def _digits(a, b):
    """Two numbers as texts, with seven digits or with as many as it takes to tell them apart."""
    for n in range(7, 18):
        texts = f"{a:.{n}g}", f"{b:.{n}g}"
        if texts[0] != texts[1]:
            break
    return texts


def _ask(solve, *given):
    """What `solve` returns for copies of its arguments. Raises Wrong if it changes one of them."""
    copies = copy.deepcopy(given)
    got = solve(*copies)
    for name, before, after in zip(inspect.signature(solve).parameters, given, copies):
        if not _same(before, after):
            raise Wrong(f"your function changed its argument {name}; work on a copy")
    return got


def _same(a, b):
    if isinstance(a, list):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    return a == b


def _expect_several(got, n, what, kind=object):
    """Raises Wrong unless `got` is a tuple or a list of n things, all of this kind."""
    if not isinstance(got, (tuple, list)) or len(got) != n:
        raise Wrong(f"expected {what}, got {_short(got)}")
    for each in got:
        if not isinstance(each, kind):
            raise Wrong(f"expected {what}, but one of them is {_short(each)}")


def _short(got):
    """What an answer is, in a few words."""
    if got is None:
        return "None (is there a return?)"
    if isinstance(got, torch.Tensor):
        return f"a tensor {tuple(got.shape)}"
    if len(repr(got)) < 60:
        return repr(got)
    if isinstance(got, (list, tuple, dict, str)):
        return f"a {type(got).__name__} of {len(got)}"
    return f"a {type(got).__name__}"


@contextlib.contextmanager
def _forbidden(owner, name, shortcut):
    """While this is open, `owner.name` raises Wrong: it would be a shortcut."""
    original = getattr(owner, name)

    def refuse(*_, **__):
        raise Wrong(f"a shortcut: {shortcut}")

    setattr(owner, name, refuse)
    try:
        yield
    finally:
        setattr(owner, name, original)


@contextlib.contextmanager
def _without_autograd():
    shortcut = "autograd does the work here; write the derivatives yourself"
    with _forbidden(torch.autograd, "grad", shortcut), _forbidden(torch.autograd, "backward", shortcut):
        yield


@functools.lru_cache(maxsize=1)
def _names():
    """The parts of our list of names, as makemore.py trains and tests on them."""
    return makemore.split(makemore.read_words("names.txt"))


def _groups(words, n):
    """(N, n + 1) tokens: every letter and every end of the words, with the n letters before it."""
    rows = []
    for word in words:
        text = "." * n + word + "."
        for i in range(len(text) - n):
            rows.append([LETTERS.index(letter) for letter in text[i : i + n + 1]])
    return torch.tensor(rows)


@functools.lru_cache(maxsize=1)
def _groups_of_four():
    """For each part of the names, all groups of four letters, each as one number with digits in base 27."""
    powers = 27 ** torch.arange(3, -1, -1)
    return {part: (_groups(words, 3) * powers).sum(1) for part, words in _names().items()}


def _parameters(generator, H, n=3, d=4, V=27):
    """Random float64 tensors for the network of lectures 3 to 5."""
    shapes = {"C": (V, d), "W1": (n * d, H), "b1": (H,), "gain": (H,), "bias": (H,), "W2": (H, V), "b2": (V,)}
    p = {name: torch.randn(shape, generator=generator, dtype=torch.float64) * 0.5
         for name, shape in shapes.items()}
    p["gain"] += 1
    return p


# Lecture 2


def check_pairs(solve):
    got = _ask(solve, ["emma", "ava", "mia"])
    _expect_several(got, 2, "two dicts", dict)
    counts = {".e": 1, "em": 1, "mm": 1, "ma": 1, "a.": 3, ".a": 1, "av": 1,
              "va": 1, ".m": 1, "mi": 1, "ia": 1}
    probabilities = {".e": 1 / 3, "em": 1.0, "mm": 1 / 3, "ma": 1 / 3, "a.": 3 / 4, ".a": 1 / 3, "av": 1 / 4,
                     "va": 1.0, ".m": 1 / 3, "mi": 1 / 3, "ia": 1.0}
    for kind, table in (("counts", got[0]), ("probabilities", got[1])):
        if set(table) == set(counts):
            continue
        hint = ""
        if any(not isinstance(pair, str) for pair in table):
            hint = '; a key is a string of two letters such as "em", not a tuple'
        elif table and not any("." in pair for pair in table):
            hint = '; every word has a "." before and after it'
        raise Wrong(f"the {kind} of emma, ava, mia: expected {len(counts)} pairs ({', '.join(counts)}), "
                    f"got {len(table)} ({', '.join(map(str, table))}){hint}")
    for pair, number in counts.items():
        if got[0][pair] != number:
            raise Wrong(f"the count of {pair} in emma, ava, mia: expected {number}, got {got[0][pair]}")
    mistakes = [
        (3 / 13, "divide by the number of pairs that begin with the same letter, not by all 13"),
        (1.0, "the probability is that of the second letter, given the first: four pairs begin with a"),
    ]
    _compare("the probability of a. in emma, ava, mia", got[1]["a."], 3 / 4, 1e-6, mistakes)
    for pair, number in probabilities.items():
        _compare(f"the probability of {pair} in emma, ava, mia", got[1][pair], number, 1e-6)


def check_trigrams(solve):
    words, alpha = ["emma", "ava", "mia", "em"], 0.5
    plain = torch.zeros(27, 27, 27)  # counts
    two_ends = torch.zeros(27, 27, 27)  # counts with two "." after each word
    for word in words:
        for group in zip(f"..{word}.", f".{word}..", f"{word}.."):
            two_ends[tuple(LETTERS.index(letter) for letter in group)] += 1
        for group in zip(f"..{word}", f".{word}", f"{word}."):
            plain[tuple(LETTERS.index(letter) for letter in group)] += 1
    counts = plain + alpha
    one_dot = counts.clone()
    one_dot[0, 0] = alpha

    def share(table):
        return table / table.sum(2, keepdim=True)

    along_the_last = "divide by the sum over the last index, the next letter: sum(2, keepdim=True)"
    mistakes = [
        (share(one_dot), 'the first letter counts too: two "." stand before a word'),
        (share(two_ends + alpha), 'one "." stands after a word, not two'),
        (counts / counts.sum(0), along_the_last),
        (counts / counts.sum(1), along_the_last),
        (counts / counts.sum(1, keepdim=True), along_the_last),
        (counts / counts.sum(2), "sum(2) loses a dimension and divides along the wrong one: keepdim=True"),
        (counts, f"these are counts; {along_the_last}"),
        (counts / counts.sum(), "every P[i, j] is a distribution of its own: sum(2, keepdim=True)"),
        (share(plain + 1), "add alpha to every count, not 1"),
        (share(plain), "add alpha to every count before you divide"),
        (plain / plain.sum(2, keepdim=True).clamp(min=1), "add alpha to every count before you divide"),
        (counts / plain.sum(2, keepdim=True), "add alpha before you sum, too"),
    ]
    _compare("P", _ask(solve, words, alpha), share(counts), mistakes=mistakes)


def check_split(solve):
    words = [a + b for a, b in itertools.product(LETTERS[1:], repeat=2)][:500]
    random.seed(4)
    parts = _ask(solve, words, 1)
    _expect_several(parts, 3, "three lists of words", (list, tuple))
    parts = [list(part) for part in parts]
    sizes = [len(part) for part in parts]
    if sizes != [400, 50, 50]:
        raise Wrong(f"of 500 words: expected 400, 50 and 50, got {sizes[0]}, {sizes[1]} and {sizes[2]}")
    if sorted(itertools.chain(*parts)) != sorted(words):
        raise Wrong("every word should be in one part, but some are in two or in none; cut one shuffled list")
    for name, part in zip(("training", "validation", "test"), parts):
        if len({words.index(word) // 100 for word in part}) < 5:  # a random part has words of every fifth
            raise Wrong(f"the {name} words should be from the whole list; shuffle first: our list is sorted "
                        "by sex and from frequent to rare")
    random.seed(5)
    if [list(part) for part in _ask(solve, words, 1)] != parts:
        raise Wrong("the same seed should give the same parts, but did not; use random.Random(seed)")
    if [list(part) for part in _ask(solve, words, 2)] == parts:
        raise Wrong("another seed should give other parts, but gave the same")


def check_tune_smoothing(solve):
    asked = []  # the parts that the answer looked at
    index = _groups_of_four()
    counts = torch.bincount(index["training"], minlength=27**4).double()
    totals = counts.view(-1, 27).sum(1)

    def loss(part, alpha):
        asked.append(part)
        p = (counts[index[part]] + alpha) / (totals[index[part] // 27] + 27 * alpha)
        return -p.log().mean().item()

    alphas = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0]
    got = _ask(solve, loss, alphas)
    _expect_several(got, 2, "alpha and the loss")
    tests = asked.count("test")
    training = {alpha: loss("training", alpha) for alpha in alphas}
    validation = {alpha: loss("validation", alpha) for alpha in alphas}
    best = min(alphas, key=validation.get)
    test = loss("test", best)
    if tests > 1:
        raise Wrong(f"the test words should be looked at once, but you did so {tests} times; if they have a "
                    "part in the choice, the loss that you report is too good")
    _compare("the alpha with the best validation loss", got[0], best, mistakes=[
        (min(alphas, key=training.get),
         "this is the best on the training words, which always prefer the least smoothing")])
    _compare("the loss", got[1], test, 1e-6, mistakes=[
        (validation[best], "this is the validation loss, on which you chose alpha")])
    return f"alpha {best}, test loss {test:.4f}"


def check_rows(solve):
    W = torch.randn(27, 27, generator=torch.Generator().manual_seed(1))
    x = torch.tensor([5, 13, 13, 1, 0])
    one_hot = F.one_hot(x, 27)
    _compare("the logits", _ask(solve, W, x), one_hot.float() @ W, mistakes=[
        (W[:, x].T, "these are columns; the first index picks a row"),
        (W[:, x], "the first index picks a row"),
        (one_hot.float(), "this is the one-hot vector itself")])
    W[2] = -math.inf  # no x is 2, so this row must not matter
    _compare("the logits with W[2] = -inf", _ask(solve, W, x), W[x], mistakes=[
        (one_hot.float() @ W, "0 * -inf is nan: there is a product with one-hot in it")])


def check_bigram_loss(solve):
    generator = torch.Generator().manual_seed(1)
    W = torch.randn(27, 27, generator=generator)
    x, y = torch.randint(27, (2, 50), generator=generator)
    for scale in (1, 1000):
        logits = (W * scale).double()[x]
        log_likelihood = logits.gather(1, y[:, None])[:, 0] - logits.logsumexp(1)
        mistakes = [
            (log_likelihood.mean(), "mind the sign: the loss is the negative log-likelihood"),
            (-log_likelihood.sum(), "take the mean, not the sum"),
            (-log_likelihood, "take the mean"),
            (-log_likelihood.exp().mean().log(), "take the mean of the logs, not the log of the mean"),
            (-log_likelihood.exp().mean(), "the log is missing"),
            (F.cross_entropy(W.T[x] * scale, y), "W[x], not W[:, x]"),
            (F.cross_entropy(logits.softmax(1), y), "F.cross_entropy takes logits and computes the softmax"),
        ]
        if scale == 1000:
            mistakes += [
                (math.nan, "exp(1000) is infinite: subtract the largest logit, or use F.cross_entropy"),
                (math.inf, "a probability is 0, and log 0 is infinite: take the log of the sum"),
            ]
        got = _ask(solve, W * scale, x, y)
        _compare(f"the loss with logits of about {scale:,}", got, -log_likelihood.mean(), mistakes=mistakes)


def check_kneser_ney(solve):
    # By hand: in ab, ab, cb "a" is followed by b twice, so q_1(b | a) = 1.5 / 2 + 0.5 / 2 * q_0(b). Of the
    # five different pairs (.a, ab, b., .c, cb) two end in b, and they have four different ends:
    # q_0(b) = 1.5 / 5 + 0.5 * 4 / 5 / 27. In ab, cab there are five pairs, too (.a, ab, b., .c, ca): two end
    # in a, one in b.
    q0_two = 1.5 / 5 + 2 / 5 / 27  # q_0 of a letter that ends two of five pairs
    q0_one = 0.5 / 5 + 2 / 5 / 27
    q0_one_kind = 1.5 / 5 + 0.5 / 5 / 27  # without the factor of four kinds
    by_occurrence = 2.5 / 9 + 2 / 9 / 27
    share = "the share of the shorter context is D * kinds / total"
    kinds = "a shorter context counts different longer contexts, not occurrences"
    unseen = "a context that was never seen has the distribution of the shorter one"
    mistakes = [
        (1.5 / 2 + 0.5 / 2 * by_occurrence, kinds),
        (by_occurrence, kinds),
        (2 / 2 + 0.5 / 2 * (2 / 5 + 2 / 5 / 27), "subtract the discount in the first term: count - D"),
        (1.5 / 2 + 0.5 * (1.5 / 5 + 0.5 / 27), share),
        (1.5 / 2 + 0.5 / 2 * q0_one_kind, share),
        (1.5 / 2 + 0.5 / 2 / 27, "q_0 is missing, the distribution without any context"),
        (1.5 / 2, "the shorter context is missing"),
        (1.0, "the discount is missing"),
        (1.5 / 2 + 0.5 / 2 * 1.5 / 5, "the last one is uniform: q_(-1) = 1/27"),
        (1.5 / 2 + 0.5 / 2 * 2 / 5, "q_0 is discounted too, and q_(-1) = 1/27"),
        (1 / 27, unseen),
        (0.0, unseen),
    ]
    dots = 'two "." stand before each word, and before a beginning that is shorter than n'
    shorter = "the next shorter context of ca is a"
    mistakes_of_two = [  # with n = 2
        (q0_two, dots),
        (0.5 / 2 + 0.5 * q0_two, dots),
        (0.5 / 3 + 0.5 / 27, dots),
        (0.5 / 2 + 0.5 * (1.5 / 4 + 0.5 * 3 / 4 * q0_one), shorter),
    ]
    cases = [  # words, n, beginning, letter, its probability
        (["ab", "ab", "cb"], 1, "a", "b", 1.5 / 2 + 0.5 / 2 * q0_two),
        (["ab", "ab", "cb"], 1, "z", "b", q0_two),
        (["ab", "cab"], 2, "", "a", 0.5 / 2 + 0.5 * (0.5 / 2 + 0.5 * q0_two)),
        (["ab", "cab"], 2, "abca", "b", 0.5 + 0.5 * (1.5 / 2 + 0.5 / 2 * q0_one)),
    ]
    for words, n, beginning, letter, expected in cases:
        q = _ask(solve, words, n, 0.5)
        if not callable(q):
            raise Wrong(f"expected a function, got {_short(q)}")
        got = q(beginning)
        _expect_probabilities(got)  # their number alone: the hints below are for wrong distributions too
        what = (f"the words {', '.join(words)} with n = {n} and a discount of 0.5: "
                f"the probability of {letter} after {beginning!r}")
        known = mistakes if n == 1 else mistakes_of_two
        _compare(what, got[LETTERS.index(letter)], expected, 1e-6, known)
        _expect_distribution(beginning, got)
    start = time.perf_counter()
    loss = _loss_on_test_words(_ask(solve, _names()["training"], 5, 0.9), 5)
    if not loss < 2.05:
        raise Wrong(f"the test loss: expected less than 2.05, got {loss:.4f}")
    return f"test loss {loss:.4f}, {time.perf_counter() - start:.1f} s"


def _expect_probabilities(got):
    _expect_several(got, 27, "a list of 27 probabilities", (numbers.Real, torch.Tensor))


def _expect_distribution(beginning, got):
    """Raises Wrong unless `got` has 27 probabilities above 0 that sum to 1."""
    _expect_probabilities(got)
    for letter, p in zip(LETTERS, got):
        if not p > 0:
            hint = "; max(count - D, 0)" if p < 0 else ""
            raise Wrong(f"the probability of {letter} after {beginning!r}: expected more than 0, "
                        f"got {p:.6g}{hint}")
    if not abs(sum(got) - 1) <= 1e-6:
        raise Wrong(f"the sum of the distribution after {beginning!r}: expected 1, got {sum(got):.7g}; "
                    "together, the discounts take D * kinds off the counts")


def _loss_on_test_words(distribution, n):
    """Nats per letter of the test words. Each context of n letters is asked for once."""
    losses = []
    known = {}
    for word in _names()["test"]:
        for i, letter in enumerate(word + "."):
            key = ("." * n + word[:i])[-n:]
            if key not in known:
                known[key] = distribution(word[:i])
                _expect_distribution(word[:i], known[key])
            losses.append(-math.log(known[key][LETTERS.index(letter)]))
    return sum(losses) / len(losses)


# Lecture 3


def _small_network(n=3, d=2):
    generator = torch.Generator().manual_seed(3)
    p = _parameters(generator, 5, n, d, V=7)
    del p["gain"], p["bias"]
    p = {name: t.float() for name, t in p.items()}
    return torch.randint(7, (4, n), generator=generator), p, generator


def _mlp_by_loops(x, C, W1, b1, W2, b2, W3=None):
    """The network of 3.1, and of 3.4 with W3, one number after the other."""
    logits = torch.zeros(len(x), len(b2), dtype=torch.float64)
    for row, letters in enumerate(x.tolist()):
        inputs = []
        for letter in letters:
            inputs += C[letter].tolist()
        hidden = []
        for j in range(len(b1)):
            total = b1[j].item()
            for i, number in enumerate(inputs):
                total += number * W1[i, j].item()
            hidden.append(math.tanh(total))
        for k in range(len(b2)):
            total = b2[k].item()
            for j, number in enumerate(hidden):
                total += number * W2[j, k].item()
            if W3 is not None:
                for i, number in enumerate(inputs):
                    total += number * W3[i, k].item()
            logits[row, k] = total
    return logits


def check_mlp(solve):
    for n, d in ((3, 2), (4, 3)):
        x, p, _ = _small_network(n, d)
        W1, b1, W2, b2 = p["W1"], p["b1"], p["W2"], p["b2"]
        flat = p["C"][x].flatten(1)
        turned = p["C"][x].mT.flatten(1)
        h = (flat @ W1 + b1).tanh()
        got = _ask(solve, x, *p.values())
        _compare(f"the logits for n = {n}, d = {d}", got, _mlp_by_loops(x, **p), mistakes=[
            ((flat @ W1 + b1) @ W2 + b2, "the tanh is missing"),
            ((turned @ W1 + b1).tanh() @ W2 + b2,
             "concatenate the vectors, one letter after the other: C[x] is (N, n, d)"),
            ((flat @ W1).tanh() @ W2 + b2, "b1 is missing"),
            (h @ W2, "b2 is missing"),
            ((flat @ W1).tanh() @ W2, "b1 and b2 are missing"),
            ((h @ W2 + b2).tanh(), "there is no tanh after the logits"),
            ((h @ W2 + b2).softmax(1), "these are probabilities, the softmax of the logits")])


def check_direct(solve):
    x, p, generator = _small_network()
    W1, b1, W2, b2 = p["W1"], p["b1"], p["W2"], p["b2"]
    W3 = torch.randn(6, 7, generator=generator)
    flat = p["C"][x].flatten(1)
    h = (flat @ W1 + b1).tanh()
    _compare("the logits", _ask(solve, x, *p.values(), W3), _mlp_by_loops(x, **p, W3=W3), mistakes=[
        (h @ W2 + b2, "W3 is not used"),
        (h @ W2 + flat @ W3, "b2 is missing"),
        (flat @ W3 + b2, "the tanh layer is missing; the two paths add up"),
        (h @ W2 + b2 + (flat @ W3).tanh(), "there is no tanh on the direct path"),
        ((h @ W2 + b2 + flat @ W3).tanh(), "there is no tanh after the logits")])


def _expect_tensor(name, got, shape):
    """Raises Wrong unless `got` is a tensor of finite numbers of this shape."""
    if not isinstance(got, torch.Tensor) or tuple(got.shape) != shape:
        raise Wrong(f"{name}: expected a tensor {shape}, got {_short(got)}")
    if not got.isfinite().all():
        raise Wrong(f"{name}: expected finite numbers, got {got[~got.isfinite()][0]:g} among them")


def check_output_layer(solve):
    torch.manual_seed(0)
    got = solve(200, 27)
    _expect_several(got, 2, "W2 and b2")
    W2, b2 = got
    _expect_tensor("W2", W2, (200, 27))
    _expect_tensor("b2", b2, (27,))
    h, y = torch.randn(2000, 200).tanh(), torch.randint(27, (2000,))
    loss = F.cross_entropy(h @ W2.float() + b2.float(), y).item()
    if not abs(loss - math.log(27)) < 0.02:
        hint = "make W2 smaller: large logits are confident errors"
        if b2.std() > 0.1:
            hint = "b2 should be zero"
        raise Wrong(f"the first loss: expected ln 27 = {math.log(27):.4f}, got {loss:.4f}; {hint}")
    return f"first loss {loss:.4f}"


def check_configuration(solve):
    settings = solve()
    allowed = {"block_size": int, "n_embd": int, "n_embd2": int, "learning_rate": (int, float),
               "weight_decay": (int, float)}
    if not isinstance(settings, dict):
        raise Wrong(f"expected a dict of settings, got {_short(settings)}")
    for name, value in settings.items():
        if name not in allowed:
            raise Wrong(f"expected settings from {', '.join(allowed)}, got {name}")
        if not isinstance(value, allowed[name]) or isinstance(value, bool):
            kind = "a whole number" if allowed[name] is int else "a number"
            raise Wrong(f"{name}: expected {kind}, got {_short(value)}")
    try:
        config = makemore.configure("mlp", max_steps=500, **settings)
    except makemore.UserError as error:
        raise Wrong(f"makemore.py refuses these settings: {error}") from None
    loss = _validation_loss(config)
    if not loss < 2.17:
        hint = "try one change at a time"
        if not loss < 2.2:
            hint = "makemore.py's own settings reach 2.188, so one of yours does harm"
        elif config.block_size <= 3:
            hint = "three letters of context are few"
        raise Wrong(f"the validation loss: expected less than 2.17, got {loss:.4f}; {hint}")
    return f"validation loss {loss:.4f}"


def _validation_loss(config):
    """The validation loss after the same steps as makemore.train takes, without its evaluations and files.

    AdamW is written out because torch.optim takes two seconds to import.
    """
    words = makemore.clean(makemore.read_words("names.txt"), config.max_length)
    vocab = makemore.Vocab("".join(words))
    config = makemore.fit_to_data(config, words, vocab)
    data = {part: makemore.Words(words, vocab) for part, words in makemore.split(words).items()}
    with makemore.seeded(config.seed):
        model = makemore.MODELS[config.type](config)
    parameters = list(model.parameters())
    means = [torch.zeros_like(t) for t in parameters]  # of the gradients
    squares = [torch.zeros_like(t) for t in parameters]
    for step in range(config.max_steps):
        x, y = data["training"].training_batch(step, config.batch_size, config.seed)
        gradients = torch.autograd.grad(makemore.loss_of(model(x), y), parameters)
        rate = config.learning_rate * makemore.schedule(step, config)
        with torch.no_grad():
            for t, gradient, mean, square in zip(parameters, gradients, means, squares):
                mean.lerp_(gradient, 0.1)
                square.lerp_(gradient**2, 0.01)
                if t.dim() == 2:
                    t *= 1 - rate * config.weight_decay
                size = (square / (1 - 0.99 ** (step + 1))).sqrt() + 1e-8
                t -= rate * mean / (1 - 0.9 ** (step + 1)) / size
    with torch.no_grad():
        return makemore.evaluate(model, data["validation"])[0]


# Lecture 4


def check_zero_start(solve):
    answers = solve()
    cases = {  # the names of what starts at zero, and the number of steps
        "all": ("C W1 b1 W2 b2", 1),
        "all, 100 steps": ("C W1 b1 W2 b2", 100),
        "W2 and b2": ("W2 b2", 1),
        "W1 and b1": ("W1 b1", 1),
    }
    if not isinstance(answers, dict) or set(answers) != set(cases):
        raise Wrong(f"expected a dict with the keys {', '.join(map(repr, cases))}, got {_short(answers)}")
    reasons = {
        "W2": "h is tanh(0) = 0, and the gradient of W2 is h.T @ dlogits",
        "W1": "the gradient passes through W2 on its way back, and W2 is 0",
        "b1": "the gradient passes through W2 on its way back, and W2 is 0",
        "C": "the gradient passes through W2 and W1 on its way back, and one of them is 0",
    }
    for case, (zero, steps) in cases.items():
        moved = _what_moves(zero.split(), steps)
        if not isinstance(answers[case], (set, frozenset, list, tuple)):
            raise Wrong(f"{case!r}: expected a set of names such as {{'W1', 'C'}}, "
                        f"got {_short(answers[case])}")
        got = set(answers[case])
        if got == moved:
            continue
        hint = ""
        for name, reason in reasons.items():
            if name in got - moved:
                hint = f"; {reason}"
                break
        raise Wrong(f"{case!r}: expected {_set_of_names(moved)}, got {_set_of_names(got)}{hint}")


def _set_of_names(names):
    """A set as a text, in alphabetical order."""
    return f"{{{', '.join(sorted(map(repr, names)))}}}"


def _what_moves(zero, steps):
    """The names of the parameters that gradient descent by autograd has changed."""
    generator = torch.Generator().manual_seed(4)
    p = _parameters(generator, H=6)
    del p["gain"], p["bias"]
    for name in zero:
        p[name] = torch.zeros_like(p[name])
    start = {name: t.clone() for name, t in p.items()}
    x, y = torch.randint(27, (20, 3), generator=generator), torch.randint(27, (20,), generator=generator)
    for t in p.values():
        t.requires_grad_()
    for _ in range(steps):
        h = (p["C"][x].flatten(1) @ p["W1"] + p["b1"]).tanh()
        gradients = torch.autograd.grad(F.cross_entropy(h @ p["W2"] + p["b2"], y), list(p.values()))
        with torch.no_grad():
            for t, gradient in zip(p.values(), gradients):
                t -= 0.1 * gradient
    return {name for name, t in p.items() if not torch.equal(t, start[name])}


_BESSEL = ("the lecture divides the variance by N - 1 (Bessel's correction, which makes a sample's variance "
           "an unbiased estimate for all data); here the batch is normalised by its own variance, as in "
           "PyTorch: divide by N, with correction=0")


def check_batch_norm(solve):
    by_momentum = "momentum is the weight of the batch: (1 - momentum) * old + momentum * batch"
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(6, 4, generator=generator) * torch.tensor([0.01, 1, 2, 3]) + 1
    gain, bias, mean, var = torch.rand(4, 4, generator=generator) + 0.5
    for training, *options in [(True,), (False,), (True, 0.3, 0.02), (False, 0.3, 0.02)]:
        momentum, eps = options or (0.1, 1e-5)
        new_mean, new_var = mean.clone(), var.clone()
        expected = F.batch_norm(x, new_mean, new_var, gain, bias, training, momentum, eps)
        with _forbidden(F, "batch_norm", "F.batch_norm does the work here; write it out"):
            got = _ask(solve, x, gain, bias, mean, var, training, *options)
        _expect_several(got, 3, "the result, the running mean and the running variance")
        when, whose = ("in training", "batch") if training else ("at evaluation", "running")
        case = when
        if options:
            case += f" with momentum = {momentum} and eps = {eps}"
        by_the_other = F.batch_norm(x, mean.clone(), var.clone(), gain, bias, not training, eps=eps)
        default_eps = F.batch_norm(x, mean.clone(), var.clone(), gain, bias, training)
        centred, biased_var = x - x.mean(0), x.var(0, correction=0)
        unbiased = centred / (x.var(0) + eps).sqrt() * gain + bias
        outside = centred / (biased_var.sqrt() + eps) * gain + bias
        by_rows = F.layer_norm(x, (4,), eps=eps) * gain + bias
        _compare(f"the result {case}", got[0], expected, mistakes=[
            (unbiased, _BESSEL),
            (outside, "add eps to the variance, before the root"),
            (by_the_other, f"{when} the {whose} mean and variance are used"),
            ((expected - bias) / gain, "gain and bias are missing"),
            (centred / biased_var.sqrt() * gain + bias, "eps is missing"),
            (centred / (biased_var + eps) * gain + bias, "divide by the root of the variance"),
            (by_rows, "every channel has a mean and a variance of its own, over the batch: mean(0), var(0)"),
            (default_eps, "use the eps that is given")])
        _compare(f"the running mean {case}", got[1], new_mean, mistakes=[
            (x.mean(0).lerp(mean, momentum), by_momentum),
            (mean, "it moves towards the batch's mean"),
            (mean.lerp(x.mean(0), momentum), "at evaluation it stays as it is"),
            (mean.lerp(x.mean(0), 0.1), "use the momentum that is given")])
        _compare(f"the running variance {case}", got[2], new_var, mistakes=[
            (var.lerp(x.var(0, correction=0), momentum),
             "it moves towards the unbiased variance: divide by N - 1"),
            (x.var(0).lerp(var, momentum), by_momentum),
            (var.lerp(x.var(0), momentum), "at evaluation it stays as it is"),
            (var.lerp(x.var(0), 0.1), "use the momentum that is given")])


def check_fold(solve):
    generator = torch.Generator().manual_seed(6)
    W, x = torch.randn(5, 5, generator=generator), torch.randn(8, 5, generator=generator)
    gain, bias, mean, var = torch.rand(4, 5, generator=generator) + 0.5
    var[0] = 1e-3  # so small that eps counts
    for what, eps in (("x @ W + b", 1e-5), ("x @ W + b with eps = 0.02", 0.02)):
        expected = F.batch_norm(x @ W, mean, var, gain, bias, False, eps=eps)
        got = _ask(solve, W, gain, bias, mean, var, eps)
        _expect_several(got, 2, "W and b")
        _expect_tensor("W", got[0], (5, 5))
        _expect_tensor("b", got[1], (5,))
        scale = gain / (var + eps).sqrt()
        no_root = gain / (var + eps)
        by_rows = x @ (W * scale[:, None]) + bias - mean * scale
        _compare(what, x.double() @ got[0].double() + got[1].double(), expected, 1e-4, mistakes=[
            (x @ (W * scale) + bias, "the mean is missing: b = bias - mean * scale"),
            (x @ (W * scale) + bias - mean, "the mean is scaled too: b = bias - mean * scale"),
            (x @ (W * scale) + bias + mean * scale, "the mean is subtracted: b = bias - mean * scale"),
            (x @ (W * scale) - mean * scale, "the bias is missing: b = bias - mean * scale"),
            (x @ (W * scale) + (bias - mean) * scale, "the bias is not scaled: b = bias - mean * scale"),
            (x @ (W * scale / gain) + bias - mean * scale / gain, "the gain is missing"),
            (x @ (W * no_root) + bias - mean * no_root, "divide by the root of the variance"),
            (by_rows, "every output channel has its scale: a column of W (n, H), not a row"),
            (F.batch_norm(x @ W, mean, var, gain, bias, False, eps=0), "add eps to the variance"),
            (F.batch_norm(x @ W, mean, var, gain, bias, False), "use the eps that is given")])


# Lecture 5


def check_backward(solve):
    generator = torch.Generator().manual_seed(7)
    p = _parameters(generator, H=8)
    x, y = torch.randint(6, (32, 3), generator=generator), torch.randint(27, (32,), generator=generator)
    for t in p.values():
        t.requires_grad_()
    v = forward(p, x, y)
    truth = dict(zip(BACKWARD, torch.autograd.grad(v.loss, [getattr(v, name) for name in BACKWARD])))
    v = SimpleNamespace(**{name: t.detach() for name, t in vars(v).items()})
    N = len(x)
    whole_columns = torch.zeros_like(truth["log_probs"])
    whole_columns[:, y] = -1 / N
    only_at_y = "only the entries at y have a part in the loss; the others are 0"
    counts_twice = "counts is used twice, in probs and in total: add both"
    mistakes = {
        "log_probs": [(truth["log_probs"] * N, "the loss is a mean: divide by N"),
                      (-truth["log_probs"], "the loss is the negative log-likelihood"),
                      (torch.full_like(truth["log_probs"], -1 / N), only_at_y),
                      (whole_columns, f"{only_at_y}: [range(N), y], not [:, y]")],
        "counts": [(truth["probs"] * v.inverse_total, counts_twice),
                   (truth["total"].expand(v.counts.shape), counts_twice)],
        "before_tanh": [(truth["h"] * (1 - v.before_tanh**2),
                         "the derivative of tanh is 1 - tanh^2, computed from its result")],
        "var": [(truth["inverse_std"] * -0.5 * v.inverse_std,
                 "the exponent goes down by one, from -1/2 to -3/2")],
        "squared": [(truth["squared"] * N / (N - 1), _BESSEL),
                    (truth["squared"] * N, "the variance is a mean: divide by N")],
        "centred": [(truth["normalized"] * v.inverse_std,
                     "centred is used twice, in normalized and in squared")],
        "linear": [(truth["centred"], "linear is used twice, in centred and in mean: add both")],
        "C": [(torch.zeros_like(v.C).index_put((x,), truth["vectors"]),
               "a letter that occurs several times collects the sum: index_add_")],
    }
    with torch.no_grad(), _without_autograd():
        answers = solve(*copy.deepcopy((v, x, y)))
    if not isinstance(answers, dict):
        raise Wrong(f"expected a dict, got {_short(answers)}")
    for done, name in enumerate(BACKWARD):
        expected = truth[name]
        got = answers.get(name)
        if got is None:
            hint = ""
            if f"d{name}" in answers or f"d_{name}" in answers:
                hint = f"; the keys are the names themselves: {name!r}, without a d"
            shape = tuple(expected.shape)
            raise Wrong(f"{done} of {len(BACKWARD)} are right, {name} {shape} is the next{hint}")
        hints = list(mistakes.get(name, ()))
        if isinstance(got, torch.Tensor) and got.shape != expected.shape:
            # The shape alone shows the mistake, so the hint is for got itself, whatever its numbers are.
            if got.dim() == expected.dim() == 2 and got.shape == expected.T.shape:
                hints.append((got, "it is transposed; the shapes leave only one way to write it"))
            elif got.dim() == expected.dim() == 1:
                hints.append((got, "this is the sum along the other dimension: sum(0) is over the rows"))
            elif expected.numel() < got.numel():
                hints.append((got, f"{name} was used for many rows or columns: sum over them"))
        what = f"the derivative with respect to {name} ({done} before it are right)"
        _compare(what, got, expected, 1e-9, mistakes=hints)


def check_cross_entropy_gradient(solve):
    generator = torch.Generator().manual_seed(8)
    logits = torch.randn(9, 27, generator=generator, dtype=torch.float64, requires_grad=True)
    y = torch.randint(27, (9,), generator=generator)
    expected = torch.autograd.grad(F.cross_entropy(logits, y), logits)[0]
    logits = logits.detach()
    probabilities = logits.softmax(1)
    whole_columns = probabilities.clone()
    whole_columns[:, y] -= 1
    only_at_y = "subtract 1 at one place in each row: [range(N), y], not [:, y]"
    with _without_autograd():
        got = _ask(solve, logits, y)
    _compare("the derivative with respect to the logits", got, expected, 1e-9, mistakes=[
        (expected * 9, "the loss is a mean: divide by N"),
        (-expected, "mind the sign"),
        (probabilities / 9, "subtract 1 at the target"),
        (probabilities, "subtract 1 at the target, and divide by N"),
        (probabilities - 1 / 9 * F.one_hot(y, 27), "divide all of it by N"),
        (whole_columns / 9, only_at_y),
        (whole_columns, f"{only_at_y}; divide by N")])


def check_batch_norm_gradient(solve):
    generator = torch.Generator().manual_seed(9)
    x = torch.randn(10, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    gain = torch.rand(4, generator=generator, dtype=torch.float64) + 0.5
    dout = torch.randn(10, 4, generator=generator, dtype=torch.float64)
    expected = torch.autograd.grad(F.batch_norm(x, None, None, gain, training=True), x, dout)[0]
    x = x.detach()
    with _without_autograd():
        got = _ask(solve, dout, x, gain)
    N, d, centred = len(x), dout * gain, x - x.mean(0)
    scale = (x.var(0, correction=0) + 1e-5) ** -0.5
    unbiased_scale = (x.var(0) + 1e-5) ** -0.5
    no_eps = x.var(0, correction=0) ** -0.5
    normalized, unbiased = centred * scale, centred * unbiased_scale
    divide = "both sums are divided by N: they are means over the rows"
    _compare("the derivative with respect to x", got, expected, 1e-9, mistakes=[
        (scale * d, "the mean and the variance depend on x too"),
        (scale * (d - d.mean(0)), "the variance depends on x too"),
        (scale * (d - normalized * (d * normalized).mean(0)), "the mean depends on x too"),
        (expected / gain, "the gain is missing"),
        (scale * (d - d.mean(0) + normalized * (d * normalized).mean(0)), "the last term is subtracted"),
        (no_eps * (d - d.mean(0) - centred * no_eps * (d * centred * no_eps).mean(0)), "eps is missing"),
        (scale * (d - d.mean(0) - normalized * (d * normalized).sum(0) / (N - 1)), _BESSEL),
        (unbiased_scale * (d - d.mean(0) - unbiased * (d * unbiased).mean(0)), _BESSEL),
        (unbiased_scale * (d - d.mean(0) - unbiased * (d * unbiased).sum(0) / (N - 1)), _BESSEL),
        (scale * (d - d.mean(0) - centred * (d * centred).mean(0)),
         "the last term needs the normalised x, (x - mean) * scale, in place of x - mean"),
        (scale * (d - d.mean(0) - centred * (d * normalized).mean(0)),
         "the last term needs the normalised x twice; one of them is x - mean"),
        (scale * (d - d.sum(0) - normalized * (d * normalized).sum(0)), divide),
        (scale * (N * d - d.sum(0) - normalized * (d * normalized).sum(0)), "divide all of it by N"),
    ])


def check_train_step(solve):
    generator = torch.Generator().manual_seed(10)
    ours = _parameters(generator, H=32)
    del ours["b1"]
    theirs = {name: t.clone().requires_grad_() for name, t in ours.items()}
    data = _groups(_names()["training"][:2000], 3)
    losses = []
    for step in range(200):
        batch = data[torch.randint(len(data), (64,), generator=generator)]
        x, y = batch[:, :3], batch[:, 3]
        linear = theirs["C"][x].flatten(1) @ theirs["W1"]
        h = F.batch_norm(linear, None, None, theirs["gain"], theirs["bias"], training=True).tanh()
        loss = F.cross_entropy(h @ theirs["W2"] + theirs["b2"], y)
        gradients = dict(zip(theirs, torch.autograd.grad(loss, list(theirs.values()))))
        before = {name: t.detach().clone() for name, t in theirs.items()}
        with torch.no_grad():
            unbiased = (linear - linear.mean(0)) / (linear.var(0) + 1e-5).sqrt()
            h = (unbiased * theirs["gain"] + theirs["bias"]).tanh()
            unbiased_loss = F.cross_entropy(h @ theirs["W2"] + theirs["b2"], y)
            for name, gradient in gradients.items():
                theirs[name] -= 0.1 * gradient
            with _without_autograd():
                got = solve(ours, x, y, 0.1)
        _compare(f"the loss of step {step}", got, loss.item(), 1e-6, mistakes=[(unbiased_loss, _BESSEL)])
        losses.append(float(got))
        if step in (0, 199):
            for name in ("b2", "W2", "bias", "gain", "W1", "C"):
                _compare(f"{name} after step {step}", ours[name], theirs[name].detach(), 1e-6, mistakes=[
                    (before[name], "it did not move; change the tensors of p in place (p[name] -= ...)"),
                    (before[name] + 0.1 * gradients[name], "go down the gradient, not up"),
                    (before[name] - 0.1 * len(x) * gradients[name], "the loss is a mean: divide by N")])
    return f"loss {losses[0]:.2f} in the first step, {sum(losses[-20:]) / 20:.2f} after 200"


# Lecture 6


def _tree_by_loops(x, weights):
    """(8, C) -> (H,), one node after the other."""
    nodes = list(x)
    for W in weights:
        nodes = [torch.tanh(torch.cat([nodes[i], nodes[i + 1]]) @ W) for i in range(0, len(nodes), 2)]
    return nodes[0]


def _tree_parts(T):
    generator = torch.Generator().manual_seed(11)
    weights = [torch.randn(shape, generator=generator) * 0.5 for shape in ((6, 4), (8, 4), (8, 4))]
    return torch.randn(5, T, 3, generator=generator), weights


def check_tree(solve):
    x, weights = _tree_parts(8)
    halves = swapped = linear = x
    for W in weights:
        middle = halves.shape[1] // 2
        halves = torch.tanh(torch.cat([halves[:, :middle], halves[:, middle:]], dim=2) @ W)
        swapped = torch.tanh(torch.cat([swapped[:, 1::2], swapped[:, ::2]], dim=2) @ W)
        linear = torch.cat([linear[:, ::2], linear[:, 1::2]], dim=2) @ W
    expected = torch.stack([_tree_by_loops(word, weights) for word in x])
    _compare("the tree", _ask(solve, x, weights), expected, mistakes=[
        (halves[:, 0], "these are pairs from two halves, not neighbours: view(B, T // 2, 2 * C)"),
        (swapped[:, 0], "the older one comes first"),
        (linear[:, 0], "the tanh is missing"),
        (expected[:, None], "one position is left; remove that dimension to get (B, H)")])


def check_dilated(solve):
    x, weights = _tree_parts(6 + 7)
    expected = torch.zeros(5, 6, 4)
    for b in range(5):
        for t in range(6):
            expected[b, t] = _tree_by_loops(x[b, t : t + 8], weights)

    def joined(distances, swap=False):
        h = x
        for W, distance in zip(weights, distances):
            older, newer = h[:, :-distance], h[:, distance:]
            if swap:
                older, newer = newer, older
            h = torch.tanh(torch.cat([older, newer], dim=2) @ W)
        return h

    _compare("the result", _ask(solve, x, weights), expected, mistakes=[
        (joined((4, 2, 1)), "the lowest level joins direct neighbours: the distances are 1, 2, 4"),
        (joined((1, 1, 1)),
         "the neighbours of the next level are two apart, then four: the distances are 1, 2, 4"),
        (joined((1, 2, 3)), "the distances double: 1, 2, 4"),
        (joined((1, 2, 4), swap=True), "the older one comes first"),
        (expected.mT, "the channels are the last dimension")])


def _find_run(folder):
    """The path of a run's folder, which may be given from the working directory or from the root."""
    paths = [Path(start, folder) for start in (Path.cwd(), FOLDER.parent)]
    for path in paths:
        if path.is_dir():
            return path
    raise Wrong(f"{paths[0]}: there is no such folder")


def _read_log(folder):
    """(step, validation loss) of each evaluation of a run. Raises Wrong if there are none."""
    path = Path(folder, "log.csv")
    if not path.is_file():
        raise Wrong(f"{path}: there is no such file; is this the folder of a run?")
    try:
        with open(path, newline="") as log:
            rows = [(int(row["step"]), float(row["val_loss"])) for row in csv.DictReader(log)]
    except (KeyError, TypeError, ValueError):
        rows = []
    if not rows:
        raise Wrong(f"{path}: expected a step and a val_loss in each line; did the run finish?")
    return rows


def check_search(solve):
    folders = solve()
    if not isinstance(folders, (list, tuple)) or not all(isinstance(each, (str, Path)) for each in folders):
        raise Wrong(f"expected a list of folders, got {_short(folders)}")
    if len(folders) < 3:
        raise Wrong(f"expected the folders of at least three runs, got {len(folders)}")
    names = makemore.clean(makemore.read_words("names.txt"), 256)  # the default --max-length
    digest = makemore.digest_of(names)
    losses, found = [], []
    for folder in map(_find_run, folders):
        log = _read_log(folder)
        try:
            checkpoint = makemore.read_checkpoint(folder)
        except makemore.UserError as error:
            raise Wrong(str(error)) from None
        config = checkpoint["config"]
        if config.type != "wavenet":
            raise Wrong(f"{folder}: expected a wavenet, got a model of type {config.type}")
        if checkpoint["digest"] != digest:
            raise Wrong(f"{folder}: this run trained on other words than names.txt")
        if log[-1][0] != config.max_steps:
            raise Wrong(f"{folder}: this run stopped at step {log[-1][0]} of {config.max_steps}; continue it "
                        "with --resume")
        settings = {name: value for name, value in vars(config).items() if name != "seed"}
        if settings in found:
            raise Wrong(f"{folder}: another run has the same settings; a new seed is not a new idea")
        found.append(settings)
        losses.append(min(loss for _, loss in log))
    if losses[0] != min(losses):
        better = folders[losses.index(min(losses))]
        raise Wrong(f"expected the best run first, but {better} has a validation loss of {min(losses):.4f} "
                    f"and {folders[0]} one of {losses[0]:.4f}")
    if not losses[0] < 1.993:
        raise Wrong(f"the best validation loss: expected less than 1.993, got {losses[0]:.4f}; "
                    "have you tried more steps, dropout, wider layers, a longer context?")
    defaults = vars(makemore.configure("wavenet"))
    changes = [f"{name} {value}" for name, value in found[0].items()
               if name != "vocab_size" and value != defaults[name]]
    return f"validation loss {losses[0]:.4f} with {', '.join(changes) or 'the defaults'}"


EXERCISES = {
    "2.1": (pairs, check_pairs),
    "2.2": (trigrams, check_trigrams),
    "2.3": (split, check_split),
    "2.4": (tune_smoothing, check_tune_smoothing),
    "2.5": (rows, check_rows),
    "2.6": (bigram_loss, check_bigram_loss),
    "2.7": (kneser_ney, check_kneser_ney),
    "3.1": (mlp, check_mlp),
    "3.2": (output_layer, check_output_layer),
    "3.3": (configuration, check_configuration),
    "3.4": (direct, check_direct),
    "4.1": (zero_start, check_zero_start),
    "4.2": (batch_norm, check_batch_norm),
    "4.3": (fold, check_fold),
    "5.1": (backward, check_backward),
    "5.2": (cross_entropy_gradient, check_cross_entropy_gradient),
    "5.3": (batch_norm_gradient, check_batch_norm_gradient),
    "5.4": (train_step, check_train_step),
    "6.1": (tree, check_tree),
    "6.2": (dilated, check_dilated),
    "6.3": (search, check_search),
}

# ------------------------------------------------------------------------------------------------------------
# Running them


class Wrong(Exception):
    """A wrong answer: what was expected, what came instead and, if the mistake is a common one, a hint."""


def verdict(solve, check):
    """The result, "right", "wrong" or "to do", and a message in one line, which may be empty."""
    try:
        remark = check(solve)
    except NotImplementedError as error:
        if not error.args:  # a blank
            return "to do", _blank_part(error, solve)
        return "wrong", _describe(error, check)
    except Wrong as error:
        return "wrong", str(error)
    except (Exception, SystemExit) as error:  # noqa: BLE001 (unfinished code fails in many ways)
        return "wrong", _describe(error, check)
    return "right", remark or ""


def _blank_part(error, solve):
    """What is blank although something was written: another function or method. Otherwise nothing."""
    blank = traceback.extract_tb(error.__traceback__)[-1].name
    methods = [name for name, value in vars(solve).items() if inspect.isfunction(value)]
    if blank in (solve.__name__, *methods[:1]):  # the check of a class begins with its first method
        return ""
    return f"{blank} is still blank"


def _in_a_line(error):
    """The name of an exception and its message, without line breaks and not too long."""
    message = textwrap.shorten(str(error), 300, placeholder=" ...")
    if not message:
        return type(error).__name__
    return f"{type(error).__name__}: {message}"


def _describe(error, check):
    """An exception in one line: the line of the exercise that raised it, its name, its message."""
    text = _in_a_line(error)
    file = check.__code__.co_filename
    first_check = _compare.__code__.co_firstlineno  # the exercises stand above it
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == file and frame.lineno < first_check]
    if not lines:
        return f"your code does not fit the check: {text}"
    return f"line {lines[-1]}: {text}"


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(2, f"exercises: {message}\n")


def _parse_arguments(arguments):
    parser = _Parser(prog="exercises", description=__doc__,
                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("numbers", nargs="*", metavar="NUMBER",
                        help=f"any of {', '.join(EXERCISES)}; a prefix selects all that begin with it")
    parser.add_argument("--copy", metavar="FILE", help="write a copy of this file, to work in, and stop")
    parser.add_argument("--json", action="store_true", help="print a JSON object per exercise, for teachers")
    args = parser.parse_args(arguments)
    chosen = []
    for number in args.numbers:
        found = [each for each in EXERCISES if each.startswith(number)]
        if not found:
            parser.error(f"there is no exercise {number}; there are {', '.join(EXERCISES)}")
        chosen += found
    args.numbers = chosen
    if args.copy is not None and (args.numbers or args.json):
        parser.error("--copy cannot be combined with anything else")
    return args


def write_copy(path):
    """Copy this file to `path`, which must not exist. The copy knows the folder of the original."""
    lines = Path(__file__).read_text(encoding="utf-8").splitlines(keepends=True)
    for i, line in enumerate(lines):
        if line.startswith("FOLDER = "):
            lines[i] = f"FOLDER = Path({str(FOLDER)!r})  # change this if you move that folder\n"
    try:
        with open(path, "x", encoding="utf-8") as file:  # "x": an existing file is an error
            file.writelines(lines)
    except FileExistsError:
        print(f"exercises: {path} exists already; choose another name", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"exercises: cannot write {path}: {error.strerror}", file=sys.stderr)
        return 2
    print(f"wrote {path}; work in it, and check it with: python {path}")
    return 0


def main(arguments):
    """Check the exercises that the arguments name, or all of them. Returns the exit status."""
    args = _parse_arguments(arguments)
    if args.copy is not None:
        return write_copy(args.copy)
    results = []
    for number in args.numbers or EXERCISES:
        solve, check = EXERCISES[number]
        if args.numbers and not args.json:
            print(inspect.getdoc(solve) or "The task was in the docstring, which is gone.", end="\n\n")
        output = sys.stderr if args.json else sys.stdout  # what an answer prints is not part of the JSON
        try:
            with contextlib.redirect_stdout(output):
                result, message = verdict(solve, check)
        except KeyboardInterrupt:
            print(f"exercises: interrupted in {number}", file=sys.stderr)
            return 130
        if args.json:
            line = {"exercise": number, "function": solve.__name__, "result": result, "message": message}
            print(json.dumps(line), flush=True)
        else:
            if message:
                message = f": {message}"
            print(f"{number:4}  {solve.__name__:22}  {result}{message}", flush=True)
        results.append(result)
    if len(results) > 1 and not args.json:
        print(", ".join(f"{results.count(result)} {result}" for result in ("right", "wrong", "to do")))
    return 1 if "wrong" in results else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
