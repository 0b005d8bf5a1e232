"""The exercises of lecture 7. Each is a function to fill in; its docstring is the task.

    python gpt/exercises.py                          one line per exercise: to do, right or wrong
    python gpt/exercises.py 7.2                      one exercise, with its whole task
    python gpt/exercises.py --copy mine.py           a copy to work in: git pull never conflicts with it

Replace `raise NotImplementedError` with your own lines, and run the file again. The checks are below the
exercises; they give the answers away, so look at them last. The solutions are in tests/solutions.py. A
function must not change its arguments: work on a copy.

Shapes: B texts, T positions, C channels, D channels of a head.
"""
import argparse
import contextlib
import copy
import csv
import inspect
import json
import math
import sys
import traceback
from pathlib import Path

import torch
import torch.nn.functional as F

FOLDER = Path(__file__).resolve().parent  # of gpt.py; --copy writes the path itself into the copy
if __name__ == "__main__":
    sys.path.insert(0, str(FOLDER))
    torch.set_num_threads(1)  # with tensors this small, more threads wait for one another

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
    `python tests/benchmark.py exercises sums` trains on them.

    In: a list of pairs of ints. Out: a str, a newline behind every line.
    """
    raise NotImplementedError


def answers_only(x, y, newline, equals):
    """7.6 Train on the answers alone (lecture 7, second exercise; y = -1 is left out of the loss).

    No network can know which question comes next, so there is nothing to learn from it. A batch is cut out of
    the text of 7.5, and y holds, at each position, the character after x. Put -1 into y wherever that
    character does not belong to an answer. The newline behind an answer belongs to it. A window may begin
    inside a line, where part of the question is cut off: leave out everything before the first newline in x.

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
    reads log.csv in both. They must have trained for the same number of steps.
    """
    raise NotImplementedError


# ------------------------------------------------------------------------------------------------------------
# The checks. `mistakes` lists what common mistakes give, each with its hint.


def compare(what, got, expected, tolerance=1e-5, mistakes=(), otherwise="", note=None):
    """Raises Wrong unless `got` is a tensor with the shape and the numbers of `expected`.

    `otherwise` is the hint for a result of the right shape that is none of the mistakes. `note(index)` says
    more about the place of the wrong number.
    """
    shape = tuple(expected.shape)
    if not isinstance(got, torch.Tensor):
        raise Wrong(f"{what}: expected a tensor {shape}, got {short(got)}")
    if close(got, expected, tolerance):
        return
    hint = ""
    if got.shape == expected.shape:
        hint = otherwise
    for value, text in mistakes:
        if close(got, value, tolerance):
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
    expected, got = digits(expected[index].item(), got[index].item())
    raise Wrong(f"{what}: expected {expected}, got {got}{hint}")


def close(got, value, tolerance):
    """Are these two the same, in shape and in numbers? nan equals nan."""
    return value.shape == got.shape and torch.allclose(
        got.double(), value.double(), rtol=tolerance, atol=tolerance, equal_nan=True)


def digits(a, b):
    """Two numbers as texts, with seven digits or with as many as it takes to tell them apart."""
    for n in range(7, 18):
        texts = f"{a:.{n}g}", f"{b:.{n}g}"
        if texts[0] != texts[1]:
            break
    return texts


def ask(solve, *given):
    """What `solve` returns for copies of its arguments. Raises Wrong if it changes one of them."""
    copies = copy.deepcopy(given)
    got = solve(*copies)
    for name, before, after in zip(inspect.signature(solve).parameters, given, copies):
        unchanged = torch.equal(before, after) if isinstance(before, torch.Tensor) else before == after
        if not unchanged:
            raise Wrong(f"your function changed its argument {name}; work on a copy")
    return got


def short(got):
    """What an answer is, in a few words."""
    if got is None:
        return "None (is there a return?)"
    if isinstance(got, torch.Tensor):
        return f"a tensor {tuple(got.shape)}"
    if len(repr(got)) < 60:
        return repr(got)
    return f"a {type(got).__name__}"


@contextlib.contextmanager
def forbidden(owner, name, shortcut):
    """While this is open, `owner.name` raises Wrong: it would be a shortcut."""
    original = getattr(owner, name)

    def refuse(*_, **__):
        raise Wrong(f"a shortcut: {shortcut}")

    setattr(owner, name, refuse)
    try:
        yield
    finally:
        setattr(owner, name, original)


FUSED = "F.scaled_dot_product_attention does the work here; write it out"


def past_of(T):
    """(T, T) bool: True where a row's position may look."""
    return torch.ones(T, T).tril().bool()


