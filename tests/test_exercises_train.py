"""python gpt/exercises.py --train: a gpt learns from the answers of the exercises; the steps are cut here."""
import itertools
from pathlib import Path

import pytest
import torch

import gpt
import solutions
from forked import run_python
from gpt import exercises

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("number", ["7.5", "7.9"])
def test_a_training_that_cannot_begin_says_why(number, capsys):
    assert exercises.main(["--train", number]) == 1
    output = capsys.readouterr()
    assert output.out == "" and output.err.count("\n") == 1
    assert output.err.startswith(f"exercises: {number} is still to do")


MINE = """
def sum_lines(pairs):
    return "".join(f"{a}+{b}=x{a + b}\\n" for a, b in pairs)


def answers_only(x, y, newline, equals):
    return y


"""


def test_the_command_trains_with_the_functions_of_a_copy(tmp_path):
    mine = tmp_path / "mine.py"
    exercises.write_copy(mine)
    mine.write_text(mine.read_text().replace("# The checks.", MINE + "# The checks.", 1))
    finished = run_python("mine.py", "--train", "7.6", "--steps", "2", cwd=tmp_path)
    assert (finished.returncode, finished.stderr) == (0, "")
    verdict, *lines = finished.stdout.splitlines()
    assert verdict.startswith("7.6 is wrong: y at ") and verdict.endswith("nothing is left out")
    assert lines[0].startswith("9,000 sums to train on, 1,000 unseen; the first: ")
    assert "=x" in lines[0]
    assert " of 1,000 unseen sums are right: " in lines[-1]
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["mine.py"]


def test_a_tenth_is_never_trained_on_and_always_the_same():
    pairs = exercises._problems("/")
    training, unseen = exercises._unseen_tenth(pairs)
    assert len(pairs) == 9900 and len(unseen) == 990
    assert sorted(training + unseen) == pairs
    assert exercises._unseen_tenth(pairs)[1] == unseen


def test_answers_to_all_problems_are_those_of_python():
    for operation in "+-*":
        for a, b in itertools.product((0, 7, 99), repeat=2):
            assert exercises._answer_to(a, operation, b) == eval(f"{a}{operation}{b}")  # noqa: S307
    assert exercises._answer_to(99, "/", 7) == (14, 1)


def random_gpt(text, block_size):
    """A gpt with random weights, so that every character that it writes depends on those before."""
    vocab = gpt.Vocab(text)
    config = gpt.configure("cpu", n_layer=2, n_embd=16, block_size=block_size, vocab_size=len(vocab))
    torch.manual_seed(1)
    model = gpt.GPT(config).eval()
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.3)
    return model, vocab


def test_questions_of_different_lengths_are_completed_as_generate_completes_each():
    model, vocab = random_gpt("\n0123456789+=", block_size=24)
    questions = ["1+2=", "31+2=", "1+62=", "4+5=", "99+99="]
    expected = [gpt.generate(model, vocab, prompt=f"\n{question}", max_new_tokens=24, temperature=0)[0]
                .removeprefix(f"\n{question}").partition("\n")[0] for question in questions]
    assert len(set(expected)) > 1
    assert exercises._complete(model, vocab, questions) == expected


def test_the_targets_of_the_calculator_are_those_of_7_6():
    text = "\n3+4=7>7\n12/5=2>2\n10-1=9\n"
    vocab = gpt.Vocab(text)
    tokens = torch.from_numpy(vocab.encode(text))
    newline, equals = vocab.encode("\n=").tolist()
    starts = torch.tensor([i for i in range(len(text) - 12) if text[i] == "\n"])
    x, y = gpt.windows(tokens, starts, 10)
    expected = solutions.answers_only(x, y, newline, equals)
    assert torch.equal(exercises._after_equals(x, y, newline, equals), expected)


@pytest.mark.parametrize("write, message", [
    (lambda pairs: None, "expected a text, got None"),
    (lambda pairs: "1+1=2\n", "expected 9,000 lines for 9,000 pairs, got 1"),
    (lambda pairs: "".join(f"{a + b}\n" for a, b in pairs), "expected a line with "),
])
def test_lines_that_no_gpt_can_be_asked_about_are_refused(write, message):
    with pytest.raises(exercises.Wrong, match=message):
        exercises.train_sums(write, exercises._everything, 1)


def test_targets_that_leave_nothing_to_learn_are_refused():
    with pytest.raises(exercises.Wrong, match="not all -1"):
        exercises.train_sums(solutions.sum_lines, lambda x, y, newline, equals: 0 * y - 1, 1)


def test_a_gpt_learns_an_easy_line_and_the_share_says_so(capsys):
    def write(pairs):
        return "".join(f"{a}+{b}=x\n" for a, b in pairs)

    share = exercises.train_sums(write, solutions.answers_only, 12)
    assert share > 0.95
    assert capsys.readouterr().out.endswith(f"unseen sums are right: {100 * share:.1f} %\n")


def test_the_calculator_is_asked_what_it_was_not_trained_on(capsys):
    written = []

    class Recorder(solutions.Calculator):
        def write(self, a, operation, b):
            written.append((operation, a, b))
            return "1"

        def read(self, operation, text):
            return 1 / len(text)  # an exception is a wrong answer

    shares = exercises.train_calculator(Recorder(), 1)
    assert shares == {"+": 0, "-": 0, "*": 0, "/": 0}
    assert len(set(written)) == len(written) == 35_910
    for operation in "+-*/":
        unseen = exercises._unseen_tenth(exercises._problems(operation))[1]
        assert not {(operation, a, b) for a, b in unseen} & set(written)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("35,910 problems to train on, ")
    assert lines[-1] == "/   0.0 % of 990 unseen problems are right"


def test_an_idea_that_stops_learning_does_harm_even_if_it_halves_the_loss_that_it_reports(tmp_path, capsys):
    source = (ROOT / "gpt" / "gpt.py").read_text()
    for old, new in {
        'group["lr"] = config.learning_rate': 'group["lr"] = 0 * config.learning_rate',
        "losses = torch.cat(losses).double()": "losses = torch.cat(losses).double() / 2",
    }.items():
        assert source.count(old) == 1
        source = source.replace(old, new)
    mine = tmp_path / "my_gpt.py"
    mine.write_text(source)
    text = "The quick brown fox jumps over the lazy dog. " * 30
    mean, error = exercises.train_idea(str(mine), 20, text, n_layer=1, n_embd=16, block_size=64)
    assert mean > 0.1 and error < 0.1
    output = capsys.readouterr().out.splitlines()
    assert output[0].startswith("unchanged: ")
    assert [line.partition(":")[0] for line in output[1:4]] == ["seed 3407", "seed 3408", "seed 3409"]
    assert output[4].endswith("over 3 seeds: your idea does harm")


def test_a_file_with_an_idea_is_the_same_as_its_changes(tmp_path):
    old, new = next(iter(solutions.idea().items()))
    mine = tmp_path / "my_gpt.py"
    mine.write_text((ROOT / "gpt" / "gpt.py").read_text().replace(old, new))
    assert exercises._edited_source(mine) == exercises._edited_source({old: new})
