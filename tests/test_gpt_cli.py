"""gpt at the command line: runs, checkpoints, faults, several processes."""
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

import numpy as np
import pytest
import torch

from gpt import gpt

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "gpt" / "gpt.py"
TEXT = "the cat sat on the mat and the dog ran to the man who had a hat and a cap\n" * 40
SIZES = ["--dropout", "0", "--n-layer", "1", "--n-head", "2", "--n-embd", "16",
         "--block-size", "16", "--batch-size", "4"]  # fmt: skip
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
                          timeout=100, check=False, **kwargs)  # fmt: skip


def train(*arguments, out="out", steps=8):
    """A small run inside this process."""
    return gpt.main(["-i", "text.txt", "-o", out, "--device", "cpu", "--max-steps", str(steps),
                     "--max-new-tokens", "5", *SIZES, *arguments])  # fmt: skip


def checkpoint(out="out"):
    return torch.load(Path(out) / "model.pt", weights_only=True)


def same_weights(a, b):
    a, b = checkpoint(a)["model"], checkpoint(b)["model"]
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def files():
    return {str(path): path.read_bytes() for path in Path().rglob("*") if path.is_file()}


# A run


def test_a_run_prints_its_progress_and_leaves_model_log_and_picture():
    result = run("-i", "text.txt", *SIZES, "--max-steps", "24", "--prompt", "the", "--max-new-tokens", "30")
    assert result.returncode == 0, result.stderr
    v = len(set(TEXT))
    assert f"step 0: loss {math.log(v):.2f} (a uniform guess: ln {v} = {math.log(v):.2f})" in result.stdout
    assert re.search(r"step +24/24: train \d\.\d+, validation \d\.\d+", result.stdout)
    pattern = r"s of training\n(the.*)\nin out: model.pt, log.csv, loss.png\n"
    text = re.search(pattern, result.stdout, re.DOTALL)[1]
    assert len(text) == 33 and set(text) <= set(TEXT)
    with open("out/log.csv") as f:
        rows = list(csv.DictReader(f))
    assert list(rows[0]) == ["step", "seconds", "train_loss", "val_loss"]
    assert [int(row["step"]) for row in rows] == list(range(0, 25, 2))
    seconds = [float(row["seconds"]) for row in rows]
    assert seconds == sorted(seconds) and float(rows[-1]["val_loss"]) < float(rows[0]["val_loss"])
    assert Path("out/loss.png").read_bytes().startswith(b"\x89PNG")


def test_samples_come_from_the_checkpoint_alone(capsys):
    train()
    Path("text.txt").unlink()
    capsys.readouterr()
    assert gpt.main(["--sample-only", "--prompt", "the", "--max-new-tokens", "20",
                     "--num-samples", "3", "--seed", "1"]) == 0  # fmt: skip
    texts = re.split(r"\n-+\n", capsys.readouterr().out)
    model, vocab = gpt.load("out")
    expected = gpt.generate(model, vocab, prompt="the", max_new_tokens=20, num_samples=3, seed=1)
    assert "".join(texts).strip("\n") == "".join(expected).strip("\n")


def test_a_loaded_model_has_the_best_weights_and_their_loss():
    train(steps=12)
    saved = checkpoint()
    model, vocab = gpt.load("out")
    _, validation = gpt.split(np.array(vocab.encode(TEXT)), 16)
    loss = gpt.evaluate(model, validation, gpt.Team(torch.device("cpu")))
    assert loss == pytest.approx(min(row[3] for row in saved["progress"]["log"]), abs=1e-6)
    assert vocab.chars == "".join(sorted(set(TEXT)))


def test_a_fresh_run_moves_what_lies_in_its_folder_aside(capsys):
    train()
    first = Path("out/model.pt").read_bytes()
    train("--seed", "1")
    train("--seed", "2")
    assert Path("out/model.1.pt").read_bytes() == first
    names = {path.name for path in Path("out").iterdir()}
    assert {"model.2.pt", "log.1.csv", "log.2.csv", "loss.1.png"} <= names
    said = capsys.readouterr().out
    assert "moved aside: model.pt to model.2.pt, log.csv to log.2.csv, loss.png to loss.2.png" in said


