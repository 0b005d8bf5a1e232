"""makemore: data, every model and its pieces against independent references, sampling, runs, faults.

Most runs call main(argv) in this process; a kill, a signal and an import have a real process each.
"""

import contextlib
import csv
import dataclasses
import fractions
import functools
import io
import itertools
import math
import os
import pickle
import pty
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from matplotlib.text import Text
from torch import nn

from forked import Child, run_python
from makemore import makemore as mm

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "makemore" / "makemore.py"
TYPES = list(mm.MODELS)
LEARNED = [name for name in TYPES if name != "ngram"]
SIZES = {"n_layer": 2, "n_head": 2, "n_embd": 8, "n_embd2": 8}
TINY = ["--n-layer", "2", "--n-head", "2", "--n-embd", "8", "--n-embd2", "8", "-b", "8"]


def make_words(number=60, seed=0):
    """Different words of one to seven letters out of a-e."""
    chance = random.Random(seed)
    words = {}
    while len(words) < number:
        words["".join(chance.choices("abcde", [5, 4, 3, 2, 1], k=chance.randint(1, 7)))] = None
    return list(words)


WORDS = make_words()
VOCAB = mm.Vocab("abcde")


def make_model(name, seed=0, **values):
    """A model with random weights and running statistics, so that nothing hides behind a zero or a one."""
    config = mm.configure(name, **SIZES | values)
    config.vocab_size = len(VOCAB)
    config.block_size = config.block_size or 8
    torch.manual_seed(seed)
    model = mm.MODELS[name](config)
    if name == "ngram":
        data = mm.Words(WORDS, VOCAB)
        model.fit(*data.batch(torch.arange(len(data))))
        model.alpha.fill_(0.3)
    for p in model.parameters():
        nn.init.normal_(p, std=0.5)
    for key, value in model.named_buffers():
        if "running" in key:
            value.copy_(torch.rand_like(value) + 0.5)
    return model.eval()


def snapshot(folder):
    """{path: content} of all that lies under a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(Path(folder).rglob("*"))
    }


def start(*arguments, **options):
    """A real process of the command line, with as many threads as here."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), *map(str, arguments)], text=True, env=environment,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options,
    )


