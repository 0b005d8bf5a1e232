"""The exercises of lecture 7. Each is a function to fill in; its docstring is the task.

    python gpt/exercises.py                          one line per exercise: to do, right or wrong
    python gpt/exercises.py 7.2                      one exercise, with its whole task
    python gpt/exercises.py --copy mine.py           a copy to work in: git pull never conflicts with it
    python gpt/exercises.py --train 7.5              train a gpt with your answer; also 7.6, 7.8 and 7.9

Replace `raise NotImplementedError` with your own lines, and run the file again. The checks are below the
exercises; they give the answers away, so look at them last. The solutions are in tests/solutions.py. A
function must not change its arguments: work on a copy.

Shapes: B texts, T positions, C channels, D channels of a head.
"""
import argparse
import contextlib
import copy
import csv
import dataclasses
import inspect
import io
import itertools
import json
import math
import random
import statistics
import sys
import tempfile
import textwrap
import time
import traceback
import types
from pathlib import Path

import torch
import torch.nn.functional as F

FOLDER = Path(__file__).resolve().parent  # of gpt.py; --copy writes the path itself into the copy
if __name__ == "__main__":
    sys.path.insert(0, str(FOLDER))

import gpt  # from FOLDER, also if this is a copy elsewhere

THREADS = torch.get_num_threads()  # for training
if __name__ == "__main__":
    torch.set_num_threads(1)  # the checks have tensors so small that more threads wait for one another

# ------------------------------------------------------------------------------------------------------------
# Lecture 7: before attention, four ways to average the past


def average_by_loop(x):
    """7.0a The average of the past, with a loop (lecture 7, "version 1").

    A model must not look ahead, so a position may use only itself and the positions before it. The simplest
    thing to do with them is to take their mean. At each position t, compute the mean of the vectors x[b, 0]
    to x[b, t], each text by itself. Loops are welcome.

    In: x (B, T, C). Out: (B, T, C).
    """
    raise NotImplementedError


def averaging_matrix(T):
    """7.0b The average of the past, as a matrix product (lecture 7, "version 2").

    A mean is a weighted sum. Make the matrix A of the weights: A @ x must be the result of 7.0a for every x.
    Row t holds the weights for position t.

    In: T, an int. Out: A (T, T), floats.
    """
    raise NotImplementedError


def softmax_weights(scores):
    """7.0c The average of the past, as a softmax (lecture 7, "version 3").

    scores[t, s] says how much position t wants to look at position s. Turn the scores into weights: replace
    the scores of the future by -inf, and take the softmax of each row. If all scores are 0, the weights must
    be the matrix of 7.0b.

    Why write an average in such a roundabout way? 7.0b can give every position of the past only the same
    weight. Here the scores may be any numbers, so they can depend on the text.

    In: scores (T, T). Out: the weights (T, T), each row with the sum 1.
    """
    raise NotImplementedError


def average_by_scores(x):
    """7.0d A weighted average of the past (lecture 7, the step to "version 4").

    Now let the text decide. As the score of positions t and s take the product of their vectors, x[b, t] @
    x[b, s], so a position looks most at positions like itself. Mask and softmax as in 7.0c, then average
    the vectors with these weights. 7.1 adds the rest of attention: each vector gets a query, a key and a
    value of its own in place of x, and the scores are divided by sqrt(D).

    In: x (B, T, C). Out: (B, T, C).
    """
    raise NotImplementedError


# ------------------------------------------------------------------------------------------------------------
# Lecture 7: attention


def attention_by_loop(q, k, v):
    """7.1 Attention of a single head, position by position (lecture 7; `MultiHeadAttention` in gpt.py).

    At each position, multiply its query with its own key and with every key before it, and divide these
    scores by sqrt(D). The softmax of the scores says how much of each value goes into the result. Loops are
    welcome.

    In: q, k, v (T, D). Out: (T, D).
    """
    raise NotImplementedError


def attention(q, k, v):
    """7.2 The same with matrices (lecture 7, "version 4"; `MultiHeadAttention` in gpt.py).

    No loop this time: one product for all scores, a mask for the future, a softmax,
    one product for the results. Why divide by sqrt(D)?

    In: q, k, v (B, T, D). Out: (B, T, D).
    """
    raise NotImplementedError


def heads(x, W, n_head):
    """7.3 All heads in one product (lecture 7, first exercise; `MultiHeadAttention` in gpt.py).

    x @ W has 3C columns: C for the queries, then C for the keys, then C for the values. Of each C, the first
    D = C // n_head columns belong to the first head, the next D to the second head, and so on. Compute the
    attention of all heads at once, with a dimension for the heads instead of a loop or a list of modules, and
    lay their results side by side. F.scaled_dot_product_attention is allowed here.

    In: x (B, T, C); W (C, 3C); n_head, an int. Out: (B, T, C).
    """
    raise NotImplementedError


def rotate(x, positions):
    """7.4 Rotary positions (Su et al. 2021; `rotate` in gpt.py).

    Rotate the channels of x in pairs, each pair by position * speed, with a speed of its own: pair i of D/2
    has the speed 10000 ** (-2i / D). You choose which two channels make a pair. Each channel stays in its
    place, so at position 0 nothing changes. The product of a rotated query and a rotated key then depends
    only on the distance between their positions. Why?

    In: x (T, D), D even; positions (T,), floats. Out: (T, D).
    """
    raise NotImplementedError


# ------------------------------------------------------------------------------------------------------------
# Lecture 7: two experiments


def sum_lines(pairs):
    """7.5 Sums as a text (lecture 7, second exercise).

    One line for each sum, the answer written backwards: "37+48=58" for 37 + 48 = 85. Why backwards?

        python gpt/exercises.py --train 7.5

    trains a gpt on your lines and shows how many sums that it has never seen come out right. It takes less
    than a minute on two cores. Try it with the answers forward too.

    In: a list of pairs of ints. Out: a str, a newline behind every line.
    """
    raise NotImplementedError


