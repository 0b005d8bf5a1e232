"""The exercises of lecture 1. Each is a function to fill in; its docstring is the task.

    python micrograd/exercises.py                    one line per exercise: to do, right or wrong
    python micrograd/exercises.py 1.2                one exercise, with its whole task
    python micrograd/exercises.py --copy mine.py     a copy to work in: git pull never conflicts with it

Replace `raise NotImplementedError` with your own lines, and run the file again. The checks are below the
exercises; they give the answers away, so look at them last. The solutions are in tests/solutions.py.
"""
import argparse
import contextlib
import inspect
import json
import math
import sys
import textwrap
import traceback
from pathlib import Path

FOLDER = Path(__file__).resolve().parent  # of micrograd.py; --copy writes the path itself into the copy
if __name__ == "__main__":
    sys.path.insert(0, str(FOLDER))

import micrograd  # from FOLDER, also if this is a copy elsewhere

# ------------------------------------------------------------------------------------------------------------
# Lecture 1: micrograd


def f(a, b, c):
    """The function of exercises 1.1 to 1.3, on plain numbers."""
    return -(a**3) + math.sin(3 * b) - 1 / c + b**2.5 - a**0.5


def gradient(a, b, c):
    """1.1 The gradient on paper (lecture 1; the rules are in the docstrings of micrograd.Value).

    Work out the three partial derivatives of f(a, b, c) = -a^3 + sin(3b) - 1/c + b^2.5 - a^0.5 with a pencil,
    and return their values at (a, b, c).

    In: three floats, a and b positive, c not zero. Out: a list of three floats, df/da, df/db, df/dc.
    """
    raise NotImplementedError


def forward_difference(function, point, h):
    """1.2 The gradient without any rules (lecture 1, "derivative of a function with multiple inputs").

    Increase one input at a time by h and see how much the result changes. The slope is that change divided
    by h.

    In: a function of several floats, called as function(*point); the point, a list of floats, which you must
    not change; h, a small float. Out: a list with one slope per input.
    """
    raise NotImplementedError


def symmetric_difference(function, point, h):
    """1.3 The same, much closer (lecture 1; micrograd.gradcheck uses it).

    Move each input up by h and down by h, and take the slope between these two points, which are 2h apart.
    The error of the forward difference shrinks in proportion to h. How does this one shrink? When your answer
    is right, the check prints both errors for f at (2, 3, 4) with h = 0.001.

    In and out: as in 1.2.
    """
    raise NotImplementedError