def finish(process):
    """(status, stdout, stderr) of a process."""
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def go(*arguments):
    """main(argv) in this process; what it prints goes nowhere. Returns the status."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return mm.main([str(argument) for argument in arguments])


def saved(folder):
    """The content of a checkpoint: it must load without trust."""
    return torch.load(Path(folder) / "model.pt", weights_only=True)


def assert_same_run(one, other):
    """Two work folders hold bit-identical weights, best weights, and logs (but for the seconds)."""
    a, b = saved(one), saved(other)
    for left, right in ((a["model"], b["model"]), (a["progress"]["best"], b["progress"]["best"])):
        assert left.keys() == right.keys()
        for key in left:
            assert torch.equal(left[key], right[key]), key
    assert a["progress"]["losses"] == b["progress"]["losses"]
    assert a["progress"]["best_step"] == b["progress"]["best_step"]
    logs = [
        [(r["step"], r["train_loss"], r["val_loss"]) for r in read_log(folder)] for folder in (one, other)
    ]
    assert logs[0] == logs[1]


def read_log(folder):
    with open(Path(folder) / "log.csv", newline="") as f:
        return list(csv.DictReader(f))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Every test runs in an empty folder with one word list."""
    monkeypatch.chdir(tmp_path)
    Path("words.txt").write_text("\n".join(WORDS) + "\n")


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """A folder with a short run of every type, made by one process, and what that printed."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "words.txt").write_text("\n".join(WORDS) + "\n")
    finished = run_python(SCRIPT, "-i", "words.txt", "-o", "out", "--type", "all", "--max-steps", 6, *TINY,
                          cwd=folder)
    assert (finished.returncode, finished.stderr) == (0, "")
    (folder / "printed.txt").write_text(finished.stdout)
    return folder


@pytest.fixture
def trained(runs):
    """A fresh copy of a short run: trained("mlp") is its work folder."""

    def copy(name, to="out/makemore"):
        shutil.copytree(runs / "out" / name, to)
        return Path(to)

    return copy


# ------------------------------------------------------------------------------------------------------------
# Data


def test_encode_and_decode_are_inverse_for_any_characters():
    vocab = mm.Vocab("zebra crossing éß漢字🐍")
    assert len(vocab) == len(set("zebra crossing éß漢字🐍")) + 1
    for word in ("zebra", "é ß", "字🐍漢"):
        tokens = vocab.encode(word)
        assert min(tokens) >= 1 and max(tokens) < len(vocab)
        assert vocab.decode(tokens) == word
    assert vocab.decode([0]) == "\n"


def test_a_vocabulary_is_shown_without_the_newline_that_parts_the_words():
    assert str(mm.Vocab("cab")) == "abc"
    assert str(mm.Vocab("éaé")) == "aé"


def test_a_vocabulary_names_what_cannot_be_printed_and_says_when_it_goes_on():
    assert str(mm.Vocab("?a\t\u2028")) == "\\t?a\\u2028"
    chars = [chr(0x4E00 + i) for i in range(101)]
    assert str(mm.Vocab("".join(chars[:100]))) == "".join(chars[:100])
    assert str(mm.Vocab("".join(chars))) == "".join(chars[:100]) + " ..."


def test_a_batch_holds_every_word_with_its_boundaries_and_padding():
    data = mm.Words(WORDS, VOCAB)
    index = torch.tensor([3, 17, 0, len(WORDS) - 1])
    x, y = data.batch(index)
    longest = max(len(WORDS[i]) for i in index)
    assert x.shape == y.shape == (4, longest + 1)
    for row, i in enumerate(index.tolist()):
        word = [" abcde".index(letter) for letter in WORDS[i]]
        padding = longest - len(word)
        assert x[row].tolist() == [0, *word] + [0] * padding
        assert y[row].tolist() == [*word, 0] + [-1] * padding


def test_an_epoch_visits_every_word_once_in_an_order_of_its_own():
    data = mm.Words(WORDS, VOCAB)
    epochs = []
    for epoch in range(3):
        seen, longest = [], []
        for step in range(epoch * 6, epoch * 6 + 6):
            _, y = data.training_batch(step, 10, seed=1)
            seen += [VOCAB.decode(row[row > 0].tolist()) for row in y]
            longest.append(y.shape[1])
        epochs.append(seen)
        assert longest != sorted(longest), "batches of short words do not come first"
        assert sorted(seen) == sorted(WORDS)
    assert epochs[0] != epochs[1] != epochs[2]


def test_a_training_batch_depends_on_step_and_seed_alone():
    one, other = mm.Words(WORDS, VOCAB), mm.Words(WORDS, VOCAB)
    other.training_batch(40, 10, seed=1)
    for step in (0, 5, 7, 30):
        assert torch.equal(one.training_batch(step, 10, seed=1)[0], other.training_batch(step, 10, seed=1)[0])
    first = [one.training_batch(step, 10, seed=seed)[1].sum().item() for seed in (1, 2) for step in range(6)]
    assert first[:6] != first[6:]
    second_epoch = [one.training_batch(step, 10, seed=1)[0].tolist() for step in range(6, 12)]
    assert second_epoch != [one.training_batch(step, 10, seed=2)[0].tolist() for step in range(6)]


def test_a_batch_larger_than_the_data_is_all_of_it():
    x, _ = mm.Words(WORDS[:12], VOCAB).training_batch(0, 100, seed=1)
    assert len(x) == 12


def test_the_split_is_80_10_10_disjoint_complete_and_the_same_for_every_seed():
    torch.manual_seed(1)
    parts = mm.split(WORDS)
    torch.manual_seed(2)
    assert mm.split(WORDS) == parts
    assert {name: len(part) for name, part in parts.items()} == {"training": 48, "validation": 6, "test": 6}
    assert sorted(word for part in parts.values() for word in part) == sorted(WORDS)
    assert parts["training"] != [word for word in WORDS if word in parts["training"]], "not shuffled"


# ------------------------------------------------------------------------------------------------------------
# The models against independent references


@pytest.mark.parametrize("name", TYPES)
def test_a_change_at_a_place_moves_no_score_before_it(name):
    model = make_model(name)
    x = torch.tensor([[0, 1, 2, 3, 4, 5], [0, 5, 1, 1, 2, 4]])
    with torch.no_grad():
        before = model(x)
        for t in range(1, 6):
            changed = x.clone()
            changed[:, t] = changed[:, t] % 5 + 1
            after = model(changed)
            assert torch.allclose(after[:, :t], before[:, :t], atol=1e-6)
            assert not torch.allclose(after[:, t], before[:, t], atol=1e-6)


@pytest.mark.parametrize("name", TYPES)
def test_a_score_at_evaluation_depends_neither_on_padding_nor_on_the_other_words(name):
    model = make_model(name)
    data = mm.Words(["abc", "deabcde", "b"], VOCAB)
    with torch.no_grad():
        together = model(data.batch(torch.arange(3))[0])
        for i, length in enumerate((4, 8, 2)):
            alone = model(data.batch(torch.tensor([i]))[0])
            assert torch.allclose(together[i, :length], alone[0], atol=1e-5)


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8])
def test_ngram_is_the_smoothed_ratio_of_counts_also_for_letters_never_seen_together(n):
    model = make_model("ngram", block_size=n)
    counts, totals = Counter(), Counter()
    for word in WORDS:
        padded = "." * n + word + "."
        for i in range(n, len(padded)):
            counts[padded[i - n : i], padded[i]] += 1
            totals[padded[i - n : i]] += 1
    for word in ("abcabca", "eeeeeee", "d", WORDS[5]):
        logits = model(torch.tensor([[0, *VOCAB.encode(word)]]))[0].double()
        assert torch.allclose(logits.exp().sum(1), torch.ones(len(word) + 1, dtype=torch.double), atol=1e-5)
        padded = "." * n + word
        for t in range(len(word) + 1):
            context = padded[t : t + n]
            for k, letter in enumerate(".abcde"):
                expected = (counts[context, letter] + 0.3) / (totals[context] + 0.3 * 6)
                assert logits[t, k].exp().item() == pytest.approx(expected, rel=1e-4)


def test_ngram_training_takes_the_alpha_of_the_best_validation_loss_and_prints_all_five(capsys):
    words = make_words(300)
    model, vocab, results = mm.train(words, mm.configure("ngram", block_size=3))
    training = mm.Words(mm.split(words)["training"], vocab)
    assert results["run"].losses == pytest.approx([mm.evaluate(model, training)[0]])
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip().startswith("alpha")]
    tried = {float(row[1]): float(row[3]) for row in rows}
    assert len(tried) == 5
    assert model.alpha.item() == pytest.approx(min(tried, key=tried.get))
    data = mm.Words(mm.split(words)["validation"], vocab)
    for alpha, loss in tried.items():
        model.alpha.fill_(alpha)
        assert mm.evaluate(model, data)[0] == pytest.approx(loss, abs=1e-4)
    counted = set(mm.split(words)["training"])
    ends = sum(model.counts).item()
    assert ends == sum(len(word) + 1 for word in counted), "it counts the training words and no others"


def test_bigram_scores_are_the_row_of_the_last_letter():
    model = make_model("bigram")
    x = torch.tensor([[0, 3, 1, 4]])
    one_hot = F.one_hot(x, len(VOCAB)).float()
    assert torch.allclose(model(x), one_hot @ model.table.weight)


def test_mlp_is_two_layers_on_the_last_letters_laid_end_to_end():
    model = make_model("mlp", block_size=3)
    word = [0, 2, 5, 1, 4]
    hidden = model.layers[0]
    for t in range(len(word)):
        context = ([0, 0, 0] + word)[t + 1 : t + 4]
        vector = torch.cat([model.embed.weight[token] for token in context])
        expected = model.head.weight @ torch.tanh(hidden.weight @ vector + hidden.bias) + model.head.bias
        assert torch.allclose(model(torch.tensor([word]))[0, t], expected, atol=1e-5)


def test_batch_norm_agrees_with_pytorch_in_training_running_statistics_and_evaluation():
    torch.manual_seed(0)
    ours, theirs = mm.BatchNorm(5, momentum=0.1).double(), nn.BatchNorm1d(5, momentum=0.1).double()
    with torch.no_grad():
        ours.gain.normal_()
        ours.bias.normal_()
        theirs.weight.copy_(ours.gain)
        theirs.bias.copy_(ours.bias)
    for _ in range(3):
        x = torch.randn(7, 5, dtype=torch.double) * 3 + 1
        left, right = x.clone().requires_grad_(), x.clone().requires_grad_()
        a, b = ours(left), theirs(right)
        assert torch.allclose(a, b, atol=1e-12)
        a.square().sum().backward()
        b.square().sum().backward()
        assert torch.allclose(left.grad, right.grad, atol=1e-10)
        assert torch.allclose(ours.running_mean, theirs.running_mean, atol=1e-12)
        assert torch.allclose(ours.running_var, theirs.running_var, atol=1e-12)
    ours.eval()
    theirs.eval()
    assert torch.allclose(ours(x), theirs(x), atol=1e-12)
    assert torch.allclose(ours(x[:1]), theirs(x[:1]), atol=1e-12)


def test_batch_norm_leaves_padded_places_out_of_its_statistics():
    torch.manual_seed(0)
    ours, theirs = mm.BatchNorm(4, momentum=0.2), nn.BatchNorm1d(4, momentum=0.2)
    x = torch.randn(3, 6, 4)
    real = torch.rand(3, 6) > 0.4
    out = ours(x, real)
    assert torch.allclose(out[real], theirs(x[real]), atol=1e-6)
    assert torch.allclose(ours.running_mean, theirs.running_mean, atol=1e-6)
    assert torch.allclose(ours.running_var, theirs.running_var, atol=1e-6)


def test_batch_norm_of_words_without_padding_counts_every_place():
    torch.manual_seed(0)
    ours, theirs = mm.BatchNorm(4), nn.BatchNorm1d(4)
    x = torch.randn(3, 6, 4) * 3 + 1
    assert torch.allclose(ours(x).flatten(0, 1), theirs(x.flatten(0, 1)), atol=1e-5)
    assert torch.allclose(ours.running_mean, theirs.running_mean, atol=1e-6)
    assert torch.allclose(ours.running_var, theirs.running_var, atol=1e-6)


@pytest.mark.parametrize("name", ["batchnorm", "ninja", "wavenet"])
def test_padding_moves_no_running_statistic_of_a_network(name):
    x, _ = mm.Words(["abc", "deabc", "b"], VOCAB).batch(torch.arange(3))
    states = []
    for padding in (0, 4):
        model = make_model(name, dropout=0.0).train()
        model(F.pad(x, (0, padding)))
        states.append({key: value for key, value in model.state_dict().items() if "running" in key})
    assert states[0]
    for key in states[0]:
        assert torch.allclose(states[0][key], states[1][key], atol=1e-6), key


def test_batchnorm_is_linear_norm_tanh_layers_on_the_last_letters():
    model = make_model("batchnorm", block_size=3)
    word = [0, 2, 5, 1, 4]
    for t in range(len(word)):
        h = torch.cat([model.embed.weight[token] for token in ([0, 0, 0] + word)[t + 1 : t + 4]])
        for linear, norm in zip(model.linears, model.norms):
            h = linear.weight @ h
            h = (h - norm.running_mean) / (norm.running_var + 1e-5).sqrt() * norm.gain + norm.bias
            h = torch.tanh(h)
        expected = model.head.weight @ h + model.head.bias
        assert torch.allclose(model(torch.tensor([word]))[0, t], expected, atol=1e-5)


def test_ninja_gradients_are_those_of_autograd():
    model = make_model("ninja", n_layer=3, block_size=4).double().train()
    data = mm.Words(WORDS, VOCAB)
    x, y = data.batch(torch.arange(20))
    loss = model.forward_backward(x, y)
    by_hand = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    logits = model(x)
    expected = F.cross_entropy(logits[y >= 0], y[y >= 0])
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    for name, p in model.named_parameters():
        bound = 1e-9 * max(1, p.grad.abs().max().item())
        assert p.grad.abs().max() > 1e-6, name
        assert (by_hand[name] - p.grad).abs().max().item() <= bound, name


@pytest.mark.parametrize("n", [2, 8])
def test_wavenet_scores_are_those_of_the_plain_tree_on_every_window(n):
    model = make_model("wavenet", block_size=n)
    x, y = mm.Words(WORDS, VOCAB).batch(torch.arange(len(WORDS)))
    logits = model(x)
    for row, t in torch.nonzero(y >= 0).tolist():
        window = torch.cat([torch.zeros(n, dtype=torch.int64), x[row]])[t + 1 : t + 1 + n]
        h = model.embed.weight[window]  # (nodes, channels)
        for linear, norm in zip(model.linears, model.norms):
            h = h.reshape(len(h) // 2, -1) @ linear.weight.T
            h = (h - norm.running_mean) / (norm.running_var + 1e-5).sqrt() * norm.gain + norm.bias
            h = torch.tanh(h)
        assert len(h) == 1
        expected = model.head.weight @ h[0] + model.head.bias
        assert torch.allclose(logits[row, t], expected, atol=1e-4)


def test_bow_adds_the_mean_of_all_letters_so_far():
    model = make_model("bow")
    word = [0, 2, 5, 1, 4]
    vectors = [model.embed.weight[token] + model.position.weight[t] for t, token in enumerate(word)]
    for t in range(len(word)):
        mean = sum(vectors[: t + 1]) / (t + 1)
        h = vectors[t] + mean
        h = h + model.mlp(h)
        expected = model.head.weight @ h + model.head.bias
        assert torch.allclose(model(torch.tensor([word]))[0, t], expected, atol=1e-5)


@pytest.mark.parametrize("name, reference", [("rnn", nn.RNN), ("gru", nn.GRU), ("lstm", nn.LSTM)])
def test_recurrent_cells_agree_with_pytorch(name, reference):
    model = make_model(name, n_embd=6, n_embd2=5)
    theirs = reference(6, 5, batch_first=True)
    with torch.no_grad():
        theirs.weight_ih_l0.copy_(model.from_input.weight)
        theirs.bias_ih_l0.copy_(model.from_input.bias)
        theirs.weight_hh_l0.copy_(model.from_state.weight)
        theirs.bias_hh_l0.copy_(model.from_state.bias)
        x, _ = mm.Words(WORDS, VOCAB).batch(torch.arange(9))
        expected = model.head(theirs(model.embed(x))[0])
        assert torch.allclose(model(x), expected, atol=1e-5)


def test_attention_agrees_with_pytorch():
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 2, 4, 7, 5, dtype=torch.double).unbind()
    expected = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    assert torch.allclose(mm.attention(q, k, v), expected, atol=1e-12)


def test_transformer_is_blocks_of_masked_attention_and_mlp_written_out_with_loops():
    model = make_model("transformer", n_layer=2, n_head=2, n_embd=8)

    def normalized(x, norm):
        return (x - x.mean()) / (x.var(correction=0) + 1e-5).sqrt() * norm.weight + norm.bias

    word = [0, 2, 5, 1, 4]
    h = [model.embed.weight[token] + model.position.weight[t] for t, token in enumerate(word)]
    for block in model.blocks:
        qkv = [block.qkv.weight @ normalized(x, block.norm1) + block.qkv.bias for x in h]
        mixed = []
        for t in range(len(word)):
            heads = []
            for head in range(2):
                query, key, value = (slice(8 * part + 4 * head, 8 * part + 4 * head + 4) for part in range(3))
                scores = torch.stack([qkv[t][query] @ qkv[s][key] / 2 for s in range(t + 1)])
                weights = scores.exp() / scores.exp().sum()
                heads.append(sum(weights[s] * qkv[s][value] for s in range(t + 1)))
            mixed.append(h[t] + block.proj.weight @ torch.cat(heads) + block.proj.bias)
        h = []
        for x in mixed:
            up = block.up.weight @ normalized(x, block.norm2) + block.up.bias
            gelu = 0.5 * up * (1 + torch.tanh(math.sqrt(2 / math.pi) * (up + 0.044715 * up**3)))
            h.append(x + block.down.weight @ gelu + block.down.bias)
    expected = torch.stack([model.head.weight @ normalized(x, model.norm) for x in h])
    assert torch.allclose(model(torch.tensor([word]))[0], expected, atol=1e-4)


@pytest.mark.parametrize("name, places", [
    ("transformer", 4), ("wavenet", 3), ("rnn", 2), ("gru", 2), ("lstm", 2),
])
def test_dropout_acts_in_every_place_of_a_network(name, places):
    model = make_model(name, dropout=0.5).train()
    dropped = []
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.register_forward_hook(lambda module, inputs, output: dropped.append(output == 0))
    model(mm.Words(WORDS, VOCAB).batch(torch.arange(9))[0])
    assert len(dropped) == places, "two in a block, one in a level, before and after the states"
    assert all(0.35 < mask.float().mean() < 0.65 for mask in dropped)


def test_dropout_acts_in_training_only():
    model = make_model("transformer", dropout=0.5)
    x, _ = mm.Words(WORDS, VOCAB).batch(torch.arange(4))
    assert torch.equal(model(x), model(x))
    model.train()
    assert not torch.allclose(model(x), model(x))


@pytest.mark.parametrize("name", LEARNED)
def test_a_fresh_model_begins_near_a_uniform_guess(name):
    config = mm.configure(name)
    config.vocab_size, config.block_size = len(VOCAB), config.block_size or 8
    torch.manual_seed(0)
    x, y = mm.Words(WORDS, VOCAB).batch(torch.arange(len(WORDS)))
    assert mm.loss_of(mm.MODELS[name](config)(x), y).item() == pytest.approx(math.log(6), abs=0.2)


@pytest.mark.parametrize("name", ["mlp", "batchnorm", "ninja", "wavenet"])
def test_linear_layers_begin_with_the_gain_of_tanh_and_the_head_with_a_tenth_of_it(name):
    config = mm.configure(name)
    config.vocab_size = 27
    torch.manual_seed(0)
    model = mm.MODELS[name](config)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            gain = nn.init.calculate_gain("tanh") / (10 if module is model.head else 1)
            std = gain / math.sqrt(module.in_features)
            assert module.weight.std().item() == pytest.approx(std, rel=0.06)
            assert module.bias is None or not module.bias.any()


def test_transformer_blocks_begin_with_layers_that_keep_the_scale_and_pass_on_what_they_get():
    config = mm.configure("transformer", dropout=0)
    config.vocab_size, config.block_size = 27, 8
    torch.manual_seed(0)
    x = torch.randn(20, 8, 64)
    for block in mm.Transformer(config).blocks:
        assert torch.equal(block(x), x)
        assert block.qkv(x).std().item() == pytest.approx(1, rel=0.05)
        assert block.up(x).std().item() == pytest.approx(1, rel=0.05)


def test_loss_is_the_mean_of_minus_log_probability_of_the_targets_without_padding():
    torch.manual_seed(0)
    logits = torch.randn(3, 5, 6)
    y = torch.tensor([[1, 2, 0, -1, -1], [5, 0, -1, -1, -1], [1, 1, 1, 1, 0]])
    losses = torch.zeros(3, 5)
    for row in range(3):
        for t in range(5):
            if y[row, t] >= 0:
                scores = [math.exp(score) for score in logits[row, t].tolist()]
                losses[row, t] = -math.log(scores[y[row, t]] / sum(scores))
    assert mm.loss_of(logits, y).item() == pytest.approx(losses.sum().item() / 10, rel=1e-5)
    assert torch.allclose(mm.loss_of(logits, y, reduction="none"), losses, atol=1e-5)


def test_evaluate_gives_the_mean_over_letters_and_the_standard_error_over_words():
    words = make_words(1500)  # more than one batch of evaluation
    model = make_model("rnn")
    data = mm.Words(words, VOCAB)
    sums, lengths = [], []
    for word in words:
        tokens = VOCAB.encode(word)
        with torch.no_grad():
            log_probs = model(torch.tensor([[0, *tokens]]))[0].log_softmax(1).double()
        sums.append(-sum(log_probs[t, token].item() for t, token in enumerate([*tokens, 0])))
        lengths.append(len(tokens) + 1)
    sums, lengths = np.array(sums), np.array(lengths)
    mean = sums.sum() / lengths.sum()
    residual = sums - mean * lengths
    error = np.sqrt((residual**2).sum() / (len(words) - 1) / len(words)) / lengths.mean()  # Cochran 1977, ratio estimator
    assert mm.evaluate(model, data) == pytest.approx((mean, error), rel=1e-4)


def test_an_evaluation_of_some_characters_is_that_of_the_first_words():
    model = make_model("rnn")
    data = mm.Words(WORDS, VOCAB)
    number = next(n for n in range(61) if sum(len(word) + 1 for word in WORDS[:n]) >= 100)
    expected = mm.evaluate(model, mm.Words(WORDS[:number], VOCAB))
    assert mm.evaluate(model, data, characters=100) == pytest.approx(expected, abs=1e-6)
    assert mm.evaluate(model, data, characters=10**6) == mm.evaluate(model, data)


def test_a_run_on_many_words_says_that_it_evaluates_only_some(monkeypatch, capsys):
    monkeypatch.setattr(mm, "EVALUATED", 20)
    mm.train(WORDS, mm.configure("bigram", max_steps=2), "out/makemore")
    assert "(losses of the first 20 characters, if there are more)" in capsys.readouterr().out
    monkeypatch.setattr(mm, "LOGITS", 90)  # of 6 letters
    mm.train(WORDS, mm.configure("ngram"), "out/makemore")
    assert "(losses of the first 15 characters, if there are more)" in capsys.readouterr().out


def test_evaluate_uses_evaluation_mode_and_gives_the_mode_back():
    model = make_model("batchnorm").train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    data = mm.Words(WORDS, VOCAB)
    loss = mm.evaluate(model, data)
    assert model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert mm.evaluate(model.eval(), data) == loss
    assert not model.training


def test_the_learning_rate_rises_to_its_peak_and_comes_down():
    config = mm.configure("mlp", max_steps=2000, learning_rate=0.5)
    rates = [config.learning_rate * mm.schedule(step, config) for step in range(2000)]
    peak = rates.index(max(rates))
    assert max(rates) == pytest.approx(0.5, rel=0.1)
    assert max(rates) <= 0.5
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert 0 < rates[0] < 0.05 and 0 < rates[-1] < 0.05
    config = mm.configure("mlp", max_steps=1000)
    assert [mm.schedule(step, config) for step in (0, 49, 500, 999)] == pytest.approx([0.01, 0.5, 0.5, 0.01])
    endless = mm.configure("mlp", max_steps=-1)
    assert [mm.schedule(step, endless) for step in (0, 99, 10**6)] == pytest.approx([0.01, 1, 1])


# ------------------------------------------------------------------------------------------------------------
# The optimizers


def newton_schulz(matrix):
    """Five steps on the singular values, each p(s) = 3.4445 s - 4.7750 s^3 + 2.0315 s^5."""
    u, values, vh = np.linalg.svd(matrix.double().numpy(), full_matrices=False)
    values = values / np.linalg.norm(values)
    for _ in range(5):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    return torch.from_numpy(u * values @ vh).float()


def test_muon_takes_a_step_of_momentum_made_orthogonal():
    torch.manual_seed(0)
    matrices = [nn.Parameter(torch.randn(shape)) for shape in ((8, 8), (8, 24), (24, 8), (8, 8))]
    optimizer = mm.Muon(matrices, lr=0.5, weight_decay=0.1)
    expected = [p.detach().clone() for p in matrices]
    momentum = [torch.zeros_like(p) for p in expected]
    for _ in range(3):
        for i, p in enumerate(matrices):
            p.grad = torch.randn_like(p)
            momentum[i] = 0.95 * momentum[i] + 0.05 * p.grad
            update = 0.95 * momentum[i] + 0.05 * p.grad
            expected[i] *= 1 - 0.5 * 0.1
            expected[i] -= 0.5 * 0.2 * math.sqrt(max(p.shape)) * newton_schulz(update)
        optimizer.step()
    for p, wanted in zip(matrices, expected):
        torch.testing.assert_close(p.detach(), wanted, atol=1e-4, rtol=1e-4)


def test_muon_leaves_a_matrix_without_a_gradient_alone():
    frozen, trained = nn.Parameter(torch.ones(4, 4)), nn.Parameter(torch.ones(4, 4))
    trained.grad = torch.eye(4)
    mm.Muon([frozen, trained], lr=0.5, weight_decay=0.1).step()
    assert (frozen == 1).all() and not (trained == 1).any()


@pytest.mark.parametrize("name", LEARNED)
def test_weight_decay_shrinks_matrices_and_embeddings_but_neither_gains_nor_biases(name):
    model = make_model(name)
    config = mm.configure(name, weight_decay=0.1, learning_rate=0.5, max_steps=1)
    optimizers = mm.make_optimizers(model, config)
    by_muon = {p for optimizer in optimizers[1:] for group in optimizer.param_groups for p in group["params"]}
    mm.set_learning_rate(optimizers, 0, config)
    before = {key: p.detach().clone() for key, p in model.named_parameters()}
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    for optimizer in optimizers:
        optimizer.step()
    for key, p in model.named_parameters():
        factor = 1 - 0.5 * 0.1 if p.dim() == 2 else 1
        assert torch.allclose(p, factor * before[key], atol=1e-6), key
        assert (p in by_muon) == (p.dim() == 2 and key.startswith("blocks.")), key


@pytest.mark.parametrize("name", ["bigram", "transformer"])
def test_adam_steps_by_the_running_mean_of_ten_gradients_over_the_root_of_that_of_a_hundred_squares(name):
    model = make_model(name)
    config = mm.configure(name, weight_decay=0, learning_rate=0.5, max_steps=1)
    adam = mm.make_optimizers(model, config)[0]
    mm.set_learning_rate([adam], 0, config)
    p = adam.param_groups[0]["params"][0]
    expected = p.detach().clone()
    mean = torch.zeros_like(p)
    square = torch.zeros_like(p)
    for step in (1, 2, 3):
        p.grad = torch.randn_like(p)
        mean = 0.9 * mean + 0.1 * p.grad
        square = 0.99 * square + 0.01 * p.grad**2
        expected -= 0.5 * mean / (1 - 0.9**step) / (square / (1 - 0.99**step)).sqrt()
        adam.step()
    torch.testing.assert_close(p.detach(), expected, atol=1e-4, rtol=1e-4)


# ------------------------------------------------------------------------------------------------------------
# Sampling


def table_model(rows):
    """A Bigram over a, b, c; rows["a"] is {".": .., "b": .., ...}, the probabilities after an a."""
    vocab = mm.Vocab("abc")
    config = mm.configure("bigram")
    config.vocab_size = len(vocab)
    model = mm.Bigram(config).eval()
    with torch.no_grad():
        for i, letter in enumerate(".abc"):
            for j, following in enumerate(".abc"):
                model.table.weight[i, j] = math.log(rows[letter].get(following, 0) or 1e-30)
    return model, vocab


CHAIN = {
    ".": {"a": 0.5, "b": 0.3, "c": 0.2},
    "a": {"b": 0.6, ".": 0.4},
    "b": {"c": 0.7, ".": 0.3},
    "c": {".": 1.0},
}


def probability(word, temperature=1.0, top_k=4):
    """Of a whole word under CHAIN."""
    product, last = 1.0, "."
    for letter in word + ".":
        kept = dict(sorted(CHAIN[last].items(), key=lambda item: -item[1])[:top_k])
        row = {key: value ** (1 / temperature) for key, value in kept.items()}
        product *= row.get(letter, 0) / sum(row.values())
        last = letter
    return product


@pytest.mark.parametrize("options", [{}, {"temperature": 0.5}, {"temperature": 2.0}, {"top_k": 2}])
def test_sampled_words_come_as_often_as_the_model_says(options):
    model, vocab = table_model(CHAIN)
    number = 4000
    counts = Counter(mm.generate(model, vocab, num_samples=number, seed=7, **options))
    words = ["a", "ab", "abc", "b", "bc", "c"]
    expected = {word: probability(word, **options) for word in words}
    assert sum(expected.values()) == pytest.approx(1)
    assert set(counts) <= set(words)
    assert sum(counts.values()) == number
    for word, p in expected.items():
        assert abs(counts[word] / number - p) <= 4.5 * math.sqrt(p * (1 - p) / number), word


@pytest.mark.parametrize("name", TYPES)
def test_greedy_sampling_takes_the_likeliest_letter_of_the_whole_word_so_far(name):
    model = make_model(name, seed=3)
    for prompt in ("", "abcdeabcd"):
        tokens = [0, *VOCAB.encode(prompt).tolist()]
        limit = model.context if name in ("bow", "transformer") else 1000  # places that the model has
        for _ in range(64):
            with torch.no_grad():
                drawn = model(torch.tensor([tokens[-limit:]]))[0, -1].argmax().item()
            if drawn == 0:
                break
            tokens.append(drawn)
        expected = VOCAB.decode(tokens[1:])
        assert expected.startswith(prompt)
        options = {"prompt": prompt, "num_samples": 2, "max_length": 64}
        assert mm.generate(model, VOCAB, **options, temperature=0) == [expected] * 2
        assert mm.generate(model, VOCAB, **options, top_k=1) == [expected] * 2


def test_a_prompt_is_kept_and_the_word_goes_on_from_it():
    model, vocab = table_model(CHAIN)
    assert set(mm.generate(model, vocab, prompt="cca", num_samples=200, seed=1)) == {"cca", "ccab", "ccabc"}
    assert set(mm.generate(model, vocab, prompt="b" * 100, num_samples=50, seed=1)) == {
        "b" * 100,
        "b" * 100 + "c",
    }


def test_the_same_seed_gives_the_same_words_and_another_seed_others():
    model = make_model("gru")
    one, same, other = (mm.generate(model, VOCAB, num_samples=10, seed=seed) for seed in (1, 1, 2))
    assert one == same != other
    assert mm.generate(model, VOCAB, num_samples=10) != mm.generate(model, VOCAB, num_samples=10)


def test_sampling_leaves_the_global_random_state_and_the_mode_alone():
    model = make_model("transformer").train()
    before = torch.get_rng_state()
    mm.generate(model, VOCAB, num_samples=5, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training


def test_every_word_ends_even_if_the_model_never_ends_one():
    always = {letter: {"a": 1.0} for letter in ".abc"}
    model, vocab = table_model(always)
    assert mm.generate(model, vocab, num_samples=3, seed=1) == ["a" * 256] * 3
    assert mm.generate(model, vocab, prompt="cb", num_samples=3, max_length=7) == ["cb" + "a" * 7] * 3
    never = {letter: {".": 1.0} for letter in ".abc"}
    model, vocab = table_model(never)
    assert mm.generate(model, vocab, num_samples=3, seed=1) == [""] * 3


def test_top_k_above_the_vocabulary_keeps_all_letters():
    model = make_model("mlp")
    assert mm.generate(model, VOCAB, seed=1, top_k=1000) == mm.generate(model, VOCAB, seed=1)


@pytest.mark.parametrize("name", TYPES)
def test_the_loss_of_a_letter_is_minus_the_log_of_its_probability(name):
    model = make_model(name)
    data = mm.Words(["bacced"], VOCAB)
    x, y = data.batch(torch.arange(1))
    losses = mm.loss_of(model(x), y, reduction="none")[0].tolist()
    tokens = VOCAB.encode("bacced")
    for t, loss in enumerate(losses):
        with torch.no_grad():
            probabilities = model(torch.tensor([[0, *tokens[:t]]]))[0, -1].softmax(0)
        assert loss == pytest.approx(-math.log(probabilities[[*tokens, 0][t]].item()), rel=1e-3, abs=1e-4)
    assert len(losses) == 7
    assert sum(losses) / 7 == pytest.approx(mm.evaluate(model, data)[0], rel=1e-4)


# ------------------------------------------------------------------------------------------------------------
# Runs


def test_one_command_trains_every_type_with_a_table_and_a_picture(runs):
    printed = (runs / "printed.txt").read_text()
    table = printed[printed.index("validation    test") :]
    for name in TYPES:
        assert f"== {name} ==" in printed
        row = next(line.split() for line in table.splitlines() if line.split()[:1] == [name])
        section = printed[printed.index(f"== {name} ==") :]
        assert f", validation {row[3]}, test {row[4]} (" in section[: section.index("best in validation")]
        assert {"model.pt", "log.csv", "loss.png"} <= {path.name for path in (runs / "out" / name).iterdir()}
    assert "a uniform guess has a loss of 1.7918" in printed
    assert any(path.suffix == ".png" for path in (runs / "out").iterdir())
    for path in (runs / "out").rglob("*.png"):
        assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n"), path


@pytest.mark.parametrize("name", TYPES)
def test_every_type_resumes_and_samples(name, trained, capsys):
    out = trained(name)
    assert not mm.main(["--sample-only", "-o", str(out), "--num-samples", "7", "--seed", "5",
                        "--prompt", "ab"])
    words = [line.split("\t")[0] for line in capsys.readouterr().out.splitlines()]
    assert len(words) == 7
    assert all(word.startswith("ab") for word in words)
    model, vocab = mm.load(out)
    assert words == mm.generate(model, vocab, prompt="ab", num_samples=7, seed=5)
    before = saved(out)
    assert before["progress"]["step"] == (1 if name == "ngram" else 6)
    assert not mm.main(["--resume", "-o", str(out), *([] if name == "ngram" else ["--max-steps", "9"])])
    assert saved(out)["progress"]["step"] == (1 if name == "ngram" else 9)
    assert int(read_log(out)[-1]["step"]) == (1 if name == "ngram" else 9)
    assert "new:" in capsys.readouterr().out


def test_training_from_python_gives_the_model_of_best_validation_loss_ready_for_use():
    words = make_words(80)
    config = mm.configure("mlp", max_steps=150, learning_rate=0.1, batch_size=16)
    model, vocab, _ = mm.train(words, config, "out/makemore", device="cpu", num_samples=3)
    assert not model.training
    losses = [float(row["val_loss"]) for row in read_log("out/makemore")]
    assert min(losses) < losses[-1] - 0.01, "this run is meant to overfit"
    data = mm.Words(mm.split(words)["validation"], vocab)
    assert mm.evaluate(model, data)[0] == pytest.approx(min(losses), abs=1e-5)
    loaded, loaded_vocab = mm.load("out/makemore")
    assert not loaded.training
    assert loaded_vocab.chars == vocab.chars
    assert mm.evaluate(loaded, data) == mm.evaluate(model, data)
    assert any(
        not torch.equal(a, b)
        for a, b in zip(saved("out/makemore")["model"].values(), model.state_dict().values())
    )


@pytest.mark.parametrize("name", ["mlp", "lstm"])
def test_training_learns(name):
    words = [a + b + c for a in "abcd" for b in ("bd", "ac", "e") for c in ("ad", "ba", "cc", "eb")]
    config = mm.configure(name, **SIZES | {"max_steps": 80, "batch_size": 16, "learning_rate": 0.02})
    mm.train(words, config, "out/makemore")
    log = read_log("out/makemore")
    assert float(log[-1]["val_loss"]) < float(log[0]["val_loss"]) - 0.4


def test_ninja_trains_like_batchnorm_since_its_gradients_are_the_same(runs):
    one, other = saved(runs / "out" / "ninja"), saved(runs / "out" / "batchnorm")
    assert one["progress"]["losses"] == pytest.approx(other["progress"]["losses"], abs=2e-3)


def test_a_run_says_what_it_does(capsys):
    assert not mm.main(["-i", "words.txt", "--type", "mlp", "--max-steps", "10", *TINY])
    out = capsys.readouterr().out
    for part in ("device: cpu", "60 words", "48 training", "6 validation", "6 test", "abcde", "mlp",
                 "parameters",
                 "batch_size 8", "seed 3407", "a uniform guess has a loss of 1.7918", "ms a step", "training",
                 "test", "model.pt"):
        assert part in out, part
    size = 6 * 8 + (3 * 8 * 8 + 8) + (8 * 6 + 6)
    assert f"{size:,} parameters" in out


def test_samples_are_marked_new_or_by_the_split_that_has_them(capsys):
    words = [a + b for a in "ab" for b in "cdefgh"]
    Path("two.txt").write_text("\n".join(words))
    assert not mm.main(["-i", "two.txt", "--type", "ngram", "--block-size", "2", "--num-samples", "300"])
    marked = {}
    for line in capsys.readouterr().out.splitlines():
        mark, _, names = line.strip().partition(": ")
        if mark in ("new", "in training", "in validation", "in test"):
            marked[mark.removeprefix("in ")] = set(names.split(", "))
    for name, part in mm.split(words).items():
        assert marked.pop(name, set()) <= set(part)
    assert set(marked) <= {"new"}
    assert not marked["new"] & set(words)


def test_a_word_without_letters_is_printed_as_nothing(capsys):
    mm.print_words(["ab", "", "cd"], {"training": mm.Words(["cd", "dc"], VOCAB)})
    assert capsys.readouterr().out == "  new: ab, (nothing)\n  in training: cd\n"


def test_the_end_of_a_run_gives_the_loss_of_each_part_and_the_standard_error_of_the_test(capsys):
    model, vocab, _ = mm.train(WORDS, mm.configure("bigram", max_steps=2))
    losses = {name: mm.evaluate(model, mm.Words(part, vocab)) for name, part in mm.split(WORDS).items()}
    assert (f"loss: training {losses['training'][0]:.4f}, validation {losses['validation'][0]:.4f}, "
            f"test {losses['test'][0]:.4f} (standard error {losses['test'][1]:.4f}) with the weights of step 2"
            ) in capsys.readouterr().out


def test_samples_are_shown_at_the_first_two_evaluations_and_then_at_every_fourth(capsys):
    mm.train(WORDS, mm.configure("bigram", max_steps=500, batch_size=4))
    parts = re.split(r"^step +(\d+)/500: validation .*\n", capsys.readouterr().out, flags=re.MULTILINE)
    shown = [step for step, after in zip(parts[1::2], parts[2::2]) if after.startswith("  ")]
    assert shown == ["0", "100", "400"]


def test_the_log_line_gives_the_time_of_a_step_and_the_time_left(monkeypatch, capsys):
    with monkeypatch.context() as patch:
        patch.setattr(time, "perf_counter", itertools.count(0, 25).__next__)  # a step takes 25 s
        mm.train(WORDS, mm.configure("bigram", max_steps=103))
    said = capsys.readouterr().out
    assert re.search(r"^step   100/103: validation .*, 25000\.0 ms a step, 1:15 left$", said, re.MULTILINE)
    assert re.search(r"^step   103/103: validation .*, 25000\.0 ms a step$", said, re.MULTILINE)


def test_a_long_run_is_evaluated_twenty_times(monkeypatch):
    class Pressed(mm.Run):
        def report(self):
            super().report()
            if len(self.log) == 2:
                os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(mm, "Run", Pressed)
        assert go("-i", "words.txt", "--type", "bigram", "--max-steps", "2200", *TINY) == 130
    assert [row["step"] for row in read_log("out/makemore")] == ["0", "110"]


def test_sampled_lines_with_commas_are_printed_apart(capsys):
    words = [f'{i},"{a}, {b}",yes' for i in range(10) for a in "ab" for b in "cd"]
    samples = mm.train(words, mm.configure("ngram"), "out/makemore", num_samples=9).results["samples"]
    printed = [line.partition(": ")[2] or line for line in capsys.readouterr().out.splitlines()]
    assert set(samples) <= {line.strip() for line in printed}


def test_the_log_has_a_row_per_evaluation_under_its_header(trained):
    out = trained("mlp")
    assert (out / "log.csv").read_text().splitlines()[0] == "step,seconds,train_loss,val_loss"
    rows = read_log(out)
    assert [int(row["step"]) for row in rows] == sorted({int(row["step"]) for row in rows})
    assert (rows[0]["step"], rows[-1]["step"]) == ("0", "6")
    seconds = [float(row["seconds"]) for row in rows]
    assert seconds == sorted(seconds) and seconds[0] == 0 < seconds[-1]
    assert all(1.0 < float(row["val_loss"]) < 3.0 for row in rows)
    losses = saved(out)["progress"]["losses"]  # of the batches since the last row
    assert rows[0]["train_loss"] == "nan"
    assert float(rows[-1]["train_loss"]) == pytest.approx(np.mean(losses), abs=1e-6)


def test_the_log_has_the_mean_loss_of_the_batches_since_the_row_before():
    run = mm.train(WORDS, mm.configure("bigram", max_steps=120)).results["run"]
    steps, _, means, _ = zip(*run.log)
    assert steps == (0, 100, 120)
    assert means[1:] == pytest.approx([np.mean(run.losses[:100]), np.mean(run.losses[100:])])


def test_the_losses_of_the_log_are_of_evaluation_mode():
    go("-i", "words.txt", "--type", "batchnorm", "--max-steps", "3", *TINY)
    content = saved("out/makemore")
    model = mm.BatchNormMLP(mm.Config(**content["config"]))
    model.load_state_dict(content["model"])
    data = mm.Words(mm.split(WORDS)["validation"], VOCAB)
    assert mm.evaluate(model.eval(), data)[0] == pytest.approx(
        float(read_log("out/makemore")[-1]["val_loss"]), abs=2e-6
    )


def test_a_checkpoint_holds_plain_types_only(runs):
    plain = (int, float, str, bool, type(None), torch.Tensor)

    def check(value):
        if isinstance(value, dict):
            for key, inner in value.items():
                assert isinstance(key, (str, int))
                check(inner)
        elif isinstance(value, (list, tuple)):
            for inner in value:
                check(inner)
        else:
            assert isinstance(value, plain), type(value)

    for name in TYPES:
        check(dict(saved(runs / "out" / name)))


def test_a_fresh_run_moves_the_files_of_earlier_ones_aside(trained, capsys):
    out = trained("bigram")
    first = snapshot(out)
    go("-i", "words.txt", "--type", "mlp", "--max-steps", "2", *TINY, "-o", out)
    second = snapshot(out)
    assert saved(out)["config"]["type"] == "mlp"
    mm.main(["-i", "words.txt", "--type", "gru", "--max-steps", "2", *TINY, "-o", str(out)])
    assert "model.2.pt" in capsys.readouterr().out
    third = snapshot(out)
    for name in ("model", "log", "loss"):
        suffix = {"model": ".pt", "log": ".csv", "loss": ".png"}[name]
        assert third[f"{name}.1{suffix}"] == second[f"{name}.1{suffix}"] == first[f"{name}{suffix}"]
        assert third[f"{name}.2{suffix}"] == second[f"{name}{suffix}"]
    assert saved(out)["config"]["type"] == "gru"


def test_no_file_is_moved_over_another_one(trained):
    out = trained("bigram")
    (out / "log.1.csv").write_text("mine")
    assert not go("-i", "words.txt", "--type", "ngram", "-o", out)
    assert (out / "log.1.csv").read_text() == "mine"
    assert (out / "model.2.pt").exists() and (out / "log.2.csv").exists()


def test_the_seed_decides_the_samples_of_a_run():
    samples = [mm.train(WORDS, mm.configure("ngram", seed=seed)).results["samples"] for seed in (1, 1, 2)]
    assert samples[0] == samples[1] != samples[2]


def test_the_seed_decides_the_run():
    for out, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert not go("-i", "words.txt", "--type", "rnn", "--max-steps", "3", *TINY, "-o", out,
                      "--seed", seed)
    assert_same_run("a", "b")
    assert not torch.equal(saved("a")["model"]["head.weight"], saved("c")["model"]["head.weight"])


def test_a_misspelt_option_is_refused_before_the_training(tmp_path):
    with pytest.raises(TypeError, match="temprature"):
        mm.train(WORDS, mm.configure("ngram"), tmp_path / "out", device="cpu", temprature=0.8)
    assert not (tmp_path / "out").exists()


def test_duplicates_are_dropped_before_the_split_and_said(capsys):
    Path("twice.txt").write_text("\n".join(WORDS + WORDS[:7]))
    assert not mm.main(["-i", "twice.txt", "--type", "ngram"])
    out = capsys.readouterr().out
    assert "left out as duplicates: 7\n" in out
    assert "60 words" in out


# ------------------------------------------------------------------------------------------------------------
# Stopping and going on


def wait_for_rows(folder, number, child):
    """Until log.csv has so many rows."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            if len((Path(folder) / "log.csv").read_text().splitlines()) > number:
                return
        assert not child.has_ended()
        time.sleep(0.002)
    raise AssertionError("no log appeared")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """whole(arguments) is the folder of a run with them that was never interrupted; each is made once."""
    folder = tmp_path_factory.mktemp("whole")

    @functools.cache
    def finished(*arguments):
        out = folder / str(len(list(folder.iterdir())))
        assert not go(*arguments, "-o", out)
        return out

    return finished