def answers_only(x, y, newline, equals):
    """7.6 Train on the answers alone (lecture 7, second exercise; y = -1 is left out of the loss).

    No network can know which question comes next, so there is nothing to learn from it. A batch is cut out of
    the text of 7.5, and y holds, at each position, the character after x. Put -1 into y wherever that
    character does not belong to an answer. The newline behind an answer belongs to it. A window may begin
    inside a line, where part of the question is cut off: leave out everything before the first newline in x.

        python gpt/exercises.py --train 7.6

    trains as 7.5 does, but on the answers alone.

    In: x and y (B, T), tokens; newline and equals, the tokens of these characters. Out: (B, T), a new y.
    """
    raise NotImplementedError


def finetuned():
    """7.7 Pretrain on the other plays, finetune on ours (lecture 7, third exercise).

        python data/prepare.py --plays                                      makes data/plays.txt
        python gpt/gpt.py -o out/scratch --max-steps 300                    without pretraining
        python gpt/gpt.py -i plays.txt -o out/plays --max-steps 800         pretraining
        python gpt/gpt.py --init-from out/plays -o out/finetuned --max-steps 300 -l 0.0005

    Run them, and this file, in the repository's root. On two cores the pretraining takes about four minutes,
    each of the others one or two.

    Out: the folder of the run without pretraining and the folder of the run with it, two paths. The check
    reads log.csv and model.pt in both. They must have trained for the same number of steps.
    """
    raise NotImplementedError


class Calculator:
    """7.8 A calculator (lecture 7, second exercise).

    A gpt learns to calculate with two numbers below 100. Each line of its text is a question, "37*48=", then
    what `write` returns for it, and a newline. The loss leaves the question out, as in 7.6.

        python gpt/exercises.py --train 7.8

    trains a small gpt on nine tenths of all problems: 400 steps, about 100 s on one core. (`--steps 2500`
    takes about ten minutes.) Then the gpt answers the other tenth: it gets a question and writes the rest of
    the line, and `read` takes the answer from it. You see how many are right for each of + - * /.

    First write nothing but the answer. This is hard for a gpt: a single pass through its layers has to find
    each digit. Then give it a scratchpad: let `write` return the whole calculation, as on paper, in steps
    that are each easy, with the answer at the end. Ask of each character: which earlier characters decide it,
    and do they stand close before it? Keep the calculations short; that saves training time.

    write: a and b, ints from 0 to 99; operation, one of "+-*/"; b is not 0 in a division. Out: a str without
    a newline, at most 120 characters, which contains the answer in decimal digits (backwards if you like).

    read: operation, and a text that the gpt wrote after "=", without the newline. Out: the answer in that
    text, an int; for a division, the pair (quotient, remainder), as divmod(a, b) returns it. read must not
    calculate: it only finds the answer. If the text makes no sense, it may raise any exception.
    """

    def write(self, a, operation, b):
        raise NotImplementedError

    def read(self, operation, text):
        raise NotImplementedError


def idea():
    """7.9 An idea of a paper (lecture 7, fourth exercise).

    Choose an idea that somebody has published for transformers, and build it into gpt.py: one of those behind
    "Try:" in gpt.py, or another. Change a copy of the file, for example my_gpt.py, or list the changes.

        python gpt/exercises.py --train 7.9

    trains both files with three seeds, for the same time: an idea that makes a step slower gets fewer steps.
    It prints the difference between the validation losses and its standard error. That is six runs of about
    300 steps, about ten minutes on two cores.

    Out: the path of your copy; or a dict {old text: new text}, where each old text occurs exactly once in
    gpt.py.
    """
    raise NotImplementedError


# ------------------------------------------------------------------------------------------------------------
# The checks. `mistakes` lists what common mistakes give, each with its hint.
# If you add functions of your own, their names must not begin with _, check_ or train_, nor be Wrong,
# verdict, write_copy, main or EXERCISES: the definitions below would replace them.


def _compare(what, got, expected, tolerance=1e-5, mistakes=(), otherwise="", note=None):
    """Raises Wrong unless `got` is a tensor with the shape and the numbers of `expected`.

    `otherwise` is the hint for a result of the right shape that is none of the mistakes. `note(index)` says
    more about the place of the wrong number.
    """
    shape = tuple(expected.shape)
    if not isinstance(got, torch.Tensor):
        raise Wrong(f"{what}: expected a tensor {shape}, got {_short(got)}")
    if _close(got, expected, tolerance):
        return
    hint = ""
    if got.shape == expected.shape:
        hint = otherwise
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
    what += f" at {list(index)}"
    if note is not None:
        what += note(index)
    expected, got = _digits(expected[index].item(), got[index].item())
    raise Wrong(f"{what}: expected {expected}, got {got}{hint}")


def _close(got, value, tolerance):
    """Are these two the same, in shape and in numbers? nan equals nan."""
    return value.shape == got.shape and torch.allclose(
        got.double(), value.double(), rtol=tolerance, atol=tolerance, equal_nan=True)


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
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    return a == b


def _short(got):
    """What an answer is, in a few words."""
    if got is None:
        return "None (is there a return?)"
    if isinstance(got, torch.Tensor):
        return f"a tensor {tuple(got.shape)}"
    if len(repr(got)) < 60:
        return repr(got)
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
def _without_attention():
    fused = "F.scaled_dot_product_attention does the work here; write it out"
    weights = "gpt.attention_weights does the work here; write it out"
    with _forbidden(F, "scaled_dot_product_attention", fused), _forbidden(gpt, "attention_weights", weights):
        yield


def _past_of(T):
    """(T, T) bool: True where a row's position may look."""
    return torch.ones(T, T).tril().bool()


def _means_by_loop(x):
    """The averages of 7.0, one number after the other."""
    B, T, C = x.shape
    means = torch.zeros(B, T, C)
    for b in range(B):
        for t in range(T):
            for c in range(C):
                means[b, t, c] = sum(x[b, s, c].item() for s in range(t + 1)) / (t + 1)
    return means


