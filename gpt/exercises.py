"""The exercises of lecture 7. Each is a function to fill in; its docstring is the task.

    python exercises.py          one line for every exercise: to do, right or wrong
    python exercises.py 7.2      one exercise, with its whole task

Put your own lines in place of `raise NotImplementedError`, and run again. The checks stand below the
exercises: they say what the answer is, so look at them last. Solutions are in tests/solutions.py. A function
must not change what it is given: work on a copy.

Shapes: B texts, T positions, C channels, D channels of a head.
"""
import copy
import csv
import inspect
import math
import sys
import traceback
from pathlib import Path

import torch
import torch.nn.functional as F

if __name__ == "__main__":
    torch.set_num_threads(1)  # with tensors this small, more threads wait for one another

# ------------------------------------------------------------------------------------------------------------
# Lecture 7: attention


def attention_by_loop(q, k, v):
    """7.1 Attention of a single head, position by position (lecture 7; `Attention` in gpt.py).

    At each position take the product of its query with its own key and with every key before it, over
    sqrt(D). The softmax of these numbers says how much of each value goes into the result. Loops are welcome.

    In: q, k, v (T, D). Out: (T, D).
    """
    raise NotImplementedError


def attention(q, k, v):
    """7.2 The same with matrices (lecture 7, "version 3" and "version 4"; `Attention` in gpt.py).

    No loop this time: one product for all scores, a mask for the future, a softmax,
    one product for the results.

    In: q, k, v (B, T, D). Out: (B, T, D).
    """
    raise NotImplementedError


def heads(x, W, n_head):
    """7.3 All heads in one product (lecture 7, first exercise; `Attention` in gpt.py).

    x @ W has 3C columns: C for the queries, then C for the keys, then C for the values. Of each C, the first
    D = C // n_head columns belong to the first head, the next D to the second head, and so on. Let all heads
    attend at once, with a dimension for the heads in place of a loop or of a list of modules, and lay their
    results side by side.

    In: x (B, T, C); W (C, 3C); n_head, an int. Out: (B, T, C).
    """
    raise NotImplementedError


def rotate(x, positions):
    """7.4 Rotary positions (Su et al. 2021; `rotate` in gpt.py).

    Turn the channels of x in pairs, each pair by position * speed, with a speed of its own: pair i of D/2 has
    the speed 10000 ** (-2i / D). It is up to you which two channels make a pair. Each channel stays in its
    place, so at position 0 nothing changes. The product of a turned query and a turned key then depends on
    the distance between their positions alone. Why?

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
    """7.7 Pretrain on the other plays, finetune on ours (lecture 7, third exercise; README has the figures).

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
# The checks. `mistakes` holds what common mistakes give, each with its hint.


def compare(what, got, expected, tolerance=1e-5, mistakes=(), otherwise="", note=lambda index: ""):
    """Raises Wrong unless the tensor `got` has the shape and the numbers of `expected`."""
    shape = tuple(expected.shape)
    if not isinstance(got, torch.Tensor):
        raise Wrong(f"{what} should be a tensor {shape}, but {short(got)} came")

    def close(value):
        return value.shape == got.shape and torch.allclose(
            got.double(), value.double(), tolerance, tolerance, equal_nan=True)

    if close(expected):
        return
    hint = next((hint for value, hint in mistakes if close(value)), otherwise * (got.shape == expected.shape))
    hint = hint and f"; {hint}"
    if got.shape != expected.shape:
        raise Wrong(f"{what} should have the shape {shape}, but {tuple(got.shape)} came{hint}")
    difference = (got.double() - expected.double()).abs().nan_to_num(math.inf)
    index = [int(i) for i in torch.unravel_index(difference.argmax(), shape)]
    expected, got = digits(expected[tuple(index)].item(), got[tuple(index)].item())
    raise Wrong(f"{what} should be {expected} at {index}{note(index)}, but {got} came{hint}")


def digits(a, b):
    """Two numbers as texts: of seven digits, or of as many as it takes to tell them apart."""
    n = next((n for n in range(7, 17) if f"{a:.{n}g}" != f"{b:.{n}g}"), 17)
    return f"{a:.{n}g}", f"{b:.{n}g}"


def ask(solve, *given):
    """What solve makes of copies of its inputs. Raises Wrong if it changes one of them."""
    copies = copy.deepcopy(given)
    got = solve(*copies)
    for name, before, after in zip(inspect.signature(solve).parameters, given, copies):
        if not (before.equal(after) if isinstance(before, torch.Tensor) else before == after):
            raise Wrong(f"{name} should not change, but it did; work on a copy")
    return got


