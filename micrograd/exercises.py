"""The exercises of lecture 1. Each is a function to fill in; its docstring is the task.

    python exercises.py          one line for every exercise: to do, right or wrong
    python exercises.py 1.2      one exercise, with its whole task

Put your own lines in place of `raise NotImplementedError`, and run again. The checks stand below the
exercises: they say what the answer is, so look at them last. Solutions are in tests/solutions.py, which is
two folders away on purpose.
"""
import inspect
import math
import sys
import traceback

import micrograd

# ------------------------------------------------------------------------------------------------------------
# Lecture 1: micrograd


def f(a, b, c):
    """The function of exercises 1.1 to 1.3, on plain numbers."""
    return -(a**3) + math.sin(3 * b) - 1 / c + b**2.5 - a**0.5


def gradient(a, b, c):
    """1.1 The gradient on paper (lecture 1; the rules stand in the docstrings of micrograd.Value).

    Work out the three partial derivatives of f(a, b, c) = -a^3 + sin(3b) - 1/c + b^2.5 - a^0.5 with a pencil,
    and return their values at (a, b, c).

    In: three floats, a and b positive, c not zero. Out: a list of three floats, df/da, df/db, df/dc.
    """
    raise NotImplementedError


def forward_difference(function, point, h):
    """1.2 The gradient without any rules (lecture 1, "derivative of a function with multiple inputs").

    Increase one input at a time by h and see how far the result moves. The slope is that distance over h.

    In: a function of several floats, called as function(*point); the point, a list of floats, which stays as
    it is; h, a small float. Out: a list with the slope for every input.
    """
    raise NotImplementedError


def symmetric_difference(function, point, h):
    """1.3 The same, much closer (lecture 1; micrograd.gradcheck uses it).

    Move each input up by h and down by h, and take the slope between these two points, which are 2h apart.
    The error of the forward difference shrinks like h. How does this one shrink? The check tells you both
    errors for f at (2, 3, 4) with h = 0.001, when your answer is right.

    In and out: as in 1.2.
    """
    raise NotImplementedError


class Number:
    """1.4 A Value of your own (lecture 1; micrograd.Value is one way to write it).

    Write a number that remembers how it was made, with the operations that the negative log-likelihood of a
    softmax takes, and backward(). The check computes this from four logits:

        counts = [logit.exp() for logit in logits]
        total = counts[0] + counts[1] + counts[2] + counts[3]
        probabilities = [count / total for count in counts]
        loss = -probabilities[3].log()
        loss.backward()

    and looks at loss.data and at the grad of every logit. All numbers in the operations are Numbers. First it
    tries every operation by itself.
    """

    def __init__(self, data):
        """A Number has .data, a float, and .grad, a float that is 0.0 at first.

        Give `__init__` more arguments if you need them; the check passes only data.
        """
        raise NotImplementedError

    def __add__(self, other):
        raise NotImplementedError

    def __truediv__(self, other):
        raise NotImplementedError

    def __neg__(self):
        raise NotImplementedError

    def exp(self):
        raise NotImplementedError

    def log(self):
        raise NotImplementedError

    def backward(self):
        """Fill in .grad of every Number that this one was made from: the derivative of this one by it."""
        raise NotImplementedError


# ------------------------------------------------------------------------------------------------------------
# The checks. `mistakes` holds the values that common mistakes give, each with its hint.


def compare(what, got, expected, tolerance=1e-9, mistakes=()):
    """Raises Wrong unless the number `got` is `expected`, up to tolerance * max(1, |expected|)."""

    def close(value):
        return abs(got - value) <= tolerance * max(1, abs(value))

    if isinstance(got, micrograd.Value):
        raise Wrong(f"{what} should be a plain number, but a Value came")
    if not isinstance(got, (int, float)):
        raise Wrong(f"{what} should be a number, but {got!r} came" + " (is there a return?)" * (got is None))
    if not close(expected):
        hint = next((f"; {hint}" for value, hint in mistakes if close(value)), "")
        expected, got = digits(expected, got)
        raise Wrong(f"{what} should be {expected}, but {got} came{hint}")