def test_the_attention_picture_is_written_for_every_head():
    train()
    assert gpt.main(["--sample-only", "--attention", "the cat sat"]) == 0
    assert Path("out/attention.png").read_bytes().startswith(b"\x89PNG")


def test_the_default_text_is_found_from_any_folder():
    assert gpt.find_file("tinyshakespeare.txt") == ROOT / "data" / "tinyshakespeare.txt"


# Going on


def test_a_run_stopped_by_ctrl_c_and_resumed_ends_with_the_weights_of_one_that_was_not(capfd):
    flags = ("--dropout", "0.3", "--n-layer", "2")
    train(*flags, steps=150, out="whole")
    threading.Timer(0.7, os.kill, (os.getpid(), signal.SIGINT)).start()
    assert train(*flags, steps=150) == 130
    stopped = checkpoint()["progress"]["step"]
    assert 0 < stopped < 150
    assert f"stopped after step {stopped}, all is saved; to go on: " in capfd.readouterr().out
    assert gpt.main(["--resume", "--device", "cpu", "--max-new-tokens", "5"]) == 0
    assert checkpoint()["progress"]["step"] == 150
    assert same_weights("whole", "out")
    resumed, whole = checkpoint()["progress"], checkpoint("whole")["progress"]
    assert [row[0] for row in resumed["log"]] == [row[0] for row in whole["log"]]
    assert resumed["losses"] == whole["losses"]


def test_a_run_that_was_killed_leaves_a_checkpoint_that_resumes():
    train(steps=24, out="whole")
    process = subprocess.Popen(command("-i", "text.txt", *SIZES, "--max-steps", "24", "--device", "cpu"),
                               env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)  # fmt: skip
    while not process.stdout.readline().startswith("step     6/"):
        assert process.poll() is None
    process.kill()
    process.wait()
    assert checkpoint()["progress"]["step"] < 24
    assert gpt.main(["--resume", "--device", "cpu", "--max-new-tokens", "5"]) == 0
    assert same_weights("whole", "out")


def test_max_steps_is_the_total_when_resuming(capsys):
    train(steps=4)
    assert gpt.main(["--resume", "--device", "cpu", "--max-steps", "6", "--max-new-tokens", "5"]) == 0
    assert checkpoint()["progress"]["step"] == 6
    assert "resuming at step 4 of 6" in capsys.readouterr().out
    assert gpt.main(["--resume", "--device", "cpu", "--max-new-tokens", "5"]) == 0  # it ended: nothing to do
    assert checkpoint()["progress"]["step"] == 6


# Finetuning


def test_finetuning_keeps_the_rows_of_known_characters_and_adds_new_ones(capsys):
    train(out="base")
    Path("other.txt").write_text("THE CAT sat on ÄÖÜ\n" * 60)
    assert gpt.main(["-i", "other.txt", "--init-from", "base", "--max-steps", "1", "-b", "2",
                     "--device", "cpu", "--learning-rate", "0", "--max-new-tokens", "5"]) == 0  # fmt: skip
    new = len(set("THE CAT sat on ÄÖÜ\n") - set(TEXT))
    assert f"from base: {len(set(TEXT))} characters known, {new} new" in capsys.readouterr().out
    before, after = checkpoint("base"), checkpoint()
    assert after["chars"].startswith(before["chars"]) and len(after["chars"]) == len(before["chars"]) + new
    weights = after["model"]
    for name, weight in before["progress"]["best"].items():
        if name != "temperature":  # that is fitted to the new text
            assert torch.equal(weights[name][: len(weight)], weight), name
    assert weights["char.weight"].shape[0] == weights["head.weight"].shape[0] == len(after["chars"])
    assert weights["char.weight"][len(before["chars"]) :].std() > 0


# Input


@pytest.mark.parametrize("content", [TEXT.replace("\n", "\r\n"), "\ufeff" + TEXT, TEXT.replace("\n", "\r")])
def test_line_ends_and_byte_order_marks_make_no_difference(content):
    Path("other.txt").write_bytes(content.encode())
    vocab, tokens, digest = gpt.read_text("other.txt")
    assert vocab.decode(tokens) == TEXT
    assert digest == gpt.read_text("text.txt")[2]


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
    "no such file; looked in the working directory": None,
    "bad.txt is empty": b"",
    "is empty; give a text file": b"\xef\xbb\xbf",
    "binary file (byte 0 at offset 3)": b"abc\0def",
    "is not UTF-8: byte 0xe9 at offset 3": b"caf\xe9 au lait",
    "the text is too short: 30 characters": b"x" * 30,
}


