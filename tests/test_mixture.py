"""mixture: counts and copies against brute force, the mixture of both with a transformer, its runs."""
import os
import re
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gpt import gpt, mixture

TEXT = "the cat sat on the mat and the dog ran to the man who had a hat and a cap\n" * 40
TINY = {"n_layer": 2, "n_head": 2, "n_embd": 16, "block_size": 16, "batch_size": 4, "max_steps": 8}
SIZES = ["--n-layer", "1", "--n-head", "2", "--n-embd", "16", "--block-size", "16", "--batch-size", "4"]


def random_tokens(*shape, V=11, seed=0):
    return np.random.default_rng(seed).integers(V, size=shape)


def shaken_model(**values):
    """A mixture all of whose weights are random, so that nothing is hidden behind a zero."""
    torch.manual_seed(0)
    model = mixture.Mixture(mixture.configure("cpu", **TINY | {"vocab_size": 11} | values)).eval()
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.3)
    model.counts = mixture.Counts.from_tokens(random_tokens(2000), 11)
    return model


def all_log_probs(counts, tokens, table=mixture.Counts.PARTS):
    """log q after each position of a text."""
    return torch.from_numpy(counts.log_probs(tokens, np.arange(len(tokens)), table))


# Counts


def kneser_ney(text, context, char, positions, D=0.9):
    """q(char | context), by the formula, with loops, for V = 4 and contexts of up to 6 characters.

    Only what followed at these positions of the text counts. The text begins with as many zeros.
    """
    n = len(context)
    padded = [0] * 6 + list(text)
    ends = [p + 6 for p in positions]
    if n == 6:
        followed = [padded[i] for i in ends if tuple(padded[i - 6 : i]) == context]
    else:  # each kind of longer context once
        longer = {(tuple(padded[i - n - 1 : i]), padded[i]) for i in ends}
        followed = [c for before, c in longer if before[1:] == context]
    lower = 1 / 4 if n == 0 else kneser_ney(text, context[1:], char, positions, D)
    if not followed:
        return lower
    return (max(followed.count(char) - D, 0) + D * len(set(followed)) * lower) / len(followed)


def assert_kneser_ney(q, text, position, positions, context_text=None):
    """q is what brute force says of the character after a position of a text."""
    context = tuple(([0] * 6 + list(text if context_text is None else context_text))[position + 1 :][:6])
    assert q.sum() == pytest.approx(1, abs=1e-5)
    for char in range(4):
        assert q[char] == pytest.approx(kneser_ney(text, context, char, positions), abs=1e-5)


def test_counts_are_interpolated_kneser_ney():
    text = np.random.default_rng(0).choice(4, size=120, p=[0.5, 0.3, 0.15, 0.05])
    counts = mixture.Counts.from_tokens(text, 4)
    assert counts.n == 6
    q = all_log_probs(counts, text).exp().numpy()
    for position in (0, 3, 5, 50, 90, 119):  # the first ones with zeros before the text
        assert_kneser_ney(q[position], text.tolist(), position, range(120))
    other = np.full(8, 3)  # a context that the text does not have
    assert_kneser_ney(all_log_probs(counts, other).exp().numpy()[7], text.tolist(), 7, range(120), [3] * 8)


