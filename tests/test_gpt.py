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
    return model


def tokens_of(text):
    vocab, tokens = gpt.encode_file(text.encode())
    return vocab, tokens


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(model, vocab, tokens) after a few seconds of training on a small text."""
    out = tmp_path_factory.mktemp("trained")
    vocab, tokens = tokens_of(TEXT)
    config = gpt.configure("cpu", **TINY | {"max_steps": 60, "batch_size": 8})
    model, vocab, _ = gpt.train(vocab, tokens, config, out, device="cpu")
    return model, vocab, tokens


# The model


def test_attention_spelled_out_equals_pytorchs_fused_kernel():
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 2, 4, 9, 8).unbind(0)
    y, weights = gpt.attention(q, k, v)
    expected = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    torch.testing.assert_close(y, expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 4, 9))
    assert (weights.triu(1) == 0).all()


def test_model_with_attention_spelled_out_gives_the_same_logits():
    model, weights = shaken_model(), []
    idx = torch.randint(11, (2, 12))
    torch.testing.assert_close(model(idx, weights=weights), model(idx), atol=1e-5, rtol=1e-5)
    assert [table.shape for table in weights] == [(2, 2, 12, 12)] * 2


def test_no_logit_depends_on_a_later_character():
    model = shaken_model()
    idx = torch.randint(11, (1, 16))
    for t in range(16):
        changed = idx.clone()
        changed[0, t] = (idx[0, t] + 1) % 11
        a, b = model(idx), model(changed)
        assert torch.equal(a[:, :t], b[:, :t])
        assert not torch.equal(a[:, t], b[:, t])


def test_scores_of_rotated_queries_and_keys_depend_on_their_distance_alone():
    torch.manual_seed(0)
    q, k = torch.randn(2, 1, 1, 1, 8)

    def score(m, n):
        a, b = (gpt.rotate(x, gpt.rotation(place, 1, 8, "cpu")) for x, place in ((q, m), (k, n)))
        return (a * b).sum()

    torch.testing.assert_close(score(7, 3), score(104, 100), atol=1e-4, rtol=1e-4)
    assert abs(score(7, 3) - score(7, 4)) > 1e-3


def test_dropout_zero_leaves_nothing_out_and_dropout_leaves_out_whole_ngrams():
    idx = torch.randint(11, (2, 16))
    model = shaken_model(dropout=0, ngram_dropout=0)
    torch.testing.assert_close(model.train()(idx), model.eval()(idx), atol=1e-5, rtol=1e-5)
    embedding = shaken_model(ngram_dropout=0.5).ngram
    groups = embedding.longest - 1
    embedding.table.weight.data.fill_(1)
    assert (embedding.eval()(idx) == groups).all()
    dropped = torch.stack([embedding.train()(idx) for _ in range(50)])
    assert set(dropped.unique().tolist()) == set(range(0, 2 * groups + 1, 2))  # those kept count twice
    assert (dropped == dropped[..., :1]).all()
    assert abs(dropped.mean() / groups - 1) < 0.1  # the same on average


def test_first_loss_is_that_of_a_uniform_guess():
    vocab, tokens = tokens_of(TEXT)
    config = gpt.configure("cpu", **TINY | {"vocab_size": len(vocab)})
    loss = gpt.evaluate(gpt.GPT(config), tokens, gpt.Team(torch.device("cpu")))
    assert loss == pytest.approx(math.log(len(vocab)), abs=1e-6)


def test_validation_loss_is_the_mean_over_all_windows_that_do_not_overlap(trained):
    model, _, tokens = trained
    tokens = tokens[:700]
    total, count, start = 0.0, 0, 0
    while start + 16 < len(tokens):
        probabilities = model(torch.tensor([tokens[start : start + 16].tolist()])).softmax(-1)[0]
        for t in range(16):
            total -= math.log(probabilities[t, tokens[start + t + 1]].item())
            count += 1
        start += 16
    loss = gpt.evaluate(model, tokens, gpt.Team(torch.device("cpu")))
    assert loss == pytest.approx(total / count, abs=1e-5)


def test_calibration_divides_the_logits_by_the_number_that_makes_the_loss_least():
    model, team = shaken_model(dropout=0, ngram_dropout=0), gpt.Team(torch.device("cpu"))
    tokens = tokens_of("hello, world " * 20)[1] % 11
    x = torch.tensor([tokens[i : i + 16].tolist() for i in range(0, len(tokens) - 16, 16)])
    y = torch.tensor([tokens[i + 1 : i + 17].tolist() for i in range(0, len(tokens) - 16, 16)])
    logits = model(x)

    def loss(t):
        return F.nll_loss((logits / t).log_softmax(-1).flatten(0, 1), y.flatten()).item()

    calibrated = gpt.evaluate(model, tokens, team, calibrate=True)
    t = model.temperature.item()
    assert t > 1.1  # random weights are too sure
    assert calibrated == pytest.approx(loss(t), abs=1e-5) == gpt.evaluate(model, tokens, team)
    assert calibrated == pytest.approx(min(loss(1 + i / 20) for i in range(21)), abs=1e-5)
    torch.testing.assert_close(model(x), logits / t)
    torch.testing.assert_close(model.train()(x), logits, atol=1e-5, rtol=1e-5)  # training goes on as before


def test_attention_and_dropout_are_switched_back_on_after_an_evaluation():
    model = shaken_model(dropout=0.5).train()
    gpt.evaluate(model, tokens_of("hello, world " * 20)[1] % 11, gpt.Team(torch.device("cpu")))
    assert model.training


# The optimizer


@pytest.mark.parametrize("shape", [(16, 16), (48, 16), (16, 64)])
def test_orthogonalized_matrices_keep_their_singular_vectors_and_get_singular_values_near_one(shape):
    torch.manual_seed(0)
    matrices = torch.randn(3, *shape)
    for matrix, result in zip(matrices, gpt.orthogonalize(matrices)):
        u, _, vh = torch.linalg.svd(matrix, full_matrices=False)
        rotated = u.T @ result @ vh.T
        assert (rotated.diagonal() > 0.5).all() and (rotated.diagonal() < 1.3).all()
        assert (rotated - torch.diag(rotated.diagonal())).abs().max() < 1e-3


def test_muon_does_what_pytorchs_does():
    torch.manual_seed(0)
    ours = [torch.nn.Parameter(torch.randn(shape)) for shape in ((12, 12), (36, 12), (12, 12))]
    theirs = [torch.nn.Parameter(p.detach().clone()) for p in ours]
    a, b = gpt.Muon(ours, lr=0.1), torch.optim.Muon(theirs, lr=0.1, momentum=0.95, weight_decay=0)
    before = [p.detach().clone() for p in ours]
    for _ in range(3):
        for p, q in zip(ours, theirs):
            p.grad = torch.randn_like(p)
            q.grad = p.grad.clone()
        a.step()
        b.step()
    for p, q, start in zip(ours, theirs, before):
        assert (p - q).norm() < 0.03 * (p - start).norm()  # theirs computes in bfloat16


def test_every_weight_is_trained_by_exactly_one_optimizer():
    model = shaken_model()
    optimizers = gpt.make_optimizers(model, model.config, gpt.Team(torch.device("cpu")))
    trained = [id(p) for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]]
    assert sorted(trained) == sorted(id(p) for p in model.parameters())


# Generation


def test_logits_with_the_cache_equal_those_without_inside_the_context():
    model = shaken_model()
    idx = torch.randint(11, (3, 16))
    cache = gpt.Cache(model)
    parts = [model(idx[:, :5], cache)] + [model(idx[:, t : t + 1], cache) for t in range(5, 16)]
    torch.testing.assert_close(torch.cat(parts, 1), model(idx), atol=1e-5, rtol=1e-5)


def test_loss_of_a_text_four_contexts_long_is_as_with_a_sliding_recomputation(trained):
    model, _, tokens = trained
    T = 16
    idx = torch.tensor([tokens[i : i + 4 * T + 1].tolist() for i in range(0, 2000, 50)])
    cache = gpt.Cache(model)
    with torch.no_grad():
        rolling = torch.cat([model(idx[:, t : t + 1], cache) for t in range(4 * T)], 1)[:, 2 * T :]
        sliding = torch.cat([model(idx[:, t + 1 - T : t + 1])[:, -1:] for t in range(2 * T, 4 * T)], 1)
    y = idx[:, 2 * T + 1 :]
    loss = [F.cross_entropy(logits.flatten(0, 1), y.flatten()).item() for logits in (rolling, sliding)]
    assert loss[0] < loss[1] + 0.02
    assert loss[1] < 2.5  # the model has learnt something, so there is something to lose


def test_cache_keeps_no_more_than_one_context():
    model = shaken_model()
    cache = gpt.Cache(model)
    for _ in range(40):
        model(torch.zeros(2, 1, dtype=torch.long), cache)
    assert cache.layers[0].k.shape == (2, 2, 16, 8) and cache.tail.shape[1] < 16


def test_greedy_text_is_the_likeliest_character_again_and_again(trained):
    model, vocab, _ = trained
    text = "the "
    for _ in range(8):
        text += vocab.chars[model(torch.tensor([vocab.encode(text)]))[0, -1].argmax()]
    assert gpt.generate(model, vocab, prompt="the ", max_new_tokens=8, temperature=0) == [text]
    assert gpt.generate(model, vocab, prompt="the ", max_new_tokens=8, top_k=1) == [text]


def test_samples_follow_the_models_distribution():
    model, vocab = shaken_model(), gpt.Vocab("abcdefghijk")
    settings = {"num_samples": 4000, "max_new_tokens": 1, "temperature": 0.7, "seed": 1}
    texts = gpt.generate(model, vocab, prompt="ab", **settings)
    expected = (model(torch.tensor([[0, 1]]))[0, -1] / 0.7).softmax(-1)
    found = torch.tensor([sum(text[-1] == char for text in texts) for char in vocab.chars]) / 4000
    assert (found - expected).abs().max() < 0.04
    assert all(text.startswith("ab") and len(text) == 3 for text in texts)


def test_top_k_draws_only_from_the_k_likeliest():
    model, vocab = shaken_model(), gpt.Vocab("abcdefghijk")
    texts = gpt.generate(model, vocab, prompt="ab", num_samples=500, max_new_tokens=1, top_k=3, seed=1)
    likeliest = model(torch.tensor([[0, 1]]))[0, -1].topk(3).indices
    assert {text[-1] for text in texts} == {vocab.chars[i] for i in likeliest}


def test_a_streamed_text_is_the_text_that_is_returned(trained):
    model, vocab, _ = trained
    pieces = []
    (text,) = gpt.generate(model, vocab, prompt="the", max_new_tokens=40, seed=3, stream=pieces.append)
    assert text == "the" + "".join(pieces) and len(pieces) == 40


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
def test_a_text_is_the_same_after_encoding_and_decoding(text, monkeypatch):
    vocab, tokens = tokens_of(text)
    assert vocab.decode(tokens) == text
    assert vocab.chars == "".join(sorted(set(text)))
    assert tokens.dtype == (np.uint8 if len(vocab) <= 256 else np.uint16)


@pytest.mark.parametrize("size", [4, 5, 6, 7, 11])
def test_a_text_read_in_pieces_is_never_cut_inside_a_character(size):
    text = "aé日😀" * 9
    codes = np.concatenate(list(gpt.pieces(text.encode(), size)))
    assert "".join(map(chr, codes)) == text


def test_bytes_that_are_no_utf8_are_named_with_their_offset_in_the_file(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes("\ufeffaé日xyz\r\n".encode() * 100_000 + b"\xff")
    with pytest.raises(gpt.UserError, match="byte 0xff at offset 1400000"):
        gpt.read_text(path)


def test_split_is_ninety_to_ten_and_validation_has_at_least_one_context():
    training, validation = gpt.split(np.arange(1000), 16)
    assert (len(training), len(validation)) == (900, 100) and validation[0] == 900
    training, validation = gpt.split(np.arange(100), 16)
    assert len(validation) == 17 and len(training) == 83
    with pytest.raises(gpt.UserError, match="too short"):
        gpt.split(np.arange(33), 16)


def test_targets_are_the_inputs_one_place_further():
    x, y = gpt.windows(np.arange(100, dtype=np.uint8), np.array([0, 83]), 16)
    assert torch.equal(x[1], torch.arange(83, 99)) and torch.equal(y, x + 1)


def test_a_process_draws_its_share_of_what_one_process_draws():
    class Share:
        def __init__(self, rank, size):
            self.rank, self.size = rank, size

    config = gpt.configure("cpu", **TINY)
    tokens = np.arange(5000) % 251
    whole, _ = gpt.draw_batch(tokens, gpt.configure("cpu", **TINY | {"batch_size": 8}), 3, Share(0, 1))
    shares = [gpt.draw_batch(tokens, config, 3, Share(rank, 2))[0] for rank in (0, 1)]
    assert torch.equal(whole, torch.cat(shares))
    other = gpt.configure("cpu", **TINY | {"batch_size": 8})
    assert not torch.equal(whole, gpt.draw_batch(tokens, other, 4, Share(0, 1))[0])


# n-grams


def test_an_ngram_embedding_is_the_same_wherever_the_ngram_stands_and_reaches_no_further_back():
    embedding = shaken_model().ngram
    n = embedding.longest
    idx = torch.randint(11, (1, 30))
    idx[0, 20 : 20 + n] = idx[0, 5 : 5 + n]
    x = embedding(idx)
    torch.testing.assert_close(x[0, 4 + n], x[0, 19 + n])
    changed = idx.clone()
    changed[0, 10] = (idx[0, 10] + 1) % 11
    moved = (embedding(changed) != x).any(-1)[0].nonzero().flatten().tolist()
    assert moved == list(range(10, 10 + n))


def test_ngrams_that_differ_have_different_rows_as_a_rule():
    embedding = shaken_model(vocab_size=65).ngram
    pairs = torch.cartesian_prod(torch.arange(65), torch.arange(65))
    vectors = embedding(pairs)[:, -1]
    assert len(vectors.unique(dim=0)) > 0.99 * 65 * 65
