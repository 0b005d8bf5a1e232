"""The GPT on single numbers, held against the same model on torch's tensors in float64."""

import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from micrograd import elementary
from micrograd.tiny_gpt import GPT, LETTERS, train

ROOT = Path(__file__).resolve().parent.parent
MATRICES = ["embed", "position", "query", "key", "value", "proj", "up", "down", "head"]


def weights_of(model):
    """The model's matrices as torch parameters."""
    return {name: torch.tensor([[p.data for p in row] for row in getattr(model, name)], dtype=torch.float64,
                               requires_grad=True) for name in MATRICES}


def torch_loss(w, name, n_head):
    """The mean cross-entropy of a name under the same transformer, all positions at once."""
    tokens = torch.tensor([LETTERS.index(letter) for letter in f".{name}."])
    inputs, targets = tokens[:-1], tokens[1:]

    def norm(x):
        return F.rms_norm(x, x.shape[-1:], eps=1e-5)

    x = w["embed"][inputs] + w["position"][: len(inputs)]  # (T, C)
    q, k, v = [(norm(x) @ w[name].T).unflatten(1, (n_head, -1)).transpose(0, 1) for name in MATRICES[2:5]]
    heads = F.scaled_dot_product_attention(q, k, v, is_causal=True)  # (H, T, D)
    x = x + heads.transpose(0, 1).flatten(1) @ w["proj"].T
    x = x + F.relu(norm(x) @ w["up"].T) @ w["down"].T
    return F.cross_entropy(norm(x) @ w["head"].T, targets)


def test_loss_and_gradients_are_those_of_torch():
    random.seed(3)
    model = GPT()
    for p in model.parameters():
        p.data *= 5  # weights this large make every gradient count
    for name in ("emma", "a", "maximilianjames"):  # the last one fills the context
        weights = weights_of(model)
        expected, loss = torch_loss(weights, name, model.n_head), model.loss(name)
        assert loss.data == pytest.approx(expected.item(), abs=1e-10)
        model.zero_grad()
        loss.backward()
        expected.backward()
        for matrix in MATRICES:
            ours = torch.tensor([[p.grad for p in row] for row in getattr(model, matrix)],
                                dtype=torch.float64)
            torch.testing.assert_close(ours, weights[matrix].grad, rtol=1e-10, atol=1e-10)


def test_elementary_nodes_give_the_same_loss_and_gradients():
    random.seed(4)
    model, results = GPT(n_embd=4, n_head=2), []
    loss = model.loss("zoe")
    loss.backward()
    results.append([loss.data, *[p.grad for p in model.parameters()]])
    model.zero_grad()
    with elementary():
        loss = model.loss("zoe")
    loss.backward()
    results.append([loss.data, *[p.grad for p in model.parameters()]])
    assert results[0] == pytest.approx(results[1], rel=1e-11, abs=1e-12)


def test_weights_begin_small():
    random.seed(7)
    weights = torch.tensor([p.data for p in GPT().parameters()])
    assert weights.std().item() == pytest.approx(0.08, rel=0.05)


def test_training_takes_the_steps_of_torchs_adam_with_a_rate_that_falls_to_zero():
    names = ["ava", "zoe"]
    random.seed(7)
    weights = weights_of(GPT())
    optimizer = torch.optim.Adam(weights.values(), betas=(0.85, 0.99))
    for step, rate in enumerate([0.01, 0.0075, 0.005, 0.0025]):
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        torch_loss(weights, names[step % 2], n_head=4).backward()
        optimizer.step()
    random.seed(7)
    trained = weights_of(train(names, steps=4))
    for name in MATRICES:
        torch.testing.assert_close(trained[name], weights[name], rtol=1e-6, atol=1e-6)


def test_samples_follow_the_probabilities_at_their_temperature():
    random.seed(7)
    model = GPT(n_embd=4, n_head=2, block_size=1)  # names of one letter
    for p in model.parameters():
        p.data *= 20
    logits = torch.tensor([logit.data for logit in model(0, [], [])])
    for options, temperature in (({}, 0.7), ({"temperature": 2}, 2)):
        samples = [model.sample(**options) or "." for _ in range(400)]
        found = torch.tensor([samples.count(letter) / 400 for letter in LETTERS])
        expected = (logits / temperature).softmax(0)
        assert (found - expected).abs().max() < 0.08
        assert (found - logits.softmax(0)).abs().max() > 0.12


def test_training_learns_a_name_and_sampling_writes_it(capsys):
    random.seed(5)
    model = train(["ava"], steps=60)
    assert model.loss("ava").data < 0.2
    assert [model.sample() for _ in range(5)].count("ava") >= 4
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "4,192 parameters"
    assert re.fullmatch(r"name +60  loss \d\.\d{3}  +0 s left", lines[-1])


def test_a_name_longer_than_the_context_is_cut():
    random.seed(6)
    model = GPT(n_embd=4, n_head=2, block_size=4)
    assert model.loss("alexandra").data == model.loss("alexis").data == model.loss("alex").data
    assert model.loss("alexandra").data != model.loss("alek").data


def tiny_gpt(*arguments, cwd):
    environment = {**os.environ, "PYTHONPATH": ""}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("folder, script", [(".", "micrograd/tiny_gpt.py"), ("micrograd", "tiny_gpt.py")])
def test_the_script_trains_and_prints_twenty_names(folder, script):
    run = tiny_gpt("-S", script, "2", cwd=ROOT / folder)  # -S: the standard library alone
    assert run.returncode == 0 and run.stderr == ""
    lines = run.stdout.splitlines()
    assert len(lines) == 1 + 1 + 20 and all(re.fullmatch("[a-z]{0,16}", name) for name in lines[2:])


def test_what_is_not_a_number_of_names_is_a_sentence():
    run = tiny_gpt("micrograd/tiny_gpt.py", "many", cwd=ROOT)
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr == "tiny_gpt: many is not a number of names\n"