def test_each_table_left_out_an_eighth_of_the_text_spread_over_four_places():
    text = np.random.default_rng(0).choice(4, size=320, p=[0.5, 0.3, 0.15, 0.05])
    counts = mixture.Counts.from_tokens(text, 4)
    tables = counts.table_without(np.arange(320))
    assert tables.tolist() == [position // 10 % 8 for position in range(320)]  # 32 pieces of 10
    assert counts.table_without(np.array([320, 5000])).tolist() == [8, 8], "all counts, where none is of it"
    for table in (0, 3, 7):
        kept = [position for position in range(320) if position // 10 % 8 != table]
        q = all_log_probs(counts, text, table).exp().numpy()
        for position in (35, 200, 301):
            assert_kneser_ney(q[position], text.tolist(), position, kept)


def test_the_counts_used_in_training_have_not_seen_the_character_that_they_predict():
    text = random_tokens(3200, V=3)
    text[1000:1007] = 3  # a letter of one part alone
    counts = mixture.Counts.from_tokens(text, 4)
    position = np.array([1005])  # the character after it is a 3
    held_out = counts.log_probs(text, position, counts.table_without(position + 1))
    whole = counts.log_probs(text, position)
    assert whole[0, 3] > -0.5  # the whole text knows that 3 follows 3
    assert held_out[0, 3] < -1


def test_counts_read_from_a_checkpoint_answer_as_before():
    text = random_tokens(3000, V=5)
    counts = mixture.Counts.from_tokens(text, 5)
    whole = mixture.Counts(5, *counts.whole())
    asked = random_tokens(200, V=5, seed=1)
    torch.testing.assert_close(all_log_probs(whole, asked), all_log_probs(counts, asked))
    assert len(whole.groups) < len(counts.groups) / 5


@pytest.mark.parametrize("V", [400, 5000])  # 9 * 400^7 lies between 2^63 and 2^64
def test_counts_of_a_large_vocabulary_take_shorter_contexts(V):
    text = random_tokens(20_000, V=V)
    counts = mixture.Counts.from_tokens(text, V)
    assert 2 <= counts.n < 6
    q = all_log_probs(counts, text[:40]).exp()
    assert q.sum(1).allclose(torch.ones(40), atol=1e-4)
    assert (q[range(10, 39), text[11:40]] > 0.1).all(), "what followed a context that occurred once"


# The predictions of the counts for a text


@pytest.mark.parametrize("held_out", [True, False])
def test_predictions_are_rows_of_what_the_counts_say(held_out):
    tokens = random_tokens(640, V=7)  # 32 pieces of 20
    counts = mixture.Counts.from_tokens(tokens, 7)
    predictions = mixture.Predictions(counts, tokens, torch.device("cpu"), held_out)
    starts = torch.tensor([0, 33, 100, 623])  # windows that go from one piece to the next
    rows = predictions.windows(starts, 16)
    assert rows.shape == (4, 16, 7) and rows.dtype == torch.float32
    for row, start in zip(rows, starts.tolist()):
        for t in range(16):
            table = (start + t + 1) // 20 % 8 if held_out else 8  # of the character that is predicted
            expected = counts.log_probs(tokens, np.array([start + t]), table)[0]
            assert row[t].numpy() == pytest.approx(expected, abs=0.005)  # half precision


def test_predictions_that_would_take_too_much_memory_are_computed_when_they_are_needed():
    tokens = random_tokens(1200, V=1_000_000)
    counts = mixture.Counts.from_tokens(tokens, 1_000_000)
    predictions = mixture.Predictions(counts, tokens, torch.device("cpu"), True)
    assert predictions.rows is None
    rows = predictions.windows(torch.tensor([7, 80]), 2)
    for row, start in zip(rows, (7, 80)):
        tables = counts.table_without(start + 1 + np.arange(2))
        expected = counts.log_probs(tokens, start + np.arange(2), tables)
        torch.testing.assert_close(row, torch.from_numpy(expected), atol=0.01, rtol=0)


# Copying


def copied_by_hand(text, t, V, longest=8):
    """(length of the longest match, distribution of what followed it) at position t, with loops."""
    best, followers = 0, []
    for s in range(t):
        length = 0
        while length < longest and s - length >= 0 and text[s - length] == text[t - length]:
            length += 1
        if length > best:
            best, followers = length, []
        if length == best and best:
            followers.append(text[s + 1])
    return best, np.bincount(followers, minlength=V) / max(1, len(followers)) if followers else np.zeros(V)


def test_the_copying_head_mixes_in_what_followed_the_longest_match_in_the_window():
    torch.manual_seed(1)
    copy, text = mixture.Copy(), torch.randint(3, (2, 40))
    text[1, 20:] = text[1, :20]  # with a match as long as any
    log_probs = torch.randn(2, 40, 3).log_softmax(2)
    mixed = copy(log_probs, text)
    lengths = set()
    for row in range(2):
        for t in range(40):
            length, followed = copied_by_hand(text[row].tolist(), t, 3)
            lengths.add(length)
            trust = copy.trust[length].sigmoid().item() if length else 0.0
            expected = (1 - trust) * log_probs[row, t].exp().numpy() + trust * followed
            assert mixed[row, t].exp().tolist() == pytest.approx(expected.tolist(), abs=1e-5)
    assert lengths == set(range(9))
    for T in (1, 5):  # the last positions alone
        torch.testing.assert_close(copy(log_probs[:, -T:], text), mixed[:, -T:])


def test_a_new_copying_head_trusts_a_longer_match_more():
    text = torch.arange(9).repeat(2)[None]  # at position 8 + n, the match has length n
    V = 9
    mixed = mixture.Copy()(torch.full((1, 18, V), 1 / V).log(), text)[0].exp()
    following = [mixed[8 + n, n % V].item() for n in range(1, 9)]
    assert following == sorted(following)
    assert following[0] < 2 / V and following[-1] > 0.5


# The mixture


def test_a_new_mixture_guesses_what_the_counts_predict():
    model = mixture.Mixture(mixture.configure("cpu", **TINY | {"vocab_size": 11}))
    idx = torch.arange(11)[None]  # no letter comes twice: nothing to copy
    log_q = torch.randn(1, 11, 11).log_softmax(2)
    torch.testing.assert_close(model(idx, log_q=log_q), log_q, atol=1e-4, rtol=1e-4)


def test_the_output_is_a_distribution():
    total = shaken_model()(torch.from_numpy(random_tokens(2, 16))).exp().sum(2)
    torch.testing.assert_close(total, torch.ones(2, 16), atol=1e-5, rtol=0)


def test_without_copies_it_is_the_transformer_that_hears_the_counts_before_and_after():
    model = shaken_model(n_layer=1)
    torch.nn.init.constant_(model.copy.trust, -30)  # no copies
    idx = torch.from_numpy(random_tokens(1, 12))
    q = all_log_probs(model.counts, idx[0].numpy())[None]
    with torch.no_grad():
        x = model.gpt.embed(idx) + 8 * q.exp() @ model.from_counts.weight.T
        x = model.gpt.blocks[0](x)
        logits = F.layer_norm(x, (16,)) @ model.gpt.head.weight.T + model.weight * q
        torch.testing.assert_close(model(idx), logits.log_softmax(2), atol=1e-4, rtol=1e-4)


def test_predictions_given_or_asked_for_are_the_same():
    model = shaken_model()
    idx = random_tokens(2, 16)
    log_q = torch.stack([all_log_probs(model.counts, row) for row in idx])
    idx = torch.from_numpy(idx)
    torch.testing.assert_close(model(idx), model(idx, log_q=log_q))


def test_no_prediction_depends_on_a_later_character():
    model = shaken_model()
    idx = torch.from_numpy(random_tokens(1, 16))
    for t in range(16):
        changed = idx.clone()
        changed[0, t] = (idx[0, t] + 1) % 11
        a, b = model(idx), model(changed)
        assert torch.equal(a[:, :t], b[:, :t])
        assert not torch.equal(a[:, t], b[:, t])


@pytest.mark.parametrize("first", [1, 5, 16])
def test_the_output_with_a_cache_equals_that_without_inside_the_context(first):
    model = shaken_model()
    idx = torch.from_numpy(random_tokens(3, 16, V=4))  # few letters: something to copy
    cache = gpt.KVCache(16)
    parts = [model(idx[:, :first], cache)]
    parts += [model(idx[:, t : t + 1], cache) for t in range(first, 16)]
    torch.testing.assert_close(torch.cat(parts, 1), model(idx), atol=1e-5, rtol=1e-5)


def test_greedy_text_is_the_likeliest_character_again_and_again():
    model, vocab = shaken_model(), gpt.Vocab("abcdefghijk")
    text = "abc"
    for _ in range(12):
        text += vocab.chars[model(torch.from_numpy(vocab.encode(text).astype(int))[None])[0, -1].argmax()]
    assert gpt.generate(model, vocab, "abc", max_new_tokens=12, temperature=0) == [text]


def test_the_compiled_mixture_computes_forward_and_backward_as_the_eager_one():
    model = shaken_model(dropout=0).train()
    idx, y = torch.from_numpy(random_tokens(2, 2, 12, V=4)).unbind(0)
    log_q = torch.stack([all_log_probs(model.counts, row.numpy()) for row in idx])
    gradients = []
    for forward in (model, torch.compile(model, backend="aot_eager", fullgraph=True)):
        model.zero_grad()
        gpt.loss_of(forward(idx, log_q=log_q), y).backward()
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], atol=1e-5, rtol=1e-4)
        assert gradient.abs().max() > 0, name