def check_average_by_loop(solve):
    x = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(5))
    so_far = torch.arange(1, 6)[:, None]  # how many positions there are up to each one
    sums = x.cumsum(1)
    before = (sums - x) / (so_far - 1)  # nan at the first position, which has none before it
    of_means = x.clone()
    for t in range(1, 5):
        of_means[:, t] = of_means[:, : t + 1].mean(1)
    from_the_end = x.flip(1).cumsum(1).flip(1) / so_far.flip(0)
    itself = "a position belongs to its own past: x[b, : t + 1]"
    channels = "average over the positions, not over the channels: x[b, : t + 1].mean(0)"
    _compare("the result", _ask(solve, x), _means_by_loop(x), mistakes=[
        (sums, "these are sums; divide by the number of positions"),
        (sums / 5, "divide by the number of positions so far, t + 1, not by T"),
        (before, itself),
        (before.nan_to_num(0), itself),
        (x.mean(1, keepdim=True).expand(x.shape), "a position must not look at those after it"),
        (x.mean(1), "every position has a mean of its own: (B, T, C)"),
        (of_means, "average the vectors of x, not the averages before"),
        (from_the_end, "this is the future: take the positions up to t"),
        (x.cumsum(0) / torch.arange(1, 3)[:, None, None], "each text by itself: go along T, not along B"),
        (sums.sum(2) / so_far.T, channels),
        (sums.mean(2, keepdim=True).expand(x.shape) / so_far, channels)])


def check_averaging_matrix(solve):
    T = 5
    A = _ask(solve, T)
    tril = torch.ones(T, T).tril()
    so_far = tril.sum(1, keepdim=True)
    strict = torch.ones(T, T).tril(-1)
    no_self = strict / strict.sum(1, keepdim=True)  # nan in the first row
    itself = "a position belongs to its own past: tril(), not tril(-1)"
    _compare(f"A for T = {T}", A, tril / so_far, mistakes=[
        (tril, "every row should sum to 1; divide by its sum"),
        (tril / T, "divide each row by its own sum, not by T"),
        (tril / tril.sum(0, keepdim=True), "divide by the sums of the rows: sum(1, keepdim=True)"),
        (tril / so_far[:, 0], "sum(1) loses a dimension and divides along the wrong one: keepdim=True"),
        ((tril / so_far).T, "row t is for position t: transpose it"),
        (tril.T / tril.T.sum(1, keepdim=True), "this is the future: tril, not triu"),
        (torch.full((T, T), 1 / T), "a position must not look at those after it"),
        (no_self, itself),
        (no_self.nan_to_num(0), itself),
        (tril.softmax(1), "exp(0) is 1, so the future has a weight; divide by the sums (softmax is 7.0c)")])


def _weight_mistakes(scores):
    """Wrong weights that common mistakes make of scores (..., T, T), each with its hint."""
    past = _past_of(scores.shape[-1])
    one_more = torch.ones_like(past).tril(1)
    hidden = scores.masked_fill(~past, -math.inf)
    rows = "the weights of each position sum to 1: take the softmax over the row, softmax(-1)"
    return [
        (scores, "the mask and the softmax are missing"),
        (scores.tril(), "the softmax is missing"),
        (hidden, "the softmax is missing"),
        (scores.softmax(-1), "a position must not look at those after it"),
        (scores.masked_fill(~past, 0).softmax(-1), "exp(0) is 1: mask with -inf, not with 0"),
        (scores.masked_fill(~past, math.inf).softmax(-1), "exp(inf) is inf: mask with -inf, not with inf"),
        (scores.masked_fill(~one_more, -math.inf).softmax(-1),
         "each position sees the next one too: tril(), not tril(1)"),
        (scores.softmax(-1) * past, "mask before the softmax, so that the weights sum to 1"),
        (hidden.softmax(-2), rows),
        (hidden.softmax(0), "this softmax is over the texts of the batch; it should be over the row"),
        (scores.masked_fill(past, -math.inf).softmax(-1),
         "the mask hides the past: -inf belongs where tril is 0 (the last row has nothing left, hence nan)"),
        (scores.masked_fill(~past.T, -math.inf).softmax(-1), "this is the future: the mask is upside down"),
        (hidden.exp(), "these weights do not sum to 1: use softmax, not exp"),
        (scores.masked_fill(~past.tril(-1), -math.inf).softmax(-1),
         "a position may look at itself (the first one has nothing else, hence nan)"),
        (past / past.sum(-1, keepdim=True) + 0 * scores, "the scores are not used"),
    ]


def check_softmax_weights(solve):
    past = _past_of(5)
    scores = torch.randn(5, 5, generator=torch.Generator().manual_seed(7))
    expected = scores.exp() * past
    expected = expected / expected.sum(1, keepdim=True)
    _compare("the weights of random scores", _ask(solve, scores), expected, mistakes=_weight_mistakes(scores))
    by_value = "a score of the past may be 0 too: mask by position, not by value"
    _compare("the weights of scores 0", _ask(solve, scores * 0), past / past.sum(1, keepdim=True), mistakes=[
        (torch.full((5, 5), math.nan), by_value)])


def check_average_by_scores(solve):
    x = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(8))
    with _without_attention():
        got = _ask(solve, x)
    scores = x @ x.mT
    expected = F.scaled_dot_product_attention(x, x, x, is_causal=True, scale=1.0)
    weights = scores.masked_fill(~_past_of(5), -math.inf).softmax(-1)
    root = F.scaled_dot_product_attention(x, x, x, is_causal=True)
    _compare("the result", got, expected, mistakes=[
        (weights, "these are the weights; multiply them by x"),
        (root, "no sqrt yet: it belongs to 7.1"),
        *((wrong @ x, hint) for wrong, hint in _weight_mistakes(scores))])


def _attention_mistakes(q, k, v):
    """What common mistakes make of q, k, v (..., T, D), each with its hint."""
    T, D = q.shape[-2:]
    products = q @ k.mT
    future = ~_past_of(T)
    weights = (products / D**0.5).masked_fill(future, -math.inf).softmax(-1)

    def attend(scores):
        return scores.masked_fill(future, -math.inf).softmax(-1) @ v

    return [
        *((wrong @ v, hint) for wrong, hint in _weight_mistakes(products / D**0.5)),
        (attend(products), "divide the scores by sqrt(D)"),
        (attend(products / D), "divide by sqrt(D), not by D"),
        (attend(products * D**0.5), "divide by sqrt(D), do not multiply by it"),
        (attend(products / T**0.5), "divide by sqrt(D), not by sqrt(T)"),
        (attend(products) / D**0.5, "divide by sqrt(D) before the softmax, not after it"),
        (attend(products.mT / D**0.5), "row t has the scores of query t: q @ k.mT, not k @ q.mT"),
        (attend(q @ v.mT / D**0.5), "the scores come from queries and keys; the values are averaged"),
        (weights @ k, "the weights are for the values, not for the keys"),
    ]


