"""gpt: the model, its optimizer, its data and generation, each against an independent reference."""
import math
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gpt import gpt

TEXT = "the cat sat on the mat and the dog ran to the man who had a hat and a cap\n" * 40
TINY = {"n_layer": 2, "n_head": 2, "n_embd": 16, "block_size": 16, "batch_size": 4, "max_steps": 8}


def shaken_model(seed=0, **values):
    """A model all of whose weights are random, so that nothing is hidden behind a zero."""
    torch.manual_seed(seed)
    config = gpt.configure("cpu", **TINY | {"vocab_size": 11} | values)
    model = gpt.GPT(config).eval()
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.3)
    model.counts = gpt.Counts.count(np.random.default_rng(seed).integers(11, size=2000), config.vocab_size)
    return model


def counted(model, idx, before=0):
    """What the counts say of idx (B, T), whose first `before` columns are only context."""
    n = model.counts.n
    text = F.pad(idx, (n - before, 0)) if before < n else idx[:, before - n :]
    return model.counts.log_probs(text.numpy())


def logits_of(model, idx):
    return model(idx, counted(model, idx))


def tokens_of(text):
    vocab = gpt.Vocab(text)
    return vocab, vocab.encode(text)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(model, vocab, tokens) after a few seconds of training on a small text."""
    out = tmp_path_factory.mktemp("trained")
    config = gpt.configure("cpu", **TINY | {"max_steps": 60, "batch_size": 8})
    model, vocab, _ = gpt.train(TEXT, config, out, device="cpu")
    return model, vocab, vocab.encode(TEXT)


# The model


def test_attention_spelled_out_equals_pytorchs_fused_kernel():
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 2, 4, 9, 8).unbind(0)
    weights = gpt.attention_weights(q, k)
    expected = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    torch.testing.assert_close(weights @ v, expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 4, 9))
    assert (weights.triu(1) == 0).all()


def test_the_model_is_the_same_in_training_and_evaluation_where_attention_is_computed_in_two_ways():
    model = shaken_model(dropout=0)
    idx = torch.randint(11, (2, 12))
    torch.testing.assert_close(logits_of(model.train(), idx), logits_of(model.eval(), idx),
                               atol=1e-5, rtol=1e-5)


def test_rms_norm_divides_by_the_root_mean_square():
    x = torch.randn(3, 8)
    torch.testing.assert_close(gpt.norm(x), x / x.square().mean(1, keepdim=True).sqrt())


def test_the_output_is_a_distribution():
    model = shaken_model()
    total = logits_of(model, torch.randint(11, (2, 16))).exp().sum(2)
    torch.testing.assert_close(total, torch.ones(2, 16), atol=1e-5, rtol=0)


def test_the_compiled_model_computes_forward_and_backward_as_the_eager_one():
    model = shaken_model(dropout=0).train()
    idx, y = torch.randint(11, (2, 2, 12)).unbind(0)
    log_q, gradients = counted(model, idx), []
    for forward in (model, torch.compile(model, backend="aot_eager", fullgraph=True)):
        model.zero_grad()
        gpt.loss_of(forward(idx, log_q), y).backward()
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], atol=1e-5, rtol=1e-4)
        assert gradient.abs().max() > 0, name


def test_every_tensor_of_a_step_is_on_the_models_device():
    with torch.device("meta"):  # mixing it with tensors made on the CPU is an error
        model = gpt.GPT(gpt.configure("cpu", **TINY | {"vocab_size": 11}))
        idx, log_q = torch.zeros(2, 16, dtype=torch.long), torch.zeros(2, 16, 11)
    gpt.loss_of(model(idx, log_q), idx).backward()
    assert all(p.grad.device.type == "meta" for p in model.parameters())


def test_no_logit_depends_on_a_later_character():
    model = shaken_model()
    idx = torch.randint(11, (1, 16))
    for t in range(16):
        changed = idx.clone()
        changed[0, t] = (idx[0, t] + 1) % 11
        a, b = logits_of(model, idx), logits_of(model, changed)
        assert torch.equal(a[:, :t], b[:, :t])
        assert not torch.equal(a[:, t], b[:, t])


def test_scores_of_rotated_queries_and_keys_depend_on_their_distance_alone():
    torch.manual_seed(0)
    q, k = torch.randn(2, 1, 1, 1, 8)

    def score(m, n):
        a, b = gpt.rotate(q, m), gpt.rotate(k, n)
        return (a * b).sum()

    torch.testing.assert_close(score(7, 3), score(104, 100), atol=1e-4, rtol=1e-4)
    assert abs(score(7, 3) - score(7, 4)) > 1e-3


def test_dropout_acts_in_training_only():
    model, idx = shaken_model(dropout=0.5), torch.randint(11, (2, 16))
    assert torch.equal(logits_of(model, idx), logits_of(model, idx))
    model.train()
    assert not torch.allclose(logits_of(model, idx), logits_of(model, idx))


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
    copy, text = gpt.Copy(), torch.randint(3, (2, 40))
    log_probs = torch.randn(2, 40, 3).log_softmax(2)
    mixed = copy(log_probs, text)
    for row in range(2):
        for t in range(40):
            length, followed = copied_by_hand(text[row].tolist(), t, 3)
            trust = copy.trust[length].sigmoid().item() if length else 0.0
            expected = (1 - trust) * log_probs[row, t].exp().numpy() + trust * followed
            assert mixed[row, t].exp().tolist() == pytest.approx(expected.tolist(), abs=1e-5)
    torch.testing.assert_close(copy(log_probs[:, -1:], text), mixed[:, -1:])


# Counts


def kneser_ney(text, context, char, D=0.9):
    """q(char | context) of a text, by the formula, with loops; the text begins with as many zeros."""
    n, V = len(context), 4
    padded = [0] * 6 + list(text)
    if n == 6:
        followed = [padded[i] for i in range(6, len(padded)) if tuple(padded[i - 6 : i]) == context]
    else:  # each kind of longer context once
        longer = {(tuple(padded[i - n - 1 : i]), padded[i]) for i in range(6, len(padded))}
        followed = [c for before, c in longer if before[1:] == context]
    lower = 1 / V if n == 0 else kneser_ney(text, context[1:], char, D)
    if not followed:
        return lower
    return (max(followed.count(char) - D, 0) + D * len(set(followed)) * lower) / len(followed)


def test_counts_are_interpolated_kneser_ney():
    text = np.random.default_rng(0).choice(4, size=120, p=[0.5, 0.3, 0.15, 0.05])
    counts = gpt.Counts.count(text, 4)
    assert counts.n == 6
    for context in [tuple(text[i : i + 6].tolist()) for i in (3, 50, 90)] + [(3, 3, 3, 3, 3, 3)]:
        q = counts.log_probs(np.array([[*context, 0]])[:, :7])[0, 0].exp()
        context = (*context[1:], 0)
        assert q.sum().item() == pytest.approx(1, abs=1e-5)
        for char in range(4):
            assert q[char].item() == pytest.approx(kneser_ney(text.tolist(), context, char), abs=1e-5)


def test_the_counts_used_in_training_have_not_seen_the_part_that_they_predict():
    text = np.concatenate([np.random.default_rng(0).integers(3, size=3200)])
    text[1000:1007] = 3  # a letter of one part alone
    counts = gpt.Counts.count(text, 4)
    table = counts.table_without(np.array([1000]))
    context = np.full((1, 7), 3)
    assert counts.log_probs(context)[0, 0, 3] > -1.5  # the whole text knows that 3 follows 3
    assert counts.log_probs(context, table)[0, 0, 3] < counts.log_probs(context)[0, 0, 3] - 1
    parts = counts.table_without(np.arange(3200))
    assert sorted(np.bincount(parts).tolist()) == [400] * 8


def test_every_target_of_a_training_window_is_predicted_by_counts_that_left_it_out():
    tokens = np.random.default_rng(0).integers(7, size=640)  # 32 pieces of 20
    counts = gpt.Counts.count(tokens, 7)
    _, _, log_q = gpt.windows(tokens, np.array([33, 100]), 16, counts, held_out=True)  # from one to the next
    for row, start in enumerate((33, 100)):
        for t in range(16):
            target = start + t + 1
            table = target // 20 % 8
            expected = counts.log_probs(tokens[None, target - counts.n - 1 : target], table)[0, 0]
            torch.testing.assert_close(log_q[row, t], expected)


def test_counts_read_from_a_checkpoint_answer_as_before():
    text = np.random.default_rng(0).integers(5, size=3000)
    counts = gpt.Counts.count(text, 5)
    whole = gpt.Counts(5, *counts.whole())
    asked = text[None, :200]
    torch.testing.assert_close(whole.log_probs(asked), counts.log_probs(asked))
    assert len(whole.groups) < len(counts.groups) / 5


def test_counts_of_a_large_vocabulary_take_shorter_contexts():
    text = np.random.default_rng(0).integers(5000, size=20000)
    counts = gpt.Counts.count(text, 5000)
    assert 2 <= counts.n < 6
    assert counts.log_probs(text[None, :40]).exp().sum(2).allclose(torch.ones(1, 40 - counts.n), atol=1e-4)


# Training


def test_the_first_guess_is_that_of_the_counts():
    model = gpt.GPT(gpt.configure("cpu", **TINY | {"vocab_size": 11}))
    idx = torch.arange(11)[None]  # no letter comes twice: nothing to copy
    log_q = torch.randn(1, 11, 11).log_softmax(2)
    torch.testing.assert_close(model(idx, log_q), log_q, atol=1e-4, rtol=1e-4)


def test_validation_loss_is_the_mean_over_all_windows_that_do_not_overlap(trained):
    model, _, tokens = trained
    tokens, n = tokens[:700].astype(np.int64), model.counts.n
    padded = np.concatenate([np.zeros(n, np.int64), tokens])
    losses = []
    for start in range(0, len(tokens) - 16, 16):
        context = torch.from_numpy(padded[start : start + n + 16])[None]
        log_q = model.counts.log_probs(context.numpy())
        log_probs = model(torch.from_numpy(tokens[start : start + 16])[None], log_q)[0].log_softmax(1)
        losses.append([-log_probs[t, tokens[start + t + 1]].item() for t in range(16)])
    losses = np.array(losses)
    loss, error = gpt.evaluate(model, tokens)
    assert loss == pytest.approx(losses.mean(), abs=1e-5)
    assert error == pytest.approx(losses.mean(1).std() / math.sqrt(len(losses)), abs=1e-5)
    some, _ = gpt.evaluate(model, tokens, characters=100)  # a seventh of the text
    assert some == pytest.approx(losses[::7].mean(), abs=1e-5)


def test_targets_of_minus_one_do_not_count():
    logits, y = torch.randn(2, 3, 5), torch.tensor([[1, -1, 2], [-1, -1, 4]])
    expected = -logits.log_softmax(2)[[0, 0, 1], [0, 2, 2], [1, 2, 4]].mean()
    assert gpt.loss_of(logits, y).item() == pytest.approx(expected.item(), abs=1e-6)


def test_attention_and_dropout_are_switched_back_on_after_an_evaluation():
    model = shaken_model(dropout=0.5).train()
    gpt.evaluate(model, tokens_of("hello, world " * 20)[1] % 11)
    assert model.training


# The optimizer


def test_every_weight_is_trained(tmp_path):
    config = gpt.configure("cpu", **TINY | {"max_steps": 8})
    result = gpt.train(TEXT, config, tmp_path, device="cpu", max_new_tokens=5)
    torch.manual_seed(config.seed)
    fresh = gpt.GPT(result.model.config).state_dict()
    trained = gpt.read_checkpoint(tmp_path)["model"]
    assert [name for name, weight in trained.items() if torch.equal(weight, fresh[name])] == []


# Generation


def rolled(model, idx, cache, first=1):
    """Log-probabilities with the cache: the first characters at once, then one after the other."""
    log_q = counted(model, idx)
    parts = [model(idx[:, :first], log_q[:, :first], cache)]
    parts += [model(idx[:, t : t + 1], log_q[:, t : t + 1], cache) for t in range(first, idx.size(1))]
    return torch.cat(parts, 1)


def test_logits_with_the_cache_equal_those_without_inside_the_context():
    model = shaken_model()
    idx = torch.randint(11, (3, 16))
    torch.testing.assert_close(rolled(model, idx, gpt.Cache(model.config.block_size), 5),
                               logits_of(model, idx), atol=1e-5, rtol=1e-5)


def test_loss_of_a_text_four_contexts_long_is_as_with_a_sliding_recomputation(trained):
    model, _, tokens = trained
    T = 16
    idx = torch.tensor([tokens[i : i + 4 * T + 1].tolist() for i in range(0, 2000, 50)])
    with torch.no_grad():
        rolling = rolled(model, idx[:, :-1], gpt.Cache(model.config.block_size))[:, 2 * T :]
        log_q = counted(model, idx[:, :-1])
        sliding = torch.cat([model(idx[:, t + 1 - T : t + 1], log_q[:, t + 1 - T : t + 1])[:, -1:]
                             for t in range(2 * T, 4 * T)], 1)
    y = idx[:, 2 * T + 1 :]
    loss = [F.cross_entropy(logits.flatten(0, 1), y.flatten()).item() for logits in (rolling, sliding)]
    assert loss[0] < loss[1] + 0.02
    assert loss[1] < 2.5  # the model has learnt something, so there is something to lose


def test_cache_keeps_no_more_than_one_context():
    model = shaken_model()
    cache = gpt.Cache(model.config.block_size)
    rolled(model, torch.zeros(2, 40, dtype=torch.long), cache)
    assert cache.length == 40
    assert sorted(tuple(kept.shape) for kept in cache.kept.values()) == [(2, 2, 16, 8)] * 4 + [(2, 16, 1)]


def test_greedy_text_is_the_likeliest_character_again_and_again(trained):
    model, vocab, _ = trained
    text = "the "
    for _ in range(8):
        idx = torch.from_numpy(vocab.encode(text).astype(int))[None]
        text += vocab.chars[logits_of(model, idx)[0, -1].argmax()]
    for settings in ({"temperature": 0}, {"top_k": 1}, {"temperature": 0, "cached": False}):
        assert gpt.generate(model, vocab, prompt="the ", max_new_tokens=8, **settings) == [text]


def test_samples_follow_the_models_distribution():
    model, vocab = shaken_model(), gpt.Vocab("abcdefghijk")
    settings = {"num_samples": 4000, "max_new_tokens": 1, "temperature": 0.7, "seed": 1}
    texts = gpt.generate(model, vocab, prompt="ab", **settings)
    expected = (logits_of(model, torch.tensor([[0, 1]]))[0, -1] / 0.7).softmax(-1)
    found = torch.tensor([sum(text[-1] == char for text in texts) for char in vocab.chars]) / 4000
    assert (found - expected).abs().max() < 0.04
    assert all(text.startswith("ab") and len(text) == 3 for text in texts)


def test_top_k_draws_only_from_the_k_likeliest():
    model, vocab = shaken_model(), gpt.Vocab("abcdefghijk")
    texts = gpt.generate(model, vocab, prompt="ab", num_samples=500, max_new_tokens=1, top_k=3, seed=1)
    likeliest = logits_of(model, torch.tensor([[0, 1]]))[0, -1].topk(3).indices
    assert {text[-1] for text in texts} == {vocab.chars[i] for i in likeliest}


def test_an_empty_prompt_is_a_new_line(trained):
    model, vocab, _ = trained
    (text,) = gpt.generate(model, vocab, max_new_tokens=20, seed=3)
    assert gpt.generate(model, vocab, prompt="\n", max_new_tokens=20, seed=3) == ["\n" + text]


def test_a_prompt_longer_than_the_context_works(trained):
    model, vocab, _ = trained
    assert len(gpt.generate(model, vocab, prompt=TEXT[:60], max_new_tokens=5)[0]) == 65


def test_unknown_characters_of_a_prompt_are_named(trained):
    model, vocab, _ = trained
    with pytest.raises(gpt.UserError, match=re.escape("never saw 'X' 'é'")):
        gpt.generate(model, vocab, prompt="the Xé")


# Data


LETTERS = "".join(map(chr, range(32, 700)))


@pytest.mark.parametrize("text", ["abc", "héllo wörld", "日本語\nテキスト", "a😀b\U0010ffff", LETTERS])
def test_a_text_is_the_same_after_encoding_and_decoding(text):
    vocab, tokens = tokens_of(text)
    assert vocab.decode(tokens) == text
    assert vocab.chars == "".join(sorted(set(text)))
    assert tokens.dtype == (np.uint8 if len(vocab) < 256 else np.uint16)


def test_known_characters_keep_their_tokens():
    assert gpt.Vocab("abcxyz", first="zb").chars == "zbacxy"


def test_bytes_that_are_no_utf8_are_named_with_their_offset_in_the_file(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes("\ufeffaé日xyz\r\n".encode() * 100_000 + b"\xff")
    with pytest.raises(gpt.UserError, match="byte 0xff in position 1400000"):
        gpt.read_file(path)


def test_split_is_ninety_to_ten_and_validation_has_at_least_one_context():
    parts = gpt.split(np.arange(1000), 16)
    assert {name: len(part) for name, part in parts.items()} == {"training": 900, "validation": 100}
    assert parts["validation"][0] == 900
    parts = gpt.split(np.arange(100), 16)
    assert len(parts["validation"]) == 17 and len(parts["training"]) == 83
    with pytest.raises(gpt.UserError, match="too short"):
        gpt.split(np.arange(33), 16)


def test_targets_are_the_inputs_one_position_later_and_the_counts_look_before_the_window():
    tokens = np.random.default_rng(0).integers(7, size=400)
    counts = gpt.Counts.count(tokens, 7)
    x, y, log_q = gpt.windows(tokens, np.array([0, 83]), 16, counts)
    assert x[1].tolist() == tokens[83:99].tolist() and y[1].tolist() == tokens[84:100].tolist()
    torch.testing.assert_close(log_q[1], counts.log_probs(tokens[None, 83 - counts.n : 99])[0])
    padded = np.concatenate([np.zeros(counts.n, np.int64), tokens[:16]])
    torch.testing.assert_close(log_q[0], counts.log_probs(padded[None])[0])


def test_the_counts_look_before_the_beginning_of_a_text_that_is_shorter_than_their_context():
    tokens = np.array([1, 2, 1, 2])
    x, y, log_q = gpt.windows(tokens, np.array([0]), 3, gpt.Counts.count(tokens, 3))
    assert (x.tolist(), y.tolist(), log_q.shape) == ([[1, 2, 1]], [[2, 1, 2]], (1, 3, 3))


def test_the_sizes_for_a_cpu_are_those_of_every_cpu():
    assert gpt.configure("cpu:0") == gpt.configure("cpu") != gpt.configure("cuda:0")


class Share:
    def __init__(self, rank, size):
        self.rank, self.size = rank, size


def test_a_process_draws_its_share_of_what_one_process_draws():
    tokens = np.arange(5000) % 251
    counts = gpt.Counts.count(tokens, 251)

    def draw(batch_size, step, team):
        config = gpt.configure("cpu", **TINY | {"batch_size": batch_size})
        return gpt.training_batch(tokens, config, step, team, counts)[0]

    whole = draw(8, 3, Share(0, 1))
    assert torch.equal(whole, torch.cat([draw(4, 3, Share(rank, 2)) for rank in (0, 1)]))
    assert not torch.equal(whole, draw(8, 4, Share(0, 1)))


def test_an_epoch_visits_every_window_once_at_an_offset_of_its_own():
    epochs = [np.sort(gpt.epoch_starts(1, epoch, 1000, 16)) for epoch in range(6)]
    for starts in epochs:
        assert (np.diff(starts) == 16).all() and starts[0] >= 0 and starts[-1] + 17 <= 1000
        assert len(starts) >= 1000 // 16 - 2
    assert len({int(starts[0]) for starts in epochs}) > 2
    assert not np.array_equal(gpt.epoch_starts(1, 0, 1000, 16), gpt.epoch_starts(2, 0, 1000, 16))