def test_every_tensor_of_a_step_is_on_the_models_device():
    with torch.device("meta"):  # mixing it with tensors made on the CPU is an error
        model = mixture.Mixture(mixture.configure("cpu", **TINY | {"vocab_size": 11}))
        idx, log_q = torch.zeros(2, 16, dtype=torch.long), torch.zeros(2, 16, 11)
    gpt.loss_of(model(idx, log_q=log_q), idx).backward()
    assert all(p.grad.device.type == "meta" for p in model.parameters())


# Runs


@pytest.fixture(autouse=True)
def an_own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text(TEXT)


def train(*arguments, out="out/mixture", steps=12):
    return mixture.main(["-i", "text.txt", "-o", out, "--device", "cpu", "--max-steps", str(steps),
                         "--dropout", "0.2", "--max-new-tokens", "5", *SIZES, *arguments])


def checkpoint(out="out/mixture"):
    return torch.load(Path(out) / "model.pt", weights_only=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a run that was never interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "text.txt").write_text(TEXT)
    config = mixture.configure("cpu", **TINY | {"n_layer": 1, "max_steps": 12, "dropout": 0.2})
    mixture.train(TEXT, config, folder / "out", device="cpu", source=folder / "text.txt", max_new_tokens=5)
    return folder / "out"