def check_attention_by_loop(solve):
    q, k, v = torch.randn(3, 6, 4, generator=torch.Generator().manual_seed(1))
    expected = F.scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True)[0]
    with _without_attention():
        got = _ask(solve, q, k, v)
    _compare("the result", got, expected, mistakes=_attention_mistakes(q, k, v))


def check_attention(solve):
    q, k, v = torch.randn(3, 2, 6, 4, generator=torch.Generator().manual_seed(2))
    expected = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    weights = gpt.attention_weights(q, k)
    with _without_attention():
        got = _ask(solve, q, k, v)
    _compare("the result", got, expected, mistakes=[
        (weights, "these are the weights; multiply them by v"),
        *_attention_mistakes(q, k, v)])


def check_heads(solve):
    generator = torch.Generator().manual_seed(3)
    x, W = torch.randn(2, 5, 12, generator=generator), torch.randn(12, 36, generator=generator)
    B, T, C, n_head, D = 2, 5, 12, 3, 4
    results = []
    for head in range(n_head):  # one head after the other, each with its own columns
        q, k, v = (x @ W[:, part * C + head * D :][:, :D] for part in range(3))
        results.append(F.scaled_dot_product_attention(q, k, v, is_causal=True))
    stacked = torch.stack(results, dim=1)  # (B, heads, T, D)

    q, k, v = (x @ W).split(C, dim=2)
    single = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    cut = F.scaled_dot_product_attention(*(t.reshape(B, n_head, T, D) for t in (q, k, v)), is_causal=True)
    head_by_head = (x @ W).view(B, T, n_head, 3, D).permute(3, 0, 2, 1, 4)  # the wrong order of columns
    mixed = F.scaled_dot_product_attention(*head_by_head, is_causal=True)
    view_first = "view(B, T, n_head, D) first, then transpose(1, 2)"
    turned = [t.view(B, T, n_head, D) for t in (q, k, v)]
    along_heads = F.scaled_dot_product_attention(*turned, is_causal=True)
    split = [t.view(B, T, n_head, D).transpose(1, 2) for t in (q, k, v)]
    by_root_of_C = F.scaled_dot_product_attention(*split, is_causal=True, scale=C**-0.5)
    other_orders = [F.scaled_dot_product_attention(*order, is_causal=True)
                    for order in itertools.permutations(split)]
    order = "x @ W has the queries first, then the keys, then the values"
    _compare("the result", _ask(solve, x, W, n_head), torch.cat(results, dim=2), mistakes=[
        (single, "this is one head of C channels"),
        (cut.transpose(1, 2).reshape(B, T, C), view_first),
        (cut.reshape(B, T, C), view_first),
        (stacked.reshape(B, T, C), "transpose(1, 2) before you lay the heads side by side"),
        (stacked, "lay the heads side by side: (B, T, C)"),
        (mixed.transpose(1, 2).reshape(B, T, C),
         "the columns are C queries, C keys and C values, and within these the heads"),
        (along_heads.reshape(B, T, C), "attention is over T, not over the heads: transpose(1, 2) before it"),
        (by_root_of_C.transpose(1, 2).reshape(B, T, C), "divide by the root of D = C // n_head, not of C"),
        *((wrong.transpose(1, 2).reshape(B, T, C), order) for wrong in other_orders),
        *((wrong.transpose(1, 2).reshape(B, T, C), hint) for wrong, hint in _attention_mistakes(*split))])


def check_rotate(solve):
    x, positions = torch.randn(6, 8, generator=torch.Generator().manual_seed(4)), torch.arange(6.0)
    rotated = _ask(solve, x, positions)
    _compare("x at position 0", _ask(solve, x, positions * 0), x,
             otherwise="at position 0 nothing rotates, and each channel stays in its place")
    if not isinstance(rotated, torch.Tensor) or rotated.shape != x.shape:
        raise Wrong(f"expected a tensor (6, 8), got {_short(rotated)}")
    _compare("the length of the vectors", rotated.norm(dim=1), x.norm(dim=1),
             otherwise="a rotation turns a into a cos - b sin, and b into a sin + b cos")
    scores = rotated @ rotated.T
    moved = _ask(solve, x, positions + 50)
    _compare("the products of all pairs of vectors, all positions moved by 50", moved @ moved.T, scores, 1e-4,
             otherwise="every vector rotates by its own position times the speed")
    if torch.allclose(rotated, x):
        raise Wrong("the vectors at positions 1 to 5 should rotate, but they stayed as they are")
    units = torch.eye(8)
    distance = (_ask(solve, units, torch.ones(8)) - units).norm(dim=1)  # each end moves by 2 sin(angle / 2)
    speeds = 2 * (distance / 2).clamp(max=1).asin()  # radians per position
    i = torch.arange(4)
    faster = (10000.0 ** (2 * i / 8) / 2).sin().abs().asin() * 2  # as `speeds` would be
    _compare("the speeds of the channels, sorted", speeds.sort(descending=True).values,
             (10000.0 ** (-2 * i / 8)).repeat_interleave(2), 1e-4, mistakes=[
        (torch.ones(8), "every pair has a speed of its own"),
        (faster.sort(descending=True).values.repeat_interleave(2), "the exponent is -2i / D, not 2i / D"),
        (10000.0 ** (-i / 8).repeat_interleave(2), "the exponent is -2i / D, not -i / D"),
        (10000.0 ** (-i / 4).repeat_interleave(2) / (2 * math.pi), "use radians, not full turns")])


