"""gpt at the command line: runs, checkpoints, faults, several processes."""
import builtins
import contextlib
import csv
import itertools
import math
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure

from forked import Child, run_python
from gpt import gpt

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "gpt" / "gpt.py"
TEXT = "the cat sat on the mat and the dog ran to the man who had a hat and a cap\n" * 40
SIZES = ["--dropout", "0", "--n-layer", "1", "--n-head", "2", "--n-embd", "16",
         "--block-size", "16", "--batch-size", "4"]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


@pytest.fixture(autouse=True)
def one_thread_and_an_own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    Path("text.txt").write_text(TEXT)
    yield
    torch.set_num_threads(threads)


def command(*arguments):
    return [sys.executable, str(SCRIPT), *arguments]


def train(*arguments, out="out/gpt", steps=8):
    """A small run inside this process."""
    return gpt.main(["-i", "text.txt", "-o", out, "--device", "cpu", "--max-steps", str(steps),
                     "--max-new-tokens", "5", *SIZES, *arguments])


def checkpoint(out="out/gpt"):
    return torch.load(Path(out) / "model.pt", weights_only=True)


def same_weights(a, b):
    a, b = checkpoint(a)["model"], checkpoint(b)["model"]
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def files():
    return {str(path): path.read_bytes() for path in Path().rglob("*") if path.is_file()}


# A run


LONG = ["-i", "text.txt", "--device", "cpu", "--max-steps", "120", *SIZES,
        "--dropout", "0.3", "--n-layer", "2"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run by a process of its own, never interrupted: the folder in which it ran, and how it ended."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "text.txt").write_text(TEXT)
    return folder, run_python(SCRIPT, *LONG, "--prompt", "the", "--max-new-tokens", "30", cwd=folder)


def test_a_run_prints_its_progress_and_leaves_model_log_and_picture(whole, monkeypatch):
    folder, result = whole
    monkeypatch.chdir(folder)
    assert result.returncode == 0, result.stderr
    v = len(set(TEXT))
    assert re.search(rf"a uniform guess has a loss of {math.log(v):.4f}\n", result.stdout)
    assert "\r" not in result.stdout, "the live line is for terminals"
    assert re.search(r"step +120/120: validation \d\.\d+, batches \d\.\d+, \d+\.\d ms a step\n",
                     result.stdout)
    pattern = r"s of training\n(the.*)\nin out/gpt: model.pt, log.csv, loss.png\n"
    text = re.search(pattern, result.stdout, re.DOTALL)[1]
    assert len(text) == 33 and set(text) <= set(TEXT)
    assert not result.stderr
    with open("out/gpt/log.csv") as f:
        rows = list(csv.DictReader(f))
    assert list(rows[0]) == ["step", "seconds", "train_loss", "val_loss"]
    assert [int(row["step"]) for row in rows] == [0, 100, 120]
    seconds = [float(row["seconds"]) for row in rows]
    assert seconds == sorted(seconds) and float(rows[-1]["val_loss"]) < float(rows[0]["val_loss"])
    assert Path("out/gpt/loss.png").read_bytes().startswith(b"\x89PNG")


def test_every_evaluation_but_the_last_shows_a_sample_the_first_one_noise(whole):
    parts = re.split(r"^step +(\d+)/120: validation .*\n", whole[1].stdout, flags=re.MULTILINE)
    samples = {int(step): after for step, after in zip(parts[1::2], parts[2::2])}
    assert list(samples) == [0, 100, 120]
    for step in (0, 100):
        lines = [line for line in samples[step].splitlines() if not line.startswith("step")]
        assert lines and all(line.startswith("    ") for line in lines)
    words = [set(samples[step].split()) & set(TEXT.split()) for step in (0, 100)]
    assert len(words[0]) < len(words[1]), "noise becomes words"
    assert not samples[120].startswith("    ")


def test_the_log_has_the_mean_loss_of_the_batches_since_the_row_before(whole):
    progress = checkpoint(whole[0] / "out/gpt")["progress"]
    losses = progress["losses"]
    means = [row[2] for row in progress["log"]]
    assert math.isnan(means[0])
    assert means[1:] == pytest.approx([sum(losses[:100]) / 100, sum(losses[100:]) / 20])


def test_the_picture_of_a_run_has_its_losses_their_running_mean_and_its_evaluations(monkeypatch):
    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *args, **options: figures.append(figure))
    train(steps=60)
    progress = checkpoint()["progress"]
    losses, log = progress["losses"], progress["log"]
    uniform, batches, means, validation = figures[0].axes[0].get_lines()
    assert uniform.get_ydata() == pytest.approx([math.log(len(set(TEXT)))] * 2)
    assert list(batches.get_ydata()) == losses
    assert list(means.get_xdata()) == list(range(1, 60)), "the step of the second of two"
    assert means.get_ydata() == pytest.approx([sum(pair) / 2 for pair in itertools.pairwise(losses)])
    assert list(zip(validation.get_xdata(), validation.get_ydata())) == [(row[0], row[3]) for row in log]


def test_a_log_line_gives_the_time_of_a_step_and_the_time_left(monkeypatch, capsys):
    with monkeypatch.context() as patch:
        patch.setattr(time, "perf_counter", itertools.count(0, 25).__next__)  # a step takes 25 s
        train(steps=103)
    said = capsys.readouterr().out
    assert re.search(r"^step   100/103: validation .*, 25000\.0 ms a step, 1:15 left$", said, re.MULTILINE)
    assert re.search(r"^step   103/103: validation .*, 25000\.0 ms a step$", said, re.MULTILINE)