def means_by_loop(x):
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
    compare("the result", ask(solve, x), means_by_loop(x), mistakes=[
        (sums, "these are sums; divide by the number of positions"),
        (sums / 5, "divide by the number of positions so far, t + 1, not by T"),
        (before, itself),
        (before.nan_to_num(0), itself),
        (x.mean(1, keepdim=True).expand(x.shape), "a position must not look at those after it"),
        (x.mean(1), "every position has a mean of its own: (B, T, C)"),
        (of_means, "average the vectors of x, not the averages before"),
        (from_the_end, "this is the future: take the positions up to t"),
        (x.cumsum(0) / torch.arange(1, 3)[:, None, None], "each text by itself: go along T, not along B"),
        (sums.sum(2) / so_far.T, "average over the positions, not over the channels: (B, T, C)")])


def check_averaging_matrix(solve):
    T = 5
    A = ask(solve, T)
    tril = torch.ones(T, T).tril()
    so_far = tril.sum(1, keepdim=True)
    strict = torch.ones(T, T).tril(-1)
    no_self = strict / strict.sum(1, keepdim=True)  # nan in the first row
    itself = "a position belongs to its own past: tril(), not tril(-1)"
    compare(f"A for T = {T}", A, tril / so_far, mistakes=[
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
    x = torch.randn(2, T, 3, generator=torch.Generator().manual_seed(6))
    compare("A @ x", A.float() @ x, means_by_loop(x))


def weight_mistakes(scores):
    """Wrong weights that common mistakes make of scores (..., T, T), each with its hint."""
    past = past_of(scores.shape[-1])
    hidden = scores.masked_fill(~past, -math.inf)
    rows = "every position shares out a weight of 1: the softmax is over the row, softmax(-1)"
    return [
        (scores, "the mask and the softmax are missing"),
        (scores.tril(), "the softmax is missing"),
        (hidden, "the softmax is missing"),
        (scores.softmax(-1), "a position must not look at those after it"),
        (scores.masked_fill(~past, 0).softmax(-1), "exp(0) is 1: mask with -inf, not with 0"),
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
    past = past_of(5)
    scores = torch.randn(5, 5, generator=torch.Generator().manual_seed(7))
    expected = scores.exp() * past
    expected = expected / expected.sum(1, keepdim=True)
    compare("the weights of random scores", ask(solve, scores), expected, mistakes=weight_mistakes(scores))
    compare("the weights of scores 0", ask(solve, scores * 0), past / past.sum(1, keepdim=True))


def check_average_by_scores(solve):
    x = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(8))
    with forbidden(F, "scaled_dot_product_attention", FUSED):
        got = ask(solve, x)
    scores = x @ x.mT
    expected = F.scaled_dot_product_attention(x, x, x, is_causal=True, scale=1.0)
    weights = scores.masked_fill(~past_of(5), -math.inf).softmax(-1)
    root = F.scaled_dot_product_attention(x, x, x, is_causal=True)
    compare("the result", got, expected, mistakes=[
        (weights, "these are the weights; multiply them by x"),
        (root, "no sqrt yet: it belongs to 7.1"),
        *((wrong @ x, hint) for wrong, hint in weight_mistakes(scores))])


def attention_mistakes(q, k, v):
    """What common mistakes make of q, k, v (..., T, D), each with its hint."""
    T, D = q.shape[-2:]
    products = q @ k.mT
    future = ~past_of(T)

    def attend(scores):
        return scores.masked_fill(future, -math.inf).softmax(-1) @ v

    return [
        *((wrong @ v, hint) for wrong, hint in weight_mistakes(products / D**0.5)),
        (attend(products), "divide the scores by sqrt(D)"),
        (attend(products / D), "divide by sqrt(D), not by D"),
        (attend(products * D**0.5), "divide by sqrt(D), do not multiply by it"),
        (attend(products / T**0.5), "divide by sqrt(D), not by sqrt(T)"),
        (attend(products) / D**0.5, "divide by sqrt(D) before the softmax, not after it"),
        (attend(products.mT / D**0.5), "row t has the scores of query t: q @ k.mT, not k @ q.mT"),
    ]


def check_attention_by_loop(solve):
    q, k, v = torch.randn(3, 6, 4, generator=torch.Generator().manual_seed(1))
    expected = F.scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True)[0]
    with forbidden(F, "scaled_dot_product_attention", FUSED):
        got = ask(solve, q, k, v)
    compare("the result", got, expected, mistakes=attention_mistakes(q, k, v))


def check_attention(solve):
    q, k, v = torch.randn(3, 2, 6, 4, generator=torch.Generator().manual_seed(2))
    expected = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    with forbidden(F, "scaled_dot_product_attention", FUSED):
        got = ask(solve, q, k, v)
    compare("the result", got, expected, mistakes=attention_mistakes(q, k, v))


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
    split = [t.view(B, T, n_head, D).transpose(1, 2) for t in (q, k, v)]
    compare("the result", ask(solve, x, W, n_head), torch.cat(results, dim=2), mistakes=[
        (single, "this is one head of C channels"),
        (cut.transpose(1, 2).reshape(B, T, C), view_first),
        (cut.reshape(B, T, C), view_first),
        (stacked.reshape(B, T, C), "transpose(1, 2) before you lay the heads side by side"),
        (stacked, "lay the heads side by side: (B, T, C)"),
        (mixed.transpose(1, 2).reshape(B, T, C),
         "the columns are C queries, C keys and C values, and within these the heads"),
        *((wrong.transpose(1, 2).reshape(B, T, C), hint) for wrong, hint in attention_mistakes(*split))])


def check_rotate(solve):
    x, positions = torch.randn(6, 8, generator=torch.Generator().manual_seed(4)), torch.arange(6.0)
    rotated = ask(solve, x, positions)
    compare("x at position 0", ask(solve, x, positions * 0), x,
            otherwise="at position 0 nothing rotates, and each channel stays in its place")
    if not isinstance(rotated, torch.Tensor) or rotated.shape != x.shape:
        raise Wrong(f"expected a tensor (6, 8), got {short(rotated)}")
    compare("the length of the vectors", rotated.norm(dim=1), x.norm(dim=1),
            otherwise="a rotation makes a cos - b sin of a, and a sin + b cos of b")
    scores = rotated @ rotated.T
    moved = ask(solve, x, positions + 50)
    compare("the products of all pairs of vectors, all positions moved by 50", moved @ moved.T, scores, 1e-4,
            otherwise="every vector rotates by its own position times the speed")
    if torch.allclose(rotated, x):
        raise Wrong("the vectors at positions 1 to 5 should rotate, but they stayed as they are")
    units = torch.eye(8)
    distance = (ask(solve, units, torch.ones(8)) - units).norm(dim=1)  # each end moves by 2 sin(angle / 2)
    speeds = 2 * (distance / 2).clamp(max=1).asin()  # radians per position
    i = torch.arange(4)
    compare("the speeds of the channels, sorted", speeds.sort(descending=True).values,
            (10000.0 ** (-2 * i / 8)).repeat_interleave(2), 1e-4, mistakes=[
        (torch.ones(8), "every pair has a speed of its own"),
        (10000.0 ** (-i / 8).repeat_interleave(2), "the exponent is -2i / D, not -i / D"),
        (10000.0 ** (-i / 4).repeat_interleave(2) / (2 * math.pi), "use radians, not full turns")])


def check_sum_lines(solve):
    pairs, expected = [(37, 48), (99, 99), (5, 7), (40, 60)], "37+48=58\n99+99=891\n5+7=21\n40+60=001\n"
    got = ask(solve, pairs)
    if got != expected:
        mistakes = {"37+48=85\n99+99=198\n5+7=12\n40+60=100\n": "the answer is written backwards",
                    expected[:-1]: "there is a newline after the last line too",
                    expected.replace("001", "1"): "a number loses its zeros: reverse the text"}
        hint = ""
        if isinstance(got, str) and got in mistakes:
            hint = f"; {mistakes[got]}"
        raise Wrong(f"expected the lines {expected!r}, got {got!r}{hint}")


def check_answers_only(solve):
    chars = "\n+0123456789="
    text = "48=58\n9+8=71\n37+48=58\n1+1=2\n90+9=99\n7+7="
    tokens = torch.tensor([chars.index(char) for char in text])
    starts = torch.tensor([0, 3, 7, 12])
    window = tokens[starts[:, None] + torch.arange(26)]
    x, y = window[:, :-1].clone(), window[:, 1:].clone()
    rows = {kind: torch.full_like(y, -1) for kind in ("right", "no newline", "late", "early", "cut", "by y")}
    for row in range(len(x)):
        line, answer, ahead = False, False, False  # was there a newline, "=" after it, a newline in y?
        for t, char in enumerate(chars[token] for token in x[row].tolist()):
            before = answer
            line, answer = line or char == "\n", char == "=" or (answer and char != "\n")
            following = chars[y[row, t]]
            ahead = ahead or following == "\n"
            for kind, kept in (("right", line and answer),
                               ("no newline", line and answer and following != "\n"),
                               ("late", line and before), ("early", line and (answer or following == "=")),
                               ("cut", answer),
                               ("by y", ahead and (following == "=" or (answer and following != "\n")))):
                if kept:
                    rows[kind][row, t] = y[row, t]

    def marked(index):
        text, t = "".join(chars[token] for token in window[index[0]]), index[1] + 1
        return f", in brackets in {text[:t] + '[' + text[t] + ']' + text[t + 1 :]!r}"

    got = ask(solve, x, y, chars.index("\n"), chars.index("="))
    compare("y", got, rows["right"], note=marked, mistakes=[
        (y, "nothing is left out"),
        (rows["no newline"], "the newline after an answer belongs to it: it says that the answer is over"),
        (rows["late"], "where x is '=', y is the first digit of the answer"),
        (rows["early"], "'=' belongs to the question: look for it in x, y is one character ahead"),
        (rows["by y"], "look for the newline and '=' in x: y is one character ahead"),
        (rows["cut"], "leave out what stands before the first newline: its question is cut off"),
        (torch.where(rows["right"] < 0, y, -1), "the other way round")])


def read_log(folder):
    """(step, validation loss) of each evaluation of a run. Raises Wrong unless there are some."""
    path = Path(folder, "log.csv")
    if not path.is_file():
        path = Path(FOLDER.parent, folder, "log.csv")
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
        raise Wrong(f"expected two folders, got {short(folders)}")
    plain, tuned = map(read_log, folders)
    if plain[-1][0] != tuned[-1][0]:
        raise Wrong(f"both runs should have the same number of steps, but they have {plain[-1][0]} and "
                    f"{tuned[-1][0]}; give both --max-steps")
    if not tuned[0][1] < plain[0][1]:
        raise Wrong(f"the run with pretraining should begin below {plain[0][1]:.4f}, where the other began, "
                    f"but it began at {tuned[0][1]:.4f}; --init-from gives it the weights, "
                    "and the run without comes first")
    plain, tuned = (min(loss for _, loss in log) for log in (plain, tuned))
    if not tuned < plain:
        raise Wrong(f"pretraining should lower the loss, but it is {tuned:.4f} with it and {plain:.4f} "
                    "without; did the run on the other plays finish?")
    return f"validation loss {plain:.4f} without pretraining, {tuned:.4f} with it"


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
        if not error.args:  # the blank
            return "to do", ""
        return "wrong", describe(error, check)
    except Wrong as error:
        return "wrong", str(error)
    except (Exception, SystemExit) as error:  # noqa: BLE001 (unfinished code fails in many ways)
        return "wrong", describe(error, check)
    return "right", remark or ""


def describe(error, check):
    """An exception in one line: its name, the line of the exercise that raised it, its message."""
    text = type(error).__name__
    if str(error):
        text += f": {str(error).splitlines()[0]}"
    file = check.__code__.co_filename
    first_check = compare.__code__.co_firstlineno  # the exercises stand above it
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == file and frame.lineno < first_check]
    if not lines:
        return f"your code does not fit the check: {text}"
    return f"line {lines[-1]}: {text}"