def check_sum_lines(solve):
    pairs, expected = [(37, 48), (99, 99), (5, 7), (40, 60)], "37+48=58\n99+99=891\n5+7=21\n40+60=001\n"
    got = _ask(solve, pairs)
    if got != expected:
        mistakes = {"37+48=85\n99+99=198\n5+7=12\n40+60=100\n": "the answer is written backwards",
                    expected[:-1]: "there is a newline after the last line too",
                    expected.replace("001", "1"): "a number loses its zeros: reverse the text"}
        hint = ""
        if isinstance(got, str) and got in mistakes:
            hint = f"; {mistakes[got]}"
        if got is None:
            hint = " (is there a return?)"
        raise Wrong(f"expected the lines {expected!r}, got {got!r}{hint}")


def check_answers_only(solve):
    chars = "\n+0123456789="
    text = "48=58\n9+8=71\n37+48=58\n1+1=2\n90+9=99\n7+7="
    tokens = torch.tensor([chars.index(char) for char in text])
    starts = torch.tensor([0, 3, 7, 12])
    window = tokens[starts[:, None] + torch.arange(26)]
    x, y = window[:, :-1].clone(), window[:, 1:].clone()
    kinds = ("right", "no newline", "late", "first digit", "early", "cut", "by y")
    rows = {kind: torch.full_like(y, -1) for kind in kinds}
    for row in range(len(x)):
        seen_newline = False  # in x
        in_answer = False  # after "=", up to the next newline
        newline_ahead = False  # in y
        for t in range(x.shape[1]):
            char = chars[x[row, t]]
            following = chars[y[row, t]]
            was_in_answer = in_answer
            seen_newline = seen_newline or char == "\n"
            in_answer = char == "=" or (in_answer and char != "\n")
            newline_ahead = newline_ahead or following == "\n"
            is_kept = {
                "right": seen_newline and in_answer,
                "no newline": seen_newline and in_answer and following != "\n",
                "late": seen_newline and was_in_answer,
                "first digit": seen_newline and in_answer and was_in_answer,
                "early": seen_newline and (in_answer or following == "="),
                "cut": in_answer,
                "by y": newline_ahead and (following == "=" or (in_answer and following != "\n")),
            }
            for kind in kinds:
                if is_kept[kind]:
                    rows[kind][row, t] = y[row, t]

    def marked(index):
        text, t = "".join(chars[token] for token in window[index[0]]), index[1] + 1
        return f", in brackets in {text[:t] + '[' + text[t] + ']' + text[t + 1 :]!r}"

    kept = rows["right"] >= 0
    shifted = {  # the same mask, moved by a position
        "late": F.pad(kept, (1, 0))[:, :-1],
        "early": F.pad(kept, (0, 1))[:, 1:],
    }
    late = "one position late: where x is '=', y is the first digit of the answer"
    early = "one position early: '=' belongs to the question; look for it in x, y is one character ahead"
    got = _ask(solve, x, y, chars.index("\n"), chars.index("="))
    _compare("y", got, rows["right"], note=marked, mistakes=[
        (y, "nothing is left out"),
        (rows["no newline"], "the newline after an answer belongs to it: it says that the answer is over"),
        (rows["late"], late),
        (rows["first digit"], late),
        (torch.where(shifted["late"], y, -1), late),
        (rows["early"], early),
        (rows["by y"], "look for the newline and '=' in x: y is one character ahead"),
        (torch.where(shifted["early"], y, -1), early),
        (rows["cut"], "leave out what stands before the first newline: its question is cut off"),
        (torch.where(rows["right"] < 0, y, -1), "the other way round"),
        (torch.where(kept, y, 0), "-1, not 0, which is a character's token")])
    if got.dtype != y.dtype:
        raise Wrong(f"y: expected whole numbers, {y.dtype} as in the given y, got {got.dtype}")


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


def check_finetuned(solve):
    folders = solve()
    paths = isinstance(folders, (tuple, list)) and all(isinstance(each, (str, Path)) for each in folders)
    if not paths or len(folders) != 2:
        raise Wrong(f"expected two folders, got {_short(folders)}")
    folders = [_find_run(folder) for folder in folders]
    plain, tuned = map(_read_log, folders)
    if plain[-1][0] != tuned[-1][0]:
        raise Wrong(f"both runs should have the same number of steps, but they have {plain[-1][0]} and "
                    f"{tuned[-1][0]}; give both --max-steps")
    if not tuned[0][1] < plain[0][1]:
        raise Wrong(f"the run with pretraining should begin below {plain[0][1]:.4f}, where the other began, "
                    f"but it began at {tuned[0][1]:.4f}; --init-from gives it the weights, "
                    "and the run without comes first")
    digests = []  # of the texts
    for folder in folders:
        try:
            digests.append(gpt.read_checkpoint(folder)["digest"])
        except gpt.UserError as error:
            raise Wrong(str(error)) from None
    if digests[0] != digests[1]:
        raise Wrong("the two runs trained on different texts; the last command has no -i")
    plain, tuned = (min(loss for _, loss in log) for log in (plain, tuned))
    if not tuned < plain:
        raise Wrong(f"pretraining should lower the loss, but it is {tuned:.4f} with it and {plain:.4f} "
                    "without; did the run on the other plays finish?")
    return f"in log.csv, the best validation loss is {plain:.4f} without pretraining, {tuned:.4f} with it"


_OPERATIONS = "+-*/"
_LONGEST = 120  # characters that Calculator.write may return


def _problems(operation):
    """The pairs of numbers below 100 that an operation can be done with."""
    pairs = list(itertools.product(range(100), repeat=2))
    if operation == "/":
        pairs = [(a, b) for a, b in pairs if b != 0]
    return pairs


def _answer_to(a, operation, b):
    if operation == "+":
        return a + b
    if operation == "-":
        return a - b
    if operation == "*":
        return a * b
    return divmod(a, b)


def _same_answer(got, expected):
    """Is this the answer, an int or a pair of ints?"""
    if isinstance(got, list):
        got = tuple(got)
    return type(got) is type(expected) and got == expected


def _expect_text(question, text):
    """Raises Wrong unless `Calculator.write` may return this text."""
    if not isinstance(text, str):
        raise Wrong(f"write for {question}: expected a text, got {_short(text)}")
    if "\n" in text:
        raise Wrong(f"write for {question}: got {text!r}; the newline at the end is added for you, and there "
                    "can be no other")
    if text.startswith(f"{question}="):
        raise Wrong(f"write for {question}: got {text!r}; the question and '=' are added for you")
    if len(text) > _LONGEST:
        raise Wrong(f"write for {question}: expected at most {_LONGEST} characters, got {len(text)}")