def test_a_long_run_is_evaluated_ten_times(monkeypatch):
    class Pressed(gpt.Run):
        def report(self):
            super().report()
            if len(self.log) == 2:
                os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(gpt, "Run", Pressed)
        assert train(steps=1100) == 130
    assert [row[0] for row in checkpoint()["progress"]["log"]] == [0, 110]


def test_a_run_is_saved_when_fifteen_seconds_have_passed_without_an_evaluation(monkeypatch):
    now = 0
    steps = []

    def look(optimizers, step, config, set_learning_rate=gpt.set_learning_rate):
        nonlocal now
        now += 4  # seconds a step
        steps.append(checkpoint()["progress"]["step"])
        set_learning_rate(optimizers, step, config)

    with monkeypatch.context() as patch:
        patch.setattr(time, "monotonic", lambda: now)
        patch.setattr(gpt, "set_learning_rate", look)
        assert not train(steps=10)
    assert steps == [0, 0, 0, 0, 4, 4, 4, 4, 8, 8]


def test_the_seed_decides_the_run_and_its_samples(capsys):
    samples = []
    for seed in ("1", "1", "2"):
        train("--seed", seed, "--max-new-tokens", "40", steps=2)
        samples.append(capsys.readouterr().out.partition("s of training\n")[2].partition("\nin out/gpt")[0])
    assert len(samples[0]) == 40 and samples[0] == samples[1] != samples[2]


def test_samples_come_from_the_checkpoint_alone(capsys):
    train()
    Path("text.txt").unlink()
    capsys.readouterr()
    assert not gpt.main(["--sample-only", "--prompt", "the", "--max-new-tokens", "20",
                     "--num-samples", "3", "--seed", "1"])
    texts = re.split(r"\n-+\n", capsys.readouterr().out)
    model, vocab = gpt.load("out/gpt")
    expected = gpt.generate(model, vocab, prompt="the", max_new_tokens=20, num_samples=3, seed=1)
    assert "".join(texts).strip("\n") == "".join(expected).strip("\n")


def test_a_checkpoint_is_found_by_its_name_too():
    train()
    weights = [gpt.load(name)[0].state_dict() for name in ("out/gpt", "out/gpt/model.pt")]
    assert all(torch.equal(weight, weights[1][name]) for name, weight in weights[0].items())
    gpt.resume("out/gpt/model.pt", max_steps=9, device="cpu")
    assert checkpoint()["progress"]["step"] == 9
    Path("out/gpt/model.pt").rename("out/gpt/model.1.pt")
    train("--seed", "1")
    before = files()
    with pytest.raises(gpt.UserError, match="can be sampled from, but not continued"):
        gpt.resume("out/gpt/model.1.pt", max_steps=20, device="cpu")
    assert files() == before, "a later run is not replaced"


def test_a_loaded_model_has_the_best_weights_and_their_loss():
    train(steps=12)
    saved = checkpoint()
    model, vocab = gpt.load("out/gpt")
    loss, _ = gpt.evaluate(model, gpt.split(torch.from_numpy(vocab.encode(TEXT)), 16)["validation"])
    assert loss == pytest.approx(min(row[3] for row in saved["progress"]["log"]), abs=1e-6)
    assert vocab.chars == "".join(sorted(set(TEXT)))


def test_a_fresh_run_moves_what_lies_in_its_folder_aside(capsys):
    train()
    first = Path("out/gpt/model.pt").read_bytes()
    train("--seed", "1")
    train("--seed", "2")
    assert Path("out/gpt/model.1.pt").read_bytes() == first
    names = {path.name for path in Path("out/gpt").iterdir()}
    assert {"model.2.pt", "log.1.csv", "log.2.csv", "loss.1.png"} <= names
    said = capsys.readouterr().out
    for name in ("model.{}pt", "log.{}csv", "loss.{}png"):
        assert f"moved aside: {name.format('')} to {name.format('2.')}" in said


def test_no_file_is_moved_over_another_one():
    train()
    Path("out/gpt/log.1.csv").write_text("mine")
    train("--seed", "1")
    assert Path("out/gpt/log.1.csv").read_text() == "mine"
    assert Path("out/gpt/model.2.pt").exists() and Path("out/gpt/log.2.csv").exists()


def test_the_default_text_is_found_from_any_folder():
    assert gpt.find_file("tinyshakespeare.txt") == ROOT / "data" / "tinyshakespeare.txt"
    Path("tinyshakespeare.txt").write_text(TEXT)
    assert gpt.find_file("tinyshakespeare.txt") == Path.cwd() / "tinyshakespeare.txt", "the nearest one"


# Going on