def test_a_run_learns_and_its_best_weights_have_the_loss_that_it_reports(whole):
    saved = checkpoint(whole)
    assert saved["format"] == mixture.FORMAT
    validation = [row[3] for row in saved["progress"]["log"]]
    assert min(validation) < validation[0] < 2, "counts alone know much of this text"
    model, vocab = mixture.load(whole)
    tokens = torch.from_numpy(vocab.encode(TEXT)).long()
    data = gpt.split(tokens, 16)
    groups, counts = mixture.Counts.from_tokens(data["training"].numpy(), len(vocab)).whole()
    assert model.counts.groups.tolist() == groups.tolist(), "what was counted is the training text"
    assert model.counts.counts.tolist() == counts.tolist()
    held = data["validation"]
    losses = []
    for start in range(0, len(held) - 16, 16):
        window = held[start : start + 17]
        log_q = all_log_probs(model.counts, held.numpy())[None, start : start + 16]  # with what came before
        log_probs = model(window[None, :16], log_q=log_q.half().float())
        losses.append(F.nll_loss(log_probs[0], window[1:]).item())
    assert np.mean(losses) == pytest.approx(min(validation), abs=1e-4)


def test_in_training_the_counts_do_not_know_by_heart_what_follows():
    text = "".join("abcd"[i] for i in random_tokens(3000, V=4))  # nothing to learn
    config = mixture.configure("cpu", **TINY | {"n_layer": 1, "learning_rate": 0})
    run = mixture.train(text + "\n", config, device="cpu", max_new_tokens=5).results["run"]
    assert np.mean(run.losses) > np.log(4)


def test_every_weight_is_trained_and_the_matrices_of_the_blocks_by_muon(whole):
    saved = checkpoint(whole)
    config = gpt.read_checkpoint(whole, mixture.FORMAT)["config"]
    torch.manual_seed(config.seed)
    model = mixture.Mixture(config)
    fresh = model.state_dict()
    assert [name for name, weight in saved["model"].items() if torch.equal(weight, fresh[name])] == []
    _, muon = gpt.make_optimizers(model, config)
    assert sum(len(group["params"]) for group in muon.param_groups) == 6


def test_a_run_stopped_by_ctrl_c_and_resumed_ends_with_the_weights_of_one_that_was_not(
        whole, monkeypatch, capsys):
    def press(optimizers, step, config, set_learning_rate=gpt.set_learning_rate):
        if step == 6:
            os.kill(os.getpid(), signal.SIGINT)
        set_learning_rate(optimizers, step, config)

    with monkeypatch.context() as patch:
        patch.setattr(gpt, "set_learning_rate", press)
        assert train() == 130
    assert checkpoint()["progress"]["step"] == 7
    assert "(in Python: mixture.resume('out/mixture'))" in capsys.readouterr().out
    assert not mixture.main(["--resume", "--device", "cpu", "--max-new-tokens", "5"])
    resumed, other = checkpoint(), checkpoint(whole)
    assert resumed["progress"]["losses"] == other["progress"]["losses"]
    assert all(torch.equal(weight, other["model"][name]) for name, weight in resumed["model"].items())


def test_samples_come_from_the_checkpoint_alone(whole, capsys):
    arguments = ["--sample-only", "-o", str(whole), "--device", "cpu", "--prompt", "the", "--seed", "1"]
    assert not mixture.main([*arguments, "--max-new-tokens", "40"])
    model, vocab = mixture.load(whole)
    expected = gpt.generate(model, vocab, "the", max_new_tokens=40, seed=1)
    assert capsys.readouterr().out == expected[0] + "\n"
    words = set(re.split(r"\s", expected[0])[1:-1])
    assert len(words & set(TEXT.split())) > len(words) / 2, "counts alone write words"
    assert not mixture.main([*arguments, "--last", "--max-new-tokens", "5"])


