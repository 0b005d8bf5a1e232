"""The exercises of lectures 2 to 6. Each is a function to fill in; its docstring is the task.

    python exercises.py          one line for every exercise: to do, right or wrong
    python exercises.py 4.2      one exercise, with its whole task

Put your own lines in place of `raise NotImplementedError`, and run again. The checks stand below the
exercises: they say what the answer is, so look at them last. Solutions are in tests/solutions.py. A function
must not change what it is given, unless its task says so: work on a copy.

Shapes: N examples, n letters of context, V = 27 tokens, d channels of a letter's vector, H hidden units;
B words, T positions, C channels. Token 0 is the "." before and behind a word, tokens 1 to 26 are the letters
a to z.
"""
import contextlib
import copy
import functools
import inspect
import io
import itertools
import math
import numbers
import random
import sys
import tempfile
import time
import traceback
from types import SimpleNamespace

import torch
import torch.nn.functional as F

import makemore

if __name__ == "__main__":
    torch.set_num_threads(1)  # with networks this small, more threads wait for one another

LETTERS = ".abcdefghijklmnopqrstuvwxyz"  # token i is LETTERS[i]

# ------------------------------------------------------------------------------------------------------------
# Lecture 2: counting, and the same by gradient descent


def pairs(words):
    """2.1 Letter pairs by hand (lecture 2; `NGram` in makemore.py with a context of 1).

    Count how often each letter follows each other letter. Every word has a "." before and behind it: "ava"
    has the pairs ".a", "av", "va" and "a.". Then turn counts into probabilities of the second letter, given
    the first. Use nothing but Python: dicts will do.

    In: a list of words. Out: two dicts with the pairs as keys, the counts and the probabilities. Only pairs
    that occur are in them.
    """
    raise NotImplementedError


def trigrams(words, alpha):
    """2.2 A trigram model (lecture 2, first exercise; `NGram` with a context of 2).

    P[i, j, k] is the probability of letter k after the letters i, j. Two "." stand before each word, one
    behind it: "ava" has the groups "..a", ".av", "ava", "va.". Add alpha to every count before you divide.

    In: a list of words over a to z; alpha, a float.
    Out: a tensor (27, 27, 27), P[i, j].sum() is 1 for all i, j.
    """
    raise NotImplementedError


def split(words, seed):
    """2.3 Training, validation and test words (lecture 2, second exercise; `split` in makemore.py).

    Put the words in random order and cut them into 80 % to train on, 10 % for validation and 10 % to test.
    Round as you like. The same seed gives the same parts. The list that you are given stays as it is.

    In: a list of words, at least ten; seed, an int. Out: three lists, together all words.
    """
    raise NotImplementedError


def tune_smoothing(loss, alphas):
    """2.4 Tune on the validation words, test once (lecture 2, third exercise; `count` in makemore.py).

    Choose the smoothing of a count model with three letters of context. Then say how good it is on words that
    had no part in the choice. Look at the test words only once, at the end.

    In: loss(part, alpha), a function that gives the loss on a part of the words, which is "training",
    "validation" or "test"; alphas, a list of floats. Out: the alpha that you chose, and the loss to report.
    """
    raise NotImplementedError


def rows(W, x):
    """2.5 A row of W in place of one-hot times W (lecture 2, fourth exercise; `Bigram` in makemore.py).

    Logits of a bigram model are F.one_hot(x, 27).float() @ W. Compute the same without a one-hot vector and
    without a product. Why is it the same?

    In: W (27, 27), a float tensor; x (N,), tokens. Out: the logits (N, 27).
    """
    raise NotImplementedError


def bigram_loss(W, x, y):
    """2.6 The loss, for logits of any size (lecture 2, fifth exercise; `loss_of` in makemore.py).

    The lecture computes exp, then the sum, then log. Do it in a way that also works for logits of 1,000:
    either with F.cross_entropy or with your own lines. What goes wrong in the lecture's way? Taking the
    largest logit off every row is half of it; look at the log, too.

    In: W (27, 27), the logits of the next letter for each letter;
    x (N,) and y (N,), letters and next letters.
    Out: the mean negative log-likelihood, a tensor without dimensions.
    """
    raise NotImplementedError


def kneser_ney(words, n, discount):
    """2.7 A better n-gram (lecture 2, sixth exercise; Kneser & Ney 1995).

    Adding alpha to every count is a poor way to smooth: it treats all unseen letters alike. Better is to ask
    a shorter context. Take a discount D off every count, and give what you took to the next shorter context
    (interpolated as in Chen & Goodman 1999):

        q_k(letter | k letters) = max(count - D, 0) / total
                                  + D * kinds / total * q_(k-1)(letter | k - 1 letters)

    count is how often the letter followed these k letters, total the sum of the counts of all letters there,
    and kinds is how many different letters followed (for k < n, total and kinds are of the new counts, too,
    which come next). Where total is 0, q_k is q_(k-1). The last one is uniform: q_(-1) = 1/27. The idea of
    Kneser and Ney is in the counts: only the longest contexts (k = n) count occurrences. A shorter context
    counts in how many different contexts, longer by one letter, the letter was seen after it.

    n "." stand before each word, one behind it. The test loss must be below 2.05 with n = 5, discount 0.9.

    In: a list of words; n, at least 1; the discount, a float. Out: a function. It takes a beginning of a word
    ("" at first, then "e", "em", ...) and gives a list of 27 floats, the distribution of the next letter, in
    the order of LETTERS. Only the last n letters of the beginning count, with "." in front where it is
    shorter.
    """
    raise NotImplementedError


# ------------------------------------------------------------------------------------------------------------
# Lecture 3: the MLP


def mlp(x, C, W1, b1, W2, b2):
    """3.1 Embeddings, concatenation, tanh, logits (lecture 3; `MLP` in makemore.py).

    Look up a vector for each letter of the context, lay the vectors end to end, and put them through a tanh
    layer and a linear layer.

    In: x (N, n), tokens; C (V, d), the vectors; W1 (n * d, H), b1 (H,), W2 (H, V), b2 (V,).
    Out: the logits (N, V).
    """
    raise NotImplementedError