class Parser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(2, f"exercises: {message}\n")


def parse_arguments(arguments):
    parser = Parser(prog="exercises", description=__doc__,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("numbers", nargs="*", metavar="NUMBER", help=f"any of {', '.join(EXERCISES)}")
    parser.add_argument("--copy", metavar="FILE", help="write a copy of this file, to work in, and stop")
    parser.add_argument("--json", action="store_true", help="print a JSON object per exercise, for teachers")
    args = parser.parse_args(arguments)
    for number in args.numbers:
        if number not in EXERCISES:
            parser.error(f"there is no exercise {number}; there are {', '.join(EXERCISES)}")
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
    args = parse_arguments(arguments)
    if args.copy is not None:
        return write_copy(args.copy)
    results = []
    for number in args.numbers or EXERCISES:
        solve, check = EXERCISES[number]
        if args.json:
            with contextlib.redirect_stdout(sys.stderr):  # what an answer prints is not part of the JSON
                result, message = verdict(solve, check)
            line = {"exercise": number, "function": solve.__name__, "result": result, "message": message}
            print(json.dumps(line), flush=True)
        else:
            if args.numbers:
                print(inspect.getdoc(solve) or "The task was in the docstring, which is gone.", end="\n\n")
            result, message = verdict(solve, check)
            if message:
                message = f": {message}"
            print(f"{number:4}  {solve.__name__:22}  {result}{message}", flush=True)
        results.append(result)
    if len(results) > 1 and not args.json:
        print(", ".join(f"{results.count(result)} {result}" for result in ("right", "wrong", "to do")))
    return 1 if "wrong" in results else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