def test_a_run_stopped_by_ctrl_c_and_resumed_ends_with_the_weights_of_one_that_was_not(
        whole, monkeypatch, capfd):
    whole = whole[0] / "out/gpt"

    def press(optimizer, step, config, set_learning_rate=gpt.set_learning_rate):
        if step == 57:  # in the middle of a step
            os.kill(os.getpid(), signal.SIGINT)
        set_learning_rate(optimizer, step, config)

    random_numbers = torch.get_rng_state()
    handler = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        patch.setattr(gpt, "set_learning_rate", press)
        assert gpt.main(LONG) == 130
    assert torch.equal(torch.get_rng_state(), random_numbers)
    assert signal.getsignal(signal.SIGINT) == handler, "put back"
    stopped = checkpoint()["progress"]["step"]
    assert stopped == 58, "that step is finished"
    said = capfd.readouterr().out
    assert (f"stopped after step {stopped}; everything is saved; run it again with --resume to continue "
            "(in Python: gpt.resume('out/gpt'))\n") in said
    assert not gpt.main(["--resume", "--device", "cpu", "--max-new-tokens", "5"])
    assert checkpoint()["progress"]["step"] == 120
    assert same_weights(whole, "out/gpt")
    resumed, whole = checkpoint()["progress"], checkpoint(whole)["progress"]
    assert [row[0] for row in resumed["log"]] == [row[0] for row in whole["log"]]
    assert resumed["losses"] == whole["losses"]


def test_a_run_that_was_killed_leaves_a_checkpoint_that_resumes(whole):
    child = Child(SCRIPT, *LONG)
    while not Path("out/gpt/log.csv").exists() or "\n100," not in Path("out/gpt/log.csv").read_text():
        assert not child.has_ended()
        time.sleep(0.002)
    os.kill(child.pid, signal.SIGKILL)
    assert child.finish().returncode == -signal.SIGKILL
    assert checkpoint()["progress"]["step"] < 120
    assert not gpt.main(["--resume", "--device", "cpu", "--max-new-tokens", "5"])
    assert same_weights(whole[0] / "out/gpt", "out/gpt")


def test_max_steps_is_the_total_when_resuming(capsys):
    train(steps=4)
    assert not gpt.main(["--resume", "--device", "cpu", "--max-steps", "6", "--max-new-tokens", "5"])
    assert checkpoint()["progress"]["step"] == 6
    assert "resuming at step 4\n" in capsys.readouterr().out
    assert checkpoint()["config"]["max_steps"] == 6, "the learning rate falls until the new end"
    assert not gpt.main(["--resume", "--device", "cpu", "--max-new-tokens", "5"])  # it ended: nothing to do
    assert checkpoint()["progress"]["step"] == 6
    assert [row[0] for row in checkpoint()["progress"]["log"]] == [0, 4, 6], "no step is evaluated twice"


def test_a_resumed_run_counts_its_time_on_and_keeps_its_best_weights():
    train(steps=4)
    saved = checkpoint()
    saved["progress"] |= {"seconds": 1000.0, "best_loss": 0.5}  # better than any that will follow
    torch.save(saved, "out/gpt/model.pt")
    assert not gpt.main(["--resume", "--device", "cpu", "--max-steps", "6", "--max-new-tokens", "5"])
    progress = checkpoint()["progress"]
    assert 1000 < progress["seconds"] == progress["log"][-1][1]
    assert progress["best_loss"] == 0.5
    for name, weight in saved["progress"]["best"].items():
        assert torch.equal(progress["best"][name], weight), name


def test_a_resumed_run_takes_its_threads_and_puts_threads_and_random_numbers_back(capsys):
    train(steps=1)
    torch.set_num_threads(2)
    random_numbers = torch.get_rng_state()
    capsys.readouterr()
    assert not gpt.main(["--resume", "--device", "cpu", "--max-steps", "2", "--max-new-tokens", "5"])
    assert ", threads: 1, " in capsys.readouterr().out, "those that it was started with"
    assert torch.get_num_threads() == 2
    assert torch.equal(torch.get_rng_state(), random_numbers)


def test_a_run_in_a_relative_folder_stays_there_when_the_working_directory_changes(monkeypatch):
    Path("elsewhere").mkdir()
    here = Path.cwd()

    def leave(optimizer, step, config, set_learning_rate=gpt.set_learning_rate):
        os.chdir("elsewhere" if step == 2 else ".")
        set_learning_rate(optimizer, step, config)

    with monkeypatch.context() as patch:
        patch.setattr(gpt, "set_learning_rate", leave)
        assert not train()
    assert Path.cwd() == here / "elsewhere" and not list(Path().iterdir())
    assert checkpoint(here / "out/gpt")["progress"]["step"] == 8
    assert (here / "out/gpt/loss.png").exists()
    assert not gpt.main(["--resume", "-o", str(here / "out/gpt"), "--max-steps", "9", "--device", "cpu",
                         "--max-new-tokens", "5"]), "the text is found by its absolute path"


# A run that learned nothing


def test_a_run_that_learned_its_text_by_heart_says_so_and_its_last_weights_can_be_sampled(capsys):
    Path("text.txt").write_text("ab" * 450 + "c" * 50 + "d" * 50)
    assert not train("-l", "0.03", steps=20)
    said = capsys.readouterr().out
    saved = checkpoint()
    assert saved["progress"]["best_step"] == 0
    _, _, batches, validation = saved["progress"]["log"][-1]
    assert "with the weights of step 0, the best" in said
    assert ("WARNING: validation never got below its first value: the run learned its text by heart (use "
            "more text, dropout or a smaller model). These are the weights that it started with. At the last "
            f"step, 20: validation {validation:.4f}, batches {batches:.4f}; --sample-only --last ") in said
    assert not gpt.main(["--sample-only", "--last", "--prompt", "a", "--temperature", "0", "--device", "cpu",
                         "--max-new-tokens", "9"])
    assert capsys.readouterr().out == "ababababab\n"
    for last, weights in ((True, saved["model"]), (False, saved["progress"]["best"])):
        loaded = gpt.load("out/gpt", last=last)[0].state_dict()
        assert all(torch.equal(loaded[name], weight) for name, weight in weights.items())