def check_calculator(solve):
    calculator = solve()
    lengths = []
    for operation in _OPERATIONS:
        for a, b in [(37, 48), *_problems(operation)]:
            question = f"{a}{operation}{b}"
            text = calculator.write(a, operation, b)
            _expect_text(question, text)
            lengths.append(len(text))
            got = calculator.read(operation, text)
            expected = _answer_to(a, operation, b)
            if not _same_answer(got, expected):
                raise Wrong(f"write({a}, {operation!r}, {b}) returned {text!r}; read should make {expected} "
                            f"of it, got {_short(got)}{_reading_hint(got, expected)}")
        if not _takes_the_answer_from(calculator, operation):
            raise Wrong(f"read for 97{operation}12: changing a digit of the answer in the text does not "
                        "change what read returns; take the answer from the text, do not calculate")
    mean = statistics.fmean(lengths)
    return f"{mean:.1f} characters on average, {max(lengths)} at most; --train 7.8 trains a gpt on them"


def _takes_the_answer_from(calculator, operation):
    """Change one digit of a text. Does this change the same digit of the answer that is read?"""
    text = calculator.write(97, operation, 12)
    answer = _sorted_digits(_answer_to(97, operation, 12))
    for i, digit in enumerate(text):
        if digit not in answer:
            continue
        other = str((int(digit) + 1) % 10)
        expected = list(answer)
        expected[expected.index(digit)] = other
        try:
            got = calculator.read(operation, text[:i] + other + text[i + 1 :])
        except Exception:  # noqa: BLE001 (a text that makes no sense)
            continue
        if _sorted_digits(got) == sorted(expected):
            return True
    return False


def _sorted_digits(answer):
    """The digits of a number or of a pair of numbers, sorted: the order says nothing here."""
    return sorted(filter(str.isdecimal, str(answer)))


def _reading_hint(got, expected):
    """The hint for a common mistake of `Calculator.read`, or nothing."""
    if isinstance(got, str):
        return "; return an int, not a text"
    if isinstance(expected, tuple):
        if got == expected[0]:
            return "; a division has two answers, the quotient and the remainder"
        if got == expected[::-1]:
            return "; the quotient comes first"
    elif got == -expected:
        return "; what about the sign?"
    elif type(got) is int and got > 0 and int(str(got)[::-1]) == expected:
        return "; these are its digits in the other order"
    return ""


def _edited_source(answer):
    """The text of gpt.py with the student's idea: their copy of the file, or gpt.py with their changes."""
    if isinstance(answer, (str, Path)):
        if "\n" in str(answer):
            raise Wrong("expected a path or a dict, got a text of several lines; save it and return its path")
        path = Path(answer)
        if not path.is_file():
            raise Wrong(f"{path}: there is no such file; give the path from where you are, or the whole path")
        return path.read_text(encoding="utf-8")
    if not isinstance(answer, dict):
        raise Wrong(f"expected a path or a dict, got {_short(answer)}")
    source = (FOLDER / "gpt.py").read_text(encoding="utf-8")
    for old, new in answer.items():
        if source.count(old) != 1:
            raise Wrong(f"{old!r} occurs {source.count(old)} times in gpt.py; it must occur exactly once")
        source = source.replace(old, new)
    return source


_EDITED = "the edited gpt.py"


@contextlib.contextmanager
def _errors_of_the_edit():
    """Inside this, an exception in the edited gpt.py becomes Wrong, with its line there."""
    try:
        yield
    except SyntaxError as error:
        raise Wrong(f"line {error.lineno} of {_EDITED}: {error.msg}") from None
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == _EDITED]
        if not lines:
            raise
        raise Wrong(f"line {lines[-1]} of {_EDITED}: {_in_a_line(error)}") from None


def _load_source(source):
    """A module from the text of a gpt.py."""
    module = types.ModuleType("edited_gpt")
    module.__file__ = str(FOLDER / "gpt.py")
    with _errors_of_the_edit():
        exec(compile(source, _EDITED, "exec"), vars(module))  # noqa: S102 (the student's own code)
    return module