def output_layer(H, V):
    """3.2 The first loss is ln 27 (lecture 3 and 4; the last lines of `kaiming` in makemore.py).

    Before training the network knows nothing, so that its loss should be that of a uniform guess, ln V. With
    W2 = torch.randn(H, V) it is many times that. Make the weights and biases of the last layer such that the
    first loss is ln V, within 0.02, on hidden units that lie between -1 and 1.

    In: H and V, ints. Out: W2 (H, V) and b2 (V,).
    """
    raise NotImplementedError


def configuration():
    """3.3 Beat 2.17 (lecture 3; the row "mlp" of `DEFAULTS` in makemore.py).

    The lecture's network ends at a validation loss of 2.17 after 200,000 steps. Find settings that get below
    it in 500. The check trains the network in a few seconds and says how far it came. The settings as they
    are in makemore.py end at 2.188.

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
    """4.1 All weights zero (lecture 4, first exercise; `kaiming` in makemore.py starts them otherwise).

    The network of 3.1 is trained by gradient descent. Which of C, W1, b1, W2 and b2 have moved,
    if at the start

        "all": all five are zero, after one step?
        "all, 100 steps": all five are zero, after a hundred steps?
        "W2 and b2": these two are zero, the others random, after one step?
        "W1 and b1": these two are zero, the others random, after one step?

    Answer with a pencil first. Out: a dict with these four keys; the values are sets of names. A set with two
    is {"W1", "C"}.
    """
    raise NotImplementedError


def batch_norm(x, gain, bias, mean, var, training, momentum=0.1, eps=1e-5):
    """4.2 Batch normalisation written out (lecture 4; `BatchNorm` in makemore.py).

    In training, normalise every channel by the mean and the variance of the batch (the mean of the squared
    distances: divide by N), and move the running mean and variance a share `momentum` towards the batch's.
    The running variance moves towards the unbiased variance of the batch (divide by N - 1). At evaluation,
    normalise by the running mean and variance, and leave them as they are. eps is added to the variance, so
    that nothing is divided by zero.

    In: x (N, H); gain, bias, mean, var (H,), the last two are the running ones and must not be changed in
    place; training, a bool. Out: the result (N, H), the new running mean (H,), the new running variance (H,).
    """
    raise NotImplementedError


def fold(W, gain, bias, mean, var, eps=1e-5):
    """4.3 Fold a batch norm into the layer before it (lecture 4, second exercise).

    At evaluation, x @ W followed by batch normalisation (4.2, training False) is nothing but a linear layer.
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
    down the derivative of the loss by each tensor. Run the check as often as you like: it compares one tensor
    after the other, in the order of BACKWARD, and says which is the first that is missing or wrong.

    The derivative by `largest` is zero but for rounding: subtracting a number from a whole row changes no
    probability. So the check cannot tell whether you have its sign right.

    In: v, the tensors by name (v.logits, v.W2, ...), float64: make new ones with torch.zeros_like, or with
    dtype=v.C.dtype; x (N, n) and y (N,), tokens. Out: a dict from the names in BACKWARD to the derivatives,
    each of the shape of its tensor.
    """
    raise NotImplementedError


def cross_entropy_gradient(logits, y):
    """5.2 Cross-entropy in one formula (lecture 5, second exercise; `Ninja.forward_backward`).

    Most of 5.1 cancels out. Write the derivative of the mean cross-entropy by the logits at once.

    In: logits (N, V), float64; y (N,), tokens. Out: (N, V), float64 too.
    """
    raise NotImplementedError


def batch_norm_gradient(dout, x, gain, eps=1e-5):
    """5.3 Batch normalisation in one formula (lecture 5, third exercise; `Ninja.forward_backward`).

    out = (x - mean) / sqrt(var + eps) * gain + bias, with the mean and the variance (divide by N) of each
    column of x. Write the derivative of the loss by x at once. Every row of x moves the mean and the
    variance, and through them all the other rows.

    In: dout (N, H), the derivative of the loss by out; x (N, H); gain (H,). Out: (N, H). All are float64:
    make new tensors with torch.zeros_like, or with dtype=x.dtype.
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

    On every level two neighbours become one: lay their channels end to end, the older one first, multiply by
    the weights of the level, and take tanh. After three levels one vector is left of eight.

    In: x (B, 8, C); weights, a list of W (2C, H), (2H, H) and (2H, H). Out: (B, H).
    """
    raise NotImplementedError


def dilated(x, weights):
    """6.2 The same as a dilated causal convolution (lecture 6; `WaveNet.forward` in makemore.py).

    A word of T letters has T windows of eight letters, one for each position, and most of the nodes of their
    trees are the same. Compute all trees in one pass over the word, every node once: no loop over positions.
    The check looks only at the numbers.

    In: x (B, T + 7, C), the vectors of a word with seven more in front of it; weights as in 6.1.
    Out: (B, T, H); position t is the tree of x[:, t : t + 8].
    """
    raise NotImplementedError


# ------------------------------------------------------------------------------------------------------------
# The checks. `mistakes` holds what common mistakes give, each with its hint.


def compare(what, got, expected, tolerance=1e-5, mistakes=(), otherwise=""):
    """Raises Wrong unless `got` has the shape and the numbers of `expected`, a tensor or a float."""
    if isinstance(expected, float):  # then a tensor with one number will do, too
        if not isinstance(got, numbers.Real) and not (isinstance(got, torch.Tensor) and got.numel() == 1):
            raise Wrong(f"{what} should be a number, but {short(got)} came")
        got, expected = (torch.tensor(float(number), dtype=torch.float64) for number in (got, expected))
    shape = tuple(expected.shape)
    if not isinstance(got, torch.Tensor):
        raise Wrong(f"{what} should be a tensor {shape}, but {short(got)} came")

    def close(value, tolerance=tolerance):
        value = torch.as_tensor(value, dtype=torch.float64)
        return value.shape == got.shape and torch.allclose(
            got.double(), value, tolerance, tolerance, equal_nan=True)

    if close(expected):
        return
    if got.dtype == torch.float32 and expected.dtype == torch.float64 and close(expected, 1e-5):
        otherwise = "these are float32 numbers, the task has float64: dtype=torch.float64"
    hint = next((hint for value, hint in mistakes if close(value)), otherwise * (got.shape == expected.shape))
    hint = hint and f"; {hint}"
    if got.shape != expected.shape:
        raise Wrong(f"{what} should have the shape {shape}, but {tuple(got.shape)} came{hint}")
    difference = (got.double() - expected.double()).abs().nan_to_num(math.inf)
    index = [int(i) for i in torch.unravel_index(difference.argmax(), shape)]
    where = f" at {index}" if index else ""
    expected, got = digits(expected[tuple(index)].item(), got[tuple(index)].item())
    raise Wrong(f"{what} should be {expected}{where}, but {got} came{hint}")


def digits(a, b):
    """Two numbers as texts: of seven digits, or of as many as it takes to tell them apart."""
    n = next((n for n in range(7, 17) if f"{a:.{n}g}" != f"{b:.{n}g}"), 17)
    return f"{a:.{n}g}", f"{b:.{n}g}"


def ask(solve, *given):
    """What solve makes of copies of its inputs. Raises Wrong if it changes one of them."""
    copies = copy.deepcopy(given)
    got = solve(*copies)
    for name, before, after in zip(inspect.signature(solve).parameters, given, copies):
        if not same(before, after):
            raise Wrong(f"{name} should not change, but it did; work on a copy")
    return got


def same(a, b):
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def several(got, n, what, kind=object):
    """`got` as a tuple of n things. Raises Wrong unless it is one, and all its things are of this kind."""
    if not isinstance(got, (tuple, list)) or len(got) != n:
        raise Wrong(f"{what} should come back, but {short(got)} came")
    for each in got:
        if not isinstance(each, kind):
            raise Wrong(f"{what} should come back, but one of them is {each!r:.60}")
    return got


def short(got):
    if got is None:
        return "None (is there a return?)"
    text = f"a tensor {tuple(got.shape)}" if isinstance(got, torch.Tensor) else repr(got)
    length = f" of {len(got)}" if isinstance(got, (list, tuple, dict, str)) else ""
    return text if len(text) < 60 else f"a {type(got).__name__}{length}"


@functools.lru_cache(maxsize=1)
def names():
    """The parts of our list of names, as makemore.py trains and tests on them."""
    return makemore.split(makemore.read_words("names.txt"))


def groups(words, n):
    """(N, n + 1) tokens: every letter of the words and every end, with the n letters before it."""
    texts = ["." * n + word + "." for word in words]
    return torch.tensor([[LETTERS.index(c) for c in text[i : i + n + 1]]
                         for text in texts for i in range(len(text) - n)])


@functools.lru_cache(maxsize=1)
def groups_of_four():
    """For each part of the names, all groups of four letters.

    A group is one number, its digits to the base 27.
    """
    powers = 27 ** torch.arange(3, -1, -1)
    return {part: (groups(words, 3) * powers).sum(1) for part, words in names().items()}


def parameters(generator, H, n=3, d=4, V=27):
    """Random float64 tensors for the network of lectures 3 to 5."""
    shapes = {"C": (V, d), "W1": (n * d, H), "b1": (H,), "gain": (H,), "bias": (H,), "W2": (H, V), "b2": (V,)}
    p = {name: torch.randn(shape, generator=generator, dtype=torch.float64) * 0.5
         for name, shape in shapes.items()}
    p["gain"] += 1
    return p


def check_pairs(solve):
    counts, probabilities = several(ask(solve, ["emma", "ava", "mia"]), 2, "two dicts", dict)
    expected = {".e": 1, "em": 1, "mm": 1, "ma": 1, "a.": 3, ".a": 1, "av": 1,
                "va": 1, ".m": 1, "mi": 1, "ia": 1}
    for got, kind in ((counts, "counts"), (probabilities, "probabilities")):
        if set(got) != set(expected):
            dots = any("." in str(pair) for pair in got)
            hint = "" if dots else '; every word has a "." before and behind it'
            raise Wrong(f"the {kind} of emma, ava, mia should have {len(expected)} pairs "
                        f"({', '.join(expected)}), but {len(got)} came ({', '.join(map(str, got))}){hint}")
    if dict(counts) != expected:
        pair = next(pair for pair in expected if counts[pair] != expected[pair])
        raise Wrong(f"the count of {pair} in emma, ava, mia should be {expected[pair]}, "
                    f"but {counts[pair]} came")
    by_hand = {".e": 1 / 3, "em": 1.0, "mm": 1 / 3, "ma": 1 / 3, "a.": 3 / 4, ".a": 1 / 3, "av": 1 / 4,
               "va": 1.0, ".m": 1 / 3, "mi": 1 / 3, "ia": 1.0}
    for pair in ("a.", *by_hand):
        compare(f"the probability of {pair} in emma, ava, mia", probabilities[pair], by_hand[pair], 1e-6, [
            (3 / 13, "divide by the number of pairs that begin with the same letter, not by all 13"),
            (1.0, "given the first letter, not the second: a is followed four times")] * (pair == "a."))


def check_trigrams(solve):
    words, alpha = ["emma", "ava", "mia", "em"], 0.5
    counts = torch.full((27, 27, 27), alpha)
    for word in words:
        for group in zip(f"..{word}", f".{word}", word + "."):
            counts[tuple(map(LETTERS.index, group))] += 1
    one_dot = counts.clone()
    one_dot[0, 0] = alpha
    plain = counts - alpha
    mistakes = [
        (one_dot / one_dot.sum(2, keepdim=True), 'the first letter counts too: two "." stand before a word'),
        (counts / counts.sum(0), "divide by the sum over the last index: sum(2, keepdim=True)"),
        (counts / counts.sum(2), "sum(2) loses a dimension and divides along the wrong one: keepdim=True"),
        (counts / counts.sum(), "every P[i, j] is a distribution of its own: sum(2, keepdim=True)"),
        (plain / plain.sum(2, keepdim=True), "add alpha to every count before you divide"),
        (plain / plain.sum(2, keepdim=True).clamp(min=1), "add alpha to every count before you divide"),
        ((plain + alpha) / plain.sum(2, keepdim=True), "add alpha before you sum, too"),
    ]
    compare("P", ask(solve, words, alpha), counts / counts.sum(2, keepdim=True), mistakes=mistakes)


def check_split(solve):
    words = [a + b for a, b in itertools.product(LETTERS[1:], repeat=2)][:500]
    parts = several(ask(solve, words, 1), 3, "three lists of words", (list, tuple))
    sizes = [len(part) for part in parts]
    if sizes != [400, 50, 50]:
        raise Wrong("of 500 words 400, 50 and 50 should come, "
                    f"but {sizes[0]}, {sizes[1]} and {sizes[2]} came")
    if sorted(itertools.chain(*parts)) != sorted(words):
        raise Wrong("every word should be in one part, but some are in two or in none; cut one shuffled list")
    if sum(map(words.index, parts[2])) / 50 > 400:
        raise Wrong("the test words should come from the whole list, but they are its end; shuffle first: "
                    "our list is sorted by sex and from frequent to rare")
    random.seed(5)
    if [list(part) for part in ask(solve, words, 1)] != [list(part) for part in parts]:
        raise Wrong("the same seed should give the same parts, but others came; random.Random(seed) knows it")
    if [list(part) for part in ask(solve, words, 2)] == [list(part) for part in parts]:
        raise Wrong("another seed should give other parts, but the same came")


def check_tune_smoothing(solve):
    calls, index = [], groups_of_four()
    counts = torch.bincount(index["training"], minlength=27**4).double()
    totals = counts.view(-1, 27).sum(1)

    def loss(part, alpha):
        calls.append(part)
        p = (counts[index[part]] + alpha) / (totals[index[part] // 27] + 27 * alpha)
        return -p.log().mean().item()

    alphas = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0]
    alpha, reported = several(solve(loss, [*alphas]), 2, "alpha and the loss")
    tests = calls.count("test")
    table = {part: {a: loss(part, a) for a in alphas} for part in index}
    best = min(alphas, key=table["validation"].get)
    if tests > 1:
        raise Wrong(f"the test words should be looked at once, but it was {tests} times; whoever chooses "
                    "with their help reports a loss that is too good")
    compare("the alpha with the best validation loss", alpha, best, mistakes=[
        (min(alphas, key=table["training"].get),
         "that is the best on the training words, which always like the least smoothing")])
    compare("the loss", reported, table["test"][best], 1e-6, mistakes=[
        (table["validation"][best], "that is the validation loss, on which alpha was chosen")])
    return f"alpha {best}, test loss {table['test'][best]:.4f}"


def check_rows(solve):
    W = torch.randn(27, 27, generator=torch.Generator().manual_seed(1))
    x = torch.tensor([5, 13, 13, 1, 0])
    one_hot = F.one_hot(x, 27)
    compare("the logits", ask(solve, W, x), one_hot.float() @ W, mistakes=[
        (W[:, x].T, "these are columns; the first index picks a row"),
        (W[:, x], "the first index picks a row"),
        (one_hot.float(), "that is the one-hot vector itself")])
    W[2] = -math.inf  # no x is 2, so that this row must not matter
    got = ask(solve, W, x)
    hint = "0 * -inf is nan: there is a product with one-hot in it"
    compare("the logits with W[2] = -inf", got, W[x], otherwise=hint * bool(got.isnan().any()))


def check_bigram_loss(solve):
    generator = torch.Generator().manual_seed(1)
    W = torch.randn(27, 27, generator=generator)
    x, y = torch.randint(27, (2, 50), generator=generator)
    too_large = [
        (math.nan, "exp(1000) is infinite: take the largest logit off first, or use F.cross_entropy"),
        (math.inf, "a probability is 0, and log 0 is infinite: take the log of the sum, not of the quotient"),
    ]
    for scale in (1, 1000):
        logits = (W * scale).double()[x]
        likelihood = logits.gather(1, y[:, None])[:, 0] - logits.logsumexp(1)
        got = ask(solve, W * scale, x, y)
        compare(f"the loss with logits of about {scale:,}", got, -likelihood.mean(), mistakes=[
            (likelihood.mean(), "the sign: the negative log-likelihood"),
            (-likelihood.sum(), "the mean, not the sum"),
            (-likelihood, "take the mean"),
            (-likelihood.exp().mean().log(), "the mean of the logs, not the log of the mean"),
            (-likelihood.exp().mean(), "the log is missing"),
            (F.cross_entropy(W.T[x] * scale, y).double(), "W[x], not W[:, x]"),
            *(too_large if scale == 1000 else [])])


PROBABILITIES = 27, "a list of 27 probabilities", (numbers.Real, torch.Tensor)


def check_kneser_ney(solve):
    # By hand: in ab, ab, cb "a" is followed by b twice, so that q_1(b | a) = 1.5 / 2 + 0.5 / 2 * q_0(b). Of
    # the five different pairs (.a, ab, b., .c, cb) two end in b, and they have four kinds of ends: q_0(b) =
    # 1.5 / 5 + 2 / 5 / 27. In ab, cab five pairs occur, too (.a, ab, b., .c, ca): two end in a, one in b.
    unseen, by_occurrence, ends = 1.5 / 5 + 2 / 5 / 27, 2.5 / 9 + 2 / 9 / 27, 0.5 / 5 + 2 / 5 / 27
    kinds = "a shorter context counts different longer contexts, not occurrences"
    mistakes = [
        (1.5 / 2 + 0.5 / 2 * by_occurrence, kinds), (by_occurrence, kinds),
        (1.5 / 2 + 0.5 * (1.5 / 5 + 0.5 / 27), "the share of the shorter context is D * kinds / total"),
        (1.5 / 2 + 0.5 / 2 / 27, "q_0 is missing, the distribution without any context"),
        (1.5 / 2, "the shorter context is missing"), (1.0, "the discount is missing"),
        (1.5 / 2 + 0.5 / 2 * 1.5 / 5, "the last one is uniform: q_(-1) = 1/27"),
        (1.5 / 2 + 0.5 / 2 * 2 / 5, "q_0 is discounted too, and q_(-1) = 1/27"),
        (1 / 27, "a context that was never seen has the distribution of the shorter one"),
        (0.0, "a context that was never seen has the distribution of the shorter one"),
    ]
    for words, n, beginning, letter, expected in [
        (["ab", "ab", "cb"], 1, "a", "b", 1.5 / 2 + 0.5 / 2 * unseen),
        (["ab", "ab", "cb"], 1, "z", "b", unseen),
        (["ab", "cab"], 2, "", "a", 0.5 / 2 + 0.5 * (0.5 / 2 + 0.5 * unseen)),
        (["ab", "cab"], 2, "abca", "b", 0.5 + 0.5 * (1.5 / 2 + 0.5 / 2 * ends)),
    ]:
        q = ask(solve, words, n, 0.5)
        if not callable(q):
            raise Wrong(f"a function should come back, but {short(q)} came")
        got = several(q(beginning), *PROBABILITIES)
        what = (f"of the words {', '.join(words)} with n = {n} and a discount of 0.5, the probability of "
                f"{letter} after {beginning!r}")
        compare(what, got[LETTERS.index(letter)], expected, 1e-6, mistakes if n == 1 else (),
                'two "." stand before each word, and the next shorter context of ca is a' * (n == 2))
        check_distribution(beginning, got)
    start = time.perf_counter()
    loss = loss_on_test_words(ask(solve, names()["training"], 5, 0.9), 5)
    if not loss < 2.05:
        raise Wrong(f"the test loss should be below 2.05, but it is {loss:.4f}")
    return f"test loss {loss:.4f}, {time.perf_counter() - start:.1f} s"


def check_distribution(beginning, got):
    """Raises Wrong unless `got` has 27 probabilities above 0 that sum to 1."""
    several(got, *PROBABILITIES)
    for letter, p in zip(LETTERS, got):
        if not p > 0:
            raise Wrong(f"the probability of {letter} after {beginning!r} should be above 0, but {p:.6g} came"
                        + "; max(count - D, 0)" * (p < 0))
    if not abs(sum(got) - 1) <= 1e-6:
        raise Wrong(f"the distribution after {beginning!r} should sum to 1, but its sum is {sum(got):.7g}; "
                    "what D takes off the counts is D * kinds")


def loss_on_test_words(distribution, n):
    """Nats per letter of the test words. Every n letters of context are asked for once."""
    losses, known = [], {}
    for word in names()["test"]:
        for i, letter in enumerate(word + "."):
            key = ("." * n + word[:i])[-n:]
            if key not in known:
                known[key] = distribution(word[:i])
                check_distribution(word[:i], known[key])
            losses.append(-math.log(known[key][LETTERS.index(letter)]))
    return sum(losses) / len(losses)


def small_network():
    generator = torch.Generator().manual_seed(3)
    p = parameters(generator, H=5, d=2, V=7)
    del p["gain"], p["bias"]
    p = {name: t.float() for name, t in p.items()}
    return torch.randint(7, (4, 3), generator=generator), p, generator


def mlp_by_loops(x, C, W1, b1, W2, b2, W3=None):
    """The network of 3.1, and of 3.4 with W3, one number after the other."""
    logits = torch.zeros(len(x), len(b2), dtype=torch.float64)
    for row, letters in enumerate(x.tolist()):
        inputs = [number for letter in letters for number in C[letter].tolist()]
        hidden = [math.tanh(sum(i * w for i, w in zip(inputs, W1[:, j].tolist())) + b1[j].item())
                  for j in range(len(b1))]
        for k in range(len(b2)):
            logits[row, k] = sum(h * w for h, w in zip(hidden, W2[:, k].tolist())) + b2[k].item()
            if W3 is not None:
                logits[row, k] += sum(i * w for i, w in zip(inputs, W3[:, k].tolist()))
    return logits


def check_mlp(solve):
    x, p, _ = small_network()
    flat = p["C"][x].flatten(1)
    turned = p["C"][x].mT.flatten(1)
    linear, h = flat @ p["W1"] + p["b1"], (flat @ p["W1"] + p["b1"]).tanh()
    compare("the logits", ask(solve, x, *p.values()), mlp_by_loops(x, **p), mistakes=[
        (linear @ p["W2"] + p["b2"], "the tanh is missing"),
        ((turned @ p["W1"] + p["b1"]).tanh() @ p["W2"] + p["b2"],
         "lay the vectors end to end, one letter after the other: C[x] is (N, n, d)"),
        ((flat @ p["W1"]).tanh() @ p["W2"] + p["b2"], "b1 is missing"),
        (h @ p["W2"], "b2 is missing"),
        ((h @ p["W2"] + p["b2"]).tanh(), "the logits have no tanh"),
        ((h @ p["W2"] + p["b2"]).softmax(1), "these are probabilities, the softmax of the logits")])


def check_direct(solve):
    x, p, generator = small_network()
    W3 = torch.randn(6, 7, generator=generator)
    flat = p["C"][x].flatten(1)
    h = (flat @ p["W1"] + p["b1"]).tanh()
    compare("the logits", ask(solve, x, *p.values(), W3), mlp_by_loops(x, **p, W3=W3), mistakes=[
        (h @ p["W2"] + p["b2"], "W3 is not used"),
        (flat @ W3 + p["b2"], "the tanh layer is missing: both ways add up"),
        (h @ p["W2"] + p["b2"] + (flat @ W3).tanh(), "the direct way has no tanh"),
        ((h @ p["W2"] + p["b2"] + flat @ W3).tanh(), "the logits have no tanh")])


def check_tensor(name, got, shape):
    """Raises Wrong unless `got` is a tensor of finite numbers of this shape."""
    if not isinstance(got, torch.Tensor) or tuple(got.shape) != shape:
        raise Wrong(f"{name} should be a tensor {shape}, but {short(got)} came")
    if not got.isfinite().all():
        raise Wrong(f"all numbers of {name} should be finite, but {got[~got.isfinite()][0]:g} came")


def check_output_layer(solve):
    torch.manual_seed(0)
    W2, b2 = several(solve(200, 27), 2, "W2 and b2")
    check_tensor("W2", W2, (200, 27))
    check_tensor("b2", b2, (27,))
    h, y = torch.randn(2000, 200).tanh(), torch.randint(27, (2000,))
    loss = F.cross_entropy(h @ W2.float() + b2.float(), y).item()
    if not abs(loss - math.log(27)) < 0.02:
        hint = "b2 should be zero" if b2.std() > 0.1 else "make W2 smaller: large logits are confident errors"
        raise Wrong(f"the first loss should be ln 27 = {math.log(27):.4f}, but it is {loss:.4f}; {hint}")
    return f"first loss {loss:.4f}"


def check_configuration(solve):
    settings = solve()
    allowed = {"block_size", "n_embd", "n_embd2", "learning_rate", "weight_decay"}
    if not isinstance(settings, dict):
        raise Wrong(f"a dict of settings should come back, but {short(settings)} came")
    if set(settings) - allowed:
        raise Wrong(f"the settings should be among {', '.join(sorted(allowed))}, but "
                    f"{', '.join(sorted(map(str, set(settings) - allowed)))} came")
    for name, value in settings.items():
        if not isinstance(value, (int, float) if name in ("learning_rate", "weight_decay") else int):
            raise Wrong(f"{name} should be a number, and a whole one for all sizes, but {value!r} came")
    words = makemore.read_words("names.txt")
    config = makemore.configure("mlp", max_steps=500, **settings)
    with contextlib.redirect_stdout(io.StringIO()), tempfile.TemporaryDirectory() as folder:
        makemore.train(words, config, folder)
        with open(f"{folder}/log.csv") as log:
            loss = min(float(line.split(",")[3]) for line in list(log)[1:])
    if not loss < 2.17:
        hint = "three letters of context are few" if config.block_size <= 3 else "try one change at a time"
        raise Wrong(f"the validation loss should be below 2.17, but it is {loss:.4f}; {hint}")
    return f"validation loss {loss:.4f}"


def check_zero_start(solve):
    answers = solve()
    cases = {"all": ("C W1 b1 W2 b2", 1), "all, 100 steps": ("C W1 b1 W2 b2", 100),
             "W2 and b2": ("W2 b2", 1), "W1 and b1": ("W1 b1", 1)}
    if not isinstance(answers, dict) or set(answers) != set(cases):
        raise Wrong(f"a dict with the keys {', '.join(map(repr, cases))} should come back, "
                    f"but {short(answers)} came")
    reasons = {
        "W2": "h is tanh(0) = 0, and the gradient of W2 is h.T @ dlogits",
        "W1": "the gradient passes W2 on its way back, and W2 is 0",
        "b1": "the gradient passes W2 on its way back, and W2 is 0",
        "C": "the gradient passes W2 and W1 on its way back, and one of them is 0",
    }
    for case, (zero, steps) in cases.items():
        moved = what_moves(zero.split(), steps)
        if not isinstance(answers[case], (set, frozenset, list, tuple)):
            raise Wrong(f"{case!r}: a set of names should come, such as {{'W1', 'C'}}, but "
                        f"{answers[case]!r:.60} came")
        got = set(answers[case])
        if got != moved:
            hint = next((f"; {reasons[name]}" for name in reasons if name in got - moved), "")
            raise Wrong(f"{case!r}: {', '.join(sorted(moved))} should have moved, but the answer is "
                        f"{', '.join(sorted(map(str, got))) or 'none'}{hint}")


def what_moves(zero, steps):
    """The names of what gradient descent by autograd has moved."""
    generator = torch.Generator().manual_seed(4)
    p = parameters(generator, H=6)
    p = {name: torch.zeros_like(t) if name in zero else t
         for name, t in p.items() if name not in ("gain", "bias")}
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


def check_batch_norm(solve):
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(6, 4, generator=generator) * torch.tensor([0.01, 1, 2, 3]) + 1
    gain, bias, mean, var = torch.rand(4, 4, generator=generator) + 0.5
    for training, *options in [(True,), (False,), (True, 0.3, 0.02), (False, 0.3, 0.02)]:
        momentum, eps = options or (0.1, 1e-5)
        new_mean, new_var = mean.clone(), var.clone()
        expected = F.batch_norm(x, new_mean, new_var, gain, bias, training, momentum, eps)
        got, got_mean, got_var = several(ask(solve, x, gain, bias, mean, var, training, *options), 3,
                                         "the result, the running mean and the running variance")
        when = "in training" if training else "at evaluation"
        case = when + f" with momentum = {momentum} and eps = {eps}" * bool(options)
        by_batch = F.batch_norm(x, None, None, gain, bias, True, momentum, eps)
        by_running = F.batch_norm(x, mean, var, gain, bias, False, momentum, eps)
        unbiased = (x - x.mean(0)) / (x.var(0) + eps).sqrt() * gain + bias
        outside = (x - x.mean(0)) / (x.std(0, correction=0) + eps) * gain + bias
        fixed = F.batch_norm(x, mean.clone(), var.clone(), gain, bias, training)
        compare(f"the result {case}", got, expected, mistakes=[
            (unbiased, "divide by N here, not by N - 1: correction=0 (or unbiased=False)"),
            (outside, "eps is added to the variance, before the root"),
            (by_running if training else by_batch,
             f"{when} the {'batch' if training else 'running'} mean and variance are used"),
            ((expected - bias) / gain, "gain and bias are missing"), (fixed, "use the eps that is given")])
        compare(f"the running mean {case}", got_mean, new_mean, mistakes=[
            (x.mean(0).lerp(mean, momentum), "momentum is the share of the batch: 0.9 old + 0.1 new"),
            (mean, "it moves towards the batch's mean"),
            (mean.lerp(x.mean(0), momentum), "at evaluation it stays"),
            (mean.lerp(x.mean(0), 0.1), "use the momentum that is given")])
        compare(f"the running variance {case}", got_var, new_var, mistakes=[
            (var.lerp(x.var(0, correction=0), momentum),
             "it moves towards the unbiased variance: divide by N - 1"),
            (x.var(0).lerp(var, momentum), "momentum is the share of the batch: 0.9 old + 0.1 new"),
            (var.lerp(x.var(0), 0.1), "use the momentum that is given")])


def check_fold(solve):
    generator = torch.Generator().manual_seed(6)
    W, x = torch.randn(5, 5, generator=generator), torch.randn(8, 5, generator=generator)
    gain, bias, mean, var = torch.rand(4, 5, generator=generator) + 0.5
    var[0] = 1e-3  # so small that eps counts
    for eps in ((), (0.02,)):
        expected = F.batch_norm(x @ W, mean, var, gain, bias, False, 0.1, *eps)
        W2, b2 = several(ask(solve, W, gain, bias, mean, var, *eps), 2, "W and b")
        check_tensor("W", W2, (5, 5))
        check_tensor("b", b2, (5,))
        variance = var + (eps or (1e-5,))[0]
        scale = gain / variance.sqrt()
        rows = x @ (W * scale[:, None]) + bias - mean * scale
        folded = x.double() @ W2.double() + b2.double()
        compare("x @ W + b" + " with eps = 0.02" * bool(eps), folded, expected, 1e-4, mistakes=[
            (x @ (W * scale) + bias, "the mean is missing: b = bias - mean * scale"),
            (x @ (W * scale) + bias - mean, "the mean is scaled too: b = bias - mean * scale"),
            (x @ (W * gain / variance) + bias - mean * gain / variance, "divide by the root of the variance"),
            (rows, "every output channel has its scale: a column of W (n, H), not a row"),
            (F.batch_norm(x @ W, mean, var, gain, bias, False, eps=0), "eps is added to the variance"),
            (F.batch_norm(x @ W, mean, var, gain, bias, False), "use the eps that is given")])


def check_backward(solve):
    generator = torch.Generator().manual_seed(7)
    p = parameters(generator, H=8)
    x, y = torch.randint(6, (32, 3), generator=generator), torch.randint(27, (32,), generator=generator)
    for t in p.values():
        t.requires_grad_()
    v = forward(p, x, y)
    truth = dict(zip(BACKWARD, torch.autograd.grad(v.loss, [getattr(v, name) for name in BACKWARD])))
    v = SimpleNamespace(**{name: t.detach() for name, t in vars(v).items()})
    N = len(x)
    mistakes = {
        "log_probs": [(truth["log_probs"] * N, "the loss is a mean: divide by N"),
                      (-truth["log_probs"], "the loss is the negative log-likelihood")],
        "counts": [(truth["probs"] * v.inverse_total,
                    "counts is used twice, in probs and in total: add both"),
                   (truth["total"].expand(v.counts.shape),
                    "counts is used twice, in probs and in total: add both")],
        "before_tanh": [(truth["h"] * (1 - v.before_tanh**2),
                         "the derivative of tanh is 1 - tanh^2, of the result")],
        "centred": [(truth["normalized"] * v.inverse_std,
                     "centred is used twice, in normalized and in squared")],
        "linear": [(truth["centred"], "linear is used twice, in centred and in mean: add both")],
        "C": [(torch.zeros_like(v.C).index_put((x,), truth["vectors"]),
               "a letter that occurs several times collects the sum: index_add_")],
    }
    with torch.no_grad():
        answers = solve(*copy.deepcopy((v, x, y)))
    if not isinstance(answers, dict):
        raise Wrong(f"a dict should come back, but {short(answers)} came")
    for done, name in enumerate(BACKWARD):
        if answers.get(name) is None:
            raise Wrong(f"{done} of {len(BACKWARD)} are right, {name} {tuple(truth[name].shape)} is the next")
        got, expected = answers[name], truth[name]
        hints = list(mistakes.get(name, ()))
        if isinstance(got, torch.Tensor) and got.shape != expected.shape:
            if got.dim() == expected.dim() == 2 and got.shape == expected.T.shape:
                hints.append((got, "transposed: the shapes leave only one way to write it"))
            elif expected.numel() < got.numel():
                hints.append((got, f"{name} was used for many rows or columns: sum over them"))
        compare(f"the derivative by {name} ({done} before it are right)", got, expected, 1e-9, mistakes=hints)


def check_cross_entropy_gradient(solve):
    generator = torch.Generator().manual_seed(8)
    logits = torch.randn(9, 27, generator=generator, dtype=torch.float64, requires_grad=True)
    y = torch.randint(27, (9,), generator=generator)
    expected = torch.autograd.grad(F.cross_entropy(logits, y), logits)[0]
    logits = logits.detach()
    probabilities = logits.softmax(1)
    compare("the derivative by the logits", ask(solve, logits, y), expected, 1e-9, mistakes=[
        (expected * 9, "the loss is a mean: divide by N"), (-expected, "the sign"),
        (probabilities / 9, "take 1 off at the target"),
        (probabilities, "take 1 off at the target, divide by N"),
        (probabilities - 1 / 9 * F.one_hot(y, 27), "divide all of it by N")])


def check_batch_norm_gradient(solve):
    generator = torch.Generator().manual_seed(9)
    x = torch.randn(10, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    dout, gain = torch.randn_like(x), torch.rand(4, generator=generator, dtype=torch.float64) + 0.5
    dout = torch.randn(10, 4, generator=generator, dtype=torch.float64)
    expected = torch.autograd.grad(F.batch_norm(x, None, None, gain, training=True), x, dout)[0]
    x = x.detach()
    scale = (x.var(0, correction=0) + 1e-5) ** -0.5
    normalized, dz = (x - x.mean(0)) * scale, dout * gain
    compare("the derivative by x", ask(solve, dout, x, gain), expected, 1e-9, mistakes=[
        (scale * dz, "the mean and the variance depend on x too"),
        (scale * (dz - dz.mean(0)), "the variance depends on x too"),
        (scale * (dz - normalized * (dz * normalized).mean(0)), "the mean depends on x too"),
        (expected / gain, "the gain is missing"),
        (scale * (dz - dz.mean(0) - normalized * (dz * normalized).sum(0) / 9),
         "divide by N, not by N - 1: that is for the unbiased variance"),
        (scale * (dz - dz.sum(0) - normalized * (dz * normalized).sum(0)), "means, not sums")])


def check_train_step(solve):
    generator = torch.Generator().manual_seed(10)
    ours = parameters(generator, H=32)
    del ours["b1"]
    theirs = {name: t.clone().requires_grad_() for name, t in ours.items()}
    data = groups(names()["training"][:2000], 3)
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
            for name, gradient in gradients.items():
                theirs[name] -= 0.1 * gradient
            got = solve(ours, x, y, 0.1)
        compare(f"the loss of step {step}", got, loss.item(), 1e-6)
        losses.append(float(got))
        if step in (0, 199):
            for name in ("b2", "W2", "bias", "gain", "W1", "C"):
                gradient = gradients[name]
                compare(f"{name} after step {step}", ours[name], theirs[name].detach(), 1e-6, mistakes=[
                    (before[name], "it did not move: change the tensors of p in place (p[name] -= ...)"),
                    (before[name] + 0.1 * gradient, "down the gradient, not up")])
    return f"loss {losses[0]:.2f} in the first step, {sum(losses[-20:]) / 20:.2f} after 200"


def tree_by_loops(x, weights):
    """(8, C) -> (H,), one node after the other."""
    nodes = list(x)
    for W in weights:
        nodes = [torch.tanh(torch.cat([nodes[i], nodes[i + 1]]) @ W) for i in range(0, len(nodes), 2)]
    return nodes[0]


def tree_parts(T):
    generator = torch.Generator().manual_seed(11)
    weights = [torch.randn(shape, generator=generator) * 0.5 for shape in ((6, 4), (8, 4), (8, 4))]
    return torch.randn(5, T, 3, generator=generator), weights


def check_tree(solve):
    x, weights = tree_parts(8)
    halves = backwards = x
    linear = x
    for W in weights:
        middle = halves.shape[1] // 2
        halves = torch.tanh(torch.cat([halves[:, :middle], halves[:, middle:]], dim=2) @ W)
        backwards = torch.tanh(torch.cat([backwards[:, 1::2], backwards[:, ::2]], dim=2) @ W)
        linear = torch.cat([linear[:, ::2], linear[:, 1::2]], dim=2) @ W
    expected = torch.stack([tree_by_loops(word, weights) for word in x])
    compare("the tree", ask(solve, x, weights), expected, mistakes=[
        (halves[:, 0], "these are pairs from two halves, not neighbours: view(B, T // 2, 2 * C)"),
        (backwards[:, 0], "the older one comes first"), (linear[:, 0], "the tanh is missing"),
        (expected[:, None], "one position is left: take it out, (B, H)")])


def check_dilated(solve):
    x, weights = tree_parts(6 + 7)
    expected = torch.stack([torch.stack([tree_by_loops(word[t : t + 8], weights) for t in range(6)])
                            for word in x])

    def wrong(shifts, swap=False):
        h = x
        for W, shift in zip(weights, shifts):
            pair = [h[:, :-shift], h[:, shift:]]
            h = torch.tanh(torch.cat(pair[::-1] if swap else pair, dim=2) @ W)
        return h

    compare("the result", ask(solve, x, weights), expected, mistakes=[
        (wrong((4, 2, 1)), "the lowest level joins direct neighbours: the distances are 1, 2, 4"),
        (wrong((1, 1, 1)),
         "neighbours of the next level are two apart, then four: the distances are 1, 2, 4"),
        (wrong((1, 2, 4), swap=True), "the older one comes first"),
        (expected.mT, "the channels come last")])


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
}

# ------------------------------------------------------------------------------------------------------------
# Running them


class Wrong(Exception):
    """A wrong answer: what was expected, what came and, if the mistake is a common one, a hint."""


def verdict(solve, check):
    """"to do", "right" (with a remark if the check has one) or "wrong" with the reason, in one line."""
    try:
        remark = check(solve)
    except NotImplementedError as error:
        if not error.args:
            return "to do"
        problem = error
    except Wrong as error:
        return f"wrong: {error}"
    except (Exception, SystemExit) as error:  # noqa: BLE001 (code that is being written fails in many ways)
        problem = error
    else:
        return f"right ({remark})" if remark else "right"
    name, message = type(problem).__name__, f": {problem}".splitlines()[0] if str(problem) else ""
    file, checks = check.__code__.co_filename, compare.__code__.co_firstlineno  # the exercises stand above
    frames = traceback.extract_tb(problem.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == file and frame.lineno < checks]
    if not lines:
        return f"wrong: the check cannot work with what came: {name}{message}"
    return f"wrong: {name} in line {lines[-1]}{message}"


def main(arguments):
    """Check all exercises, or those whose numbers are given; returns the exit status."""
    if {"-h", "--help"} & set(arguments):
        print(f"{__doc__}\nThere are {', '.join(EXERCISES)}.")
        return 0
    for number in arguments:
        if number not in EXERCISES:
            print(f"exercises: there is no exercise {number}; there are {', '.join(EXERCISES)}",
                  file=sys.stderr)
            return 2
    verdicts = []
    for number in arguments or EXERCISES:
        solve, check = EXERCISES[number]
        if arguments:
            print(f"{inspect.getdoc(solve) or 'The task stood in the docstring, which is gone.'}\n")
        verdicts.append(verdict(solve, check))
        print(f"{number}  {solve.__name__:22}  {verdicts[-1]}", flush=True)
    return int(any(line.startswith("wrong") for line in verdicts))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