def test_a_run_that_diverged_says_so(capsys):
    assert not train("-l", "1000", steps=8)
    assert "WARNING: validation never got below its first value: the run diverged (use a smaller" in (
        capsys.readouterr().out)


def test_a_run_that_cannot_move_keeps_its_first_weights_and_is_not_said_to_have_learned_by_heart(capsys):
    assert not train("-l", "0")
    said = capsys.readouterr().out
    assert checkpoint()["progress"]["best_step"] == 0
    assert "WARNING: validation never got below its first value" in said and "by heart" not in said


def test_a_run_that_learned_something_does_not_warn(whole):
    assert "WARNING" not in whole[1].stdout


# Finetuning


def test_dropout_leaves_out_other_channels_at_every_step():
    masks = []

    def look(module, inputs, output):
        if isinstance(module, torch.nn.Dropout) and module.training:
            masks.append(output == 0)

    hook = torch.nn.modules.module.register_module_forward_hook(look)
    train("--dropout", "0.5", steps=5)
    hook.remove()
    assert len(masks) == 10, "two in a step"
    third, fourth, fifth = masks[4::2]  # (in the first two, the layers before dropout still return zeros)
    assert 0.4 < third.float().mean() < 0.6
    assert not torch.equal(third, fourth) and not torch.equal(fourth, fifth)


def test_of_a_long_validation_text_a_part_is_evaluated_and_that_is_said(monkeypatch, capsys):
    monkeypatch.setattr(gpt, "EVALUATED", 100)
    assert not train(steps=2)
    said = re.search(r"validation loss (\S+) .* on 100 characters of the validation text with the weights",
                     capsys.readouterr().out)
    model, vocab = gpt.load()
    validation = gpt.split(torch.from_numpy(vocab.encode(TEXT)), 16)["validation"]
    assert said[1] == f"{gpt.evaluate(model, validation, 100)[0]:.4f}"


def test_finetuning_keeps_the_rows_of_known_characters_and_adds_new_ones():
    train(out="base")
    Path("other.txt").write_text("THE CAT sat on ÄÖÜ\n" * 60)
    assert not gpt.main(["-i", "other.txt", "--init-from", "base", "--max-steps", "1", "-b", "2",
                     "--device", "cpu", "--learning-rate", "0", "--max-new-tokens", "5"])
    new = len(set("THE CAT sat on ÄÖÜ\n") - set(TEXT))
    before, after = checkpoint("base"), checkpoint()
    assert after["chars"].startswith(before["chars"]) and len(after["chars"]) == len(before["chars"]) + new
    weights = after["model"]
    for name, weight in before["progress"]["best"].items():
        assert torch.equal(weights[name][tuple(slice(n) for n in weight.shape)], weight), name
    names = "token_embedding.weight", "previous.0.weight", "head.weight"
    assert {weights[name].shape[0] for name in names} == {len(after["chars"])}
    assert weights["token_embedding.weight"][len(before["chars"]) :].std() > 0


def test_finetuning_takes_the_sizes_of_the_other_run():
    train("--n-head", "4", "--n-layer", "2", out="base")
    assert not gpt.main(["-i", "text.txt", "--init-from", "base", "--max-steps", "1", "--device", "cpu",
                         "--max-new-tokens", "5"])
    base, config = checkpoint("base")["config"], checkpoint()["config"]
    for name in ("n_layer", "n_head", "n_embd", "block_size"):
        assert config[name] == base[name]


def test_finetuning_begins_with_the_best_weights_not_with_the_last():
    Path("text.txt").write_text("ab" * 450 + "c" * 50 + "d" * 50)  # a text to learn by heart
    train("-l", "0.03", steps=20, out="base")
    base = checkpoint("base")
    assert base["progress"]["best_step"] == 0
    assert not train("--init-from", "base", "-l", "0", steps=1)
    for name, weight in checkpoint()["model"].items():
        assert torch.equal(weight, base["progress"]["best"][name]), name


def test_the_same_command_with_resume_continues_a_finetuning(capsys):
    train(out="base")
    command = ["-i", "text.txt", "--init-from", "base", "--device", "cpu", "-b", "2", "--max-new-tokens", "5"]
    assert not gpt.main([*command, "--max-steps", "2"])
    assert not gpt.main([*command, "--max-steps", "4", "--resume"])
    assert checkpoint()["progress"]["step"] == 4
    assert [row[0] for row in checkpoint()["progress"]["log"]] == [0, 2, 4]
    assert "--init-from is not used again: the run in out/gpt continues" in capsys.readouterr().out


def test_finetuning_refuses_sizes_that_the_other_run_does_not_have():
    train(out="base")
    config = gpt.configure("cpu", n_layer=2, block_size=16, max_steps=1)
    with pytest.raises(gpt.UserError, match="--n-layer 2 contradicts"):
        gpt.train(TEXT, config, "out/other", init_from="base")


# Input


def refused(capsys, *arguments):
    """What the program says to these arguments; it must exit with 2 and leave the disk as it was."""
    before = files()
    capsys.readouterr()
    assert gpt.main(["--device", "cpu", *arguments]) == 2
    assert files() == before
    said = capsys.readouterr()
    assert said.err.startswith("gpt: ") and said.err.count("\n") == 1
    return said.err