def test_the_best_weights_are_loaded_or_the_last(whole):
    saved = checkpoint(whole)
    saved["model"]["weight"] += 1
    torch.save(saved, "model.pt")
    for last, weights in ((False, saved["progress"]["best"]), (True, saved["model"])):
        loaded = mixture.load("model.pt", last=last)[0].state_dict()
        assert all(torch.equal(loaded[name], weight) for name, weight in weights.items())


def test_a_run_begins_with_the_weights_of_another_one_and_counts_its_own_text(whole):
    Path("text.txt").write_text("THE CAT sat on ÄÖÜ\n" * 60)
    assert not mixture.main(["-i", "text.txt", "--init-from", str(whole), "--max-steps", "1", "-b", "2",
                             "--device", "cpu", "--learning-rate", "0", "--max-new-tokens", "5"])
    before, after = checkpoint(whole), checkpoint()
    assert after["chars"].startswith(before["chars"]) and len(after["chars"]) > len(before["chars"])
    for name, weight in before["progress"]["best"].items():
        assert torch.equal(after["model"][name][tuple(slice(n) for n in weight.shape)], weight), name
    model, vocab = mixture.load()
    tokens = vocab.encode("THE C")
    assert vocab.chars[model.counts.log_probs(tokens, np.array([4]))[0].argmax()] == "A"


@pytest.mark.parametrize("action", [
    ["--resume"], ["--sample-only"], ["-i", "text.txt", "--init-from", "out/gpt"],
])
def test_the_runs_of_gpt_are_refused_with_their_format(whole, capsys, action):
    Path("out/gpt").mkdir(parents=True)
    saved = checkpoint(whole)
    torch.save(saved | {"format": gpt.FORMAT}, "out/gpt/model.pt")
    assert mixture.main([*action, "-o", "out/gpt", "--device", "cpu"]) == 2
    said = capsys.readouterr().err
    assert said == (f"mixture: out/gpt/model.pt has format {gpt.FORMAT}; this version reads "
                    f"{mixture.FORMAT}; choose another folder\n")
    torch.save(saved, "out/gpt/model.pt")
    assert gpt.main([*action, "-o", "out/gpt", "--device", "cpu"]) == 2
    assert f"has format {mixture.FORMAT}; this version reads {gpt.FORMAT}" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["groups", "counts"])
def test_a_checkpoint_without_its_counts_is_refused(whole, capsys, name):
    Path("out/mixture").mkdir(parents=True)
    torch.save({key: value for key, value in checkpoint(whole).items() if key != name},
               "out/mixture/model.pt")
    assert mixture.main(["--sample-only", "--device", "cpu"]) == 2
    assert capsys.readouterr().err == "mixture: out/mixture/model.pt is damaged, or not a checkpoint\n"
    with pytest.raises(gpt.UserError, match="is damaged"):
        mixture.load()


def test_a_long_text_is_counted_in_part_and_that_is_said(monkeypatch, capsys):
    monkeypatch.setattr(mixture.Counts, "ENOUGH", 500)
    assert not train(steps=1)
    assert "counted: the first 500 characters\n" in capsys.readouterr().out


def test_the_help_has_the_defaults_of_this_program(capsys):
    assert mixture.main(["--help"]) is None
    said = " ".join(capsys.readouterr().out.split())
    assert said.startswith("usage: mixture ")
    config = mixture.configure("cpu")
    assert config.block_size != gpt.configure("cpu").block_size
    assert f"context length, in characters (default: {config.block_size})" in said
    assert f"windows in a batch, in each process (default: {config.batch_size}; on a GPU 16)" in said


@pytest.mark.parametrize(("arguments", "sentence"), [
    (["--n-layer", "0"], "--n-layer must be from 1 to 1000, not 0"),
    (["-i", "nowhere.txt"], "nowhere.txt: no such file"),
    (["--prompt", "the X"], "not in the vocabulary: 'X'"),
    (["-o", "text.txt"], "mixture: cannot use text.txt as the output folder: File exists"),
    (["--resume"], "out/mixture/model.pt does not exist; train a model first"),
])
def test_what_is_impossible_is_refused_in_one_sentence(capsys, arguments, sentence):
    assert mixture.main(["-i", "text.txt", "--device", "cpu", *SIZES, *arguments]) == 2
    said = capsys.readouterr().err
    assert said.startswith("mixture: ") and sentence in said and said.count("\n") == 1
    assert not Path("out").exists()