def short(got):
    if got is None:
        return "None (is there a return?)"
    text = f"a tensor {tuple(got.shape)}" if isinstance(got, torch.Tensor) else repr(got)
    return text if len(text) < 60 else f"a {type(got).__name__}"


def attention_mistakes(q, k, v):
    """What common mistakes make of q, k, v (..., T, D)."""
    scores, T = q @ k.mT / q.shape[-1] ** 0.5, q.shape[-2]
    past = torch.ones(T, T).tril().bool()
    hidden = scores.masked_fill(~past, -math.inf)
    return [
        (scores.softmax(-1) @ v, "a position must not look at those after it"),
        ((hidden * q.shape[-1] ** 0.5).softmax(-1) @ v, "divide the scores by sqrt(D)"),
        ((hidden / q.shape[-1] ** 0.5).softmax(-1) @ v, "divide by sqrt(D), not by D"),
        (scores.masked_fill(~past, 0).softmax(-1) @ v, "exp(0) is 1: mask with -inf, not with 0"),
        (scores.softmax(-1) * past @ v, "mask before the softmax, so that the weights sum to one"),
        (hidden.softmax(-2) @ v, "every query shares out a weight of one: the softmax runs over the keys"),
        (scores.masked_fill(~past.T, -math.inf).softmax(-1) @ v,
         "that is the future: the mask is upside down"),
    ]


def check_attention_by_loop(solve):
    q, k, v = torch.randn(3, 6, 4, generator=torch.Generator().manual_seed(1))
    expected = F.scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True)[0]
    compare("the result", ask(solve, q, k, v), expected, mistakes=attention_mistakes(q, k, v))


def check_attention(solve):
    q, k, v = torch.randn(3, 2, 6, 4, generator=torch.Generator().manual_seed(2))
    expected = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    compare("the result", ask(solve, q, k, v), expected, mistakes=attention_mistakes(q, k, v))


def check_heads(solve):
    generator = torch.Generator().manual_seed(3)
    x, W = torch.randn(2, 5, 12, generator=generator), torch.randn(12, 36, generator=generator)
    n_head, D = 3, 4
    parts, single = [], F.scaled_dot_product_attention(*(x @ W).split(12, 2), is_causal=True)
    for head in range(n_head):  # one head after the other, each with its own columns
        q, k, v = (x @ W[:, i * 12 + head * D :][:, :D] for i in range(3))
        parts.append(F.scaled_dot_product_attention(q, k, v, is_causal=True))
    q, k, v = (x @ W).split(12, 2)
    cut = F.scaled_dot_product_attention(*(t.reshape(2, n_head, 5, D) for t in (q, k, v)), is_causal=True)
    stacked = torch.stack(parts, dim=1)  # (B, heads, T, D)
    each = (x @ W).view(2, 5, n_head, 3, D).permute(3, 0, 2, 1, 4)
    compare("the result", ask(solve, x, W, n_head), torch.cat(parts, dim=2), mistakes=[
        (single, "that is one head of C channels"),
        (cut.transpose(1, 2).reshape(2, 5, 12), "view(B, T, n_head, D) first, then transpose(1, 2)"),
        (cut.reshape(2, 5, 12), "view(B, T, n_head, D) first, then transpose(1, 2)"),
        (stacked.reshape(2, 5, 12), "transpose(1, 2) before the heads are laid side by side"),
        (stacked, "lay the heads side by side: (B, T, C)"),
        (F.scaled_dot_product_attention(*each, is_causal=True).transpose(1, 2).reshape(2, 5, 12),
         "the columns are queries, keys, values of C each, and within these the heads"),
        *((wrong.transpose(1, 2).reshape(2, 5, 12), hint) for wrong, hint in attention_mistakes(
            *(t.view(2, 5, n_head, D).transpose(1, 2) for t in (q, k, v))))])