INPUTS = {
    "no such file; looked in": None,
    "bad.txt is empty or blank": b"",
    "is empty or blank": b"\xef\xbb\xbf",
    "is a binary file": b"abc\0def",
    "line 1 is not UTF-8; it looks like CP1252: iconv -f CP1252 -t UTF-8 bad.txt > ":
        b"caf\xe9 au lait",
    "it looks like UTF-16: iconv -f UTF-16": TEXT.encode("utf-16"),
    "the text is too short: 30 characters": b"x" * 30,
}


@pytest.mark.parametrize("sentence", INPUTS)
def test_a_bad_text_is_refused_in_one_sentence(capsys, sentence):
    if INPUTS[sentence] is not None:
        Path("bad.txt").write_bytes(INPUTS[sentence])
    assert sentence in refused(capsys, "-i", "bad.txt", "--block-size", "16")


def test_a_directory_is_no_text(capsys):
    Path("folder").mkdir()
    assert "cannot read folder: Is a directory" in refused(capsys, "-i", "folder")


@pytest.mark.parametrize(("arguments", "sentence"), [
    (["--n-embd", "30", "--n-head", "4"], "--n-embd 30 does not divide into 4 heads"),
    (["--n-layer", "0"], "--n-layer must be from 1 to 1000, not 0"),
    (["--batch-size", "-3"], "--batch-size must be from 1 to 1000000, not -3"),
    (["--dropout", "1"], "--dropout must be from 0 to 0.99, not 1.0"),
    (["--learning-rate", "nan"], "--learning-rate must be from 0 to 1000000000, not nan"),
    (["--temperature", "-1"], "--temperature must be from 0 to 1000000000, not -1.0"),
    (["--top-k", "0"], "--top-k must be from 1 to 1000000, not 0"),
    (["--num-samples", "0"], "--num-samples must be from 1 to 1000000, not 0"),
    (["--max-new-tokens", "0"], "--max-new-tokens must be from 1 to 1000000000, not 0"),
    (["--max-steps", "0"], "--max-steps must be from 1 to 1000000000, not 0"),
    (["--device", "nonsense"], "device 'nonsense' cannot be used here"),
    (["--prompt", "the X"], "not in the vocabulary: 'X'; the vocabulary is \\n acdegh"),
    (["--prompt", "the \udce9"], r"not in the vocabulary: '\udce9'"),
    (["-i", ""], "cannot read "),
    (["-i", "/nowhere/text.txt"], "gpt: /nowhere/text.txt: no such file\n"),
    (["--init-from", ""], "model.pt does not exist; train a model first"),
    (["--last"], "--last needs --sample-only"),
    (["--last", "--resume"], "--last needs --sample-only"),
    (["-o", "text.txt"], "cannot use text.txt as the output folder: File exists"),
    (["--max-steps", "-2"], "--max-steps must be from 1 to 1000000000, not -2"),
    (["--top-k", "-1"], "--top-k must be from 1 to 1000000, not -1"),
    (["--max-new-tokens", "-5"], "--max-new-tokens must be from 1 to 1000000000, not -5"),
    (["--max-new-tokens", "5.0"], "argument --max-new-tokens: invalid int value: '5.0'"),
    (["--resume"], "out/gpt/model.pt does not exist; train a model first\n"),
    (["--sample-only"], "out/gpt/model.pt does not exist"),
    (["--init-from", "nowhere"], "nowhere/model.pt does not exist"),
    (["--resume", "--sample-only"], "not allowed with argument"),
    (["--init-from", "gpt2-medium"], "OpenAI's gpt2 is a different model"),
    (["--seed", "-1"], "--seed must be from 0 to 4294967295, not -1"),
    (["--seed", str(2**64)], "--seed must be from 0 to 4294967295"),
    (["-b", "9" * 19], "--batch-size must be from 1 to 1000000"),
    (["-l", "1e40"], "--learning-rate must be from 0 to 1000000000, not"),
    (["--n-layer", "two"], "argument --n-layer: invalid int value: 'two'"),
    (["--no-such-flag"], "unrecognized arguments: --no-such-flag"),
    (["--prompt", "FILE:nowhere.txt"], "nowhere.txt: no such file"),
])
def test_arguments_without_sense_are_refused_in_one_sentence(capsys, arguments, sentence):
    assert sentence in refused(capsys, "-i", "text.txt", *arguments)


def test_what_contradicts_a_checkpoint_is_refused(capsys):
    train()
    said = refused(capsys, "--resume", "--n-layer", "2")
    assert "--n-layer 2 contradicts the run in the folder, which has 1" in said
    said = refused(capsys, "--resume", "--max-steps", "7")
    assert "--max-steps 7 counts all steps, and this run has already done 8" in said
    said = refused(capsys, "--resume", "--max-steps", "0")
    assert "--max-steps must be from 1 to 1000000000, not 0" in said
    assert "--n-embd 32 contradicts" in refused(capsys, "--sample-only", "--n-embd", "32")
    said = refused(capsys, "--init-from", "out/gpt", "-i", "text.txt", "--block-size", "8")
    assert "--block-size 8 contradicts the run in the folder, which has 16" in said
    assert "not in the vocabulary: 'X'" in refused(capsys, "--sample-only", "--prompt", "X")
    said = refused(capsys, "--sample-only", "--init-from", "out/gpt")
    assert "--init-from cannot be combined with --sample-only" in said
    assert "nowhere.txt: no such file" in refused(capsys, "--sample-only", "-i", "nowhere.txt")
    Path("text.txt").write_text(TEXT + "more")
    said = refused(capsys, "--resume")
    assert "text.txt is not the text of the run in out/gpt; to train on another text, " in said
    assert "start a run in another folder, with --init-from to begin with these weights" in said
    said = refused(capsys, "--resume", "-i", "text.txt")
    assert "text.txt is not the text of the run in out/gpt; to train on another text, " in said
    said = refused(capsys, "--sample-only", "-i", "text.txt")
    assert "text.txt is not the text of the run in out/gpt" in said


