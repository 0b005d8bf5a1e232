"""The exercises: every blank is to do, every solution is right, typical mistakes are wrong with their hint.

A mistake is written as an edit of the solution: this text, replaced by that.
"""
import ast
import importlib
import json
import re
import shutil
from pathlib import Path

import pytest
import torch

import gpt
import makemore
from forked import run_python

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("micrograd", "makemore", "gpt")
MODULES = {folder: importlib.import_module(f"{folder}.exercises") for folder in FOLDERS}
FOLDER_OF = {number: folder for folder in FOLDERS for number in MODULES[folder].EXERCISES}


def sources(path):
    """The text of every function and class at the top level of a file, by name."""
    text = path.read_text(encoding="utf-8")
    definitions = [node for node in ast.parse(text).body if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
    return {node.name: ast.get_source_segment(text, node) for node in definitions}


SOLUTIONS = sources(ROOT / "tests" / "solutions.py")


def name_of(number):
    return MODULES[FOLDER_OF[number]].EXERCISES[number][0].__name__


def fill(tmp_path, folder, answers):
    """A copy of a folder in which the exercises have answers; returns the path of the copy."""
    shutil.copytree(ROOT / folder, tmp_path / folder,
                    ignore=shutil.ignore_patterns("*.png", "*.svg", "__pycache__"))
    (tmp_path / "data").mkdir()
    shutil.copy(ROOT / "data" / "names.txt", tmp_path / "data")
    write_answers(tmp_path / folder / "exercises.py", answers)
    return tmp_path / folder


def write_answers(path, answers):
    """Replace the blanks of an exercises file by answers."""
    text = path.read_text(encoding="utf-8")
    for name, blank in sources(path).items():
        text = text.replace(blank, answers.get(name, blank))
    path.write_text(text, encoding="utf-8")


def write_log(folder, first, last):
    """A log.csv as a run of 800 steps leaves it, with its first and its last validation loss."""
    folder.mkdir(parents=True)
    lines = ["step,seconds,train_loss,val_loss", f"0,0.000,{first},{first}",
             f"800,60.000,{last - 0.2},{last}"]
    (folder / "log.csv").write_text("\n".join(lines) + "\n")


def write_logs(folder, trained_gpt, **losses):
    """Runs of exercise 7.7: log.csv with these losses, and the model.pt of a short run."""
    for name, (first, last) in losses.items():
        write_log(folder / "out" / name, first, last)
        shutil.copy(trained_gpt / "model.pt", folder / "out" / name)


SEARCHED = {  # name: the settings of a finished run of exercise 6.3, and its last validation loss
    "steps": ({"block_size": 16}, 1.98),
    "wide": ({"n_embd2": 192}, 1.99),
    "default": ({}, 1.994),
    "seed": ({"seed": 1}, 1.995),
    "bad": ({"dropout": 0.5}, 2.1),
    "worse": ({"n_embd2": 64}, 2.05),
    "stopped": ({"dropout": 0.3, "max_steps": 900}, 1.97),
    "mlp": ({"type": "mlp"}, 1.97),
    "towns": ({"dropout": 0.4}, 1.97),
}


def write_searched(folder, trained):
    """The runs of SEARCHED: log.csv, and the model.pt of a run of one step with other settings in it."""
    for name, (settings, loss) in SEARCHED.items():
        run = folder / "out" / "search" / name
        write_log(run, 3.3, loss)
        checkpoint = torch.load(trained / "model.pt", weights_only=True)
        checkpoint["config"].update({"max_steps": 800} | settings)
        if name == "towns":
            checkpoint["digest"] = "another"
        torch.save(checkpoint, run / "model.pt")
    (folder / "out" / "search" / "no model").mkdir()
    shutil.copy(run / "log.csv", folder / "out" / "search" / "no model")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a wavenet that was trained on our names for a step."""
    folder = tmp_path_factory.mktemp("trained")
    config = makemore.configure("wavenet", block_size=2, n_embd=2, n_embd2=2, max_steps=1)
    makemore.train(makemore.read_words("names.txt"), config, folder)
    return folder


@pytest.fixture(scope="module")
def trained_gpt(tmp_path_factory):
    """The folder of a gpt that was trained for a step."""
    folder = tmp_path_factory.mktemp("trained_gpt")
    config = gpt.configure("cpu", n_layer=1, n_embd=4, n_head=1, block_size=4, max_steps=1)
    gpt.train("to be or not to be\n" * 5, config, folder, device="cpu", max_new_tokens=1)
    return folder


# A whole file -----------------------------------------------------------------------------------------------

@pytest.mark.parametrize("folder", FOLDERS)
def test_every_blank_is_to_do_and_the_exit_status_is_0(folder):
    finished = run_python(f"{folder}/exercises.py", cwd=ROOT)
    assert (finished.returncode, finished.stderr) == (0, "")
    *lines, counts = finished.stdout.splitlines()
    assert counts == f"0 right, 0 wrong, {len(lines)} to do"
    lines = [line.split(None, 2) for line in lines]
    assert lines == [[number, name_of(number), "to do"] for number in MODULES[folder].EXERCISES]


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_solution_is_right_from_inside_the_folder(folder, tmp_path, trained, trained_gpt):
    inside = fill(tmp_path, folder, SOLUTIONS)
    write_logs(tmp_path, trained_gpt, scratch=(4.14, 1.56), finetuned=(1.52, 1.41))
    write_searched(tmp_path, trained)
    finished = run_python("exercises.py", cwd=inside)
    assert (finished.returncode, finished.stderr) == (0, "")
    *lines, counts = finished.stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(MODULES[folder].EXERCISES)
    assert all(re.fullmatch(r"\S+ +\w+ +right(: \S.*)?", line) for line in lines), finished.stdout
    assert counts == f"{len(lines)} right, 0 wrong, 0 to do"


def test_every_exercise_is_numbered_and_has_a_solution():
    for number, folder in FOLDER_OF.items():
        assert MODULES[folder].EXERCISES[number][0].__doc__.startswith(f"{number} ")
        assert name_of(number) in SOLUTIONS
    assert len(SOLUTIONS) == len(FOLDER_OF)


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_exercise_has_its_folded_answer_with_a_command(folder):
    page = (ROOT / folder / "ANSWERS.md").read_text(encoding="utf-8")
    _, *answers = re.split(r"^## ", page, flags=re.MULTILINE)
    for answer in answers:  # GitHub renders Markdown in a <details> only after an empty line
        assert re.fullmatch(r".+\n\n.+\n\n<details>\n<summary>Answer</summary>\n\n[^<]+\nCommand: [^<]+"
                            r"\n\n</details>\n*", answer), answer
    titles = [answer.splitlines()[0] for answer in answers]
    for number in MODULES[folder].EXERCISES:
        task = MODULES[folder].EXERCISES[number][0].__doc__
        assert task.split(" (")[0] in titles
    numbers = [title.split()[0] for title in titles if title[0].isdigit()]
    assert numbers == list(MODULES[folder].EXERCISES)


TRAIN = (  # only lecture 7 has it
    """    defaults = ", ".join(f"{steps} in {number}" for number, steps in _STEPS.items())
    parser.add_argument("--train", metavar="NUMBER", choices=_STEPS,
                        help=f"train a gpt with your answer to one of {', '.join(_STEPS)}")
    parser.add_argument("--steps", type=int, metavar="N", help=f"of training (default: {defaults})")
""",
    """    if args.train is not None and (args.numbers or args.json or args.copy is not None):
        parser.error("--train can be combined with --steps only")
    if args.steps is not None and (args.train is None or args.steps < 1):
        parser.error("--steps needs --train and a number of at least 1")
""",
    """    if args.train is not None:
        return train_command(args.train, args.steps)
""",
)


def test_the_three_files_run_their_exercises_alike():
    parts = [Path(ROOT, folder, "exercises.py").read_text().split("# Running them\n")[1]
             for folder in FOLDERS]
    for text in TRAIN:
        assert text in parts[2]
        parts[2] = parts[2].replace(text, "")
    assert parts[0] == parts[1] == parts[2]


def functions_of(path):
    """The names of the functions, classes and variables below the exercises."""
    _, checks = path.read_text(encoding="utf-8").split("# The checks.")
    names = set()
    for node in ast.parse("# The checks." + checks).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names.update(target.id for target in node.targets)
    return names


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_name_of_the_checks_is_one_that_a_helper_of_a_student_would_have(folder):
    names = functions_of(ROOT / folder / "exercises.py")
    taken = {name for name in names if not name.startswith(("_", "check_", "train_"))}
    assert taken == {"EXERCISES", "Wrong", "verdict", "write_copy", "main"}


def test_helpers_called_as_the_checks_might_call_theirs_are_not_replaced(tmp_path):
    helpers = """def groups(words):
    return [group for word in words for group in zip(".." + word, "." + word, word + ".")]


def names(words):
    return groups(words)


""" + SOLUTIONS["trigrams"].replace("    for word in words:\n", "    for group in names(words):\n").replace(
        '        for group in zip(".." + word, "." + word, word + "."):\n    ', "")
    inside = fill(tmp_path, "makemore", {"trigrams": helpers})
    finished = run_python("exercises.py", "2.2", cwd=inside)
    assert finished.stdout.endswith("2.2   trigrams                right\n"), finished.stdout


# A copy, and the output for teachers ------------------------------------------------------------------------

def test_a_copy_elsewhere_finds_the_library_and_keeps_the_answers_of_the_original(tmp_path):
    inside = fill(tmp_path, "makemore", {"pairs": SOLUTIONS["pairs"]})
    elsewhere = tmp_path / "my work"
    elsewhere.mkdir()
    finished = run_python(inside / "exercises.py", "--copy", "mine.py", cwd=elsewhere)
    assert (finished.returncode, finished.stderr) == (0, "")
    assert finished.stdout == "wrote mine.py; work in it, and check it with: python mine.py\n"
    where = "def configuration():\n    raise OSError(makemore.__file__)"
    answers = {"split": SOLUTIONS["split"], "configuration": where}
    write_answers(elsewhere / "mine.py", answers)
    finished = run_python("my work/mine.py", "2.1", "2.2", "2.3", "3.3", "--json", cwd=tmp_path)
    objects = [json.loads(line) for line in finished.stdout.splitlines()]
    results = [each["result"] for each in objects]
    assert (results, finished.stderr) == (["right", "to do", "right", "wrong"], "")
    assert objects[-1]["message"].endswith(f": OSError: {inside / 'makemore.py'}")
    assert [path.name for path in elsewhere.iterdir()] == ["mine.py"]


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_copy_of_a_copy_works_as_the_original_does(folder, tmp_path):
    assert run_python(ROOT / folder / "exercises.py", "--copy", "mine.py", cwd=tmp_path).returncode == 0
    assert run_python("mine.py", "--copy", "second.py", cwd=tmp_path).returncode == 0
    assert (tmp_path / "mine.py").read_bytes() == (tmp_path / "second.py").read_bytes()
    first = next(iter(MODULES[folder].EXERCISES))
    finished = run_python("second.py", first, cwd=tmp_path)
    assert (finished.returncode, finished.stderr) == (0, "")
    assert finished.stdout.endswith("  to do\n")


def test_a_copy_never_replaces_a_file(tmp_path):
    (tmp_path / "mine.py").write_text("my answers")
    finished = run_python(ROOT / "micrograd" / "exercises.py", "--copy", "mine.py", cwd=tmp_path)
    assert (finished.returncode, finished.stdout) == (2, "")
    assert finished.stderr == "exercises: mine.py exists already; choose another name\n"
    assert (tmp_path / "mine.py").read_text() == "my answers"


@pytest.mark.parametrize("arguments, message", [
    (["--copy", "no/mine.py"], "cannot write no/mine.py: No such file or directory"),
    (["--copy", "mine.py", "1.1"], "--copy cannot be combined with anything else"),
    (["--copy"], "argument --copy: expected one argument"),
    (["--jason"], "unrecognized arguments: --jason"),
    (["1.1", "9.9"], "there is no exercise 9.9; there are 1.1, 1.2, 1.3, 1.4"),
])
def test_a_wrong_command_is_refused_in_one_sentence(arguments, message, tmp_path):
    finished = run_python(ROOT / "micrograd" / "exercises.py", *arguments, cwd=tmp_path)
    assert (finished.returncode, finished.stdout) == (2, "")
    assert finished.stderr == f"exercises: {message}\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number, answer, line", [
    ("1.4", SOLUTIONS["Number"].replace("return Number(math.log", "raise NotImplementedError  #"),
     "1.4   Number                  to do: log is still blank"),
    ("1.4", "class Number:\n    def __init__(self, data):\n        raise NotImplementedError",
     "1.4   Number                  to do"),
    ("7.8", "class Calculator:\n    def write(self, a, operation, b):\n        return ''\n\n"
            "    def read(self, operation, text):\n        raise NotImplementedError",
     "7.8   Calculator              to do: read is still blank"),
    ("5.4", "def train_step(p, x, y, learning_rate):\n    return cross_entropy_gradient(x, y)",
     "5.4   train_step              to do: cross_entropy_gradient is still blank"),
])
def test_what_is_blank_is_named_if_something_was_written(number, answer, line, tmp_path):
    inside = fill(tmp_path, FOLDER_OF[number], {name_of(number): answer})
    finished = run_python("exercises.py", number, cwd=inside)
    assert (finished.returncode, finished.stderr) == (0, "")
    assert finished.stdout.splitlines()[-1] == line


def test_json_prints_an_object_per_exercise_and_nothing_else(tmp_path):
    noisy = "def gradient(a, b, c):\n    print('hello')\n    return [1.0, 2.0, 3.0]\n"
    inside = fill(tmp_path, "micrograd", {"gradient": noisy, "Number": SOLUTIONS["Number"]})
    finished = run_python("exercises.py", "--json", cwd=inside)
    assert (finished.returncode, finished.stderr) == (1, "hello\n")
    objects = [json.loads(line) for line in finished.stdout.splitlines()]
    assert [list(each) for each in objects] == [["exercise", "function", "result", "message"]] * 4
    assert [each["exercise"] for each in objects] == ["1.1", "1.2", "1.3", "1.4"]
    assert [each["function"] for each in objects] == [name_of(each["exercise"]) for each in objects]
    assert [each["result"] for each in objects] == ["wrong", "to do", "to do", "right"]
    assert objects[0]["message"].startswith("df/da at (0.5, 1.25, -2): expected -1.457")


# One exercise -----------------------------------------------------------------------------------------------

def test_a_single_exercise_shows_its_whole_task():
    finished = run_python("exercises.py", "1.2", cwd=ROOT / "micrograd")
    assert finished.returncode == 0
    assert finished.stdout.startswith("1.2 The gradient without any rules (lecture 1")
    assert "\n\nIn: a function of several floats" in finished.stdout
    assert finished.stdout.endswith("\n\n1.2   forward_difference      to do\n")


def test_the_beginning_of_several_numbers_means_all_of_them():
    finished = run_python("gpt/exercises.py", "7.0", "7.9", "--json", cwd=ROOT)
    numbers = [json.loads(line)["exercise"] for line in finished.stdout.splitlines()]
    assert numbers == ["7.0a", "7.0b", "7.0c", "7.0d", "7.9"]


def test_help_of_lecture_7_lists_train():
    finished = run_python("gpt/exercises.py", "--help", cwd=ROOT)
    assert "--train NUMBER" in finished.stdout and "--steps N" in finished.stdout


@pytest.mark.parametrize("arguments, message", [
    (["7.6", "--train", "7.6"], "--train can be combined with --steps only"),
    (["--json", "--train", "7.6"], "--train can be combined with --steps only"),
    (["--train", "7.6", "--steps", "0"], "--steps needs --train and a number of at least 1"),
    (["7.6", "--steps", "5"], "--steps needs --train and a number of at least 1"),
    (["--train", "7.1"], "argument --train: invalid choice: '7.1' (choose from"),
])
def test_train_goes_with_steps_alone(arguments, message):
    finished = run_python("gpt/exercises.py", *arguments, cwd=ROOT)
    assert (finished.returncode, finished.stdout) == (2, "")
    assert finished.stderr.startswith(f"exercises: {message}") and finished.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [["7.5"], ["7.5", "--json"], ["--train", "7.5"]])
def test_ctrl_c_ends_with_one_line_and_status_130(arguments, tmp_path):
    interrupt = "def sum_lines(pairs):\n    import signal\n    signal.raise_signal(signal.SIGINT)"
    inside = fill(tmp_path, "gpt", {"sum_lines": interrupt})
    finished = run_python("exercises.py", *arguments, cwd=inside)
    assert finished.returncode == 130
    assert re.fullmatch(r"exercises: interrupted( in 7.5)?\n", finished.stderr), finished.stderr


def test_a_task_whose_docstring_is_gone_says_so(tmp_path):
    finished = run_python("exercises.py", "1.2", cwd=fill(tmp_path, "micrograd", SOLUTIONS))
    assert finished.stdout == ("The task was in the docstring, which is gone.\n\n"
                               "1.2   forward_difference      right\n")


def test_help_shows_how_to_run_them_and_their_numbers():
    finished = run_python("exercises.py", "--help", cwd=ROOT / "micrograd")
    assert (finished.returncode, finished.stderr) == (0, "")
    assert "python micrograd/exercises.py 1.2" in finished.stdout
    assert "any of 1.1, 1.2, 1.3, 1.4" in finished.stdout
    assert "--copy FILE" in finished.stdout and "--json" in finished.stdout


def test_a_wrong_answer_ends_with_status_1_and_the_others_are_checked_too(tmp_path):
    wrong = SOLUTIONS["forward_difference"].replace(" / h", "")
    inside = fill(tmp_path, "micrograd", {**SOLUTIONS, "forward_difference": wrong})
    finished = run_python("exercises.py", cwd=inside)
    assert finished.returncode == 1
    *lines, counts = finished.stdout.splitlines()
    assert [line.split()[2].rstrip(":") for line in lines] == ["right", "wrong", "right", "right"]
    assert lines[1].endswith("wrong: the slope of x^3 + 2xy + z with respect to x at (2, 3, 5) with "
                             "h = 0.25: expected 19.5625, got 4.890625; divide by h")
    assert counts == "3 right, 1 wrong, 0 to do"


@pytest.mark.parametrize("name, wrong, line, message", [
    ("gradient", "def gradient(a, b, c):\n    slope = 0\n    return slope / (a - a)\n", 2,
     "ZeroDivisionError"),
    ("Number", "class Number:\n    def __init__(self, data):\n        self.data = date\n", 2,
     "line {}: NameError: name 'date' is not defined"),
    ("gradient", "def gradient(a, b, c):\n    raise NotImplementedError('no sin')\n", 1,
     "NotImplementedError"),
    ("gradient", "def gradient(a, b, c):\n    raise ValueError('Error:\\n\\n  a is 0' + 500 * ' x')\n", 1,
     "ValueError: Error: a is 0 x x"),
    ("gradient", "def gradient(a, b, c):\n    sys.exit('bye')\n", 1, "SystemExit"),
])
def test_an_exception_is_wrong_with_its_name_and_line(name, wrong, line, message, tmp_path):
    inside = fill(tmp_path, "micrograd", {name: wrong})
    finished = run_python("exercises.py", cwd=inside)
    text = (inside / "exercises.py").read_text().splitlines()
    line += text.index(wrong.splitlines()[0]) + 1
    assert finished.returncode == 1 and finished.stderr == ""
    assert len(finished.stdout.splitlines()) == 4 + 1
    assert f"{name}  " in finished.stdout and message.format(line) in finished.stdout
    assert f" wrong: line {line}: " in finished.stdout


# Mistakes ---------------------------------------------------------------------------------------------------

NAIVE = """        self.grad = 1.0

        def push(number):
            for each, derivative in zip(number.inputs, number.derivatives):
                each.grad += number.grad * derivative
                push(each)

        push(self)"""
BREADTH_FIRST = """        self.grad, queue = 1.0, [self]
        for number in queue:
            for each, derivative in zip(number.inputs, number.derivatives):
                each.grad += number.grad * derivative
                if each not in queue:
                    queue.append(each)"""
AT_ONCE = SOLUTIONS["Number"][SOLUTIONS["Number"].index("        order, seen"):]
BY_HAND = "-(W[x].exp() / W[x].exp().sum(1, keepdim=True))[range(len(y)), y].log().mean()"
LARGEST_OFF = BY_HAND.replace("W[x]", "(W[x] - W[x].amax(1, keepdim=True))")
KEPT = "(last_newline >= 0) & (last_equals > last_newline)"
ANSWERS = f"torch.where({KEPT}, y, -1)"

MISTAKES = {
    "1.1": [("3 * math.cos(3 * b)", "math.cos(3 * b)", "3 cos(3b), by the chain rule"),
            ("1 / c**2", "-1 / c**2", "the derivative +1/c^2"),
            (" - 0.5 * a**-0.5", "", "-a^0.5 has a derivative too"),
            ("return [", "[", "got None (is there a return?)"),
            ("2.5 * b**1.5", "2.5 * b**1.5 + 2e-9", "expected 1.032178143, got 1.032178145"),
            ("0.5 * a**-0.5", "0.5 * a**0.5", "a^0.5 has the derivative 0.5 a^-0.5"),
            ("0.5 * a**-0.5", "a**-0.5", "the exponent becomes a factor: (a^0.5)' = 0.5 a^-0.5"),
            ("2.5 * b**1.5", "2.5 * b**2", "from 2.5 to 1.5, not to 2"),
            ("2.5 * b**1.5", "b**1.5", "the exponent becomes a factor")],
    "1.2": [(" / h", "", "divide by h"),
            ("function(*moved) - function(*point)", "function(*point) - function(*moved)", "other way round"),
            ("moved = [*point]", "moved = point", "work on a copy"),
            ("slopes = []\n    for i in range(len(point)):\n        moved = [*point]",
             "slopes, moved = [], [*point]\n    for i in range(len(point)):",
             "the input before it is still moved")],
    "1.3": [("(2 * h)", "h", "the two points are 2h apart"),
            ("function(*down)) / (2 * h)", "function(*point)) / h", "this is the forward difference"),
            ("function(*up) - function(*down)", "function(*down) - function(*up)",
             "subtract the lower from the upper")],
    "1.4": [("each.grad += ", "each.grad = ", "used twice: its grad is the sum"),
            ("number.grad * derivative", "derivative", "the chain rule: multiply each derivative"),
            ("self.grad = 1.0", "pass", "with respect to itself is 1"),
            (AT_ONCE, NAIVE, "topological order"),
            (AT_ONCE, BREADTH_FIRST, "only when both have arrived (topological order)"),
            ("if number not in seen", "if True", "passed its grad on twice; visit every Number once"),
            ("reversed(order)", "order", "passes its grad on to those it was computed from"),
            ("zip(number.inputs, number.derivatives)", "dict(zip(number.inputs, number.derivatives)).items()",
             "or a + a counts a only once"),
            ("(-1.0,)", "(1.0,)", "for a = 2, b = 3: expected -1, got 1; mind the sign"),
            ("(1.0, 1.0)", "(1.0, 0.0)", "b.grad after (a + b).backward() for a = 2, b = 3: expected 1"),
            (", (math.exp(self.data),)", ", (0.0,)", "for a = 2, b = 3: expected 7.3890561, got 0"),
            ("return Number(math.exp", "Number(math.exp", "a.exp(): expected a Number, got None")],
    "2.1": [('zip("." + word, word + ".")', "zip(word, word[1:])", 'a "." before and after'),
            ("totals[pair[0]]", "sum(counts.values())", "begin with the same letter"),
            ("return counts, ", "return ", "expected two dicts, got a dict of 11"),
            ("count / totals[pair[0]]", "math.nan", "expected 0.75, got nan"),
            ("count / totals[pair[0]]", "count / totals[pair[0]] if pair != 'mi' else math.nan",
             "the probability of mi in emma, ava, mia: expected 0.3333333, got nan"),
            ("count / totals[pair[0]]", "None", "expected a number, got None"),
            ("return counts, {pair:", "return {tuple(pair): n for pair, n in counts.items()}, {tuple(pair):",
             "a key is a string of two letters")],
    "2.2": [('".." + word, "." + word, word + "."', '"." + word, word, word[1:] + "."',
             'two "." stand before'),
            ("P.sum(2, keepdim=True)", "P.sum(2)", "keepdim=True"),
            ("P.sum(2, keepdim=True)", "P.sum(1)", "the sum over the last index"),
            ("return P", "P = P - alpha\n    return P", "add alpha to every count before you divide"),
            ("P.sum(2, keepdim=True)", "P.sum(1, keepdim=True)", "divide by the sum over the last index"),
            ("return P / P.sum(2, keepdim=True)", "return P", "these are counts; divide by the sum over"),
            ("27), alpha)", "27), 1.0)", "alpha to every count, not 1"),
            ('".." + word, "." + word, word + "."', '".." + word + ".", "." + word + "..", word + ".."',
             'one "." stands after a word, not two')],
    "2.3": [("    random.Random(seed).shuffle(shuffled)\n", "", "shuffle first"),
            ("shuffled[:a], shuffled[a:b], shuffled[b:]",
             "sorted(words)[100:], random.Random(seed).sample(sorted(words)[:50], 50), sorted(words)[50:100]",
             "the training words should be from the whole list"),
            ("[*words]", "words", "your function changed its argument words; work on a copy"),
            ("shuffled[:a], shuffled[a:b], shuffled[b:]", "None, None, None",
             "expected three lists of words, but one of them is None"),
            ("random.Random(seed)", "random", "use random.Random(seed)"),
            ("0.9", "0.8", "expected 400, 50 and 50"),
            ("shuffled[b:]", "shuffled[:50]", "cut one shuffled list")],
    "2.4": [('loss("validation", alpha)', 'loss("training", alpha)', "always prefer the least smoothing"),
            ('loss("validation", alpha)', 'loss("test", alpha)', "should be looked at once"),
            ('loss("test", best)', 'loss("validation", best)', "on which you chose alpha"),
            ('loss("test", best)', "math.nan", ", got nan"),
            ("return best, ", "alphas.clear()\n    return best, ", "changed its argument alphas"),
            ('loss("test", best)', "None", "the loss: expected a number, got None"),
            ("return best", "return None", "the best validation loss: expected a number, got None")],
    "2.5": [("W[x]", "F.one_hot(x, 27).float() @ W", "0 * -inf is nan"),
            ("W[x]", "W[:, x].T", "these are columns"),
            ("return W[x]", "W[x]", "got None (is there a return?)"),
            ("W[x]", "W.mul_(2)[x]", "changed its argument W; work on a copy"),
            ("W[x]", "W[x.clamp_(max=9)]", "changed its argument x; work on a copy")],
    "2.6": [("F.cross_entropy(W[x], y)", BY_HAND, "exp(1000) is infinite"),
            ("F.cross_entropy(W[x], y)", LARGEST_OFF, "got inf; a probability is 0, and log 0 is infinite"),
            ("W[x], y", 'W[x], y, reduction="sum"', "the mean, not the sum"),
            ("W[x], y", "W[x].softmax(1), y", "takes logits and computes the softmax"),
            ("return F", "return -F", "mind the sign")],
    "2.7": [("+ 1  # one", "+ counts[letter]  # all", "counts different longer contexts, not occurrences"),
            ("discount * len(counts) / total", "discount", "D * kinds / total"),
            ("discount * len(counts) / total", "discount / total", "D * kinds / total"),
            ("counts.get(letter, 0) - discount", "counts.get(letter, 0)", "the discount in the first term"),
            ("[1 / 27] * 27", "[0] * 27", "uniform"),
            ("range(n + 1):\n            counts", "range(n, n + 1):\n            counts", "q_0 is missing"),
            ("max(counts.get(letter, 0) - discount, 0)", "(counts.get(letter, 0) - discount)", "max(count"),
            ("context[1:]", "context[:-1]", "the next shorter context of ca is a"),
            ('text = "." * n + word', 'text = "." + word', 'two "." stand before each word'),
            ('text = "." * n + beginning', "text = beginning", 'two "." stand before each word'),
            ('text = "." * n + beginning', 'text = "." + beginning', "before a beginning that is shorter"),
            ("return q", "return q[1:]", "expected a list of 27 probabilities, got a list of 26"),
            ("return q", "return [p if p > 1e-3 else 0.0 for p in q]", "expected more than 0, got 0"),
            ("return distribution", "return lambda: 1", "your code does not fit the check: TypeError")],
    "3.1": [("torch.tanh(vectors.flatten(1) @ W1 + b1)", "(vectors.flatten(1) @ W1 + b1)",
             "the tanh is missing"),
            ("vectors.flatten(1)", "vectors.view(-1, 6)", "shapes cannot be multiplied (8x6 and 12x5)"),
            ("+ b1) @ W2 + b2", ") @ W2", "b1 and b2 are missing"),
            ("vectors.flatten(1)", "vectors.mT.flatten(1)", "concatenate the vectors"),
            ("@ W2 + b2", "@ W2[:, :5] + b2[:5]", "expected the shape (4, 7), got (4, 5)"),
            ("C[x]", "C[x].clone()\n    C.zero_()", "changed its argument C")],
    "3.2": [("0.01 * ", "", "make W2 smaller"), ("torch.zeros(V)", "torch.randn(V)", "b2 should be zero"),
            ("0.01 * ", "math.nan * ", "W2: expected finite numbers, got nan among them")],
    "3.3": [('"block_size": 5', '"n_embd2": 2, "block_size": 5', "so one of yours does harm"),
            ('"block_size": 5', "", "three letters of context are few"),
            ('"block_size": 5', '"block_size": True', "block_size: expected a whole number, got True"),
            ('"block_size": 5', '"max_steps": 5000', "got max_steps"),
            ('"block_size": 5', '"block_size": 0', "makemore.py refuses these settings"),
            ('"block_size": 5', '"n_embd": "12"', "n_embd: expected a whole number, got '12'")],
    "3.4": [("inputs @ W3", "torch.tanh(inputs @ W3)", "there is no tanh on the direct path"),
            (" + b2", "", "b2 is missing"),
            (" + inputs @ W3", "", "W3 is not used")],
    "4.1": [('"all": {"b2"}', '"all": {"W2", "b2"}', "the gradient of W2 is h.T @ dlogits"),
            ('"all, 100 steps": {"b2"}', '"all, 100 steps": {"b1", "b2"}', "W2 is 0"),
            ('{"W1", "b1", "b2"}', '{"C", "W1", "b1", "b2"}', "one of them is 0"),
            ('{"W2", "b2"}', '{"W2, b2"}', "expected {'W2', 'b2'}, got {'W2, b2'}"),
            ('"all": {"b2"}', '"all": set()', "expected {'b2'}, got {}"),
            ('"all": {"b2"}', '"all": "b2"', "expected a set of names such as"),
            ('"all": {"b2"}', '"all": None', "expected a set of names such as")],
    "4.2": [("x.var(0, correction=0)", "x.var(0)", "divide by N, with correction=0"),
            ("(batch_var + eps).sqrt()", "(batch_var.sqrt() + eps)", "before the root"),
            ("(batch_var + eps).sqrt()", "(batch_var + eps)", "divide by the root of the variance"),
            ("(batch_var + eps)", "batch_var", "eps is missing"),
            ("out = (x - batch_mean) / (batch_var + eps).sqrt() * gain",
             "out = (x - x.mean(1)[:, None]) / (x.var(1, correction=0)[:, None] + eps).sqrt() * gain",
             "over the batch: mean(0), var(0)"),
            ("(1 - momentum) * mean + momentum * batch_mean", "momentum * mean + (1 - momentum) * batch_mean",
             "momentum is the weight of the batch"),
            ("momentum * x.var(0)", "momentum * batch_var", "the unbiased variance"),
            ("if not training", "if False", "at evaluation the running mean and variance are used"),
            ("if not training", "if True", "in training the batch mean and variance are used"),
            ("new_mean = (1 - momentum) * mean", "new_mean = mean.mul_(1 - momentum)", "its argument mean"),
            ("    if not", "    x += 1\n    if not", "changed its argument x; work on a copy"),
            ("(batch_var + eps)", "(batch_var + 1e-5)", "use the eps that is given"),
            ("(1 - momentum) * mean + momentum", "0.9 * mean + 0.1", "use the momentum that is given"),
            ("(1 - momentum) * var + momentum", "0.9 * var + 0.1", "use the momentum that is given")],
    "4.3": [("bias - mean * scale", "bias", "the mean is missing"),
            ("bias - mean * scale", "(bias - mean) * scale", "the bias is not scaled"),
            ("gain / ", "1 / ", "the gain is missing"),
            ("(var + eps).sqrt()", "(var + eps)", "the root of the variance"),
            ("W * scale", "W * scale[:, None]", "a column of W"),
            ("(var + eps)", "var", "add eps to the variance"),
            ("(var + eps)", "(var + 1e-5)", "use the eps that is given"),
            ("bias - mean * scale", "bias + mean * scale", "the mean is subtracted"),
            ("W * scale", "W.mul_(scale)", "changed its argument W; work on a copy")],
    "5.1": [(' + d["total"]', "", "counts is used twice"),
            (' + d["mean"] / N', "", "linear is used twice"),
            (' = (d["before_tanh"] * v.normalized).sum(0)', ' = d["before_tanh"] * v.normalized',
             "sum over them"),
            ("-1 / N", "-1", "divide by N"),
            ("return d", 'return {f"d{name}": t for name, t in d.items()}', "'log_probs', without a d"),
            ("** -1.5", "** -0.5", "from -1/2 to -3/2"),
            ('d["b2"] = d["logits"].sum(0)', 'd["b2"] = d["logits"].sum(1)', "sum(0) is over the rows"),
            ("[range(N), y] = -1", "[:, y] = -1", "[range(N), y], not [:, y]"),
            ('d["log_probs"][range(N), y] =', 'd["log_probs"][:] =', "only the entries at y"),
            ("d[\"var\"].expand(v.squared.shape) / N", "d[\"var\"].expand(v.squared.shape) / (N - 1)",
             "Bessel's correction"),
            ('d["vectors"] = d["flat"].view(v.vectors.shape)', "return d", "24 of 26 are right, vectors"),
            ("index_add_(0, x.flatten(), d[\"vectors\"].flatten(0, 1))", 'index_put((x,), d["vectors"])',
             "collects the sum"),
            ('v.h.T @ d["logits"]', 'd["logits"].T @ v.h', "transposed")],
    "5.2": [(" / len(y)", "", "divide by N"),
            ("F.one_hot(y, logits.shape[1])", "F.one_hot(y, logits.shape[1]).amax(0)", "not [:, y]"),
            (" - F.one_hot(y, logits.shape[1])", "", "subtract 1 at the target"),
            ("logits.softmax(1)", "logits.float().softmax(1)", "these are float32 numbers, the task has")],
    "5.3": [("- normalized", "+ normalized", "the last term is subtracted"),
            (" - normalized * (d * normalized).mean(0)", "", "the variance depends on x too"),
            (" - d.mean(0)", "", "the mean depends on x too"), ("dout * gain", "dout", "the gain is missing"),
            ("    scale =", "    dout, x, gain = dout.float(), x.float(), gain.float()\n    scale =",
             "these are float32 numbers, the task has float64"),
            ("x.var(0, correction=0)", "x.var(0)", "Bessel's correction"),
            (" + eps", "", "eps is missing"),
            ("(d * normalized).mean(0)", "(d * normalized).sum(0) / (len(x) - 1)", "Bessel's correction"),
            ("normalized = (x - x.mean(0)) * scale", "normalized = x - x.mean(0)",
             "the normalised x, (x - mean) * scale"),
            ("- normalized * (d", "- (x - x.mean(0)) * (d", "one of them is x - mean")],
    "5.4": [(") / len(y)\n    dbefore", ")\n    dbefore", "the loss is a mean: divide by N"),
            ("p[name] -= ", "p[name] += ", "down the gradient, not up"),
            ("p[name] -= learning_rate", "p[name] = p[name] - 0 * learning_rate", "it did not move"),
            ("return loss", "return", "the loss of step 0: expected a number, got None (is there a return?)"),
            ("return loss", "return log_probs", "step 0: expected a number, got a tensor (64, 27)"),
            ("dlinear = scale * (d - d.mean(0) - ", "dlinear = scale * (d - ", "W1 after step 0 at ["),
            ("linear.var(0, correction=0)", "linear.var(0)", "Bessel's correction")],
    "6.1": [("x.reshape(B, T // 2, 2 * C)", "torch.cat(x.chunk(2, dim=1), dim=2)", "pairs from two halves"),
            ("torch.tanh", "", "the tanh is missing"), ("x.squeeze(1)", "x", "one position is left")],
    "6.2": [("2**k", "2 ** (2 - k)", "joins direct neighbours"), ("2**k", "1", "the distances are 1, 2, 4"),
            ("2**k", "k + 1", "the distances double"),
            ("[older, newer]", "[newer, older]", "the older one comes first")],
    "6.3": [(', "out/search/wide"', "", "expected the folders of at least three runs, got 2"),
            ("return [", "return None and [", "expected a list of folders, got None"),
            ('"out/search/wide"', '"out/search/no folder"', "there is no such folder"),
            ('"out/search/wide"', '"out/search"', "there is no such file; is this the folder of a run?"),
            ('"out/search/wide"', '"out/search/no model"', "model.pt does not exist"),
            ('"out/search/wide"', '"out/search/mlp"', "expected a wavenet, got a model of type mlp"),
            ('"out/search/wide"', '"out/search/towns"', "on other words than names.txt"),
            ('"out/search/wide"', '"out/search/stopped"', "stopped at step 800 of 900; continue it"),
            ('"out/search/wide"', '"out/search/seed"', "a new seed is not a new idea"),
            ('"out/search/steps", ', "", "expected the folders of at least three runs, got 2"),
            ('"out/search/steps", "out/search/wide"', '"out/search/wide", "out/search/steps"',
             "expected the best run first, but out/search/steps has a validation loss of 1.9800"),
            ('"out/search/steps", "out/search/wide", "out/search/default"',
             '"out/search/default", "out/search/bad", "out/search/worse"',
             "expected less than 1.993, got 1.9940")],
    "7.0a": [("x[:, : t + 1].mean(1)", "x[:, : t + 1].sum(1)", "these are sums; divide by the number"),
             ("x[:, : t + 1]", "x[:, :t]", "a position belongs to its own past"),
             ("x[:, : t + 1]", "x[:, t:]", "this is the future: take the positions up to t"),
             ("x[:, : t + 1]", "x", "must not look at those after it"),
             ("x[:, : t + 1].mean(1)", "x[:, : t + 1].mean((1, 2))[:, None].expand(-1, x.shape[2])",
              "not over the channels: x[b, : t + 1].mean(0)"),
             ("return torch.stack(means, dim=1)", "return means[-1]", "every position has a mean of its own"),
             (".mean(1)", ".sum(1) / x.shape[1]", "positions so far, t + 1, not by T"),
             ("dim=1", "dim=0", "expected the shape (2, 5, 3), got (5, 2, 3)"),
             ("means = []", "means = []\n    x *= 2", "changed its argument x; work on a copy")],
    "7.0b": [(" / past.sum(1, keepdim=True)", "", "every row should sum to 1"),
             ("past.sum(1, keepdim=True)", "past.sum(1)", "keepdim=True"),
             ("past.sum(1, keepdim=True)", "past.sum(0)", "divide by the sums of the rows"),
             ("tril()", "triu()", "this is the future: tril, not triu"),
             ("tril()", "tril(-1)", "tril(), not tril(-1)"),
             ("past / past.sum(1, keepdim=True)", "past.softmax(1)", "exp(0) is 1, so"),
             ("return past", "past", "expected a tensor (5, 5), got None (is there a return?)")],
    "7.0c": [("-math.inf", "0", "mask with -inf, not with 0"),
             ("past == 0", "past == 1", "-inf belongs where tril is 0"),
             ("softmax(-1)", "softmax(0)", "take the softmax over the row"),
             ("softmax(-1)", "exp()", "use softmax, not exp"),
             ("scores.masked_fill(past == 0, -math.inf).softmax(-1)", "scores.softmax(-1) * past",
              "mask before the softmax"),
             ("scores.masked_fill", "(0 * scores).masked_fill", "the scores are not used"),
             ("tril()", "tril(1)", "each position sees the next one too"),
             ("-math.inf", "math.inf", "got nan; exp(inf) is inf: mask with -inf, not with inf"),
             ("past == 0", "scores * past == 0", "got nan; a score of the past may be 0 too"),
             ("tril()", "tril(-1)", "got nan; a position may look at itself")],
    "7.0d": [(".softmax(-1) @ x", ".softmax(-1)", "got (2, 5, 5); these are the weights"),
             ("x @ x.mT", "x @ x.mT / 3**0.5", "no sqrt yet: it belongs to 7.1"),
             ("past == 0", "past == 2", "must not look at those after it"),
             ("softmax(-1)", "softmax(-2)", "take the softmax over the row"),
             ("scores.masked_fill(past == 0, -math.inf).softmax(-1)", "scores.tril()",
              "the softmax is missing"),
             ("x @ x.mT  #", "0 * x @ x.mT  #", "the scores are not used")],
    "7.1": [(" / q.shape[1] ** 0.5", "", "divide the scores by sqrt(D)"),
            ("range(t + 1)", "range(len(q))", "must not look at those after it"),
            ("q[t] @ k[s]", "k[t] @ q[s]", "row t has the scores of query t"),
            ("q[t] @ k[s]", "q[t] @ v[s]", "the scores come from queries and keys"),
            ("scores.softmax(0), v)", "scores.softmax(0), k)", "are for the values, not for the keys")],
    "7.2": [("(future, -math.inf)", "(future, 0)", "mask with -inf"),
            ("softmax(-1)", "softmax(-2)", "take the softmax over the row"),
            ("** 0.5", "** 1", "by sqrt(D), not by D"),
            ("triu(1)", "tril(-1)", "upside down"),
            ("triu(1)", "tril()", "the mask hides the past: -inf belongs where tril is 0"),
            ("softmax(-1)", "softmax(0)", "this softmax is over the texts of the batch"),
            (" @ v", "", "these are the weights; multiply them by v"),
            ("q.shape[-1] ** 0.5", "q.shape[-2] ** 0.5", "by sqrt(D), not by sqrt(T)"),
            ("/ q.shape", "* q.shape", "do not multiply"),
            ("q @ k.mT / q.shape[-1] ** 0.5", "q @ k.mT", "divide the scores by sqrt(D)"),
            ("return scores", "scores = k @ q.mT / q.shape[-1] ** 0.5\n    return scores", "not k @ q.mT")],
    "7.3": [("view(B, T, n_head, C // n_head).transpose(1, 2)", "reshape(B, n_head, T, C // n_head)",
             "view(B, T, n_head, D) first"),
            ("y.transpose(1, 2).reshape", "y.reshape", "transpose(1, 2) before you lay"),
            ("q, k, v =", "k, q, v =", "the queries first, then the keys, then the values"),
            ("q, k, v =", "v, k, q =", "the queries first, then the keys, then the values"),
            ("is_causal=True", "is_causal=True, scale=C**-0.5", "the root of D = C // n_head, not of C"),
            ("return y.transpose(1, 2).reshape(B, T, C)", "return y", "side by side"),
            ("is_causal=True", "is_causal=False", "must not look at those after it")],
    "7.4": [("a * angles.cos() - b", "a * angles.cos() + b", "a rotation turns a into a cos - b sin"),
            ("* speed.to(x)", "* torch.ones_like(speed).to(x)", "a speed of its own"),
            ("-2 * torch", "-1 * torch", "-2i / D, not -i / D"),
            ("-2 * torch", "2 * torch", "-2i / D, not 2i / D"),
            ("positions[:, None]", "positions[:, None] ** 2", "every vector rotates by its own position"),
            ("a, b = x[:, ::2], x[:, 1::2]", "a, b = x[:, ::2] * 1, x[:, 1::2] * 1\n    x.zero_()",
             "changed its argument x; work on a copy"),
            ("torch.stack(rotated, dim=2).flatten(1)", "torch.cat(rotated, dim=1)", "each channel stays in")],
    "7.5": [("[::-1]", "", "written backwards"),
            ('"".join(f"{a}+{b}={str(a + b)[::-1]}\\n"', '"\\n".join(f"{a}+{b}={str(a + b)[::-1]}"',
             "after the last line too"),
            ("return ", "", "got None (is there a return?)"),
            ("{str(a + b)[::-1]}", "{int(str(a + b)[::-1])}", "loses its zeros")],
    "7.6": [("(last_newline >= 0) & ", "", "its question is cut off"),
            ("torch.where(x == equals", "torch.where(y == equals", "'=' belongs to the question"),
            ("y, -1)", "-1, y)", "the other way round"),
            ("y, -1)", "y, 0)", "-1, not 0, which is a character's token"),
            ("y, -1)", "y.float(), -1)", "torch.int64 as in the given y, got torch.float32"),
            ("torch.where((last", "torch.where((y != newline) & (last", "the newline after an answer"),
            ("torch.where(x == ", "torch.where(y == ", "look for the newline and '=' in x"),
            ("torch.where(x == equals", "torch.where(y == equals", r"in brackets in '48=58\n9+8[=]71\n37"),
            (ANSWERS, f"torch.where(F.pad({KEPT}, (1, 0))[:, :-1], y, -1)", "one position late"),
            (ANSWERS, f"torch.where(F.pad({KEPT}, (0, 1))[:, 1:], y, -1)", "one position early"),
            (KEPT, f"{KEPT} & (x != equals)", "one position late"),
            (ANSWERS, "y.masked_fill_(last_equals < last_newline, -1)", "its argument y; work on a copy")],
    "7.7": [('"out/scratch", "out/finetuned"', '"out/finetuned", "out/scratch"', "run without comes first"),
            ('"out/finetuned"', "None", "expected two folders, got ('out/scratch', None)"),
            ('"out/finetuned"', '"out/empty"', "did the run finish?"),
            ('"out/finetuned"', '"out/header"', "did the run finish?"),
            ('"out/finetuned"', '"out/fresh"', "--init-from gives it the weights"),
            ('"out/finetuned"', '"out/worse"', "pretraining should lower the loss"),
            ('"out/finetuned"', '"out/nothing"', "no such folder"),
            ('"out/finetuned"', '"out/another"', "trained on different texts"),
            ('"out/finetuned"', '"out/no model"', "model.pt does not exist"),
            ('"out/finetuned"', '"out/shorter"', "the same number of steps")],
    "7.8": [("return int(answer)", "return answer", "got '085'; return an int, not a text"),
            ("return int(answer)", "return abs(int(answer))", "should make -11 of it, got 11; what about the sign?"),
            ("return int(answer)", "return int(answer[::-1])", "got 580; these are its digits in the other"),
            ("return int(answer[:2]), int(answer[2:])", "return int(answer[:2])", "has two answers"),
            ("int(answer[:2]), int(answer[2:])", "int(answer[2:]), int(answer[:2])", "quotient comes first"),
            ('f"{steps}>{carry}{digits}"', 'f"{a}+{b}={steps}"', "the question and '=' are added for you"),
            ('f"{steps}>{carry}{digits}"', 'f"{steps}\\n"', "the newline at the end is added for you"),
            ('f"{steps}>{a * b:04}"', "9 * steps", "expected at most 120 characters, got 252"),
            ("return self.times(a, b)", "return a * b", "write for 37*48: expected a text, got 1776"),
            ("total = x + sign", "total = x - sign", "should make 85 of it, got ")],
    "7.9": [('"return self.head(norm(x)).float()"', '"no such line"', "occurs 0 times in gpt.py; it must occur exactly once"),
            ('"return self.head(norm(x)).float()"', '"norm(x)"', "occurs 4 times in gpt.py"),
            ("15 * torch.tanh(self.head(norm(x)).float() / 15)", "self.head(norm(x)).float()", "as it was"),
            ("return {", 'return "my_gpt.py" or {', "my_gpt.py: there is no such file"),
            ("return {", "return None and {", "expected a path or a dict, got None"),
            ("return {", "return 'import torch\\n' * 999 or {", "got a text of several lines; save it"),
            ("/ 15)", "/ 15", "of the edited gpt.py: "),
            ("torch.tanh", "tanh", "of the edited gpt.py: NameError: name 'tanh' is not defined"),
            ("15 * torch.tanh", "math.nan * torch.tanh", "a weight is not finite"),
            ("return {", 'return {"is_causal=q.shape[2] > 1": "is_causal=False",', "the model looks ahead")],
}


@pytest.fixture(scope="module")
def logs(tmp_path_factory, trained, trained_gpt):
    folder = tmp_path_factory.mktemp("runs")
    write_searched(folder, trained)
    write_logs(folder, trained_gpt, scratch=(4.14, 1.56), finetuned=(1.52, 1.41), worse=(4.0, 1.57),
               fresh=(4.14, 1.50), shorter=(1.52, 1.51), empty=(0, 0), header=(0, 0))
    write_logs(folder, trained_gpt, **{"another": (1.52, 1.41), "no model": (1.52, 1.41)})
    checkpoint = torch.load(trained_gpt / "model.pt", weights_only=True)
    torch.save(checkpoint | {"digest": "another"}, folder / "out" / "another" / "model.pt")
    (folder / "out" / "no model" / "model.pt").unlink()
    (folder / "out" / "empty" / "log.csv").write_text("")
    (folder / "out" / "header" / "log.csv").write_text("step,seconds,train_loss,val_loss\n")
    shorter = folder / "out" / "shorter" / "log.csv"
    shorter.write_text(shorter.read_text().replace("800,", "400,"))
    return folder


def verdict_on(number, text, **names):
    """The verdict on an answer whose text uses the names of the exercises file and these."""
    exercises = MODULES[FOLDER_OF[number]]
    answer = dict(vars(exercises), **names)
    exec(text, answer)  # noqa: S102 (the text is ours)
    return exercises.verdict(answer[name_of(number)], exercises.EXERCISES[number][1])


def edited(number, right, wrong):
    """The verdict on the solution in which this text is replaced by that."""
    solution = SOLUTIONS[name_of(number)]
    assert right in solution
    result, message = verdict_on(number, solution.replace(right, wrong))
    return f"{result}: {message}"


@pytest.mark.parametrize("number, right, wrong, hint", [
    pytest.param(number, *mistake, id=f"{number}-{mistake[2]}")
    for number, mistakes in MISTAKES.items() for mistake in mistakes
])
def test_a_mistake_is_wrong_with_the_hint_that_belongs_to_it(number, right, wrong, hint, logs, monkeypatch):
    monkeypatch.chdir(logs)
    verdict = edited(number, right, wrong)
    assert verdict.startswith("wrong: ") and hint in verdict and "\n" not in verdict, verdict


SHORTCUTS = {
    "1.1": ("def gradient(a, b, c):\n"
            "    x = micrograd.Value(a)\n"
            "    (-x**3 - x**0.5).backward()\n"
            "    return [x.grad, 3 * math.cos(3 * b) + 2.5 * b**1.5, 1 / c**2]"),
    "1.4": "class Number(micrograd.Value):\n    pass",
    "4.2": ("def batch_norm(x, gain, bias, mean, var, training, momentum=0.1, eps=1e-5):\n"
            "    mean, var = mean.clone(), var.clone()\n"
            "    return F.batch_norm(x, mean, var, gain, bias, training, momentum, eps), mean, var"),
    "5.1": ("def backward(v, x, y):\n"
            "    with torch.enable_grad():\n"
            "        p = {name: getattr(v, name).requires_grad_() for name in PARAMETERS}\n"
            "        v = forward(p, x, y)\n"
            "        return torch.autograd.grad(v.loss, list(p.values()))"),
    "5.2": ("def cross_entropy_gradient(logits, y):\n"
            "    logits.requires_grad_()\n"
            "    F.cross_entropy(logits, y).backward()\n"
            "    return logits.grad"),
    "5.3": ("def batch_norm_gradient(dout, x, gain, eps=1e-5):\n"
            "    def norm(x):\n"
            "        return (F.batch_norm(x, None, None, gain, training=True) * dout).sum()\n"
            "    return torch.func.grad(norm)(x)"),
    "5.4": ("def train_step(p, x, y, learning_rate):\n"
            "    with torch.enable_grad():\n"
            "        loss = (p['C'].requires_grad_()**2).sum()\n"
            "        loss.backward()"),
    "7.0d": ("def average_by_scores(x):\n"
             "    return F.scaled_dot_product_attention(x, x, x, is_causal=True, scale=1.0)"),
    "7.1": ("def attention_by_loop(q, k, v):\n"
            "    return F.scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True)[0]"),
    "7.2": ("def attention(q, k, v):\n"
            "    return F.scaled_dot_product_attention(q, k, v, is_causal=True)"),
}


@pytest.mark.parametrize("number", SHORTCUTS)
def test_a_shortcut_is_called_one_and_the_library_works_again_after_it(number):
    parameters = ("C", "W1", "b1", "gain", "bias", "W2", "b2")
    result, message = verdict_on(number, SHORTCUTS[number], PARAMETERS=parameters)
    assert (result, message[:12]) == ("wrong", "a shortcut: "), message
    result, message = verdict_on(number, SOLUTIONS[name_of(number)])
    assert result == "right", message


@pytest.mark.parametrize("number", ["7.1", "7.2"])
def test_the_attention_weights_of_gpt_are_a_shortcut(number):
    code = f"def {name_of(number)}(q, k, v):\n    return gpt.attention_weights(q, k) @ v"
    assert verdict_on(number, code) == (
        "wrong", "a shortcut: gpt.attention_weights does the work here; write it out")


def test_a_number_with_a_value_inside_is_a_shortcut():
    number = SOLUTIONS["Number"].replace("self.grad = 0.0", "self.grad = 0.0; self.v = micrograd.Value(data)")
    assert verdict_on("1.4", number) == (
        "wrong", "a shortcut: there is a micrograd.Value inside; do without it")


def test_the_check_of_3_3_trains_as_makemore_does(tmp_path):
    config = makemore.configure("mlp", block_size=2, n_embd=4, n_embd2=8, max_steps=20, weight_decay=0.5)
    results = makemore.train(makemore.read_words("names.txt"), config, tmp_path).results
    assert MODULES["makemore"]._validation_loss(config) == pytest.approx(results["validation"][0], abs=1e-5)


@pytest.mark.parametrize("write, read", [
    ("f'{a},{b}'", "calculate(*map(int, text.split(',')))"),
    ("f'{a},{b}={calculate(a, b)}'", "calculate(*map(int, text.partition('=')[0].split(',')))"),
    ("setattr(self, 'answer', calculate(a, b)) or ''", "self.answer"),
])
def test_an_answer_that_is_not_taken_from_the_text_is_wrong(write, read):
    calculator = f"""class Calculator:
    def write(self, a, operation, b):
        calculate = self.calculations[operation]
        return {write}

    def read(self, operation, text):
        calculate = self.calculations[operation]
        return {read}

    calculations = {{"+": int.__add__, "-": int.__sub__, "*": int.__mul__, "/": divmod}}"""
    assert verdict_on("7.8", calculator) == (
        "wrong", "read for 97+12: changing a digit of the answer in the text does not change what read returns; "
        "take the answer from the text, do not calculate")


@pytest.mark.parametrize("write, read", [
    ("str(answer)[::-1]", "ast.literal_eval(text[::-1])"),
    ("f'{answer}<{a}{operation}{b}'", "ast.literal_eval(text.split('<')[0])"),
    ("f'= {answer}.'", "ast.literal_eval(text[2:-1])"),
])
def test_an_answer_may_be_anywhere_in_the_text_and_backwards(write, read):
    calculator = f"""class Calculator:
    def write(self, a, operation, b):
        answer = divmod(a, b) if operation == "/" else eval(f"{{a}}{{operation}}{{b}}")
        return {write}

    def read(self, operation, text):
        return {read}"""
    result, message = verdict_on("7.8", calculator, ast=ast)
    assert result == "right", message


def test_every_exercise_has_at_least_two_mistakes():
    assert list(MISTAKES) == list(FOLDER_OF)
    assert min(len(mistakes) for mistakes in MISTAKES.values()) >= 2


@pytest.mark.parametrize("number, solution, other", [
    ("2.4", "return best, ", "return torch.tensor(best).item(), "),  # 0.1 in float32, 0.10000000149
    ("2.4", 'loss("test", best)', 'round(loss("test", best), 8)'),
    ("3.1", "C[x]", "F.one_hot(x, len(C)).float() @ C"),
    ("3.4", "C[x].flatten(1)", "torch.cat([C[x[:, i]] for i in range(3)], dim=1)"),
    ("7.0b", "past / past.sum(1, keepdim=True)", "past / torch.arange(1, T + 1)[:, None]"),
    ("7.0c", "scores.masked_fill(past == 0, -math.inf).softmax(-1)",
     "scores.exp() * past / (scores.exp() * past).sum(1, keepdim=True)"),
    ("7.4", "return torch.stack(rotated, dim=2).flatten(1)",
     "out = torch.zeros(x.shape)\n    out[:, ::2], out[:, 1::2] = rotated\n    return out"),
])
def test_another_way_to_write_it_is_right(number, solution, other):
    assert edited(number, solution, other).startswith("right")


@pytest.mark.parametrize("folder", FOLDERS)
def test_two_numbers_that_differ_do_so_in_print(folder):
    assert MODULES[folder]._digits(0.25, 19.5) == ("0.25", "19.5")
    assert MODULES[folder]._digits(0.25, 0.25 + 1e-12) == ("0.25", "0.250000000001")