@pytest.mark.parametrize("sentence", INPUTS)
def test_a_bad_text_is_refused_in_one_sentence(capsys, sentence):
    if INPUTS[sentence] is not None:
        Path("bad.txt").write_bytes(INPUTS[sentence])
    assert sentence in refused(capsys, "-i", "bad.txt", "--block-size", "16")


def test_a_directory_is_no_text(capsys):
    Path("folder").mkdir()
    assert "folder is a directory" in refused(capsys, "-i", "folder")


@pytest.mark.parametrize(("arguments", "sentence"), [
    (["--n-embd", "30", "--n-head", "4"], "--n-embd 30 does not divide into --n-head 4"),
    (["--n-layer", "0"], "--n-layer must be at least 1, not 0"),
    (["--batch-size", "-3"], "--batch-size must be at least 1, not -3"),
    (["--dropout", "1"], "--dropout must be a number from 0 up, below 1, not 1.0"),
    (["--learning-rate", "nan"], "--learning-rate must be a number from 0 up, not nan"),
    (["--temperature", "-1"], "--temperature must be a number from 0 up, not -1.0"),
    (["--top-k", "0"], "--top-k must be at least 1, not 0"),
    (["--num-samples", "0"], "--num-samples must be at least 1, not 0"),
    (["--max-new-tokens", "0"], "--max-new-tokens must be at least 1, not 0"),
    (["--max-steps", "0"], "--max-steps must be at least 1, not 0"),
    (["--device", "nonsense"], "device 'nonsense' cannot be used here"),
    (["--prompt", "the X"], "the model never saw 'X'"),
    (["--resume"], "no checkpoint: out/model.pt does not exist"),
    (["--sample-only"], "no checkpoint: out/model.pt does not exist"),
    (["--init-from", "nowhere"], "no checkpoint: nowhere/model.pt does not exist"),
    (["--resume", "--sample-only"], "take one of --resume, --sample-only and --init-from"),
    (["--attention", "text"], "--attention goes with --sample-only"),
])  # fmt: skip
def test_arguments_without_sense_are_refused_in_one_sentence(capsys, arguments, sentence):
    assert sentence in refused(capsys, "-i", "text.txt", *arguments)


def test_what_contradicts_a_checkpoint_is_refused(capsys):
    train()
    said = refused(capsys, "--resume", "--n-layer", "2")
    assert "--n-layer 2 contradicts the checkpoint, which has 1" in said
    said = refused(capsys, "--resume", "--max-steps", "7")
    assert "the run is at step 8 already; --max-steps is the total, 7 is less" in said
    assert "--max-steps must be at least 1, not 0" in refused(capsys, "--resume", "--max-steps", "0")
    assert "--n-embd 32 contradicts" in refused(capsys, "--sample-only", "--n-embd", "32")
    said = refused(capsys, "--init-from", "out", "-i", "text.txt", "--block-size", "8")
    assert "--block-size goes not with --init-from" in said
    assert "never saw 'X'" in refused(capsys, "--sample-only", "--prompt", "X")
    assert "takes a text of 2 to 16 characters, not 1" in refused(capsys, "--sample-only", "--attention", "t")
    torch.set_num_threads(2)
    assert "an exact resume needs OMP_NUM_THREADS=1" in refused(capsys, "--resume")
    torch.set_num_threads(1)
    Path("text.txt").write_text(TEXT + "more")
    assert "text.txt has changed since the run was started" in refused(capsys, "--resume")


@pytest.mark.parametrize("damage", [
    lambda content: content[:1000], lambda content: b"no checkpoint", lambda content: b"",
])  # fmt: skip
def test_a_damaged_checkpoint_is_refused(capsys, damage):
    train()
    path = Path("out/model.pt")
    path.write_bytes(damage(path.read_bytes()))
    assert "out/model.pt is damaged, or no checkpoint of gpt" in refused(capsys, "--sample-only")


# Faults