class Number:
    """1.4 A Value of your own (lecture 1; micrograd.Value is one way to write it).

    Write a number that remembers how it was computed. It needs backward() and the operations of a softmax and
    its negative log-likelihood. The check computes the following from four logits, all of them Numbers, and
    looks at loss.data and at the grad of every logit. Before that it tries each operation by itself.

        counts = [logit.exp() for logit in logits]
        total = counts[0] + counts[1] + counts[2] + counts[3]
        probabilities = [count / total for count in counts]
        loss = -probabilities[3].log()
        loss.backward()
    """

    def __init__(self, data):
        """A Number has .data, a float, and .grad, a float that starts at 0.0.

        Add more arguments if you need them; the check passes only data.
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
        """Put the derivative of this Number with respect to n into n.grad, for every n in its graph."""
        raise NotImplementedError


# ------------------------------------------------------------------------------------------------------------
# The checks. `mistakes` lists what common mistakes give, each with its hint.
# If you add functions of your own, their names must not begin with _ or check_, nor be Wrong, verdict,
# write_copy, main or EXERCISES: the definitions below would replace them.


def _compare(what, got, expected, tolerance=1e-9, mistakes=()):
    """Raises Wrong unless the number `got` is `expected`, up to tolerance * max(1, |expected|)."""
    if got is None:
        raise Wrong(f"{what}: expected a number, got None (is there a return?)")
    if isinstance(got, micrograd.Value):
        raise Wrong(f"{what}: expected a plain number, got a Value")
    if not isinstance(got, (int, float)):
        raise Wrong(f"{what}: expected a number, got {got!r}")
    if _close(got, expected, tolerance):
        return
    hint = ""
    for value, text in mistakes:
        if _close(got, value, tolerance):
            hint = f"; {text}"
            break
    expected, got = _digits(expected, got)
    raise Wrong(f"{what}: expected {expected}, got {got}{hint}")


def _close(got, value, tolerance):
    return abs(got - value) <= tolerance * max(1, abs(value))


def _digits(a, b):
    """Two numbers as texts, with nine digits or with as many as it takes to tell them apart."""
    for n in range(9, 18):
        texts = f"{a:.{n}g}", f"{b:.{n}g}"
        if texts[0] != texts[1]:
            break
    return texts


def _expect_list(got, length):
    """Raises Wrong unless `got` is a list of that length."""
    if got is None:
        raise Wrong(f"expected a list of {length} numbers, got None (is there a return?)")
    if not isinstance(got, (list, tuple)) or len(got) != length:
        raise Wrong(f"expected a list of {length} numbers, got {got!r}")


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


def _true_gradient(a, b, c):
    """The gradient of f, by micrograd."""
    a, b, c = micrograd.Value(a), micrograd.Value(b), micrograd.Value(c)
    result = -(a**3) + (3 * b).sin() - 1 / c + b**2.5 - a**0.5
    result.backward()
    return [a.grad, b.grad, c.grad]


def check_gradient(solve):
    for a, b, c in [(0.5, 1.25, -2.0), (2.0, 3.0, 4.0)]:  # at the first, all mistakes differ
        mistakes_a = [
            (-3 * a**2, "-a^0.5 has a derivative too"),
            (-3 * a**2 - a**-0.5, "the exponent becomes a factor: (a^0.5)' = 0.5 a^-0.5"),
            (-3 * a**2 + 0.5 * a**-0.5, "-a^0.5 has the derivative -0.5 a^-0.5: mind the sign"),
            (-3 * a**2 - 0.5 * a**0.5, "the exponent goes down by one: a^0.5 has the derivative 0.5 a^-0.5"),
            (3 * a**2 - 0.5 * a**-0.5, "-a^3 has the derivative -3 a^2: mind the sign"),
        ]
        mistakes_b = [
            (math.cos(3 * b) + 2.5 * b**1.5, "sin(3b) has the derivative 3 cos(3b), by the chain rule"),
            (-3 * math.cos(3 * b) + 2.5 * b**1.5, "the derivative of sin is +cos"),
            (3 * math.cos(b) + 2.5 * b**1.5, "take the cosine of 3b, not of b"),
            (3 * math.cos(3 * b) + 2.5 * b**2, "the exponent goes down by one: from 2.5 to 1.5, not to 2"),
            (3 * math.cos(3 * b) + 2.5 * b**2.5, "the exponent goes down by one: from 2.5 to 1.5"),
            (3 * math.cos(3 * b) + b**1.5, "the exponent becomes a factor: (b^2.5)' = 2.5 b^1.5"),
        ]
        mistakes_c = [
            (-1 / c**2, "-1/c has the derivative +1/c^2: mind the sign"),
            (1 / c, "-1/c is -c^-1, and the exponent goes down by one, to -2"),
        ]
        expected = _true_gradient(a, b, c)
        with _forbidden(micrograd.Value, "backward", "micrograd does the work here; use a pencil"):
            got = solve(a, b, c)
        _expect_list(got, 3)
        _compare(f"df/da at ({a:g}, {b:g}, {c:g})", got[0], expected[0], mistakes=mistakes_a)
        _compare(f"df/db at ({a:g}, {b:g}, {c:g})", got[1], expected[1], mistakes=mistakes_b)
        _compare(f"df/dc at ({a:g}, {b:g}, {c:g})", got[2], expected[2], mistakes=mistakes_c)
    return "at (2, 3, 4): " + ", ".join(f"{slope:.4f}" for slope in _true_gradient(2.0, 3.0, 4.0))


def _polynomial(x, y, z):
    return x**3 + 2 * x * y + z


def _slopes_of_polynomial(solve, point, h):
    """What `solve` returns for the polynomial. Raises Wrong if it changes the point."""
    given = list(point)
    slopes = solve(_polynomial, given, h)
    if given != point:
        raise Wrong(f"the point was {point}, and you changed it to {given}; work on a copy")
    _expect_list(slopes, 3)
    return slopes


def check_forward_difference(solve):
    x, y, z, h = 2.0, 3.0, 5.0, 0.25  # a step this large tells the formulas apart
    got = _slopes_of_polynomial(solve, [x, y, z], h)
    expected = 3 * x**2 + 3 * x * h + h**2 + 2 * y, 2 * x, 1.0  # by expanding (x + h)^3
    start = _polynomial(x, y, z)
    not_put_back = "the input before it is still moved; put it back"
    mistakes_x = [
        (expected[0] * h, "divide by h"),
        (-expected[0], "it is f(moved) - f(point), not the other way round"),
        (_polynomial(x + h, y, z) / h, "subtract the value at the point itself"),
        (3 * x**2 - 3 * x * h + h**2 + 2 * y, "this is the slope to x - h; step forward"),
        (3 * x**2 + h**2 + 2 * y, "this is the symmetric difference, exercise 1.3"),
        ((_polynomial(x + h, y + h, z + h) - start) / h, "move one input at a time"),
    ]
    mistakes_y = [
        (2 * (x + h), not_put_back),
        ((_polynomial(x + h, y + h, z) - start) / h, not_put_back),
    ]
    _compare_slopes(got, expected, mistakes_x, mistakes_y)


def check_symmetric_difference(solve):
    x, y, z, h = 2.0, 3.0, 5.0, 0.25
    got = _slopes_of_polynomial(solve, [x, y, z], h)
    expected = 3 * x**2 + h**2 + 2 * y, 2 * x, 1.0
    not_put_back = "the input before it is still moved; put it back"
    mistakes_x = [
        (2 * expected[0], "the two points are 2h apart; divide by 2h"),
        (3 * x**2 + 3 * x * h + h**2 + 2 * y, "this is the forward difference; use f(x - h) too"),
        (-expected[0], "subtract the lower from the upper, not the other way round"),
    ]
    mistakes_y = [
        (2 * (x + h), not_put_back),
        (2 * (x - h), not_put_back),
        ((_polynomial(x + h, y + h, z) - _polynomial(x - h, y - h, z)) / (2 * h), not_put_back),
    ]
    _compare_slopes(got, expected, mistakes_x, mistakes_y)

    # How close is it? The errors of both differences for f.
    point, h = [2.0, 3.0, 4.0], 0.001
    truth = _true_gradient(*point)
    slopes = solve(f, list(point), h)
    _expect_list(slopes, 3)
    error, forward_error = 0.0, 0.0
    for i, name in enumerate("abc"):
        what = f"the slope of f with respect to {name} at (2, 3, 4) with h = 0.001"
        _compare(what, slopes[i], truth[i], 1e-4)
        moved = list(point)
        moved[i] += h
        error = max(error, abs(slopes[i] - truth[i]))
        forward_error = max(forward_error, abs((f(*moved) - f(*point)) / h - truth[i]))
    return (f"largest error {error:.1e}, with the forward difference {forward_error:.1e}: "
            f"{forward_error / error:,.0f} times as close")


def _compare_slopes(got, expected, mistakes_x, mistakes_y):
    for i, mistakes in enumerate((mistakes_x, mistakes_y, [])):
        what = f"the slope of x^3 + 2xy + z with respect to {'xyz'[i]} at (2, 3, 5) with h = 0.25"
        _compare(what, got[i], expected[i], mistakes=mistakes)


def check_number(solve):
    if isinstance(solve, type) and issubclass(solve, micrograd.Value):
        raise Wrong("a shortcut: this is micrograd.Value; write a class of your own")
    check_operations(solve)
    check_softmax(solve)
    a = solve(1.0)
    b = a + a
    c = b + a
    (c + b).backward()
    _compare("a.grad, where b = a + a, c = b + a, after (c + b).backward()", a.grad, 5.0, mistakes=[
        (1.0, "a and b are used twice: add to their grad (+=) instead of replacing it"),
        (7.0, "b passed its grad on before all of it had arrived, and then again; use a topological order"),
        (3.0, "either b passed its grad on too early (use a topological order), or a + a counts a only once"),
    ])


def check_operations(solve):
    operations = [  # with the result for a = 2 and b = 3, and its derivatives with respect to a and to b
        ("a + b", lambda a, b: a + b, 5.0, 1.0, 1.0),
        ("a / b", lambda a, b: a / b, 2 / 3, 1 / 3, -2 / 9),
        ("-a", lambda a, b: -a, -2.0, -1.0, 0.0),
        ("a.exp()", lambda a, b: a.exp(), math.exp(2), math.exp(2), 0.0),
        ("a.log()", lambda a, b: a.log(), math.log(2), 1 / 2, 0.0),
    ]
    for text, operation, data, slope_a, slope_b in operations:
        a, b = solve(2.0), solve(3.0)
        result = operation(a, b)
        if result is None:
            raise Wrong(f"{text}: expected a {solve.__name__}, got None (is there a return?)")
        if not isinstance(result, solve):
            raise Wrong(f"{text}: expected a {solve.__name__}, got {result!r}")
        if any(isinstance(each, micrograd.Value) for each in getattr(result, "__dict__", {}).values()):
            raise Wrong("a shortcut: there is a micrograd.Value inside; do without it")
        _compare(f"({text}).data for a = 2, b = 3", result.data, data, mistakes=[
            (-data, "mind the sign"), (math.log10(2), "log is the natural logarithm")])
        result.backward()
        for name, number, slope in (("a", a, slope_a), ("b", b, slope_b)):
            mistakes = [(-slope, "mind the sign")]
            if result.grad != 1:
                hint = "the derivative of the result with respect to itself is 1; start from there"
                mistakes = [(0.0, hint)]
            _compare(f"{name}.grad after ({text}).backward() for a = 2, b = 3", number.grad, slope,
                     mistakes=mistakes)


def check_softmax(solve):
    data = [0.0, 3.0, -2.0, 1.0]
    logits = [solve(x) for x in data]
    counts = [logit.exp() for logit in logits]
    total = counts[0] + counts[1] + counts[2] + counts[3]
    probabilities = [count / total for count in counts]
    loss = -probabilities[3].log()
    softmax = [math.exp(x) / sum(map(math.exp, data)) for x in data]  # the closed form
    _compare("loss.data", loss.data, -math.log(softmax[3]))
    loss.backward()
    not_passed_on = "every Number passes its grad on to those it was computed from, beginning with the loss"
    for i in range(3):
        _compare(f"logits[{i}].grad", logits[i].grad, softmax[i], mistakes=[
            (0.0, not_passed_on),
            (math.exp(data[i]), "the chain rule: multiply each derivative by the grad of the result"),
        ])
    p = softmax[3]
    twice = ("counts[3] is used twice: its grad is the sum of two parts (+=), and it may pass that on only "
             "when both have arrived (topological order)")
    _compare("logits[3].grad", logits[3].grad, p - 1, mistakes=[
        (0.0, not_passed_on),
        (-1.0, twice),
        (p, twice),
        (p - 2, twice),
        (2 * p - 1, twice),
        (2 * (p - 1), "counts[3] passed its grad on twice; visit every Number once, in topological order"),
    ])


EXERCISES = {
    "1.1": (gradient, check_gradient),
    "1.2": (forward_difference, check_forward_difference),
    "1.3": (symmetric_difference, check_symmetric_difference),
    "1.4": (Number, check_number),
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
