"""gpt at the command line: runs, checkpoints, faults, several processes."""
import contextlib
import csv
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


def run(*arguments, **kwargs):
    return subprocess.run(command(*arguments), capture_output=True, text=True, env=ENVIRONMENT,
                          timeout=100, check=False, **kwargs)


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


LONG = ["-i", "text.txt", "--device", "cpu", "--max-steps", "240", *SIZES,
        "--dropout", "0.3", "--n-layer", "2"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run by a process of its own, never interrupted: the folder in which it ran, and how it ended."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "text.txt").write_text(TEXT)
    return folder, run(*LONG, "--prompt", "the", "--max-new-tokens", "30", cwd=folder)


def test_a_run_prints_its_progress_and_leaves_model_log_and_picture(whole, monkeypatch):
    folder, result = whole
    monkeypatch.chdir(folder)
    assert result.returncode == 0, result.stderr
    v = len(set(TEXT))
    assert re.search(rf"a uniform guess has a loss of {math.log(v):.4f}\n", result.stdout)
    assert "batch " not in result.stdout, "the live line is for terminals"
    assert re.search(r"step +240/240: validation \d\.\d+, batches \d\.\d+, \d+\.\d ms a step\n",
                     result.stdout)
    pattern = r"s of training\n(the.*)\nin out/gpt: model.pt, log.csv, loss.png\n"
    text = re.search(pattern, result.stdout, re.DOTALL)[1]
    assert len(text) == 33 and set(text) <= set(TEXT)
    with open("out/gpt/log.csv") as f:
        rows = list(csv.DictReader(f))
    assert list(rows[0]) == ["step", "seconds", "train_loss", "val_loss"]
    assert [int(row["step"]) for row in rows] == [0, 100, 200, 240]
    seconds = [float(row["seconds"]) for row in rows]
    assert seconds == sorted(seconds) and float(rows[-1]["val_loss"]) < float(rows[0]["val_loss"])
    assert Path("out/gpt/loss.png").read_bytes().startswith(b"\x89PNG")


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


def test_a_loaded_model_has_the_best_weights_and_their_loss():
    train(steps=12)
    saved = checkpoint()
    model, vocab = gpt.load("out/gpt")
    loss, _ = gpt.evaluate(model, gpt.split(vocab.encode(TEXT), 16)["validation"])
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
        assert f"moved aside: out/gpt/{name.format('')} to {name.format('2.')}" in said


def test_the_default_text_is_found_from_any_folder():
    assert gpt.find_file("tinyshakespeare.txt") == ROOT / "data" / "tinyshakespeare.txt"


# Going on


def test_a_run_stopped_by_ctrl_c_and_resumed_ends_with_the_weights_of_one_that_was_not(
        whole, monkeypatch, capfd):
    whole = whole[0] / "out/gpt"

    def press(optimizer, step, config, set_learning_rate=gpt.set_learning_rate):
        if step == 57:  # in the middle of a step
            os.kill(os.getpid(), signal.SIGINT)
        set_learning_rate(optimizer, step, config)

    with monkeypatch.context() as patch:
        patch.setattr(gpt, "set_learning_rate", press)
        assert gpt.main(LONG) == 130
    stopped = checkpoint()["progress"]["step"]
    assert stopped == 58, "that step is finished"
    said = capfd.readouterr().out
    assert (f"stopped after step {stopped}; everything is saved; "
            "the same command with --resume goes on") in said
    assert not gpt.main(["--resume", "--device", "cpu", "--max-new-tokens", "5"])
    assert checkpoint()["progress"]["step"] == 240
    assert same_weights(whole, "out/gpt")
    resumed, whole = checkpoint()["progress"], checkpoint(whole)["progress"]
    assert [row[0] for row in resumed["log"]] == [row[0] for row in whole["log"]]
    assert resumed["losses"] == whole["losses"]


def test_a_run_that_was_killed_leaves_a_checkpoint_that_resumes(whole):
    process = subprocess.Popen(command(*LONG), env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)
    while not process.stdout.readline().startswith("step   100/"):
        assert process.poll() is None
    process.kill()
    process.wait()
    assert checkpoint()["progress"]["step"] < 240
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


def test_a_resumed_run_takes_the_number_of_threads_it_was_started_with():
    train(steps=4)
    torch.set_num_threads(2)
    assert not gpt.main(["--resume", "--device", "cpu", "--max-steps", "6", "--max-new-tokens", "5"])
    assert torch.get_num_threads() == 1


# Finetuning


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
    assert weights["embed.weight"].shape[0] == weights["head.weight"].shape[0] == len(after["chars"])
    assert weights["embed.weight"][len(before["chars"]) :].std() > 0


def test_the_same_command_with_resume_continues_a_finetuning():
    train(out="base")
    command = ["-i", "text.txt", "--init-from", "base", "--device", "cpu", "-b", "2", "--max-new-tokens", "5"]
    assert not gpt.main([*command, "--max-steps", "2"])
    assert not gpt.main([*command, "--max-steps", "4", "--resume"])
    assert checkpoint()["progress"]["step"] == 4
    assert [row[0] for row in checkpoint()["progress"]["log"]] == [0, 2, 4]


def test_finetuning_refuses_sizes_that_the_other_run_does_not_have():
    train(out="base")
    config = gpt.configure("cpu", n_layer=2, block_size=16, max_steps=1)
    with pytest.raises(gpt.UserError, match="--n-layer 2 contradicts"):
        gpt.train(TEXT, config, "out/other", init_from="base")


# Input


@pytest.mark.parametrize("content", [TEXT.replace("\n", "\r\n"), "\ufeff" + TEXT, TEXT.replace("\n", "\r")])
def test_line_ends_and_byte_order_marks_make_no_difference(content):
    Path("other.txt").write_bytes(content.encode())
    assert gpt.read_file("other.txt") == TEXT


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
    "can't decode byte 0xe9 in position 3": b"caf\xe9 au lait",
    "the text is too short: 30 characters": b"x" * 30,
}