def digits(a, b):
    """Two numbers as texts: of nine digits, or of as many as it takes to tell them apart."""
    n = next((n for n in range(9, 17) if f"{a:.{n}g}" != f"{b:.{n}g}"), 17)
    return f"{a:.{n}g}", f"{b:.{n}g}"


def numbers(got, length):
    """The list `got`. Raises Wrong unless it has that length."""
    if got is None:
        raise Wrong("nothing came back (is there a return?)")
    if not isinstance(got, (list, tuple)) or len(got) != length:
        raise Wrong(f"a list of {length} numbers should come back, but {got!r} came")
    return list(got)


def true_gradient(a, b, c):
    """The gradient of f by the engine of this folder."""
    a, b, c = micrograd.Value(a), micrograd.Value(b), micrograd.Value(c)
    (-(a**3) + (3 * b).sin() - 1 / c + b**2.5 - a**0.5).backward()
    return [a.grad, b.grad, c.grad]


def check_gradient(solve):
    for a, b, c in [(2.0, 3.0, 4.0), (0.5, 1.25, -2.0)]:
        mistakes = [
            [(-3 * a**2, "-a^0.5 has a derivative too"),
             (-3 * a**2 + 0.5 * a**-0.5, "-a^0.5 has the derivative -0.5 a^-0.5"),
             (3 * a**2 - 0.5 * a**-0.5, "-a^3 has the derivative -3 a^2")],
            [(math.cos(3 * b) + 2.5 * b**1.5, "sin(3b) has the derivative 3 cos(3b): the chain rule"),
             (-3 * math.cos(3 * b) + 2.5 * b**1.5, "the derivative of sin is +cos"),
             (3 * math.cos(b) + 2.5 * b**1.5, "the cosine is of 3b, not of b")],
            [(-1 / c**2, "-1/c has the derivative +1/c^2"),
             (1 / c, "-1/c is -c^-1: the power goes down to -2")],
        ]
        got, expected = numbers(solve(a, b, c), 3), true_gradient(a, b, c)
        for name, ours, value, hints in zip("abc", got, expected, mistakes):
            compare(f"df/d{name} at ({a:g}, {b:g}, {c:g})", ours, value, mistakes=hints)


def polynomial(x, y, z):
    return x**3 + 2 * x * y + z


def check_forward_difference(solve):
    x, y, z, h = 2.0, 3.0, 5.0, 0.25  # a step this large tells the formulas apart
    got = differences(solve, [x, y, z], h)
    start = polynomial(x, y, z)
    expected = [3 * x**2 + 3 * x * h + h**2 + 2 * y, 2 * x, 1.0]  # of the polynomial, by expanding (x + h)^3
    mistakes = [
        [(expected[0] * h, "divide by h"),
         (3 * x**2 - 3 * x * h + h**2 + 2 * y, "that is the slope to x - h: step forward"),
         (3 * x**2 + h**2 + 2 * y, "that is the symmetric difference, exercise 1.3"),
         ((polynomial(x + h, y + h, z + h) - start) / h, "move one input at a time")],
        [(2 * (x + h), "the input before it is still moved: put it back"),
         ((polynomial(x + h, y + h, z) - start) / h, "the input before it is still moved: put it back")],
        [],
    ]
    for name, ours, value, hints in zip("xyz", got, expected, mistakes):
        compare(f"the slope of x^3 + 2xy + z by {name} at (2, 3, 5) with h = 0.25", ours, value,
                mistakes=hints)