def test_samples_into_a_file_show_their_progress_on_standard_error(monkeypatch, capsys):
    train()
    capsys.readouterr()
    with monkeypatch.context() as patch:
        patch.setattr(time, "monotonic", itertools.count(0, 10).__next__)  # ten seconds at each look
        assert not gpt.main(["--sample-only", "--max-new-tokens", "5"])
    said = capsys.readouterr()
    assert "sampling: 3 of 5 characters" in said.err and "sampling" not in said.out


def test_after_a_failure_standard_output_still_works(capfd):
    assert gpt.main(["--sample-only", "-o", "x" * 300]) == 1
    print("still here", flush=True)
    said = capfd.readouterr()
    assert said.out == "still here\n" and "File name too long" in said.err


def test_a_text_given_in_python_is_not_called_by_the_name_of_the_file():
    train()
    with pytest.raises(gpt.UserError, match="^this text is not the text of the run in out/gpt"):
        gpt.resume("out/gpt", TEXT + "more")
    with pytest.raises(TypeError, match="max_steps go into configure"):
        gpt.train(TEXT, gpt.configure(), max_step=5)


def test_a_gpu_chosen_by_its_number_is_refused_under_torchrun(capsys, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    said = refused(capsys, "-i", "text.txt", "--device", "cuda:0")
    assert "under torchrun every process takes a GPU of its own: --device cuda, not cuda:0" in said


@pytest.mark.parametrize("damage", [
    lambda content: content[:1000], lambda content: b"no checkpoint", lambda content: b"",
])
def test_a_damaged_checkpoint_is_refused(capsys, damage):
    train()
    path = Path("out/gpt/model.pt")
    path.write_bytes(damage(path.read_bytes()))
    assert "out/gpt/model.pt is damaged, or not a checkpoint" in refused(capsys, "--sample-only")


# Faults


def test_a_loss_that_is_not_finite_ends_the_run_and_the_last_good_checkpoint_stays(capsys, monkeypatch):
    monkeypatch.setattr(gpt, "schedule",
                        lambda step, config: math.nan if step == 5 else 1.0)  # breaks the weights
    assert train(steps=40) == 1
    said = capsys.readouterr().err
    assert re.fullmatch(r"gpt: training diverged before step \d+: a weight is not finite; start again "
                        r"with a smaller --learning-rate \(the last good checkpoint is kept\)\n", said)
    assert all(weight.isfinite().all() for weight in checkpoint()["model"].values())


def test_a_full_disk_ends_the_run_with_a_sentence_and_the_old_checkpoint(capsys):
    train(steps=4)
    before = Path("out/gpt/model.pt").read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, hard))  # bytes of a file: as a disk that is full then
    try:
        assert gpt.main(["--resume", "--max-steps", "9", "--device", "cpu"]) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    said = capsys.readouterr().err
    assert said.startswith("gpt: cannot write out/gpt/model.pt: ") and said.count("\n") == 1
    assert Path("out/gpt/model.pt").read_bytes() == before
    assert not list(Path("out/gpt").glob("*.tmp"))


def test_a_checkpoint_with_the_right_name_and_wrong_content_is_refused(capsys):
    train()
    good = checkpoint()
    contents = [{"format": gpt.FORMAT}, good | {"config": good["config"] | {"colour": 3}},
                {name: value for name, value in good.items() if name != "model"}]
    for content in contents:
        torch.save(content, "out/gpt/model.pt")
        for flag in ("--sample-only", "--resume"):
            assert "out/gpt/model.pt is damaged" in refused(capsys, flag)
    for other in ("makemore 2", "gpt 7", "mixture 1"):
        torch.save(good | {"format": other}, "out/gpt/model.pt")
        sentence = (f"out/gpt/model.pt has format {other}; this version reads {gpt.FORMAT}; "
                    "choose another folder")
        for arguments in (["--resume"], ["--sample-only"], ["-i", "text.txt", "--init-from", "out/gpt"]):
            assert sentence in refused(capsys, *arguments)


def test_a_run_started_from_python_goes_on_with_its_text_given_again(capsys):
    config = gpt.configure("cpu", n_layer=1, n_head=2, n_embd=16, block_size=16, batch_size=4, max_steps=3)
    before = vars(config).copy()
    result = gpt.train(TEXT, config, device="cpu", max_new_tokens=5)
    assert vars(config) == before, "the caller's config is not changed"
    assert "\n" not in repr(result) and len(repr(result)) < 120
    assert "-i FILE" in refused(capsys, "--resume")
    assert not gpt.main(["--resume", "-i", "text.txt", "--max-steps", "5", "--device", "cpu",
                         "--max-new-tokens", "5"])
    assert gpt.resume("out/gpt", TEXT, max_steps=6, max_new_tokens=5).results["run"].step == 6
    with pytest.raises(gpt.UserError, match="counts all steps, and this run has already done 6"):
        gpt.resume("out/gpt", TEXT, max_steps=5)