def train_quietly(module, text, config):
    """What `train` of a gpt.py returns. It prints nothing and leaves no files."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        return module.train(text, config, folder, device="cpu", max_new_tokens=1)


def check_idea(solve):
    source = _edited_source(solve())
    if source == (FOLDER / "gpt.py").read_text(encoding="utf-8"):
        raise Wrong("this is gpt.py as it was")
    module = _load_source(source)
    config = module.configure("cpu", n_layer=2, n_embd=16, block_size=16, batch_size=2, max_steps=3)
    x = torch.arange(16)[None]
    other = x.clone()
    other[0, 10] = 11  # a later character; it was 10 before
    with _errors_of_the_edit():
        model = train_quietly(module, "What is there to see? Nothing, my lord. " * 10, config).model
        with torch.no_grad():
            before = model(x)[0, :10]
            after = model(other)[0, :10]
    if not torch.allclose(before, after, rtol=1e-4, atol=1e-4):
        raise Wrong("the logits at a position depend on a character after it: the model looks ahead")
    return "the edited gpt.py trains; --train 7.9 compares it with the unchanged one"


EXERCISES = {
    "7.0a": (average_by_loop, check_average_by_loop),
    "7.0b": (averaging_matrix, check_averaging_matrix),
    "7.0c": (softmax_weights, check_softmax_weights),
    "7.0d": (average_by_scores, check_average_by_scores),
    "7.1": (attention_by_loop, check_attention_by_loop),
    "7.2": (attention, check_attention),
    "7.3": (heads, check_heads),
    "7.4": (rotate, check_rotate),
    "7.5": (sum_lines, check_sum_lines),
    "7.6": (answers_only, check_answers_only),
    "7.7": (finetuned, check_finetuned),
    "7.8": (Calculator, check_calculator),
    "7.9": (idea, check_idea),
}

# ------------------------------------------------------------------------------------------------------------
# Training a gpt with your answers: --train 7.5, 7.6, 7.8 and 7.9

_STEPS = {"7.5": 300, "7.6": 300, "7.8": 400, "7.9": 300}  # 7.9: of the unchanged file


def train_on_lines(text, config, targets, starts):
    """(model, vocab): a gpt that has learned lines of the form question=answer.

    The windows of a batch begin at random `starts`. `targets(x, y, newline, equals)`: a new y, as in 7.6.
    """
    vocab = gpt.Vocab(text)
    tokens = torch.from_numpy(vocab.encode(text))
    newline, equals = vocab.encode("\n=").tolist()
    starts = starts[starts < len(tokens) - config.block_size]
    config = dataclasses.replace(config, vocab_size=len(vocab))
    losses = []
    begin = time.perf_counter()
    with gpt.seeded(config.seed):
        model = gpt.GPT(config)
        optimizers = gpt.make_optimizers(model, config)
        for step in range(config.max_steps):
            chosen = starts[torch.randint(len(starts), (config.batch_size,))]
            x, y = gpt.windows(tokens, chosen, config.block_size)
            y = targets(x, y, newline, equals)
            loss = gpt.loss_of(model(x), y)
            model.zero_grad()
            loss.backward()
            gpt.set_learning_rate(optimizers, step, config)
            for optimizer in optimizers:
                optimizer.step()
            losses.append(loss.item())
            if (step + 1) % math.ceil(config.max_steps / 10) == 0:
                left = (time.perf_counter() - begin) * (config.max_steps / (step + 1) - 1)
                print(f"step {step + 1:5}/{config.max_steps}: loss {statistics.fmean(losses):.4f}, "
                      f"{left:.0f} s left", flush=True)
                losses = []
    return model.eval(), vocab


@torch.no_grad()
def _complete(model, vocab, questions):
    """What the model writes after each question, up to a newline: always the most likely character."""
    written = {}
    for length in {len(question) for question in questions}:  # those of one length as a batch
        batch = [question for question in questions if len(question) == length]
        new = torch.tensor([vocab.encode(f"\n{question}").tolist() for question in batch])
        cache = gpt.KVCache(model.config.block_size)
        drawn = []
        ended = torch.zeros(len(batch), dtype=torch.bool)
        while len(drawn) < model.config.block_size and not ended.all():
            new = model(new, cache)[:, -1].argmax(dim=1, keepdim=True)  # (B, 1)
            drawn.append(new)
            ended |= new[:, 0] == vocab.chars.index("\n")
        for question, row in zip(batch, torch.cat(drawn, dim=1).tolist()):
            written[question] = vocab.decode(row).partition("\n")[0]
    return [written[question] for question in questions]


def _unseen_tenth(pairs):
    """(for training, for the test): the test gets a tenth of the pairs, a random one but always the same."""
    pairs = list(pairs)
    random.Random(0).shuffle(pairs)
    return pairs[len(pairs) // 10 :], pairs[: len(pairs) // 10]


def _everything(x, y, newline, equals):
    """The targets of 7.5: all characters."""
    return y


def _after_equals(x, y, newline, equals):
    """The targets of 7.8, as those of 7.6; every window begins with a newline."""
    t = torch.arange(x.shape[1])
    last_newline = torch.where(x == newline, t, -1).cummax(dim=1).values
    last_equals = torch.where(x == equals, t, -1).cummax(dim=1).values
    return torch.where(last_equals > last_newline, y, -1)


def _lines_of(write, pairs):
    """The lines of 7.5 as a list. Raises Wrong if they are no lines with a question and an answer."""
    text = write(pairs)
    if not isinstance(text, str):
        raise Wrong(f"sum_lines: expected a text, got {_short(text)}")
    lines = text.splitlines(keepends=True)
    if len(lines) != len(pairs):
        raise Wrong(f"sum_lines: expected {len(pairs):,} lines for {len(pairs):,} pairs, got {len(lines):,}")
    for (a, b), line in zip(pairs, lines):
        if not line.startswith(f"{a}+{b}=") or not line.endswith("\n"):
            raise Wrong(f"sum_lines: expected a line with {a}+{b}= and an answer, got {line!r}")
    return lines


def train_sums(write, targets, steps, seed=1):
    """7.5 and 7.6: train on the lines of sums; returns the share of the unseen sums that come out right."""
    training, unseen = _unseen_tenth(itertools.product(range(100), repeat=2))
    text = "\n" + "".join(_lines_of(write, training))
    config = gpt.configure("cpu", n_layer=2, n_embd=64, block_size=32, batch_size=64,
                           max_steps=steps, seed=seed)
    first = text.splitlines()[1]
    print(f"{len(training):,} sums to train on, {len(unseen):,} unseen; the first: {first}")

    def checked(x, y, newline, equals):
        new = targets(x, y, newline, equals)
        if not isinstance(new, torch.Tensor) or new.shape != y.shape or not (new >= 0).any():
            raise Wrong(f"answers_only: expected a new y {tuple(y.shape)}, not all -1, got {_short(new)}")
        return new

    model, vocab = train_on_lines(text, config, checked, torch.arange(len(text)))
    lines = [line.removesuffix("\n") for line in _lines_of(write, unseen)]
    questions = [line[: line.index("=") + 1] for line in lines]
    got = _complete(model, vocab, questions)
    right = [question + answer == line for question, answer, line in zip(questions, got, lines)]
    _show(questions, got, right)
    share = sum(right) / len(right)
    print(f"{sum(right):,} of {len(right):,} unseen sums are right: {100 * share:.1f} %")
    return share


def _show(questions, got, right):
    """Print a few answers: the first four, and the first two wrong ones."""
    wrong = [i for i in range(len(right)) if not right[i]]
    for i in sorted({0, 1, 2, 3, *wrong[:2]}):
        print(f"    {questions[i]}{got[i]}  {'right' if right[i] else 'wrong'}")


def train_calculator(calculator, steps, seed=1):
    """7.8: train on worked solutions; returns {operation: the share of unseen problems that are right}."""
    lines = []
    unseen = {}
    for operation in _OPERATIONS:
        training, unseen[operation] = _unseen_tenth(_problems(operation))
        for a, b in training:
            worked = calculator.write(a, operation, b)
            _expect_text(f"{a}{operation}{b}", worked)
            lines.append(f"{a}{operation}{b}={worked}\n")
    random.Random(seed).shuffle(lines)
    text = "\n" + "".join(lines)
    config = gpt.configure("cpu", n_layer=2, n_head=4, block_size=128, batch_size=16,
                           max_steps=steps, seed=seed)
    print(f"{len(lines):,} problems to train on, {len(text):,} characters; the first: {lines[0]}", end="")
    newlines = torch.tensor([i for i, char in enumerate(text) if char == "\n"])
    model, vocab = train_on_lines(text, config, _after_equals, newlines)
    shares = {}
    for operation, pairs in unseen.items():
        questions = [f"{a}{operation}{b}=" for a, b in pairs]
        got = _complete(model, vocab, questions)
        right = []
        for (a, b), written in zip(pairs, got):
            try:
                right.append(_same_answer(calculator.read(operation, written), _answer_to(a, operation, b)))
            except Exception:  # noqa: BLE001 (a text without an answer)
                right.append(False)
        _show(questions, got, right)
        shares[operation] = sum(right) / len(right)
        print(f"{operation}   {100 * shares[operation]:.1f} % of {len(right):,} unseen problems are right",
              flush=True)
    return shares


def _milliseconds(module, text, settings):
    """The time of a training step, in a short run."""
    steps = 10
    config = module.configure("cpu", max_steps=steps, **settings)
    with _errors_of_the_edit():
        results = train_quietly(module, text, config).results
    return 1000 * results["seconds"] / steps


def train_idea(answer, steps, text=None, seeds=(3407, 3408, 3409), **settings):
    """7.9: train gpt.py and the edited one for the same time; returns the mean difference of their validation
    losses and its standard error."""
    edited = _load_source(_edited_source(answer))
    if text is None:
        text = gpt.read_file(FOLDER.parent / "data" / gpt.DEFAULT_TEXT)
    tokens = torch.from_numpy(gpt.Vocab(text).encode(text))
    modules = [gpt, edited]
    times = [[], []]  # of a step, in milliseconds
    for _ in range(4):  # in turns; the first is a rehearsal
        for module, measured in zip(modules, times):
            measured.append(_milliseconds(module, text[:12_000], settings))
    paces = [statistics.median(measured[1:]) for measured in times]
    counts = [steps, max(1, round(steps * paces[0] / paces[1]))]
    print(f"unchanged: {paces[0]:.1f} ms a step, {counts[0]} steps; "
          f"with your idea: {paces[1]:.1f} ms a step, {counts[1]} steps", flush=True)
    differences = []
    for seed in seeds:
        losses = []
        for module, count in zip(modules, counts):
            config = module.configure("cpu", max_steps=count, seed=seed, **settings)
            with _errors_of_the_edit():
                model = train_quietly(module, text, config).model
            validation = gpt.split(tokens, config.block_size)["validation"]
            # By gpt.py's own evaluate: an idea may change how a model is trained, but not how it is measured.
            losses.append(gpt.evaluate(model, validation)[0])
        differences.append(losses[1] - losses[0])
        print(f"seed {seed}: validation loss {losses[0]:.4f} unchanged, {losses[1]:.4f} with your idea",
              flush=True)
    mean = statistics.fmean(differences)
    error = statistics.stdev(differences) / math.sqrt(len(seeds))
    print(f"difference {mean:+.4f}, standard error {error:.4f} over {len(seeds)} seeds: ", end="")
    if abs(mean) <= 4.3 * error:  # the 97.5 % quantile of Student's t with two degrees of freedom
        print("it may be chance (less than 4.3 standard errors)")
    elif mean < 0:
        print("your idea helps")
    else:
        print("your idea does harm")
    return mean, error


def train_command(number, steps=None):
    """The command --train. `steps`: those of `_STEPS` if they are not given. Returns the exit status."""
    try:
        return _train(number, _STEPS[number] if steps is None else steps)
    except KeyboardInterrupt:
        print("exercises: interrupted", file=sys.stderr)
        return 130


def _train(number, steps):
    """Train with the answer to an exercise. Returns the exit status."""
    solve, check = EXERCISES[number]
    result, message = verdict(solve, check)
    if result == "to do":
        reason = message or "this trains with your answer"
        print(f"exercises: {number} is still to do; {reason}", file=sys.stderr)
        return 1
    if result == "wrong":
        print(f"{number} is wrong: {message}", flush=True)
        if number in ("7.8", "7.9"):  # with the lines of 7.5 and 7.6 a gpt can be trained all the same
            return 1
    torch.set_num_threads(THREADS)
    try:
        if number == "7.5":
            train_sums(sum_lines, _everything, steps)
        elif number == "7.6":
            train_sums(sum_lines, answers_only, steps)
        elif number == "7.8":
            train_calculator(Calculator(), steps)
        else:
            train_idea(idea(), steps)
    except NotImplementedError as error:
        message = "7.5 is still to do; 7.6 trains on its lines"
        if error.args:  # a blank has none
            message = _describe(error, check)
        print(f"exercises: {message}", file=sys.stderr)
        return 1
    except Wrong as error:
        print(f"exercises: {error}", file=sys.stderr)
        return 1
    except Exception as error:  # noqa: BLE001 (unfinished code fails in many ways)
        print(f"exercises: {_describe(error, check)}", file=sys.stderr)
        return 1
    return 0


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
    defaults = ", ".join(f"{steps} in {number}" for number, steps in _STEPS.items())
    parser.add_argument("--train", metavar="NUMBER", choices=_STEPS,
                        help=f"train a gpt with your answer to one of {', '.join(_STEPS)}")
    parser.add_argument("--steps", type=int, metavar="N", help=f"of training (default: {defaults})")
    args = parser.parse_args(arguments)
    if args.train is not None and (args.numbers or args.json or args.copy is not None):
        parser.error("--train can be combined with --steps only")
    if args.steps is not None and (args.train is None or args.steps < 1):
        parser.error("--steps needs --train and a number of at least 1")
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
    if args.train is not None:
        return train_command(args.train, args.steps)
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