def check_symmetric_difference(solve):
    x, y, z, h = 2.0, 3.0, 5.0, 0.25
    got = differences(solve, [x, y, z], h)
    expected = [3 * x**2 + h**2 + 2 * y, 2 * x, 1.0]
    mistakes = [
        [(2 * expected[0], "the two points are 2h apart: divide by 2h"),
         (3 * x**2 + 3 * x * h + h**2 + 2 * y, "that is the forward difference: use f(x - h) too"),
         (-expected[0], "upper minus lower, not lower minus upper")],
        [(2 * (x + h), "the input before it is still moved: put it back"),
         (2 * (x - h), "the input before it is still moved: put it back"),
         ((polynomial(x + h, y + h, z) - polynomial(x - h, y - h, z)) / (2 * h),
          "the input before it is still moved: put it back")],
        [],
    ]
    for name, ours, value, hints in zip("xyz", got, expected, mistakes):
        compare(f"the slope of x^3 + 2xy + z by {name} at (2, 3, 5) with h = 0.25", ours, value,
                mistakes=hints)
    point, h = [2.0, 3.0, 4.0], 0.001
    truth = true_gradient(*point)
    forward = [(f(*point[:i], point[i] + h, *point[i + 1 :]) - f(*point)) / h for i in range(3)]
    ours = numbers(solve(f, list(point), h), 3)
    for name, slope, value in zip("abc", ours, truth):
        compare(f"the slope of f by {name} at (2, 3, 4) with h = 0.001", slope, value, 1e-4)
    forward, ours = (max(abs(s - t) for s, t in zip(slopes, truth)) for slopes in (forward, ours))
    return f"largest error {ours:.1e}, forward difference {forward:.1e}: {forward / ours:,.0f} times as close"


def differences(solve, point, h):
    """What solve gives for the polynomial at the point, which must stay as it is."""
    before = list(point)
    got = numbers(solve(polynomial, point, h), 3)
    if point != before:
        raise Wrong(f"the point should stay {before}, but it is {point} now: work on a copy")
    return got


def check_number(solve):
    operations = {  # each with the result for a = 2 and b = 3, and its derivatives by a and by b
        "a + b": (lambda a, b: a + b, 5, 1, 1),
        "a / b": (lambda a, b: a / b, 2 / 3, 1 / 3, -2 / 9),
        "-a": (lambda a, b: -a, -2, -1, 0),
        "a.exp()": (lambda a, b: a.exp(), math.exp(2), math.exp(2), 0),
        "a.log()": (lambda a, b: a.log(), math.log(2), 1 / 2, 0),
    }
    for text, (operation, data, *slopes) in operations.items():
        a, b = solve(2.0), solve(3.0)
        result = operation(a, b)
        if not isinstance(result, solve):
            raise Wrong(f"{text} should be a {solve.__name__}, but {result!r} came"
                        + " (is there a return?)" * (result is None))
        compare(f"({text}).data, where a is 2 and b is 3,", result.data, data, mistakes=[
            (-data, "the sign"), (math.log10(2), "log is the natural logarithm")])
        result.backward()
        start = "the derivative of the result by itself is 1: backward() starts from there"
        for name, number, slope in zip("ab", (a, b), slopes):
            compare(f"{name}.grad after ({text}).backward(), where a is 2 and b is 3,", number.grad, slope,
                    mistakes=[(0, start)] * (result.grad != 1) + [(-slope, "the sign")])
    data = [0.0, 3.0, -2.0, 1.0]
    logits = [solve(x) for x in data]
    counts = [logit.exp() for logit in logits]
    total = counts[0] + counts[1] + counts[2] + counts[3]
    probabilities = [count / total for count in counts]
    loss = -probabilities[3].log()
    softmax = [math.exp(x) / sum(map(math.exp, data)) for x in data]  # the closed form
    compare("loss.data", loss.data, -math.log(softmax[3]))
    loss.backward()
    twice = ("counts[3] is used twice: its grad is the sum of both parts (+=), and it is handed on when both "
             "are there (topological order)")
    for i, (logit, p) in enumerate(zip(logits, softmax)):
        compare(f"logits[{i}].grad", logit.grad, p - (i == 3), mistakes=[
            (0.0, "every Number hands its grad on to those it was made from, beginning with the loss"),
            *((value, twice) for value in (-1.0, p, p - 2) if i == 3)])
    a = solve(1.0)
    b = a + a
    c = b + a
    (c + b).backward()
    compare("a.grad, where b = a + a, c = b + a, and (c + b).backward(),", a.grad, 5.0, mistakes=[
        (1.0, "a and b are used twice: add to the grad (+=), do not replace it"),
        (7.0, "b handed its grad on before all of it had come, and then again: topological order"),
        (3.0, "either b handed its grad on too early (topological order), or a + a counts a once")])


EXERCISES = {
    "1.1": (gradient, check_gradient),
    "1.2": (forward_difference, check_forward_difference),
    "1.3": (symmetric_difference, check_symmetric_difference),
    "1.4": (Number, check_number),
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