def test_a_misspelt_option_is_refused_before_the_training():
    train()
    before = files()
    with pytest.raises(TypeError, match="temprature"):
        gpt.train(TEXT, gpt.configure("cpu", block_size=16, max_steps=3), device="cpu", temprature=0.8)
    assert files() == before


def test_a_run_is_resumed_from_another_folder(monkeypatch):
    train()
    Path("deep").mkdir()
    monkeypatch.chdir("deep")
    assert not gpt.main(["--resume", "-o", "../out/gpt", "--max-steps", "9", "--device", "cpu",
                         "--max-new-tokens", "5"])


def test_a_run_in_a_thread_of_its_own_needs_no_handler_for_ctrl_c():
    status = []
    thread = threading.Thread(target=lambda: status.append(train()))
    thread.start()
    thread.join()
    assert status == [None]


def test_a_terminal_shows_the_live_line_and_clears_it_before_the_next_line(terminal):
    with contextlib.redirect_stdout(terminal) as shown:
        assert train(steps=100_000) == 130
    line = next(line for line in shown.getvalue().split("\n") if "batch " in line)
    *live, cleared, after = line.split("\r")
    for text in live:
        assert re.fullmatch(r"step +\d+/100000: batch \d\.\d+, \d+\.\d ms a step, \d+:\d\d left *", text)
        assert len(cleared) >= len(text)
    assert not cleared.strip()
    assert after.startswith(f"stopped after step {checkpoint()['progress']['step']};")


def test_ctrl_c_in_the_last_evaluation_is_not_swallowed(monkeypatch, capsys):
    class Pressed(gpt.Run):
        def report(self):
            super().report()
            if self.step == self.config.end:
                os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(gpt, "Run", Pressed)
        assert train() == 130
    assert "stopped after step 8; everything is saved" in capsys.readouterr().out
    assert not gpt.main(["--resume", "--device", "cpu", "--max-new-tokens", "5"])


def test_the_prompt_can_come_from_a_file_and_the_version_is_told(capsys):
    train()
    Path("prompt.txt").write_text("the dog\n")
    capsys.readouterr()
    assert not gpt.main(["--sample-only", "--prompt", "FILE:prompt.txt", "--max-new-tokens", "5"])
    assert capsys.readouterr().out.startswith("the dog")
    assert gpt.main(["--version"]) is None and gpt.main(["-h"]) is None
    said = capsys.readouterr().out
    assert said.startswith(f"gpt {gpt.VERSION}, torch ")
    assert re.search(rf"--n-layer N +number of layers \(default: {gpt.Config.n_layer}; on a GPU 6\)", said)


def test_an_endless_run_samples_and_promises_no_end(monkeypatch, capsys):
    class Pressed(gpt.Run):
        def report(self):
            super().report()
            if self.step == 100:
                os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(gpt, "Run", Pressed)
        assert train(steps=-1) == 130
    lines = capsys.readouterr().out.splitlines(keepends=True)
    last = max(i for i, line in enumerate(lines) if line.startswith("step"))
    end = next(i for i, line in enumerate(lines) if line.startswith("stopped after step 101;"))
    assert lines[last].startswith("step   100/inf: ")
    assert " left" not in "".join(lines) and end - last > 1, "a sample stands after step 100"


def test_output_that_cannot_be_written_makes_no_traceback():
    train()
    # As on a full disk; few characters, since a long sampling would show its progress on standard error.
    line = f"ulimit -f 0; '{sys.executable}' '{SCRIPT}' --sample-only --max-new-tokens 5 > printed.txt"
    result = subprocess.run(line, shell=True, capture_output=True, text=True, env=ENVIRONMENT, check=False)
    assert (result.returncode, result.stderr) == (1, "gpt: [Errno 27] File too large\n")


def test_in_a_notebook_the_arguments_of_its_kernel_are_not_read(monkeypatch, capsys):
    monkeypatch.setattr(builtins, "__IPYTHON__", True, raising=False)
    monkeypatch.setattr(sys, "argv", ["kernel", "-f", "connection.json"])
    monkeypatch.setattr(gpt, "DEFAULT_OUT", "text.txt")  # a file: the run ends before its first step
    assert gpt.main() == 2
    said = capsys.readouterr().err
    assert said == "gpt: cannot use text.txt as the output folder: File exists\n"


def test_ctrl_c_while_torch_is_imported_ends_without_a_traceback():
    Path("torch.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    result = subprocess.run(command("--version"), capture_output=True, text=True, timeout=100, check=False,
                            env=ENVIRONMENT | {"PYTHONPATH": str(Path.cwd())})
    assert (result.returncode, result.stdout, result.stderr) == (-signal.SIGINT, "", "")


# Several processes


def torchrun(*arguments, **kwargs):
    return subprocess.Popen([sys.executable, "-m", "torch.distributed.run", "--standalone",
                             "--nproc_per_node=2", *arguments],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT,
                            start_new_session=True, **kwargs)


LONG_RUN_OF_TWO = ["-i", "text.txt", *SIZES, "--device", "cpu", "--max-steps", "1000000"]


def run_both(name, batch_size):
    """A run of one step and one of five steps."""
    for steps in (1, 5):
        config = gpt.configure("cpu", n_layer=1, n_head=2, n_embd=16, block_size=16, max_steps=steps,
                               batch_size=batch_size, dropout=0)
        gpt.train(TEXT, config, f"{name}{steps}", device="cpu", source="text.txt", max_new_tokens=5)