def long_run(name, steps=240):
    return ["-i", "words.txt", "--type", name, "--max-steps", steps, *TINY]


def test_a_killed_and_resumed_run_ends_like_one_that_was_never_interrupted(whole):
    child = Child(SCRIPT, *long_run("transformer"), "-o", "killed")
    try:
        wait_for_rows("killed", 2, child)
    finally:
        os.kill(child.pid, signal.SIGKILL)
        assert child.finish().returncode == -signal.SIGKILL
    reached = saved("killed")["progress"]["step"]
    assert 0 < reached < 240
    assert saved("killed")["config"]["dropout"] > 0
    assert not go("--resume", "-o", "killed")
    assert_same_run("killed", whole(*long_run("transformer")))


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A run on a terminal, stopped by Ctrl-C as soon as it shows the live line: (folder, status, shown)."""
    folder = tmp_path_factory.mktemp("stopped")
    (folder / "words.txt").write_text("\n".join(WORDS) + "\n")
    here, there = pty.openpty()
    process = start(*long_run("mlp", 100_000), cwd=folder, stdout=there, stderr=there)
    os.close(there)
    shown = b""
    with contextlib.suppress(OSError):  # the end of a terminal
        while part := os.read(here, 10_000):
            if b"batch " in part and b"batch " not in shown:
                process.send_signal(signal.SIGINT)
            shown += part
    os.close(here)
    return folder, process.wait(), shown.decode()


def test_a_run_is_saved_when_fifteen_seconds_have_passed_without_an_evaluation(monkeypatch):
    now = 0
    steps = []

    def look(optimizers, step, config, set_learning_rate=mm.set_learning_rate):
        nonlocal now
        now += 4  # seconds a step
        steps.append(saved("out/makemore")["progress"]["step"])
        set_learning_rate(optimizers, step, config)

    with monkeypatch.context() as patch:
        patch.setattr(time, "monotonic", lambda: now)
        patch.setattr(mm, "set_learning_rate", look)
        assert not go("-i", "words.txt", "--type", "bigram", "--max-steps", "10", *TINY)
    assert steps == [0, 0, 0, 0, 4, 4, 4, 4, 8, 8]


def test_ctrl_c_saves_and_says_how_to_go_on(stopped):
    folder, status, shown = stopped
    assert status == 130
    assert "Traceback" not in shown
    reached = saved(folder / "out/makemore")["progress"]["step"]
    assert 0 < reached < 100_000
    assert (f"stopped after step {reached}; everything is saved; "
            "run it again with --resume to continue") in shown.splitlines()[-1]


def test_the_live_line_is_on_a_terminal_and_not_in_a_pipe(stopped, runs):
    assert b"\r" not in (runs / "printed.txt").read_bytes()
    shown = stopped[2]
    assert "batch " in shown and " left" in shown
    for line in shown.split("\n"):  # what is printed for good covers the live line before it
        parts = line.rstrip("\r").split("\r")
        assert len(parts[-1]) >= len(parts[-2].rstrip()) if len(parts) > 1 else True, parts[-2:]


def test_a_run_stopped_by_ctrl_c_and_resumed_ends_like_one_that_was_never_interrupted(whole, monkeypatch):
    arguments = long_run("ninja")  # its batch norm has running statistics

    def press(optimizers, step, config, set_learning_rate=mm.set_learning_rate):
        if step == 57:  # in the middle of a step
            os.kill(os.getpid(), signal.SIGINT)
        set_learning_rate(optimizers, step, config)

    with monkeypatch.context() as patch:
        patch.setattr(mm, "set_learning_rate", press)
        assert go(*arguments) == 130
    assert saved("out/makemore")["progress"]["step"] == 58, "that step is finished"
    assert not go(*arguments, "--resume")
    assert_same_run("out/makemore", whole(*arguments))


def test_a_resumed_run_may_be_given_a_larger_total(trained):
    out = trained("mlp")
    assert not go("--resume", "-o", out, "--max-steps", 8)
    assert not go("--resume", "-o", out, "--max-steps", 11)
    assert not go("--resume", "-o", out)  # as the line printed at Ctrl-C says
    content = saved(out)
    assert content["progress"]["step"] == len(content["progress"]["losses"]) == 11
    steps = [int(row["step"]) for row in read_log(out)]
    assert steps == sorted(set(steps))


def test_a_resumed_run_counts_its_time_on(trained):
    out = trained("mlp")
    content = saved(out)
    content["progress"]["seconds"] = 1000.0
    torch.save(content, out / "model.pt")
    assert not go("--resume", "-o", out, "--max-steps", 8)
    assert 1000 < saved(out)["progress"]["seconds"] == saved(out)["progress"]["log"][-1][1]


def test_resuming_a_finished_run_changes_no_weight(trained):
    out = trained("gru")
    before = saved(out)["model"]
    assert not go("--resume", "-o", out)
    after = saved(out)["model"]
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert saved(out)["progress"]["step"] == 6


def test_a_write_that_is_killed_leaves_the_old_or_the_new_file():
    path = Path("file.bin").resolve()
    contents = [letter * 2_000_000 for letter in (b"a", b"b")]
    for i in range(8):
        mm.write_file(path, contents[0])
        before = path.stat().st_mtime_ns
        child = os.fork()
        while child == 0:
            mm.write_file(path, contents[1])
            mm.write_file(path, contents[0])
        deadline = time.monotonic() + 10
        while path.stat().st_mtime_ns == before and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.002 * i)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert path.stat().st_mtime_ns != before, "the child never wrote"
        assert path.read_bytes() in contents


def test_a_disk_that_is_full_ends_the_run_with_the_old_checkpoint_kept(trained, capsys):
    resource = pytest.importorskip("resource")
    out = trained("mlp")
    before = (out / "model.pt").read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        status = mm.main(["--resume", "-o", str(out), "--max-steps", "9"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    err = capsys.readouterr().err
    assert status == 1
    assert err.startswith("makemore: cannot write out/makemore/model.pt: ") and err.count("\n") == 1
    assert (out / "model.pt").read_bytes() == before
    assert not [path for path in out.iterdir() if "tmp" in path.name]


@pytest.mark.parametrize("name", ["mlp", "ninja"])
def test_a_loss_that_is_not_finite_ends_the_run_with_the_last_good_checkpoint_kept(name, capsys):
    status = mm.main(["-i", "words.txt", "--type", name, "--max-steps", "400", "-l", "1e9", *TINY])
    err = capsys.readouterr().err
    assert status == 1
    assert err.startswith("makemore: ") and err.count("\n") == 1 and "learning-rate" in err
    assert all(value.isfinite().all() for value in saved("out/makemore")["model"].values())
    model, vocab = mm.load("out/makemore")
    assert len(mm.generate(model, vocab, num_samples=3)) == 3


# ------------------------------------------------------------------------------------------------------------
# Faults


def refuse(capsys, arguments, *parts):
    """main refuses: status 2, one sentence with `parts` on stderr, nothing on disk changed."""
    capsys.readouterr()
    before = snapshot(".")
    status = mm.main([str(argument) for argument in arguments])
    err = capsys.readouterr().err
    assert status == 2, err
    assert err.startswith("makemore: "), err
    assert err.count("\n") == 1 and err.endswith("\n"), err
    for part in parts:
        assert str(part) in err, err
    assert snapshot(".") == before


INPUTS = {
    "a directory": (None, ["directory"]),
    "a binary file": (b"PK\x03\x04abc\0\0\0", ["binary"]),
    "no UTF-8": (b"emma\nolivia\nzo\xeb\n", ["line 3", "CP1252"]),
    "an empty file": (b"", ["empty"]),
    "blank lines only": (b"\n  \n\t\n\r\n", ["blank"]),
    "nine words": (b"a\nb\nc\nd\ne\nf\ng\nh\ni\n", ["9", "10"]),
    "nine different words": (b"a\nb\nc\nd\ne\nf\ng\nh\ni\n" * 9, ["9", "10"]),
}


@pytest.mark.parametrize("what", INPUTS)
def test_input_that_is_no_word_list_is_refused(what, capsys):
    content, parts = INPUTS[what]
    if content is None:
        Path("input").mkdir()
    else:
        Path("input").write_bytes(content)
    refuse(capsys, ["-i", "input"], "input" if "nine" not in what else "", *parts)


def test_a_missing_file_is_refused_with_the_three_places_that_were_looked_at(capsys):
    refuse(capsys, ["-i", "nowhere.txt"], "nowhere.txt", Path.cwd(), ROOT / "makemore", ROOT / "data")
    refuse(capsys, ["-i", "no/where.txt"], "no/where.txt")


def test_a_path_that_does_not_exist_is_named_alone(capsys):
    refuse(capsys, ["-i", "/nowhere/words.txt"], "makemore: /nowhere/words.txt: no such file\n")


def test_an_empty_name_is_not_the_default_file(capsys):
    refuse(capsys, ["-i", ""], "cannot read")


def test_a_bare_name_is_found_in_the_working_directory_first_and_then_in_data(capsys):
    assert mm.find_file("names.txt").resolve() == ROOT / "data" / "names.txt"
    Path("names.txt").write_text("\n".join(WORDS))
    assert mm.find_file("names.txt").resolve() == Path("names.txt").resolve()


@pytest.mark.parametrize("flag", ["--sample-only", "--resume"])
def test_going_on_without_a_checkpoint_is_refused(flag, capsys):
    refuse(capsys, [flag], "out/makemore", "train")
    Path("out/makemore").mkdir(parents=True)
    refuse(capsys, [flag], "out/makemore", "train")


@pytest.mark.parametrize("flag", ["--sample-only", "--resume"])
def test_a_damaged_or_foreign_checkpoint_is_refused(flag, trained, capsys):
    out = trained("mlp")
    whole = (out / "model.pt").read_bytes()
    for content in (whole[: len(whole) // 2], whole[:-30], b"", b"hello\n", os.urandom(5000)):
        (out / "model.pt").write_bytes(content)
        refuse(capsys, [flag], "model.pt")
    for foreign in ({"state": 1}, [1, 2], {"format": "another"}):
        torch.save(foreign, out / "model.pt")
        refuse(capsys, [flag], "model.pt")


def test_a_checkpoint_that_would_run_code_is_refused(capsys):
    class Evil:
        def __reduce__(self):
            return (os.mkdir, ("evil",))

    Path("out/makemore").mkdir(parents=True)
    torch.save({"format": "makemore 1", "config": Evil()}, "out/makemore/model.pt")
    refuse(capsys, ["--sample-only"], "model.pt")


def test_the_folder_of_all_types_names_theirs(capsys, trained):
    trained("mlp", "all/mlp")
    trained("bow", "all/bow")
    refuse(capsys, ["--sample-only", "-o", "all"],
           "makemore: all/model.pt does not exist; choose one of all/bow, all/mlp\n")


@pytest.mark.parametrize("flag", ["--sample-only", "--resume"])
def test_a_checkpoint_of_another_type_is_refused(flag, trained, capsys):
    trained("mlp")
    refuse(capsys, [flag, "--type", "gru"], "mlp", "gru")


def test_flags_that_contradict_the_checkpoint_are_refused(trained, capsys):
    trained("mlp")
    for flag, value in (("--n-embd", 9), ("--n-embd2", 9), ("--block-size", 4), ("-b", 9), ("-l", 0.5),
                        ("-w", 0.5), ("--seed", 8)):
        refuse(capsys, ["--resume", flag, value], value)
    refuse(capsys, ["--resume", "--max-steps", "3"],
           "--max-steps 3 counts all steps, and this run has already done 6")
    refuse(capsys, ["--sample-only", "--n-embd", 9], "--n-embd")
    refuse(capsys, ["--sample-only", "--type", "all"],
           "--type all contradicts the run in the folder, which has mlp")


def test_a_changed_input_is_refused_on_resume_and_an_equal_one_is_not(trained, capsys):
    trained("mlp")
    Path("other.txt").write_text("\n".join(WORDS[:-1] + ["aaaaaaa"]))
    refuse(capsys, ["--resume", "-i", "other.txt"], "other.txt")
    refuse(capsys, ["--resume", "-i", "missing.txt"], "missing.txt")
    Path("same.txt").write_text("\r\n".join(WORDS) + "\r\n")
    assert not go("--resume", "-i", "same.txt", "--max-steps", 7)
    Path("own.txt").write_text("\n".join(WORDS))
    assert not go("-i", "own.txt", "--type", "bigram", "--max-steps", 2, "-o", "own")
    Path("own.txt").write_text("\n".join(reversed(WORDS)))
    refuse(capsys, ["--resume", "-o", "own"], "own.txt")
    Path("own.txt").unlink()
    refuse(capsys, ["--resume", "-o", "own"], "own.txt")
    assert not go("--resume", "-o", "own", "-i", "words.txt")


def test_a_resumed_run_takes_the_number_of_threads_it_was_started_with(trained, capsys):
    out, threads = trained("mlp"), torch.get_num_threads()
    content = saved(out)
    content["threads"] = threads + 1
    torch.save(content, out / "model.pt")
    try:
        assert not mm.main(["--resume"])
        assert f"device: cpu, threads: {threads + 1}" in capsys.readouterr().out
        assert torch.get_num_threads() == threads, "put back"
        assert saved(out)["threads"] == threads + 1
    finally:
        torch.set_num_threads(threads)


def test_a_prompt_with_characters_that_the_model_never_saw_is_refused(trained, capsys):
    trained("mlp")
    refuse(capsys, ["--sample-only", "--prompt", "abx"], "'x'; the vocabulary is abcde")
    refuse(capsys, ["--sample-only", "--prompt", "a\nb"], "one line")
    refuse(capsys, ["--sample-only", "--prompt", "é🐍\udcff"], "the vocabulary is abcde")
    refuse(capsys, ["--resume", "--prompt", "A"], "'A'")
    refuse(capsys, ["-i", "words.txt", "--prompt", "A"], "'A'")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--type", "transformer", "--n-embd", "30", "--n-head", "4"],
        ["--type", "wavenet", "--block-size", "6"],
        ["--type", "wavenet", "--block-size", "1"],
        ["--type", "ngram", "--block-size", "30"],
        ["--type", "transformer", "--block-size", "3"],
        *[[flag, value] for value in ("0", "-1") for flag in ("--n-layer", "--n-head", "--n-embd", "-b")],
        *[["--type", "mlp", flag, value] for value in ("0", "-1") for flag in ("--n-embd2", "--block-size")],
        ["--max-steps", "0"],
        ["--max-steps", "-2"],
        ["--num-samples", "0"],
        ["--num-samples", "-1"],
        ["--top-k", "0"],
        ["--top-k", "-2"],
        ["--temperature", "-0.5"],
        ["--temperature", "nan"],
        ["-l", "-1"],
        ["-l", "nan"],
        ["-l", "inf"],
        ["-w", "-1"],
        ["--device", "abacus"],
        ["--device", "cuda:77"],
        ["--type", "all", "--n-embd", "30"],
    ],
    ids=" ".join,
)
def test_values_that_make_no_sense_are_refused(arguments, capsys):
    refuse(
        capsys, ["-i", "words.txt", *arguments], arguments[-1].lstrip("-") if arguments[-1] != "-1" else ""
    )


@pytest.mark.parametrize(
    "arguments",
    [["--type", "gpt5"], ["--n-layer", "two"], ["--no-such-flag"], ["--seed"], ["--seed", "9" * 30]],
)
def test_flags_that_cannot_be_read_are_refused_in_one_line(arguments, capsys):
    refuse(capsys, ["-i", "words.txt", *arguments], arguments[0])


def test_a_diagnosis_of_a_type_without_tanh_layers_is_refused_before_anything_is_moved(trained, capsys):
    trained("mlp")
    refuse(capsys, ["-i", "words.txt", "--type", "bigram", "--diagnose"], "--diagnose", "Bigram")
    refuse(capsys, ["-i", "words.txt", "--type", "all", "--diagnose"], "--diagnose")


def test_flags_that_the_type_has_no_use_for_do_not_hinder_a_resume(trained):
    for name in ("mlp", "ngram"):
        out = trained(name, name)
        assert not go("--resume", "-o", out, "--type", name, "--max-steps", "6", *TINY)


def test_a_very_small_temperature_is_greedy(trained, capsys):
    out = trained("mlp")
    model, vocab = mm.load(out)
    greedy = mm.generate(model, vocab, num_samples=3, temperature=0)
    assert mm.generate(model, vocab, num_samples=3, temperature=1e-45) == greedy
    assert len(mm.generate(model, vocab, num_samples=3, temperature=1e9)) == 3


def test_an_output_folder_that_cannot_be_is_refused(capsys):
    Path("file").write_text("mine")
    for out in ("file", "file/below"):
        refuse(capsys, ["-i", "words.txt", "--type", "bigram", "-o", out],
               f"makemore: cannot use {out} as the output folder: ")


LISTS = {
    "CRLF": "\r\n".join(WORDS).encode(),
    "a byte-order mark": b"\xef\xbb\xbf" + "\n".join(WORDS).encode(),
    "no newline at the end, blank lines between": "\n\n".join(WORDS).encode(),
    "white space around words": "".join(f"  {word}\t\n" for word in WORDS).encode(),
}


@pytest.mark.parametrize("what", LISTS)
def test_files_of_other_systems_hold_the_same_words(what):
    Path("input").write_bytes(LISTS[what])
    assert mm.read_words("input") == WORDS


UNUSUAL = {
    "accents": [word.replace("a", "é").replace("b", "ß") for word in WORDS],
    "CJK": [word.replace("a", "漢").replace("b", "字").replace("c", "語") for word in WORDS],
    "emoji": [word.replace("a", "🐍").replace("b", "😀") for word in WORDS],
    "spaces inside": [word + " of " + word for word in WORDS],
    "one letter": list("abcdefghij"),
    "all of one length": [f"{number:04d}" for number in range(50)],
    "markup of pictures": [word.replace("a", "$").replace("b", "\\").replace("c", "_") for word in WORDS],
}


@pytest.mark.parametrize("what", UNUSUAL)
def test_words_of_any_characters_train_and_sample(what, capsys):
    words = UNUSUAL[what]
    Path("input").write_text("\n".join(words), encoding="utf-8")
    model = "bigram" if "pictures" in what else "mlp"
    assert not mm.main(["-i", "input", "--type", model, "--max-steps", "2", *TINY])
    capsys.readouterr()
    prompt = words[0][:2]
    assert not mm.main(["--sample-only", "--prompt", prompt, "--num-samples", "3"])
    assert all(word.startswith(prompt) for word in capsys.readouterr().out.splitlines())
    assert mm.load("out/makemore")[1].chars == "\n" + "".join(sorted(set("".join(words))))


def test_too_long_words_and_duplicates_are_counted_apart(capsys):
    Path("long.txt").write_text("\n".join([*WORDS, "a" * 257, "b" * 256, "c" * 300, WORDS[0]]))
    assert not mm.main(["-i", "long.txt", "--type", "ngram"])
    out = capsys.readouterr().out
    assert "61 words" in out
    assert "left out as duplicates: 1\n" in out
    assert "left out as longer than 256 characters: 2\n" in out
    assert "WARNING" not in out
    assert saved("out/makemore")["digest"] == mm.digest_of([*WORDS, "b" * 256])


def test_losing_more_than_a_twentieth_of_the_words_for_their_length_stands_out(capsys):
    arguments = ["-i", "words.txt", "--type", "ngram", "--max-length"]
    assert not mm.main([*arguments, "5"])
    long = sum(len(word) > 5 for word in WORDS)
    assert 3 < long < 50
    out = capsys.readouterr().out
    assert f"WARNING: {100 * long / 60:.0f} % of the words are left out" in out
    assert "The longest has 7 characters." in out
    assert saved("out/makemore")["config"]["max_length"] == 5
    assert not mm.main([*arguments, "7"])
    assert "left out" not in capsys.readouterr().out


def test_a_line_of_100_000_characters_among_short_ones_does_no_harm(capsys):
    Path("long.txt").write_text("\n".join([*WORDS, "ab" * 50_000]))
    for name in ("ngram", "transformer"):
        assert not mm.main(["-i", "long.txt", "--type", name, "--max-steps", "2", *TINY])
        assert "left out as longer than 256 characters: 1\n" in capsys.readouterr().out
    assert saved("out/makemore")["config"]["block_size"] == 8


def test_letters_of_words_that_are_left_out_are_not_in_the_vocabulary():
    Path("long.txt").write_text("\n".join([*WORDS, "z" * 65]))
    arguments = ["-i", "long.txt", "--type", "bigram", "--max-length", "64", *TINY]
    assert not go(*arguments, "--max-steps", "2")
    assert mm.load("out/makemore")[1].chars == "\nabcde"
    assert not go("--resume", "--max-steps", "3")


def test_the_real_list_of_names_is_read_whole():
    words = mm.read_words(ROOT / "data" / "names.txt")
    data = mm.Words(words, mm.Vocab("".join(words)))
    assert len(data) == len(words) > 29_000
    index = torch.tensor([0, 12_345, len(words) - 1])
    _, y = data.batch(index)
    vocab = mm.Vocab("abcdefghijklmnopqrstuvwxyz")
    assert [vocab.decode(row[row > 0].tolist()) for row in y] == [words[i] for i in index]


# ------------------------------------------------------------------------------------------------------------
# Pictures


@pytest.fixture
def figures(monkeypatch):
    """The figures that a test saves, none of them drawn."""
    kept = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *args, **options: kept.append(figure))
    return kept


@pytest.mark.parametrize("name", ["mlp", "batchnorm", "ninja", "wavenet"])
def test_diagnosis_draws_and_prints_without_touching_the_run(name, runs, capsys):
    assert not mm.main(["-i", "words.txt", "--type", name, "--max-steps", "6", *TINY, "--diagnose"])
    out = capsys.readouterr().out
    assert "saturated" in out and "dead" in out and "update" in out
    assert_same_run("out/makemore", runs / "out" / name)
    pictures = {path.name: path.read_bytes() for path in Path("out/makemore").glob("*.png")}
    assert set(pictures) > {path.name for path in (runs / "out" / name).glob("*.png")}
    assert all(content.startswith(b"\x89PNG\r\n\x1a\n") for content in pictures.values())


def test_a_diagnosis_prints_what_autograd_says_of_the_inputs_of_tanh(capsys):
    model = make_model("mlp")
    data = mm.Words(WORDS, VOCAB)
    mm.Diagnosis(model, data)
    x, y = data.batch(torch.arange(len(data)))
    said = capsys.readouterr().out
    vectors = model.embed(mm.contexts(x, model.context)).flatten(2)
    hidden = model.layers[0]
    for when, factor in (("a bad start", 5), ("at the beginning", 1)):
        z = (vectors @ (factor * hidden.weight.T) + hidden.bias).detach().requires_grad_()
        out = torch.tanh(z)
        (gradient,) = torch.autograd.grad(mm.loss_of(model.head(out), y), z)
        saturated = out.flatten(0, 1).abs() > 0.97
        assert (f"{when}: layer 1, {100 * saturated.float().mean():.2f} % saturated, "
                f"{saturated.all(0).sum()} dead units; gradients: std {gradient.std():.1e}\n") in said


def test_a_diagnosis_prints_how_far_the_steps_moved_the_weights(figures, capsys):
    model = make_model("mlp")
    diagnosis = mm.Diagnosis(model, mm.Words(WORDS, VOCAB))
    weight = model.head.weight.detach()  # shares its memory
    ratios = []
    for size in (0.1, 0.0001, 0.01):
        diagnosis.measure()
        update = size * torch.randn_like(weight)
        ratios.append(math.log10(update.std() / weight.std()))
        weight += update
    diagnosis.finish(Path("diagnose.png"))
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("head "))
    assert line.split()[1:] == ["log10(update/weight):", "median", f"{ratios[2]:+.2f},", "last",
                                f"{ratios[2]:+.2f}"]
    curves = {curve.get_label(): curve for curve in figures[0].axes[-1].get_lines()}
    assert curves["head"].get_ydata() == pytest.approx(ratios, abs=1e-3)


# ------------------------------------------------------------------------------------------------------------
# A model of one's own, runs from Python


class Mine(nn.Module):
    """Two letters of context, by a class that has no `embed` and knows nothing of the rest."""

    context = 2

    def __init__(self, config):
        super().__init__()
        self.tables = nn.Parameter(torch.zeros(2, config.vocab_size, config.vocab_size))

    def forward(self, x):
        return self.tables[0][x] + self.tables[1][F.pad(x, (1, 0))[:, :-1]]  # (B, T, V)


def test_a_model_of_ones_own_trains_samples_and_resumes(monkeypatch):
    monkeypatch.setitem(mm.MODELS, "mine", Mine)
    config = mm.configure("mine", like="mlp", max_steps=150)
    model, vocab, results = mm.train(WORDS, config, "out/mine")
    assert results["run"].best_loss < results["run"].log[0][3] - 0.03
    assert len(mm.generate(model, vocab, num_samples=3)) == 3
    assert mm.resume("out/mine", WORDS, max_steps=160).results["run"].step == 160
    with pytest.raises(mm.UserError, match='like="mlp"'):
        mm.configure("mine")
    monkeypatch.delitem(mm.MODELS, "mine")
    with pytest.raises(mm.UserError, match="register it in MODELS first"):
        mm.load("out/mine")


@pytest.mark.parametrize("name", ["ngram", "ninja", "bow", "transformer"])
def test_a_class_made_from_a_model_trains_as_that_model_does(name, monkeypatch):
    calls = []

    class Own(mm.MODELS[name]):
        def forward_backward(self, x, y):
            calls.append("by hand")
            return super().forward_backward(x, y)

    monkeypatch.setitem(mm.MODELS, "own", Own)
    sizes = {setting: SIZES[setting] for setting in ("n_embd", "n_embd2", "n_layer", "n_head")}
    own = mm.train(WORDS, mm.configure("own", like=name, max_steps=3, **sizes), "own").results
    model = mm.train(WORDS, mm.configure(name, max_steps=3, **sizes), "model").results
    assert own["validation"] == model["validation"]
    assert calls == (["by hand"] * 3 if name == "ninja" else [])


@pytest.mark.parametrize("name, block_size, part", [
    ("ngram", 30, "--block-size 30 is too long"), ("wavenet", 6, "power of two"),
    ("transformer", 5, "--block-size 5 is too short"), ("bow", 5, "--block-size 5 is too short")])
def test_a_class_made_from_a_model_has_its_limits(name, block_size, part, monkeypatch):
    monkeypatch.setitem(mm.MODELS, "own", type("Own", (mm.MODELS[name],), {}))
    with pytest.raises(mm.UserError, match=part):
        mm.train(WORDS, mm.configure("own", like=name, block_size=block_size), "own")


class Endless(Mine):
    """Hardly ever ends a word."""

    def forward(self, x):
        return super().forward(x).index_fill(2, torch.tensor([0]), -30)


def test_the_samples_of_a_run_are_no_longer_than_its_longest_words_may_be(monkeypatch, capsys):
    monkeypatch.setitem(mm.MODELS, "mine", Endless)
    config = mm.configure("mine", like="mlp", max_steps=1, max_length=9)
    assert [len(word) for word in mm.train(WORDS, config).results["samples"]] == [9] * 20
    capsys.readouterr()
    assert not mm.main(["--sample-only"])
    assert [len(word) for word in capsys.readouterr().out.splitlines()] == [9] * 20


@pytest.mark.parametrize("name, mixed", [("batchnorm", True), ("wavenet", True), ("mlp", False)])
def test_batches_are_of_similar_words_except_with_batch_norm(name, mixed, monkeypatch):
    lengths = []

    class Own(mm.MODELS[name]):
        def forward(self, x):
            if self.training:
                lengths.append(x.shape[1])
            return super().forward(x)

    monkeypatch.setitem(mm.MODELS, "own", Own)
    short = ["".join(letters) for letters in itertools.product("abcde", repeat=2)]
    words = short + [word + "edcba" for word in short]
    mm.train(words, mm.configure("own", like=name, batch_size=20, max_steps=2, n_embd2=8), "own")
    assert sorted(lengths) == ([8, 8] if mixed else [3, 8])


def test_a_run_started_from_python_goes_on_with_its_words_given_again(capsys):
    config = mm.configure("mlp", max_steps=3, **{name: SIZES[name] for name in ("n_embd", "n_embd2")})
    before = vars(config).copy()
    result = mm.train(WORDS, config, "out/makemore")
    assert vars(config) == before, "the caller's config is not changed"
    assert "\n" not in repr(result) and len(repr(result)) < 120
    refuse(capsys, ["--resume", "--max-steps", "5"], "-i FILE", "words=")
    assert not go("--resume", "--max-steps", "5", "-i", "words.txt")
    assert saved("out/makemore")["progress"]["step"] == 5
    with pytest.raises(mm.UserError, match="^this list does not have the words"):
        mm.resume("out/makemore", WORDS[:-1])
    with pytest.raises(TypeError, match="max_steps go into configure"):
        mm.train(WORDS, config, "out/makemore", max_step=5)


def test_after_a_failure_standard_output_still_works(capfd):
    assert mm.main(["--sample-only", "-o", "x" * 300]) == 1
    print("still here", flush=True)
    said = capfd.readouterr()
    assert said.out == "still here\n" and "File name too long" in said.err


def test_a_run_in_a_thread_of_its_own_needs_no_handler_for_ctrl_c():
    finished = []
    thread = threading.Thread(
        target=lambda: finished.append(mm.train(WORDS, mm.configure("ngram"), "out/thread")))
    thread.start()
    thread.join()
    assert finished[0].results["test"][0] > 0


def test_training_leaves_the_plots_of_a_notebook_alone():
    import matplotlib

    before = matplotlib.get_backend()
    mm.train(WORDS, mm.configure("bigram", max_steps=2), "out/makemore")
    assert matplotlib.get_backend() == before


@pytest.mark.parametrize("name", LEARNED)
def test_vectors_of_one_number_can_be_drawn(name):
    sizes = ["--n-layer", "1", "--n-head", "1", "--n-embd", "1", "--n-embd2", "1", "-b", "8"]
    assert not go("-i", "words.txt", "--type", name, "--max-steps", "1", *sizes)


def test_words_with_unknown_letters_are_refused_instead_of_cut():
    with pytest.raises(mm.UserError, match="not in the vocabulary: 'E'; the vocabulary is am"):
        mm.Words(["Emma"], mm.Vocab("ma"))


@pytest.mark.parametrize("arguments", [
    ["-l", "1e40"], ["-w", "1e40"], ["--seed", "-1"], ["--seed", str(2**64)], ["-b", "9" * 19],
    ["--num-samples", "9" * 19], ["--temperature", "1e300"], ["--max-steps", "9" * 19],
    ["--n-embd", "9" * 12],
], ids=" ".join)
def test_numbers_that_only_torch_would_refuse_are_refused_before_anything_is_moved(
        arguments, trained, capsys):
    trained("mlp")
    names = {"-l": "learning-rate", "-w": "weight-decay", "-b": "batch-size"}
    name = names.get(arguments[0], arguments[0][2:])
    refuse(capsys, ["-i", "words.txt", "--type", "transformer", *arguments], f"--{name} must be from ")


@pytest.mark.parametrize("flag", ["--sample-only", "--resume"])
def test_a_checkpoint_with_the_right_name_and_wrong_content_is_refused(flag, trained, capsys):
    out = trained("mlp")
    good = saved(out)
    contents = [{"format": mm.FORMAT}, good | {"config": good["config"] | {"colour": 3}},
                {name: value for name, value in good.items() if name != "model"}]
    for content in contents:
        torch.save(content, out / "model.pt")
        refuse(capsys, [flag], "model.pt is damaged")
    for protocol in (3, 5):
        (out / "model.pt").write_bytes(pickle.dumps({"format": mm.FORMAT}, protocol=protocol))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            refuse(capsys, [flag], "model.pt is damaged")
    for other in ("gpt 4", "makemore 4"):
        torch.save({"format": other}, out / "model.pt")
        refuse(capsys, [flag], f"has format {other}; this version reads {mm.FORMAT}")
    (out / "model.pt").unlink()
    (out / "model.pt").mkdir()
    refuse(capsys, [flag], "cannot read", "Is a directory")


def test_what_cannot_be_combined_is_refused(trained, capsys):
    trained("mlp")
    refuse(capsys, ["--resume", "--sample-only"], "--resume", "--sample-only", "not allowed with")
    refuse(capsys, ["--sample-only", "--max-steps", "9"], "--max-steps")


def test_ctrl_c_while_the_live_line_is_written_leaves_no_step_unsaved(terminal):
    with contextlib.redirect_stdout(terminal) as shown:
        assert mm.main(["-i", "words.txt", "--type", "mlp", "--max-steps", "100000", *TINY]) == 130
    assert f"stopped after step {saved('out/makemore')['progress']['step']};" in shown.getvalue()


def test_ctrl_c_before_the_first_step_stops_after_it_with_all_saved(monkeypatch):
    class Pressed(mm.Run):
        def report(self):
            super().report()
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        patch.setattr(mm, "Run", Pressed)
        assert go("-i", "words.txt", "--type", "mlp", "--max-steps", "200", *TINY) == 130
    assert signal.getsignal(signal.SIGINT) is before
    assert saved("out/makemore")["progress"]["step"] == 1
    assert not go("--resume", "--max-steps", "200")


def test_samples_name_the_part_of_the_data_that_has_them(trained, capsys):
    trained("ngram")
    capsys.readouterr()
    assert not mm.main(["--sample-only", "--num-samples", "200", "--seed", "1"])
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    parts = {word: f"in {name}" for name, part in mm.split(WORDS).items() for word in part}
    assert any(len(line) == 2 for line in lines) and any(len(line) == 1 for line in lines)
    for word, *mark in lines:
        assert mark == ([parts[word]] if word in parts else [])


def test_an_ngram_counts_once_whatever_the_number_of_steps(trained):
    out = trained("ngram")
    assert not go("--resume", "-o", out, "--max-steps", 50)
    assert saved(out)["progress"]["step"] == 1


def test_sizes_that_do_not_fit_the_words_are_refused_before_any_type_is_trained(trained, capsys):
    trained("mlp")
    refuse(capsys, ["-i", "words.txt", "--type", "all", "--block-size", "4"], "--block-size 4 is too short")


def test_a_refused_prompt_leaves_the_model_in_training_mode():
    model = make_model("mlp").train()
    with pytest.raises(mm.UserError):
        mm.generate(model, VOCAB, prompt="?")
    assert model.training


def test_two_runs_write_into_one_folder_without_breaking_each_others_files():
    for i in range(8):
        out = Path(f"out{i}").resolve()
        other = os.fork()  # so that both begin at the same moment
        status = 1
        try:
            status = go("-i", "words.txt", "--type", "ngram", "-o", out)
        finally:
            if not other:
                os._exit(status or 0)
        assert (status, os.waitpid(other, 0)[1]) == (None, 0)
        assert mm.load(out)


# ------------------------------------------------------------------------------------------------------------
# What users ran into


def by_heart(max_steps=200):
    """Few words and a high learning rate: the validation loss only gets worse."""
    letters = random.Random(1)
    words = ["".join(letters.choices("abcdefghijkl", k=6)) for _ in range(40)]
    return words, mm.configure("mlp", max_steps=max_steps, learning_rate=0.1, batch_size=32)


def test_a_run_that_learned_its_words_by_heart_says_so_and_its_last_weights_can_be_sampled(capsys):
    words, config = by_heart()
    _, vocab, results = mm.train(words, config, "out/makemore", num_samples=3)
    out = capsys.readouterr().out
    assert results["run"].best_step == 0
    assert "WARNING: validation never got below its first value: the run learned its words by heart" in out
    last = read_log("out/makemore")[-1]
    assert f"At the last step, 200: validation {float(last['val_loss']):.4f}" in out
    best, _ = mm.load("out/makemore")
    model, _ = mm.load("out/makemore", last=True)
    training = mm.Words(mm.split(words)["training"], vocab)
    assert mm.evaluate(model, training)[0] < 1
    assert mm.evaluate(best, training)[0] > 2
    assert not mm.main(["--sample-only", "--last", "--seed", "1"])
    sampled = [line.split("\t")[0] for line in capsys.readouterr().out.splitlines()]
    assert sampled == mm.generate(model, vocab, seed=1) != mm.generate(best, vocab, seed=1)


def test_a_run_that_diverged_says_so(capsys):
    mm.train(WORDS, mm.configure("mlp", max_steps=40, learning_rate=100), "out/makemore")
    out = capsys.readouterr().out
    assert "WARNING: validation never got below its first value: the run diverged" in out


def test_a_run_that_cannot_move_is_not_said_to_have_learned_by_heart(capsys):
    mm.train(WORDS, mm.configure("mlp", max_steps=5, learning_rate=0), "out/makemore")
    out = capsys.readouterr().out
    assert "WARNING: validation never got below its first value" in out
    assert "by heart" not in out


def test_a_run_that_learned_something_has_no_warning(capsys):
    mm.train(WORDS, mm.configure("bigram", max_steps=60), "out/makemore")
    assert "WARNING" not in capsys.readouterr().out


def test_the_first_evaluation_shows_samples_of_the_untrained_model(capsys):
    mm.train(WORDS, mm.configure("mlp", max_steps=3), "out/makemore", num_samples=3)
    lines = capsys.readouterr().out.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("step     0/3"))
    assert lines[first + 1].startswith("  new: ")


ENCODINGS = {
    "latin-1": ("emma\n" * 9 + "zoë\n" + "anna\n" * 90, "latin-1", ["line 10 ", "iconv -f CP1252 -t UTF-8"]),
    "cp1252": ("emma\n" * 9 + "“zoë”\n" + "anna\n" * 90, "cp1252", ["line 10 ", "iconv -f CP1252 -t"]),
    "utf-16": ("emma\nzoë\n" * 9, "utf-16", ["iconv -f UTF-16 -t UTF-8"]),
    "utf-16-le": ("emma\nanna\n" * 9, "utf-16-le", ["iconv -f UTF-16LE -t UTF-8"]),
    "utf-16-be": ("emma\nanna\n" * 9, "utf-16-be", ["iconv -f UTF-16BE -t UTF-8"]),
    "koi8-r": ("анна\nольга\n" * 9, "koi8-r", ["line 1 ", "iconv -f ENCODING"]),
}


@pytest.mark.parametrize("what", ENCODINGS)
def test_a_file_in_another_encoding_is_refused_with_the_command_that_converts_it(what, capsys):
    text, encoding, parts = ENCODINGS[what]
    Path("input").write_bytes(text.encode(encoding))
    refuse(capsys, ["-i", "input"], *parts)


def test_the_commands_that_convert_a_file_do():
    iconv = shutil.which("iconv")
    if not iconv:
        pytest.fail("iconv is part of every Unix")
    for what in ("latin-1", "cp1252", "utf-16", "utf-16-le"):
        text, encoding, _ = ENCODINGS[what]
        Path("input").write_bytes(text.encode(encoding))
        with pytest.raises(mm.UserError) as caught:
            mm.read_file("input")
        command = str(caught.value).split(": ")[-1].removesuffix(" converts it")
        assert subprocess.run(command, shell=True, check=False).returncode == 0
        assert mm.read_file("new.txt") == text


def test_a_damaged_utf_8_file_is_told_from_one_in_another_encoding(capsys):
    Path("input").write_bytes("zoë\nrenée\n".encode() * 20 + b"half \xed\xa0\x80 pair\n")
    refuse(capsys, ["-i", "input"], "line 41 is not UTF-8, but most of the file is", "iconv -c -f UTF-8")


def test_only_line_ends_part_words():
    Path("input").write_bytes("one\rtwo\r\nthree\n\x0cfour\x0c\nfi\u2028ve\u2028\nsi\x85x \t\n".encode())
    assert mm.read_words("input") == ["one", "two", "three", "four", "fi\u2028ve", "si\x85x"]


def test_numbers_and_paths_of_any_type_train_a_model_that_can_be_loaded_and_resumed():
    config = mm.configure(np.str_("mlp"), max_steps=np.int64(3), learning_rate=np.float64(0.01),
                          weight_decay=fractions.Fraction(1, 100), n_embd=torch.tensor(4),
                          n_embd2=np.uint8(8))
    config.batch_size = np.int32(8)
    config.seed = torch.tensor(7)
    mm.train(WORDS, config, Path("out/makemore"), source=Path("words.txt"), temperature=np.float32(0.5),
             num_samples=np.int64(3))
    content = saved("out/makemore")
    assert {type(value) for value in content["config"].values()} == {str, int, float, type(None)}
    assert content["source"] == str(Path("words.txt").resolve())
    model, vocab = mm.load("out/makemore")
    assert len(mm.generate(model, vocab, num_samples=torch.tensor(2), seed=np.int64(1))) == 2
    assert mm.resume("out/makemore", max_steps=np.int64(5)).results["run"].step == 5


@pytest.mark.parametrize("name, value", [
    ("max_steps", "100"), ("max_steps", None), ("max_steps", 8.0), ("learning_rate", "0.1"),
    ("learning_rate", None), ("n_embd", [3]), ("dropout", 1j), ("batch_size", np.array([1, 2])),
    ("seed", math.nan),
])
def test_settings_that_are_not_numbers_are_refused_in_a_sentence(name, value):
    with pytest.raises(mm.UserError, match=f"^--{name.replace('_', '-')} must be a .*number, not "):
        mm.configure("transformer", **{name: value})
    config = dataclasses.replace(mm.configure("transformer"), **{name: value})
    with pytest.raises(mm.UserError, match="number, not "):
        mm.train(WORDS, config, "out/makemore")
    assert not Path("out").exists()


@pytest.mark.parametrize("options", [
    {"temperature": -1}, {"temperature": math.nan}, {"temperature": "1"}, {"num_samples": -5},
    {"num_samples": 0}, {"num_samples": 2.5}, {"top_k": -1}, {"top_k": 0}, {"seed": -1}, {"max_length": 0},
    {"prompt": 5},
], ids=str)
def test_options_of_sampling_are_checked_in_generate_and_before_training(options):
    model = make_model("mlp")
    with pytest.raises(mm.UserError, match="must be"):
        mm.generate(model, VOCAB, **options)
    with pytest.raises(mm.UserError, match="must be"):
        mm.train(WORDS, mm.configure("ngram"), "out/makemore", **options)
    assert not Path("out").exists()


def test_counting_gives_the_counted_model_however_bad_its_validation_loss():
    words = ["Paris", "London", "Berlin", "Madrid", "Rome", "Vienna", "Prague", "Warsaw", "Lisbon", "Dublin",
             "Oslo", "Helsinki"]
    model, _, results = mm.train(words, mm.configure("ngram"), "out/makemore")
    assert results["run"].best_step == 1
    assert model.counts.sum() == sum(len(word) + 1 for word in mm.split(words)["training"])
    assert mm.load("out/makemore")[0].counts.sum() == model.counts.sum()


def test_counting_in_pieces_is_counting_at_once():
    data = mm.Words(WORDS, VOCAB)
    one, other = make_model("ngram"), mm.NGram(dataclasses.replace(mm.configure("ngram"), vocab_size=6))
    for index in torch.arange(len(WORDS)).split(7):
        other.fit(*data.batch(index))
    other.alpha.fill_(0.3)
    x, _ = data.batch(torch.arange(len(WORDS)))
    assert torch.equal(one(x), other(x))


def test_a_single_test_word_has_no_standard_error(capsys):
    mm.train(WORDS[:12], mm.configure("ngram"), "out/makemore")
    out = capsys.readouterr().out
    assert "(of one word)" in out and "standard error" not in out
    assert math.isnan(mm.evaluate(make_model("mlp"), mm.Words(["abc"], VOCAB))[1])


def test_too_few_words_are_refused_with_the_cause(capsys):
    Path("one line.txt").write_text(" ".join(WORDS * 3))
    refuse(capsys, ["-i", "one line.txt"], "found 0", "longer than --max-length 256",
           "write each word on a line of its own")
    Path("sentences.txt").write_text("\n".join(f"{i} " + "blah " * 100 for i in range(50)))
    refuse(capsys, ["-i", "sentences.txt"], "found 0; 50 of 50 lines are longer than --max-length 256")
    Path("same.txt").write_text("a\nb\n" * 50)
    refuse(capsys, ["-i", "same.txt"], "found 2; the other 98 lines repeat them")


def test_lines_with_their_ends_are_words():
    with open("words.txt") as file:
        lines = file.readlines()
    assert mm.clean(lines, 256) == WORDS
    with open("words.txt") as file:
        assert mm.clean(file, 256) == WORDS


@pytest.mark.parametrize("words, part", [
    ("words.txt", "read_words"), (Path("words.txt"), "read_words"), (" ".join(WORDS), "must be a list"),
    (5, "must be a list"),
    ([*WORDS, 5], "must be text, not 5"), ([*WORDS, math.nan], "must be text, not nan"),
    ([*WORDS, b"abc"], "must be text, not b'abc'"), ([*WORDS, "a\nb"], "must be one line"),
    ([*WORDS, "a\ud800b"], "half of a character"),
], ids=str)
def test_what_is_no_list_of_words_is_refused(words, part):
    with pytest.raises(mm.UserError, match=part):
        mm.train(words, mm.configure("ngram"), "out/makemore")
    assert not Path("out").exists()


def test_a_checkpoint_can_be_named_itself(trained):
    out = trained("mlp")
    model, vocab = mm.load(out / "model.pt")
    assert mm.generate(model, vocab, seed=1) == mm.generate(*mm.load(out), seed=1)
    assert mm.resume(out / "model.pt", max_steps=8).results["run"].step == 8
    assert saved(out)["progress"]["step"] == 8
    assert mm.resume(out, iter(WORDS), max_steps=9).results["run"].step == 9
    shutil.copy(out / "model.pt", "another.pt")
    assert mm.load("another.pt")[1].chars == vocab.chars
    before = snapshot(".")
    with pytest.raises(mm.UserError, match="can be sampled from, but not continued"):
        mm.resume("another.pt", max_steps=20)
    assert snapshot(".") == before


def test_a_device_that_is_not_there_is_refused_by_load(trained):
    out = trained("mlp")
    with pytest.raises(mm.UserError, match="cannot be used here"):
        mm.load(out, device="cuda:77")
    assert mm.device_of(mm.load(out, device=torch.device("cpu"))[0]).type == "cpu"


def test_sampling_refuses_what_it_would_ignore(trained, capsys):
    trained("mlp")
    refuse(capsys, ["--sample-only", "-i", "nowhere.txt"], "nowhere.txt")
    Path("other.txt").write_text("\n".join(WORDS[:-1]))
    refuse(capsys, ["--sample-only", "-i", "other.txt"], "does not have the words of the run")
    refuse(capsys, ["--sample-only", "--diagnose"], "--diagnose")
    refuse(capsys, ["-i", "words.txt", "--last"], "--last needs --sample-only")
    refuse(capsys, ["--sample-only", "--max-length", "9"], "--max-length 9 contradicts")


class Gambler(Mine):
    """Draws a random number in every training step, as dropout does."""

    drawn = []

    def forward(self, x):
        if self.training:
            self.drawn.append(torch.rand(()).item())
        return super().forward(x)


def test_dropout_draws_other_numbers_at_every_step_and_the_same_after_a_resume(monkeypatch):
    monkeypatch.setitem(mm.MODELS, "mine", Gambler)
    monkeypatch.setattr(Gambler, "drawn", [])
    mm.train(WORDS, mm.configure("mine", like="mlp", max_steps=6), "whole")
    mm.train(WORDS, mm.configure("mine", like="mlp", max_steps=3), "parts")
    mm.resume("parts", WORDS, max_steps=6)
    assert len(set(Gambler.drawn[:6])) == 6
    assert Gambler.drawn[6:] == Gambler.drawn[:6]
    mm.train(WORDS, mm.configure("mine", like="mlp", max_steps=6, seed=1), "other")
    assert not set(Gambler.drawn[12:]) & set(Gambler.drawn[:6])


def test_training_leaves_torchs_random_numbers_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    mm.train(WORDS, mm.configure("transformer", max_steps=2, **SIZES), "out/makemore")
    assert torch.equal(torch.rand(3), expected)


def test_a_run_stays_in_its_folder_when_the_working_directory_changes(tmp_path, monkeypatch):
    begin = mm.Run.report

    def move(run):
        begin(run)
        os.chdir("/")

    with monkeypatch.context() as patch:
        patch.setattr(mm.Run, "report", move)
        mm.train(WORDS, mm.configure("mlp", max_steps=2), "out/makemore", source="words.txt")
    os.chdir(tmp_path)
    assert saved("out/makemore")["progress"]["step"] == 2
    assert saved("out/makemore")["source"] == str(tmp_path / "words.txt")
    assert Path("out/makemore/letters.png").exists()


def test_an_evaluation_takes_words_of_similar_length_in_batches_of_bounded_size():
    data = mm.Words([*WORDS, "a" * 200], VOCAB)
    batches = list(data.batches_by_length(50, 61))
    assert sorted(torch.cat(batches).tolist()) == list(range(61))
    for index in batches:
        assert len(index) == 1 or len(index) * data.lengths[index].max() <= 50
    assert sorted(torch.cat(list(data.batches_by_length(50, 9))).tolist()) == list(range(9))


def test_of_a_million_words_a_hundred_thousand_validate_and_as_many_test():
    parts = mm.split(range(1_200_000))
    assert {name: len(part) for name, part in parts.items()} == {
        "training": 1_000_000, "validation": 100_000, "test": 100_000}


def test_a_long_silence_is_broken_by_a_line_on_a_pipe_too(monkeypatch, capsys):
    now = 100.0
    with monkeypatch.context() as patch:
        patch.setattr(time, "monotonic", lambda: now)
        progress = mm.Progress(sys.stdout)
        for now in (100.5, 101.5, 102.5, 103.5, 105.0):
            progress.show(f"at {now}")
    assert capsys.readouterr().out == "at 102.5\nat 105.0\n"


def test_all_types_in_a_used_folder_move_the_old_picture_aside(monkeypatch):
    monkeypatch.setattr(mm, "DEFAULTS", {"bigram": mm.DEFAULTS["bigram"]})
    Path("all").mkdir()
    for name in ("losses.png", "model.pt"):
        Path("all", name).write_text("old")
    assert not go("-i", "words.txt", "-o", "all", "--type", "all", "--max-steps", "2")
    assert Path("all/losses.1.png").read_text() == Path("all/model.pt").read_text() == "old"
    assert Path("all/losses.png").stat().st_size > 1000


def test_samples_into_a_file_show_their_progress_on_standard_error(monkeypatch, trained, capsys):
    trained("mlp")
    capsys.readouterr()
    with monkeypatch.context() as patch:
        patch.setattr(time, "monotonic", itertools.count(0, 10).__next__)  # ten seconds at each look
        assert not mm.main(["--sample-only", "--num-samples", "3"])
    said = capsys.readouterr()
    assert "sampling: letter 2 of " in said.err
    assert len(said.out.splitlines()) == 3 and "sampling" not in said.out


class Tee:
    """A standard output that keeps what is written, and can do nothing else."""

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text

    def flush(self):
        pass


def test_training_needs_nothing_of_standard_output_but_write(monkeypatch):
    tee = Tee()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", tee)
        mm.train(WORDS, mm.configure("mlp", max_steps=2), "out/makemore")
    assert "step     2/2" in tee.text


def test_top_k_draws_from_exactly_k_letters_even_if_they_are_equally_likely():
    same = {letter: dict.fromkeys(".abc", 0.25) for letter in ".abc"}
    model, vocab = table_model(same)
    for k in (1, 2, 3):
        words = mm.generate(model, vocab, prompt="a", num_samples=200, top_k=k, seed=1, max_length=1)
        assert set("".join(words)) == set("abc"[:max(1, k - 1)])


class Undecided(Mine):
    """Its logits are not numbers in evaluation."""

    def forward(self, x):
        logits = super().forward(x)
        return logits if self.training else logits * math.nan


def test_a_run_whose_validation_loss_is_never_a_number_ends_in_a_sentence(monkeypatch):
    monkeypatch.setitem(mm.MODELS, "mine", Undecided)
    with pytest.raises(mm.UserError, match="logits are not numbers") as caught:
        mm.train(WORDS, mm.configure("mine", like="mlp", max_steps=2), "out/makemore")
    assert caught.value.status == 1
    assert saved("out/makemore")["progress"]["step"] == 2


def test_a_write_whose_clean_up_fails_too_is_refused_in_a_sentence():
    Path("file").write_text("mine")
    with pytest.raises(mm.UserError, match="cannot write file/below: Not a directory"):
        mm.write_file(Path("file/below"), b"")


def test_ctrl_c_while_torch_is_imported_makes_no_traceback():
    Path("torch").mkdir()
    Path("torch/__init__.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    finished = subprocess.run([sys.executable, SCRIPT], env=environment, check=False, capture_output=True,
                              text=True, timeout=60)
    assert (finished.returncode, finished.stderr) == (-signal.SIGINT, "")


@pytest.mark.parametrize("name", ["ngram", "bigram"])
def test_pairs_of_many_letters_are_drawn(name):
    words = [chr(0x4E00 + i) + chr(0x4E00 + 7 * i % 500) for i in range(500)]
    mm.train(words, mm.configure(name, max_steps=1, block_size=1), "out/makemore", num_samples=1)
    assert Path("out/makemore/pairs.png").exists()


@pytest.mark.parametrize("letters", ["ACGT", ".-_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGH"])
def test_the_table_of_pairs_fits_its_picture_and_has_no_two_rows_of_one_name(letters, monkeypatch):
    figures = []
    savefig = Figure.savefig

    def save_and_keep(figure, *args, **options):
        savefig(figure, *args, **options)
        figures.append(figure)

    monkeypatch.setattr(Figure, "savefig", save_and_keep)
    words = [a + b for a in letters for b in letters]
    mm.train(words, mm.configure("bigram", max_steps=1), "out/makemore", num_samples=1)
    figure = next(figure for figure in figures if len(figure.axes) == 2)  # counted and learned
    whole = figure.bbox_inches
    needed = figure.get_tightbbox()
    assert needed.x0 >= 0 and needed.y0 >= 0 and needed.x1 <= whole.x1 and needed.y1 <= whole.y1
    for ax in figure.axes:
        names = [label.get_text() for label in ax.get_yticklabels()]
        assert len(set(names)) == len(names) <= 30


def test_the_table_of_pairs_shows_how_often_a_letter_followed_another(figures):
    model = make_model("bigram")
    mm.draw_pairs(model, VOCAB, mm.Words(WORDS, VOCAB), Path("pairs.png"))
    pairs = Counter(pair for word in WORDS for pair in itertools.pairwise(f".{word}."))
    shown = {}
    for text in figures[0].axes[0].texts:
        column, row = text.get_position()
        shown[".abcde"[row], ".abcde"[column]] = int(text.get_text())
    assert shown == pairs


MANY = [chr(0x4E00 + i) for i in range(60)]
MORE_AND_MORE = [letter * number for number, letter in enumerate(MANY, 1)]  # the last letters are frequent


def test_the_learned_table_of_pairs_has_the_numbers_that_the_bigram_expects(figures):
    vocab = mm.Vocab("".join(MANY))
    torch.manual_seed(0)
    model = mm.Bigram(dataclasses.replace(mm.configure("bigram"), vocab_size=len(vocab)))
    nn.init.normal_(model.table.weight)
    mm.draw_pairs(model, vocab, mm.Words(MORE_AND_MORE, vocab), Path("pairs.png"))
    learned = figures[0].axes[1]
    names = [label.get_text() for label in learned.get_xticklabels()]
    assert names == [".", *MANY[31:]], "the thirty most frequent"
    shown = torch.zeros(30, 30)
    for text in learned.texts:
        column, row = text.get_position()
        shown[row, column] = int(text.get_text())
    tokens = [0, *range(32, 61)]
    probabilities = model.table.weight.softmax(1)[tokens][:, tokens]
    counts = torch.tensor([60, *range(32, 61)])  # a letter that comes n times is followed n times
    assert (shown - counts[:, None] * probabilities).abs().max() <= 0.51


def test_the_picture_of_the_letters_has_the_fifty_most_frequent_and_their_principal_components(figures):
    vocab = mm.Vocab("".join(MANY))
    torch.manual_seed(0)
    model = mm.MLP(dataclasses.replace(mm.configure("mlp", n_embd=4), vocab_size=len(vocab)))
    mm.draw_letters(model, vocab, mm.Words(MORE_AND_MORE, vocab), Path("letters.png"))
    ax = figures[0].axes[0]
    assert sorted(text.get_text() for text in ax.texts) == [".", *MANY[11:]]
    variances = np.linalg.eigvalsh(np.cov(model.embed.weight[[0, *range(12, 61)]].detach().T))[::-1]
    points = np.array([text.get_position() for text in ax.texts])
    assert points.var(0, ddof=1) == pytest.approx(variances[:2], rel=1e-4)
    first, second = 100 * variances[:2] / variances.sum()
    assert ax.get_xlabel() == f"first principal component ({first:.0f} % of the variance)"
    assert ax.get_ylabel() == f"second ({second:.0f} %)"


def test_the_picture_of_a_run_has_its_losses_their_running_mean_and_its_evaluations(figures):
    run = mm.train(WORDS, mm.configure("bigram", max_steps=60)).results["run"]
    uniform, batches, means, validation = figures[0].axes[0].get_lines()
    assert uniform.get_ydata() == pytest.approx([math.log(6)] * 2)
    assert list(batches.get_ydata()) == run.losses
    assert list(means.get_xdata()) == list(range(1, 60)), "the step of the second of two"
    assert means.get_ydata() == pytest.approx([sum(pair) / 2 for pair in itertools.pairwise(run.losses)])
    assert list(zip(validation.get_xdata(), validation.get_ydata())) == [(row[0], row[3]) for row in run.log]


def test_the_labels_of_curves_that_end_together_do_not_touch(figures):
    run = mm.train(WORDS, mm.configure("bigram", max_steps=2)).results["run"]
    names = ["mlp", "gru", "lstm", "ngram"]
    mm.draw_losses(dict.fromkeys(names, run), Path("losses.png"))
    figures[-1].draw_without_rendering()  # puts everything in its place
    labels = figures[-1].axes[0].texts
    assert [label.get_text() for label in labels] == [f"{name} {run.best_loss:.3f}" for name in names]
    boxes = [Text.get_window_extent(label) for label in labels]  # without the line to the curve
    assert all(lower.y1 < upper.y0 for lower, upper in itertools.pairwise(boxes))


# ------------------------------------------------------------------------------------------------------------
# The program from outside


def test_sampling_imports_no_matplotlib_and_the_file_is_a_module_of_its_own(runs):
    code = (
        "import sys, makemore\n"
        "status = makemore.main(['--sample-only', '-o', sys.argv[1], '--num-samples', '3'])\n"
        "assert status is None and 'matplotlib' not in sys.modules\n"
        "print(makemore.__file__)\n"
    )
    finished = subprocess.run(
        [sys.executable, "-c", code, runs / "out" / "gru"], cwd=SCRIPT.parent,
        check=False, capture_output=True, text=True, timeout=60,
    )
    assert (finished.returncode, finished.stderr) == (0, "")
    lines = finished.stdout.splitlines()
    assert len(lines) == 4
    assert Path(lines[-1]).resolve() == SCRIPT


def test_the_package_has_the_public_names():
    import makemore

    for name in ("load", "generate", "train", "evaluate", "configure", "main", "Vocab",
                 "Words", "split", "MODELS", "Transformer", "NGram", "attention"):
        assert getattr(makemore, name) is getattr(mm, name)


def test_faults_in_a_process_and_in_python_end_with_status_2_and_one_line(capfd):
    (Path("bad") / "deep").mkdir(parents=True)
    Path("bad/model.pt").write_bytes(b"PK\x03\x04 no checkpoint")
    before = snapshot(".")
    damaged = run_python(SCRIPT, "--sample-only", "-o", "bad")
    missing = mm.main(["-i", "nowhere.txt"])
    for status, err in ((damaged.returncode, damaged.stderr), (missing, capfd.readouterr().err)):
        assert status == 2
        assert err.startswith("makemore: ") and err.count("\n") == 1
    assert snapshot(".") == before


def test_a_closed_pipe_and_a_terminal_without_the_letters_make_no_traceback(trained):
    accents = [word.replace("a", "é").replace("b", "漢") for word in WORDS]
    Path("input").write_text("\n".join(accents), encoding="utf-8")
    assert not go("-i", "input", "--type", "ngram")
    command = f"'{sys.executable}' '{SCRIPT}' --sample-only --num-samples 12000 | head -1"
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "OMP_NUM_THREADS": "1"}
    finished = subprocess.run(
        command, shell=True, check=False, capture_output=True, text=True, env=environment
    )
    assert finished.stderr == ""
    assert finished.stdout.isascii() and finished.stdout.count("\n") == 1


def test_output_that_cannot_be_written_makes_no_traceback(trained):
    trained("mlp")
    command = f"ulimit -f 0; '{sys.executable}' '{SCRIPT}' --sample-only > printed.txt"  # as on a full disk
    finished = subprocess.run(command, shell=True, check=False, capture_output=True, text=True)
    assert (finished.returncode, finished.stderr) == (1, "makemore: [Errno 27] File too large\n")


def test_help_shows_its_flags_in_groups(capsys):
    assert mm.main(["--help"]) is None
    text = capsys.readouterr().out
    for flag in ("-i", "-o", "--resume", "--sample-only", "--max-steps", "--device", "--seed", "--top-k",
                 "--type",
                 "--n-layer", "--n-head", "--n-embd", "--n-embd2", "-b", "-l", "-w", "--temperature",
                 "--num-samples", "--prompt", "--block-size", "--diagnose"):
        assert flag in text, flag
    assert "num-workers" not in text
    assert text.count("\n\n") >= 4


def test_num_workers_of_the_original_is_accepted(trained):
    trained("mlp")
    assert not go("--sample-only", "--num-workers", "4")


def test_settings_that_a_type_does_not_use_are_named(capsys):
    assert mm.main(["-i", "words.txt", "--type", "bigram", "--n-embd", "8", "--max-steps", "1"]) is None
    assert "bigram does not use --n-embd\n" in capsys.readouterr().out
    assert mm.main(["-i", "words.txt", "--type", "mlp", "--n-embd", "8", "--max-steps", "1"]) is None
    assert "does not use" not in capsys.readouterr().out


def test_a_checkpoint_that_may_not_be_read_is_not_called_damaged(trained, capsys, monkeypatch):
    out = trained("mlp")

    def refuse(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(mm.zipfile, "ZipFile", refuse)  # whoever runs the tests may read everything
    refuse_message = f"cannot read {out / 'model.pt'}: Permission denied"
    assert mm.main(["--sample-only", "-o", str(out)]) == 2
    assert refuse_message in capsys.readouterr().err