@pytest.mark.parametrize("sentence", INPUTS)
def test_a_bad_text_is_refused_in_one_sentence(capsys, sentence):
    if INPUTS[sentence] is not None:
        Path("bad.txt").write_bytes(INPUTS[sentence])
    assert sentence in refused(capsys, "-i", "bad.txt", "--block-size", "16")


def test_a_directory_is_no_text(capsys):
    Path("folder").mkdir()
    assert "cannot read folder: [Errno 21] Is a directory" in refused(capsys, "-i", "folder")


@pytest.mark.parametrize(("arguments", "sentence"), [
    (["--n-embd", "30", "--n-head", "4"], "--n-embd 30 does not divide into 4 heads"),
    (["--n-layer", "0"], "--n-layer must be from 1 to 1000, not 0"),
    (["--batch-size", "-3"], "--batch-size must be from 1 to 1000000, not -3"),
    (["--dropout", "1"], "--dropout must be from 0 to 0.99, not 1.0"),
    (["--learning-rate", "nan"], "--learning-rate must be from 0 to 1000000000.0, not nan"),
    (["--temperature", "-1"], "--temperature must be from 0 to 1000000000.0, not -1.0"),
    (["--top-k", "0"], "--top-k must be from 1 to 1000000, not 0"),
    (["--num-samples", "0"], "--num-samples must be from 1 to 1000000, not 0"),
    (["--max-new-tokens", "0"], "--max-new-tokens must be from 1 to 1000000000, not 0"),
    (["--max-steps", "0"], "--max-steps must be from 1 to 1000000000, not 0"),
    (["--device", "nonsense"], "device 'nonsense' cannot be used here"),
    (["--prompt", "the X"], "the model never saw 'X'"),
    (["--resume"], "out/gpt/model.pt does not exist; train a model first\n"),
    (["--sample-only"], "out/gpt/model.pt does not exist"),
    (["--init-from", "nowhere"], "nowhere/model.pt does not exist"),
    (["--resume", "--sample-only"], "not allowed with argument"),
    (["--init-from", "gpt2-medium"], "OpenAI's gpt2 is a different model"),
    (["--seed", "-1"], "--seed must be from 0 to 4294967295, not -1"),
    (["--seed", str(2**64)], "--seed must be from 0 to 4294967295"),
    (["-b", "9" * 19], "--batch-size must be from 1 to 1000000"),
    (["-l", "1e40"], "--learning-rate must be from 0 to 1000000000.0"),
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
    assert "--max-steps 7 is the total, but the run is at step 8" in said
    said = refused(capsys, "--resume", "--max-steps", "0")
    assert "--max-steps must be from 1 to 1000000000, not 0" in said
    assert "--n-embd 32 contradicts" in refused(capsys, "--sample-only", "--n-embd", "32")
    said = refused(capsys, "--init-from", "out/gpt", "-i", "text.txt", "--block-size", "8")
    assert "--block-size 8 contradicts the run in the folder, which has 16" in said
    assert "never saw 'X'" in refused(capsys, "--sample-only", "--prompt", "X")
    Path("text.txt").write_text(TEXT + "more")
    assert "text.txt is not the text of the run in out/gpt" in refused(capsys, "--resume")


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
    torch.save({"format": "makemore 2"}, "out/gpt/model.pt")
    assert f"is a checkpoint of makemore 2, and this is {gpt.FORMAT}" in refused(capsys, "--resume")


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
    with pytest.raises(gpt.UserError, match="is the total"):
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


def test_a_terminal_shows_the_live_line_until_the_next_line_covers_it(terminal):
    with contextlib.redirect_stdout(terminal) as shown:
        assert train(steps=100_000) == 130
    live, after = re.search(r"^(step +\d+/100000: batch \d\.\d+, \d+\.\d ms a step, \d+:\d\d left *)\r(.*)\n",
                            shown.getvalue(), re.MULTILINE).groups()
    assert len(after) >= len(live.rstrip())
    assert f"stopped after step {checkpoint()['progress']['step']};" in after


def test_ctrl_c_in_the_last_evaluation_is_not_swallowed(monkeypatch, capsys):
    class Pressed(gpt.Run):
        def look(self):
            super().look()
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
    assert capsys.readouterr().out.startswith(f"gpt {gpt.VERSION}, torch ")


def test_an_endless_run_samples_and_promises_no_end(monkeypatch, capsys):
    class Pressed(gpt.Run):
        def look(self):
            super().look()
            if self.step == 400:
                os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(gpt, "Run", Pressed)
        assert train(steps=-1) == 130
    lines = capsys.readouterr().out.splitlines(keepends=True)
    last = max(i for i, line in enumerate(lines) if line.startswith("step"))
    end = next(i for i, line in enumerate(lines) if line.startswith("stopped after step 401;"))
    assert lines[last].startswith("step   400/inf: ")
    assert " left" not in "".join(lines) and end - last > 1, "a sample stands after step 400"


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


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    """Two processes made two short runs and a long one, ended by Ctrl-C: their folder, what they printed."""
    folder = tmp_path_factory.mktemp("two")
    (folder / "text.txt").write_text(TEXT)
    (folder / "both.py").write_text(
        f"import sys; sys.path[:0] = {str(Path(__file__).parent)!r}, {str(ROOT)!r}\n"
        "import atexit, runpy, test_gpt_cli\n"
        "atexit.register(print, 'ended in order', flush=True)  # the last thing a process does\n"
        "test_gpt_cli.run_both('two', 4)\n"
        "print('the long run', flush=True)\n"
        "sys.argv[1:] = test_gpt_cli.LONG_RUN_OF_TWO\n"
        f"runpy.run_path({str(SCRIPT)!r}, run_name='__main__')\n")
    process = torchrun("both.py", cwd=folder)
    wait_for_checkpoint(process, folder)
    time.sleep(0.5)
    os.killpg(process.pid, signal.SIGINT)
    return folder, *process.communicate(timeout=60)


def test_two_processes_train_as_one_with_the_whole_batch(two_processes, monkeypatch, capsys):
    """The momentum after the first step is a fixed share of the first gradient."""
    folder, out, err = two_processes
    assert out.count("the long run") == out.count("ended in order") == 2, err
    monkeypatch.chdir(folder)
    run_both("one", 8)
    states = [checkpoint(out)["optimizer"]["state"] for out in ("one1", "two1")]
    for i, state in states[0].items():
        torch.testing.assert_close(state["exp_avg"], states[1][i]["exp_avg"], atol=1e-7, rtol=1e-5)
    one, two = checkpoint("one5"), checkpoint("two5")
    assert one["progress"]["losses"] == pytest.approx(two["progress"]["losses"], abs=1e-5)
    for name, weight in one["model"].items():
        torch.testing.assert_close(weight, two["model"][name], atol=1e-4, rtol=0)
    assert not torch.equal(one["model"]["embed.weight"], checkpoint("one1")["model"]["embed.weight"])
    capsys.readouterr()
    assert gpt.main(["--resume", "-o", "two5", "--device", "cpu", "--max-steps", "9"]) == 2
    assert "the run has 2 process(es), not 1" in capsys.readouterr().err


def wait_for_checkpoint(process, folder):
    """Until the long run of two processes has written its first one."""
    while not (folder / "out/gpt/model.pt").exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.1)


def test_ctrl_c_stops_two_processes_together_with_one_checkpoint(two_processes):
    folder, out, err = two_processes
    out = out.rpartition("the long run\n")[2]
    assert out.count("stopped after step") == 1, err
    assert out.count("step     0") == 1, "the first process alone prints"
    saved = checkpoint(folder / "out/gpt")
    assert saved["processes"] == 2 and f"stopped after step {saved['progress']['step']};" in out


def test_when_one_of_two_processes_dies_the_other_ends():
    code = (  # without torchrun, which would end the other; one program that becomes two imports torch once
        "import os, socket, sys, torch._dynamo, gpt\n"
        "with socket.create_server(('127.0.0.1', 0)) as free:\n"
        "    os.environ |= {'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': str(free.getsockname()[1])}\n"
        "second = os.fork()\n"
        "os.environ |= {'WORLD_SIZE': '2', 'RANK': '0' if second else '1'}\n"
        "if second:\n"
        "    print(second, flush=True)\n"
        "sys.exit(gpt.main())\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, *LONG_RUN_OF_TWO], text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               env=ENVIRONMENT | {"PYTHONPATH": str(SCRIPT.parent)})
    second = int(process.stdout.readline())
    wait_for_checkpoint(process, Path())
    os.kill(second, signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode == 1