def run_with_dropout():
    """A run of three steps; writes which channels its last dropout left out, a file for each process."""
    masks = []

    def look(module, inputs, output):
        if isinstance(module, torch.nn.Dropout) and module.training:
            masks.append(output == 0)

    hook = torch.nn.modules.module.register_module_forward_hook(look)
    config = gpt.configure("cpu", n_layer=1, n_head=2, n_embd=16, block_size=16, max_steps=3, dropout=0.5)
    gpt.train(TEXT, config, "dropout", device="cpu", max_new_tokens=5)
    hook.remove()
    torch.save(masks[-1], f"mask{os.environ['RANK']}.pt")


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    """Two processes made three short runs and a long one, ended by Ctrl-C: their folder, what they printed."""
    folder = tmp_path_factory.mktemp("two")
    (folder / "text.txt").write_text(TEXT)
    (folder / "both.py").write_text(
        f"import sys; sys.path[:0] = {str(Path(__file__).parent)!r}, {str(ROOT)!r}\n"
        "import atexit, runpy, test_gpt_cli\n"
        "atexit.register(print, 'ended in order', flush=True)  # the last thing a process does\n"
        "test_gpt_cli.run_both('two', 4)\n"
        "test_gpt_cli.run_with_dropout()\n"
        "print('the long run', flush=True)\n"
        "sys.argv[1:] = test_gpt_cli.LONG_RUN_OF_TWO\n"
        f"runpy.run_path({str(SCRIPT)!r}, run_name='__main__')\n")
    process = torchrun("both.py", cwd=folder)
    wait_for_checkpoint(process, folder)
    time.sleep(0.5)
    os.killpg(process.pid, signal.SIGINT)
    return folder, *process.communicate(timeout=300)


def test_two_processes_train_as_one_with_the_whole_batch(two_processes, monkeypatch, capsys):
    """The momentum of both optimizers after the first step is a fixed share of the first gradient."""
    folder, out, err = two_processes
    assert out.count("the long run") == out.count("ended in order") == 2, err
    monkeypatch.chdir(folder)
    run_both("one", 8)
    for one, two in zip(checkpoint("one1")["optimizers"], checkpoint("two1")["optimizers"]):
        name = "exp_avg" if "exp_avg" in one["state"][0] else "momentum"
        for i, state in one["state"].items():
            torch.testing.assert_close(state[name], two["state"][i][name], atol=1e-7, rtol=1e-5)
    one, two = checkpoint("one5"), checkpoint("two5")
    assert one["progress"]["losses"] == pytest.approx(two["progress"]["losses"], abs=1e-5)
    for name, weight in one["model"].items():
        torch.testing.assert_close(weight, two["model"][name], atol=1e-4, rtol=0)
    name = "blocks.0.attention.query.weight"
    assert not torch.equal(one["model"][name], checkpoint("one1")["model"][name])
    capsys.readouterr()
    assert gpt.main(["--resume", "-o", "two5", "--device", "cpu", "--max-steps", "9"]) == 2
    assert "the run has 2 process(es), not 1" in capsys.readouterr().err


def test_each_of_two_processes_leaves_out_other_channels(two_processes):
    folder, _, err = two_processes
    first, second = (torch.load(folder / f"mask{rank}.pt") for rank in (0, 1))
    assert 0.4 < first.float().mean() < 0.6 and 0.4 < second.float().mean() < 0.6, err
    assert not torch.equal(first, second)


def wait_for_checkpoint(process, folder):
    """Until the long run of two processes has written its first one."""
    while not (folder / "out/gpt/model.pt").exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.1)


def test_several_processes_without_torchrun_are_refused(capsys, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    said = refused(capsys, "-i", "text.txt", *SIZES)
    assert said.startswith("gpt: several processes must be started by torchrun: ") and "RANK" in said


def test_a_rank_that_a_cluster_sets_is_not_taken_for_torchruns(capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert not train(steps=1)
    assert checkpoint()["progress"]["step"] == 1
    assert "in out/gpt: model.pt" in capsys.readouterr().out


def test_ctrl_c_stops_two_processes_together_with_one_checkpoint(two_processes):
    folder, out, err = two_processes
    out = out.rpartition("the long run\n")[2]
    assert out.count("stopped after step") == 1, err
    assert out.count("step     0") == 1, "the first process alone prints"
    saved = checkpoint(folder / "out/gpt")
    assert saved["processes"] == 2 and f"stopped after step {saved['progress']['step']};" in out


def test_when_one_of_two_processes_dies_the_other_ends():
    code = (  # without torchrun, which would end the other
        "import os, socket, sys, gpt\n"
        "with socket.create_server(('127.0.0.1', 0)) as free:\n"
        "    os.environ |= {'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': str(free.getsockname()[1])}\n"
        "second = os.fork()\n"
        "os.environ |= {'WORLD_SIZE': '2', 'RANK': '0' if second else '1'}\n"
        "if second:\n"
        "    open('second', 'w').write(str(second))\n"
        "sys.exit(gpt.main())\n"
    )
    child = Child("-c", code, *LONG_RUN_OF_TWO)
    while not Path("out/gpt/model.pt").exists():
        assert not child.has_ended()
        time.sleep(0.1)
    os.kill(int(Path("second").read_text()), signal.SIGKILL)
    assert child.finish().returncode == 1