def check_rotate(solve):
    x, positions = torch.randn(6, 8, generator=torch.Generator().manual_seed(4)), torch.arange(6.0)
    turned = ask(solve, x, positions)
    compare("x at position 0", ask(solve, x, positions * 0), x,
            otherwise="at position 0 nothing turns, and each channel stays in its place")
    if not isinstance(turned, torch.Tensor) or turned.shape != x.shape:
        raise Wrong(f"a tensor (6, 8) should come back, but {short(turned)} came")
    compare("the length of the vectors", turned.norm(dim=1), x.norm(dim=1),
            otherwise="a turn makes a cos - b sin of a, and a sin + b cos of b")
    scores, shifted = turned @ turned.T, ask(solve, x, positions + 50)
    compare("the products of all pairs of vectors, all positions moved by 50,", shifted @ shifted.T, scores,
            1e-4, otherwise="every vector turns by its own position times the speed")
    if torch.allclose(turned, x):
        raise Wrong("the vectors at positions 1 to 5 should turn, but they stayed as they are")
    units = torch.eye(8)
    moved = (ask(solve, units, torch.ones(8)) - units).norm(dim=1)  # each end moves by 2 sin(angle / 2)
    speeds, i = 2 * (moved / 2).clamp(max=1).asin(), torch.arange(4)  # radians a position
    compare("the speeds of the channels, sorted,", speeds.sort(descending=True).values,
            (10000.0 ** (-2 * i / 8)).repeat_interleave(2), 1e-4, mistakes=[
        (torch.ones(8), "every pair has a speed of its own"),
        (10000.0 ** (-i / 8).repeat_interleave(2), "the exponent is -2i / D, not -i / D"),
        (10000.0 ** (-i / 4).repeat_interleave(2) / (2 * math.pi), "radians, not full turns")])


def check_sum_lines(solve):
    pairs, expected = [(37, 48), (99, 99), (5, 7), (40, 60)], "37+48=58\n99+99=891\n5+7=21\n40+60=001\n"
    got = ask(solve, pairs)
    if got != expected:
        mistakes = {"37+48=85\n99+99=198\n5+7=12\n40+60=100\n": "the answer is written backwards",
                    expected[:-1]: "a newline stands behind the last line too",
                    expected.replace("001", "1"): "a number loses its zeros: turn the text around"}
        hint = f"; {mistakes[got]}" if isinstance(got, str) and got in mistakes else ""
        raise Wrong(f"the lines should be {expected!r}, but {got!r} came{hint}")


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
        (rows["no newline"], "the newline behind an answer belongs to it: it says that the answer is over"),
        (rows["late"], "where x is '=', y is the first digit of the answer"),
        (rows["early"], "'=' belongs to the question: look for it in x, y is one character ahead"),
        (rows["by y"], "look for the newline and '=' in x: y is one character ahead"),
        (rows["cut"], "leave out what stands before the first newline: its question is cut off"),
        (torch.where(rows["right"] < 0, y, -1), "the other way round")])


def read_log(folder):
    """(step, validation loss) of each evaluation of a run. Raises Wrong unless there are some."""
    root = Path(__file__).resolve().parent.parent
    paths = [Path(start, folder, "log.csv") for start in dict.fromkeys((Path.cwd(), root))]
    path = next(filter(Path.is_file, paths), None)
    if path is None:
        raise Wrong(f"{' or '.join(map(str, paths))} should be the log of a run, but there is no such file")
    try:
        with open(path, newline="") as log:
            rows = [(int(row["step"]), float(row["val_loss"])) for row in csv.DictReader(log)]
    except (KeyError, TypeError, ValueError):
        rows = []
    if not rows:
        raise Wrong(f"{path} should have a line with step and val_loss for each evaluation, but it has not; "
                    "did the run end well?")
    return rows


def check_finetuned(solve):
    folders = solve()
    paths = isinstance(folders, (tuple, list)) and all(isinstance(each, (str, Path)) for each in folders)
    if not paths or len(folders) != 2:
        raise Wrong(f"two folders should come back, but {short(folders)} came")
    plain, tuned = map(read_log, folders)
    if plain[-1][0] != tuned[-1][0]:
        raise Wrong(f"both runs should have the same number of steps, but {plain[-1][0]} and "
                    f"{tuned[-1][0]} came; give both --max-steps")
    if not tuned[0][1] < plain[0][1]:
        raise Wrong(f"the run with pretraining should begin below {plain[0][1]:.4f}, where the other began, "
                    f"but it began at {tuned[0][1]:.4f}; --init-from gives it the weights, "
                    "and the run without comes first")
    plain, tuned = (min(loss for _, loss in log) for log in (plain, tuned))
    if not tuned < plain:
        raise Wrong(f"pretraining should lower the loss, but it is {tuned:.4f} with it and {plain:.4f} "
                    "without; did the run on the other plays go to its end?")
    return f"validation loss {plain:.4f} without pretraining, {tuned:.4f} with it"


EXERCISES = {
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