def test_a_loss_that_is_no_number_ends_the_run_and_the_last_good_checkpoint_stays(capsys):
    assert train("--learning-rate", "1e20", steps=20) == 1
    said = capsys.readouterr().err
    assert re.fullmatch(r"gpt: training diverged at step \d+: the loss is (nan|inf); "
                        r"the last good checkpoint is kept .*\n", said)  # fmt: skip
    assert all(weight.isfinite().all() for weight in checkpoint()["model"].values())


def test_a_full_disk_ends_the_run_with_a_sentence_and_the_old_checkpoint():
    train(out="out", steps=4)
    before = Path("out/model.pt").read_bytes()
    limit = 100_000  # bytes of a file: as a disk that is full after so much
    result = run("--resume", "--max-steps", "9", "--device", "cpu",
                 preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))  # fmt: skip
    assert result.returncode == 2
    assert result.stderr.startswith("gpt: cannot write out/model.pt: ") and "Traceback" not in result.stderr
    assert Path("out/model.pt").read_bytes() == before
    assert not Path("out/model.pt.tmp").exists()


# Several processes


def torchrun(*arguments, **kwargs):
    return subprocess.Popen([sys.executable, "-m", "torch.distributed.run", "--standalone",
                             "--nproc_per_node=2", *arguments],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT,
                            start_new_session=True, **kwargs)  # fmt: skip


def test_two_processes_train_as_one_with_the_whole_batch(capsys):
    """The momentum after the first step is a fixed share of the first gradient."""
    Path("run.py").write_text(
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from gpt import gpt\n"
        "def run(name, batch_size):\n"
        "    vocab, tokens, digest = gpt.read_text('text.txt')\n"
        "    for steps in (1, 5):\n"
        "        config = gpt.configure('cpu', n_layer=1, n_head=2, n_embd=16, block_size=16,\n"
        "                               max_steps=steps, batch_size=batch_size, dropout=0, ngram_dropout=0)\n"
        "        gpt.train(vocab, tokens, config, f'{name}{steps}', device='cpu', source='text.txt',\n"
        "                  digest=digest)\n"
    )
    Path("both.py").write_text("import run\nrun.run('two', 4)\n")
    Path("one.py").write_text("import run\nrun.run('one', 8)\n")
    process = torchrun("both.py")
    subprocess.run([sys.executable, "one.py"], env=ENVIRONMENT, stdout=subprocess.DEVNULL, check=True)
    _, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    for a, b in zip(checkpoint("one1")["optimizers"], checkpoint("two1")["optimizers"]):
        for i, state in a["state"].items():
            name = "momentum" if "momentum" in state else "exp_avg"
            torch.testing.assert_close(state[name], b["state"][i][name], atol=1e-7, rtol=1e-5)
    one, two = checkpoint("one5"), checkpoint("two5")
    assert one["progress"]["losses"] == pytest.approx(two["progress"]["losses"], abs=1e-5)
    for name, weight in one["model"].items():
        torch.testing.assert_close(weight, two["model"][name], atol=1e-4, rtol=0)
    assert not torch.equal(one["model"]["char.weight"], checkpoint("one1")["model"]["char.weight"])
    capsys.readouterr()
    assert gpt.main(["--resume", "-o", "two5", "--device", "cpu", "--max-steps", "9"]) == 2
    assert "started with 2 process(es), here are 1; resume it with torchrun" in capsys.readouterr().err


def start_long_run_of_two():
    process = torchrun(str(SCRIPT), "-i", "text.txt", *SIZES, "--device", "cpu", "--max-steps", "1000000")
    while not Path("out/model.pt").exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.1)
    return process


def test_ctrl_c_stops_two_processes_together_with_one_checkpoint():
    process = start_long_run_of_two()
    time.sleep(0.5)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert out.count("stopped after step") == 1, err
    assert out.count("step 0: loss") == 1, "the first process alone prints"
    saved = checkpoint()
    assert saved["processes"] == 2 and f"stopped after step {saved['progress']['step']}," in out


def test_when_one_of_two_processes_dies_the_other_ends():
    process = start_long_run_of_two()
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    victim = next(
        pid for pid in children if b"RANK=1" in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    )
    os.kill(int(victim), signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in children)
