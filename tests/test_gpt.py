"""gpt: the model, its optimizers, its data and generation, each against an independent reference."""
import math
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gpt import gpt

TEXT = "the cat sat on the mat and the dog ran to the man who had a hat and a cap\n" * 40
TINY = {"n_layer": 2, "n_head": 2, "n_embd": 16, "block_size": 16, "batch_size": 4, "max_steps": 8}


def shaken_model(seed=0, **values):
    """A model all of whose weights are random, so that nothing is hidden behind a zero."""
    torch.manual_seed(seed)
    model = gpt.GPT(gpt.configure("cpu", **TINY | {"vocab_size": 11} | values)).eval()
    for p in model.parameters():
        nn.init.normal_(p, std=0.3)
    return model


def random_tokens(*shape, seed=0):
    return torch.randint(11, shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of a run of a second on a small text."""
    out = tmp_path_factory.mktemp("trained")
    config = gpt.configure("cpu", **TINY | {"max_steps": 60, "batch_size": 8})
    gpt.train(TEXT, config, out, device="cpu", max_new_tokens=5)
    return out


@pytest.fixture
def trained(folder):
    """(model, vocab, tokens) of that run."""
    model, vocab = gpt.load(folder)
    return model, vocab, torch.from_numpy(vocab.encode(TEXT)).long()


# The model


def test_a_model_needs_no_more_than_the_size_of_its_vocabulary():
    model = gpt.GPT(gpt.Config(vocab_size=65))
    assert model(torch.randint(65, (2, 9))).shape == (2, 9, 65)


def test_the_first_guess_is_uniform():
    model = gpt.GPT(gpt.Config(vocab_size=65))
    idx, y = torch.randint(65, (2, 2, 9)).unbind(0)
    assert (model(idx) == 0).all()
    assert gpt.loss_of(model(idx), y).item() == pytest.approx(math.log(65), abs=1e-6)


def test_the_first_embeddings_and_linear_layers_have_the_scales_that_are_meant():
    torch.manual_seed(0)
    model = gpt.GPT(gpt.Config(vocab_size=1000))
    assert model.token_embedding.weight.std().item() == pytest.approx(1, rel=0.05)
    x = model.embed(torch.randint(1000, (4, 200)))[:, 3:]
    assert x.var().item() == pytest.approx(1 + 3 * 0.5**2, rel=0.05), "three tables of previous characters"
    for block in model.blocks:
        attention = block.attention
        for linear in (attention.query, attention.key, attention.value, block.feed_forward.up):
            assert linear(gpt.norm(x)).std().item() == pytest.approx(0.5, rel=0.05)


def lecture(model, idx, rotary=True, qk_norm=True, squared=True, previous=True):
    """The logits of a model's weights, by a second implementation with the departures as switches."""
    w = dict(model.named_parameters())
    n_head, C = model.config.n_head, model.config.n_embd
    T, D = idx.shape[1], C // n_head

    def norm(x):
        x = x - x.mean(-1, keepdim=True)
        return x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt()

    def turn(x):  # (B, T, D): pairs of channels are complex numbers
        speed = torch.tensor([10000 ** (-2 * i / D) for i in range(D // 2)]).double()
        angles = torch.arange(T)[:, None] * speed
        z = torch.complex(x[..., : D // 2], x[..., D // 2 :]) * torch.polar(torch.ones_like(angles), angles)
        return torch.cat((z.real, z.imag), -1)

    x = w["token_embedding.weight"][idx]
    if previous:
        for distance in (1, 2, 3):
            for t in range(distance, T):
                place = F.one_hot(torch.tensor(t), T)[:, None]
                x = x + place * w[f"previous.{distance - 1}.weight"][idx[:, t - distance, None]]
    for layer in range(model.config.n_layer):
        name = f"blocks.{layer}."
        heads = []
        h = norm(x)
        for head in range(n_head):
            rows = slice(D * head, D * (head + 1))
            q = h @ w[name + "attention.query.weight"][rows].T
            k = h @ w[name + "attention.key.weight"][rows].T
            v = h @ w[name + "attention.value.weight"][rows].T
            if qk_norm:
                q, k = norm(q), norm(k)
            if rotary:
                q, k = turn(q), turn(k)
            scores = (q @ k.mT / D**0.5).exp().tril()
            heads.append(scores / scores.sum(-1, keepdim=True) @ v)
        x = x + torch.cat(heads, -1) @ w[name + "attention.proj.weight"].T
        h = (norm(x) @ w[name + "feed_forward.up.weight"].T).clamp(min=0)
        x = x + (h**2 if squared else h) @ w[name + "feed_forward.down.weight"].T
    return norm(x) @ w["head.weight"].T


def switch_off(monkeypatch, model, departures):
    """Put the textbook's part in the place of each departure."""
    layer_norm = gpt.norm
    if "rotary" in departures:
        monkeypatch.setattr(gpt, "rotate", lambda x, start=0: x)
    if "qk_norm" in departures:  # queries and keys have a dimension more than x
        monkeypatch.setattr(gpt, "norm", lambda x: x if x.dim() == 4 else layer_norm(x))
    if "squared" in departures:
        monkeypatch.setattr(gpt.FeedForward, "forward", lambda self, x: self.down(F.relu(self.up(x))))
    if "previous" in departures:
        for table in model.previous:
            nn.init.zeros_(table.weight)


DEPARTURES = "rotary", "qk_norm", "squared", "previous"


@pytest.mark.parametrize("off", [[], *([name] for name in DEPARTURES), DEPARTURES])
def test_logits_and_gradients_are_those_of_a_second_implementation_without_each_departure(monkeypatch, off):
    model = shaken_model().double()
    idx, y = random_tokens(2, 3, 12).unbind(0)
    switch_off(monkeypatch, model, off)
    expected = lecture(model, idx, **dict.fromkeys(off, False))
    logits = model(idx)
    torch.testing.assert_close(logits, expected.float(), atol=1e-5, rtol=1e-4)
    names, weights = zip(*model.named_parameters())
    found = torch.autograd.grad(gpt.loss_of(logits, y), weights)
    wanted = torch.autograd.grad(F.cross_entropy(expected.flatten(0, 1), y.flatten()), weights,
                                 allow_unused=True)
    for name, a, b in zip(names, found, wanted):
        if b is not None:  # the tables of previous characters are switched off by their zeros
            torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4, msg=name)
            assert a.abs().max() > 0, name


def test_without_the_departures_a_block_is_the_transformer_layer_of_pytorch(monkeypatch):
    model = shaken_model().double()
    switch_off(monkeypatch, model, DEPARTURES)
    idx, y = random_tokens(2, 3, 12).unbind(0)
    logits = model(idx)
    gpt.loss_of(logits, y).backward()
    C = model.config.n_embd
    layers = []
    x = model.token_embedding.weight.detach()[idx]
    for block in model.blocks:
        attention, feed_forward = block.attention, block.feed_forward
        layer = nn.TransformerEncoderLayer(C, model.config.n_head, 4 * C, dropout=0, norm_first=True,
                                           batch_first=True, bias=False).double()
        with torch.no_grad():
            layer.self_attn.in_proj_weight.copy_(
                torch.cat((attention.query.weight, attention.key.weight, attention.value.weight)))
            layer.self_attn.out_proj.weight.copy_(attention.proj.weight)
            layer.linear1.weight.copy_(feed_forward.up.weight)
            layer.linear2.weight.copy_(feed_forward.down.weight)
        x = layer(x, nn.Transformer.generate_square_subsequent_mask(12, dtype=torch.float64), is_causal=True)
        layers.append(layer)
    expected = F.layer_norm(x, (C,)) @ model.head.weight.detach().T
    torch.testing.assert_close(logits, expected.float(), atol=1e-5, rtol=1e-4)
    F.cross_entropy(expected.flatten(0, 1), y.flatten()).backward()
    for layer, block in zip(layers, model.blocks):
        projections = block.attention.query, block.attention.key, block.attention.value
        found = torch.cat([linear.weight.grad for linear in projections])
        torch.testing.assert_close(found, layer.self_attn.in_proj_weight.grad, atol=1e-6, rtol=1e-4)
        torch.testing.assert_close(block.feed_forward.up.weight.grad, layer.linear1.weight.grad,
                                   atol=1e-6, rtol=1e-4)


def test_attention_spelled_out_equals_pytorchs_fused_kernel():
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 2, 4, 9, 8).unbind(0)
    weights = gpt.attention_weights(q, k)
    expected = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    torch.testing.assert_close(weights @ v, expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 4, 9))
    assert (weights.triu(1) == 0).all()


def test_the_norm_gives_every_vector_mean_0_and_variance_1():
    x = gpt.norm(3 + 5 * torch.randn(4, 7, 32))
    torch.testing.assert_close(x.mean(-1), torch.zeros(4, 7), atol=1e-5, rtol=0)
    torch.testing.assert_close(x.var(-1, correction=0), torch.ones(4, 7), atol=1e-4, rtol=0)


def test_the_compiled_model_computes_forward_and_backward_as_the_eager_one():
    model = shaken_model(dropout=0).train()
    idx, y = random_tokens(2, 2, 12).unbind(0)
    gradients = []
    for forward in (model, torch.compile(model, backend="aot_eager", fullgraph=True)):
        model.zero_grad()
        gpt.loss_of(forward(idx), y).backward()
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], atol=1e-5, rtol=1e-4)
        assert gradient.abs().max() > 0, name


def test_every_tensor_of_a_step_is_on_the_models_device():
    with torch.device("meta"):  # mixing it with tensors made on the CPU is an error
        model = gpt.GPT(gpt.configure("cpu", **TINY | {"vocab_size": 11}))
        idx = torch.zeros(2, 16, dtype=torch.long)
    gpt.loss_of(model(idx), idx).backward()
    assert all(p.grad.device.type == "meta" for p in model.parameters())
    cache = gpt.KVCache(16)
    model(idx, cache)
    assert model(idx[:, :1], cache).device.type == "meta"


def test_no_logit_depends_on_a_later_character():
    model = shaken_model()
    idx = random_tokens(1, 16)
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
        return (gpt.rotate(q, m) * gpt.rotate(k, n)).sum()

    torch.testing.assert_close(score(7, 3), score(104, 100), atol=1e-4, rtol=1e-4)
    assert abs(score(7, 3) - score(7, 4)) > 1e-3
    torch.testing.assert_close(gpt.rotate(q), q)


def test_dropout_acts_in_training_only():
    model, idx = shaken_model(dropout=0.5), random_tokens(2, 16)
    assert torch.equal(model(idx), model(idx))
    model.train()
    assert not torch.allclose(model(idx), model(idx))


# The KV cache


def with_cache(model, idx, cache, first=1):
    """Logits with a cache: the first characters at once, then one after the other."""
    parts = [model(idx[:, :first], cache)]
    parts += [model(idx[:, t : t + 1], cache) for t in range(first, idx.shape[1])]
    return torch.cat(parts, 1)


@pytest.mark.parametrize("first", [1, 2, 5, 16])
def test_logits_with_the_cache_equal_those_without_inside_the_context(first):
    model = shaken_model()
    idx = random_tokens(3, 16)
    logits = with_cache(model, idx, gpt.KVCache(16), first)
    torch.testing.assert_close(logits, model(idx), atol=1e-5, rtol=1e-5)


def test_a_cache_that_is_not_empty_refuses_several_characters():
    model = shaken_model()
    cache = gpt.KVCache(16)
    model(random_tokens(1, 4), cache)
    with pytest.raises(ValueError, match="one new character at a time, not 2"):
        model(random_tokens(1, 2), cache)
    idx = random_tokens(1, 5)
    after = model(idx[:, 4:], cache)
    torch.testing.assert_close(after, model(idx)[:, 4:], msg="the refusal changed the cache")


def test_loss_of_a_text_four_contexts_long_is_as_with_a_sliding_recomputation(trained):
    model, _, tokens = trained
    T = 16
    idx = torch.stack([tokens[i : i + 4 * T + 1] for i in range(0, 2000, 50)])
    with torch.no_grad():
        rolling = with_cache(model, idx[:, :-1], gpt.KVCache(T))[:, 2 * T :]
        sliding = torch.cat([model(idx[:, t + 1 - T : t + 1])[:, -1:] for t in range(2 * T, 4 * T)], 1)
    y = idx[:, 2 * T + 1 :]
    loss = [F.cross_entropy(logits.flatten(0, 1), y.flatten()).item() for logits in (rolling, sliding)]
    assert loss[0] < loss[1] + 0.02
    assert loss[1] < 2  # the model has learnt something, so there is something to lose


def test_one_layer_with_the_cache_hears_the_last_context_as_a_fresh_window_does():
    model = shaken_model(n_layer=1)
    for table in model.previous:  # which a fresh window lacks at its beginning
        nn.init.zeros_(table.weight)
    idx = random_tokens(2, 50)
    rolling = with_cache(model, idx, gpt.KVCache(16))
    for t in range(15, 50):
        fresh = model(idx[:, t - 15 : t + 1])[:, -1]
        torch.testing.assert_close(rolling[:, t], fresh, atol=1e-4, rtol=1e-4)


def test_the_cache_keeps_no_more_than_one_context():
    model = shaken_model()
    cache = gpt.KVCache(16)
    with_cache(model, random_tokens(2, 40), cache)
    assert cache.length == 40
    assert cache.tokens.shape == (2, 16)
    assert [kept.shape for pair in cache.layers.values() for kept in pair] == [(2, 2, 16, 8)] * 4


# The optimizers and the learning rate


def newton_schulz(matrix):
    """Five steps on the singular values, each p(s) = 3.4445 s - 4.7750 s^3 + 2.0315 s^5."""
    u, values, vh = np.linalg.svd(matrix.double().numpy(), full_matrices=False)
    values = values / np.linalg.norm(values)
    for _ in range(5):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    return torch.from_numpy(u * values @ vh).float()


@pytest.mark.parametrize("shape", [(3, 16, 48), (3, 48, 16), (1, 5, 20)])
def test_orthogonalize_is_a_polynomial_of_the_singular_values(shape):
    matrices = 100 * torch.randn(shape, generator=torch.Generator().manual_seed(0))
    before = matrices.clone()
    expected = torch.stack([newton_schulz(matrix) for matrix in matrices])
    torch.testing.assert_close(gpt.orthogonalize(matrices), expected, atol=1e-4, rtol=1e-4)
    assert torch.equal(matrices, before), "the argument was changed"
    values = torch.linalg.svdvals(expected)
    assert values.min() > 0.68 and values.max() < 1.2, "the range that its docstring gives"


def test_muon_takes_a_step_of_momentum_made_orthogonal():
    torch.manual_seed(0)
    shapes = [(8, 8), (8, 24), (24, 8), (8, 8)]
    matrices = [nn.Parameter(torch.randn(shape)) for shape in shapes]
    optimizer = gpt.Muon(matrices, lr=0.5, weight_decay=0.1)
    expected = [p.detach().clone() for p in matrices]
    momentum = [torch.zeros(shape) for shape in shapes]
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
    gpt.Muon([frozen, trained], lr=0.5, weight_decay=0.1).step()
    assert (frozen == 1).all() and not (trained == 1).any()


def test_muon_trains_the_matrices_of_the_blocks_and_adam_all_other_weights():
    model = shaken_model()
    adam, muon = gpt.make_optimizers(model, model.config)
    names = {id(p): name for name, p in model.named_parameters()}
    by_muon = {names[id(p)] for group in muon.param_groups for p in group["params"]}
    by_adam = {names[id(p)] for group in adam.param_groups for p in group["params"]}
    assert by_muon == {name for name in names.values() if name.startswith("blocks.")}
    assert by_adam == set(names.values()) - by_muon
    assert len(by_muon) == 2 * 6


def test_weight_decay_shrinks_the_matrices_of_the_blocks_and_nothing_else():
    model = shaken_model(weight_decay=0.1, learning_rate=0.5, max_steps=1)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizers = gpt.make_optimizers(model, model.config)
    gpt.set_learning_rate(optimizers, 0, model.config)
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    for optimizer in optimizers:
        optimizer.step()
    for name, p in model.named_parameters():
        factor = 1 - 0.5 * 0.1 if name.startswith("blocks.") else 1
        torch.testing.assert_close(p.detach(), factor * before[name], msg=name)


def test_adam_steps_by_the_running_mean_of_ten_gradients_over_the_root_of_that_of_twenty_squares():
    model = shaken_model(learning_rate=0.5, max_steps=1)
    adam, _ = gpt.make_optimizers(model, model.config)
    gpt.set_learning_rate([adam], 0, model.config)
    p = model.head.weight
    expected = p.detach().clone()
    mean = torch.zeros_like(p)
    square = torch.zeros_like(p)
    for step in (1, 2, 3):
        p.grad = torch.randn_like(p)
        mean = 0.9 * mean + 0.1 * p.grad
        square = 0.95 * square + 0.05 * p.grad**2
        expected -= 0.5 * mean / (1 - 0.9**step) / (square / (1 - 0.95**step)).sqrt()
        adam.step()
    torch.testing.assert_close(p.detach(), expected, atol=1e-4, rtol=1e-4)


def test_every_weight_is_trained(folder, tmp_path):
    config = gpt.configure("cpu", **TINY | {"max_steps": 1, "learning_rate": 0})
    gpt.train(TEXT, config, tmp_path, device="cpu", max_new_tokens=5)
    fresh = gpt.read_checkpoint(tmp_path)["model"]  # the initial weights: the rate was 0
    trained = gpt.read_checkpoint(folder)["model"]
    assert [name for name, weight in trained.items() if torch.equal(weight, fresh[name])] == []


def test_the_learning_rate_rises_falls_to_a_hundredth_and_stays_up_without_a_last_step():
    config = gpt.configure("cpu", max_steps=1000)
    assert [gpt.schedule(step, config) for step in (0, 49, 500, 999)] == pytest.approx([0.01, 0.5, 0.5, 0.01])
    endless = gpt.configure("cpu", max_steps=-1)
    assert [gpt.schedule(step, endless) for step in (0, 99, 10**6)] == pytest.approx([0.01, 1, 1])
    short = gpt.configure("cpu", max_steps=1)
    assert gpt.schedule(0, short) == 1


# Training


@pytest.mark.parametrize("length", [700, 689])
def test_validation_loss_is_the_mean_over_all_windows_that_do_not_overlap(trained, length):
    model, _, tokens = trained
    tokens = tokens[:length]
    losses = []
    for start in range(0, len(tokens) - 16, 16):
        log_probs = model(tokens[None, start : start + 16])[0].log_softmax(1)
        losses.append([-log_probs[t, tokens[start + t + 1]].item() for t in range(16)])
    losses = np.array(losses)
    assert len(losses) == 43, "of 689 characters, the last window uses the last one"
    loss, error = gpt.evaluate(model, tokens)
    assert loss == pytest.approx(losses.mean(), abs=1e-5)
    assert error == pytest.approx(losses.mean(1).std(ddof=1) / math.sqrt(len(losses)), abs=1e-5)
    some, _ = gpt.evaluate(model, tokens, characters=100)  # every seventh window: at most 100 characters
    assert some == pytest.approx(losses[::7].mean(), abs=1e-5)
    assert math.isnan(gpt.evaluate(model, tokens[:17])[1]), "one window has no standard error"


def test_evaluations_on_the_way_take_16384_characters_of_a_long_validation_text(tmp_path):
    tokens = random_tokens(400_000) * random_tokens(400_000, seed=1) // 11  # the first ones are frequent
    text = "".join("abcdefghijk"[token] for token in tokens)
    config = gpt.configure("cpu", **TINY | {"max_steps": 2, "n_layer": 1, "n_embd": 4})
    model, vocab, results = gpt.train(text, config, tmp_path, device="cpu", max_new_tokens=5)
    validation = torch.from_numpy(vocab.encode(text[360_000:]))
    windows = torch.stack([validation[i : i + 17] for i in range(0, 40_000 - 16, 3 * 16)]).long()
    assert len(windows) * 16 <= 16_384 < len(windows) * 24, "every third window"
    loss = F.cross_entropy(model(windows[:, :16]).flatten(0, 1), windows[:, 1:].flatten())
    assert results["run"].best_step == 2
    assert results["run"].best_loss == pytest.approx(loss.item(), abs=1e-5)


def test_targets_of_minus_one_do_not_count():
    logits, y = torch.randn(2, 3, 5), torch.tensor([[1, -1, 2], [-1, -1, 4]])
    expected = -logits.log_softmax(2)[[0, 0, 1], [0, 2, 2], [1, 2, 4]].mean()
    assert gpt.loss_of(logits, y).item() == pytest.approx(expected.item(), abs=1e-6)


def test_an_evaluation_and_a_sample_leave_a_model_in_training_mode_with_its_dropout():
    model = shaken_model(dropout=0.5).train()
    losses = [gpt.evaluate(model, random_tokens(200))[0] for _ in range(2)]
    assert losses[0] == losses[1], "dropout was on"
    texts = [gpt.generate(model, gpt.Vocab("abcdefghijk"), max_new_tokens=9, temperature=0) for _ in range(2)]
    assert texts[0] == texts[1], "dropout was on"
    assert model.training and model.blocks[0].dropout.training


# Generation


def test_greedy_text_is_the_likeliest_character_again_and_again(trained):
    model, vocab, _ = trained
    text = "the "
    for _ in range(8):
        idx = torch.from_numpy(vocab.encode(text).astype(int))[None]
        text += vocab.chars[model(idx)[0, -1].argmax()]
    for settings in ({"temperature": 0}, {"top_k": 1}, {"temperature": 1e-320}):
        assert gpt.generate(model, vocab, prompt="the ", max_new_tokens=8, **settings) == [text]


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


def test_top_k_draws_from_exactly_k_where_all_are_equally_likely():
    model, vocab = gpt.GPT(gpt.configure("cpu", **TINY | {"vocab_size": 11})), gpt.Vocab("abcdefghijk")
    texts = gpt.generate(model, vocab, num_samples=200, max_new_tokens=1, top_k=3, seed=1)
    assert len(set(texts)) == 3
    texts = gpt.generate(model, vocab, num_samples=500, max_new_tokens=1, top_k=10**6, seed=1)
    assert len(set(texts)) == 11


def test_a_seed_gives_the_same_texts_and_nobody_elses_random_numbers_are_touched():
    model, vocab = shaken_model(), gpt.Vocab("abcdefghijk")
    before = torch.get_rng_state()
    texts = [gpt.generate(model, vocab, num_samples=103, max_new_tokens=7, seed=seed) for seed in (5, 5, 6)]
    assert texts[0] == texts[1] != texts[2]
    assert len(texts[0]) == 103 and len(set(texts[0])) > 95
    assert gpt.generate(model, vocab, max_new_tokens=30) != gpt.generate(model, vocab, max_new_tokens=30)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_model_whose_logits_are_not_numbers_is_refused_in_one_sentence():
    model = shaken_model()
    model.head.weight.data.fill_(math.nan)
    with pytest.raises(gpt.UserError, match="the model's logits are not numbers; nothing can be sampled"):
        gpt.generate(model, gpt.Vocab("abcdefghijk"), max_new_tokens=3)


def test_an_empty_prompt_is_a_new_line(trained):
    model, vocab, _ = trained
    (text,) = gpt.generate(model, vocab, max_new_tokens=20, seed=3)
    assert gpt.generate(model, vocab, prompt="\n", max_new_tokens=20, seed=3) == ["\n" + text]


def test_without_new_lines_an_empty_prompt_is_the_first_character():
    model, vocab = shaken_model(), gpt.Vocab("abcdefghijk")
    (text,) = gpt.generate(model, vocab, max_new_tokens=20, seed=3)
    assert gpt.generate(model, vocab, prompt="a", max_new_tokens=20, seed=3) == ["a" + text]


def test_a_prompt_longer_than_the_context_works(trained):
    model, vocab, _ = trained
    (text,) = gpt.generate(model, vocab, prompt=TEXT[:60], max_new_tokens=5, seed=1)
    assert len(text) == 65 and text.startswith(TEXT[:60])
    (short,) = gpt.generate(model, vocab, prompt=TEXT[44:60], max_new_tokens=5, seed=1)
    assert text[44:] == short, "only the last 16 characters count"


@pytest.mark.parametrize(("options", "sentence"), [
    ({"temperature": -1}, "--temperature must be from 0 to 1000000000, not -1.0"),
    ({"temperature": "warm"}, "--temperature must be a number, not 'warm'"),
    ({"max_new_tokens": -5}, "--max-new-tokens must be from 1 to 1000000000, not -5"),
    ({"top_k": -1}, "--top-k must be from 1 to 1000000, not -1"),
    ({"num_samples": 2.0}, "--num-samples must be a whole number, not 2.0"),
    ({"seed": "x"}, "--seed must be a whole number, not 'x'"),
    ({"prompt": "the Xé"}, "not in the vocabulary: 'X' 'é'; the vocabulary is abc"),
    ({"prompt": "the\udce9"}, r"not in the vocabulary: '\udce9'"),
    ({"prompt": None}, "a prompt must be text, not None"),
])
def test_impossible_options_of_generate_are_refused(options, sentence):
    vocab = gpt.Vocab("abcdefghijk the")
    with pytest.raises(gpt.UserError, match=re.escape(sentence.replace("abc", str(vocab)[:3]))):
        gpt.generate(shaken_model(vocab_size=len(vocab)), vocab, **options)


# Data


LETTERS = "".join(map(chr, range(32, 700)))


@pytest.mark.parametrize("text", [
    "abc", "héllo wörld", "日本語\nテキスト", "a😀b\U0010ffff", LETTERS, LETTERS[:256],
])
def test_a_text_is_the_same_after_encoding_and_decoding(text):
    vocab = gpt.Vocab(text)
    tokens = vocab.encode(text)
    assert vocab.decode(tokens) == text
    assert vocab.chars == "".join(sorted(set(text)))
    assert tokens.tolist() == [vocab.chars.index(char) for char in text]


def test_known_characters_keep_their_tokens():
    assert gpt.Vocab("abcxyz", first="zb").chars == "zbacxy"


def test_a_vocabulary_names_what_cannot_be_printed_and_says_when_it_goes_on():
    assert str(gpt.Vocab("?a\t\n")) == "\\t\\n?a"
    assert str(gpt.Vocab("".join(chr(0x4E00 + i) for i in range(100)))).endswith(chr(0x4E00 + 99))
    assert str(gpt.Vocab("".join(chr(0x4E00 + i) for i in range(101)))).endswith(chr(0x4E00 + 99) + " ...")


def test_split_is_ninety_to_ten_and_validation_has_at_least_one_context():
    parts = gpt.split(np.arange(1000), 16)
    assert {name: len(part) for name, part in parts.items()} == {"training": 900, "validation": 100}
    assert parts["validation"][0] == 900
    parts = gpt.split(np.arange(100), 16)
    assert len(parts["validation"]) == 17 and len(parts["training"]) == 83
    assert {len(part) for part in gpt.split(np.arange(34), 16).values()} == {17}
    with pytest.raises(gpt.UserError, match="too short: 33 characters; a context of 16 needs 34"):
        gpt.split(np.arange(33), 16)


def test_targets_are_the_inputs_one_position_later():
    tokens = random_tokens(400).to(torch.uint8)
    x, y = gpt.windows(tokens, torch.tensor([0, 83]), 16)
    assert x[0].tolist() == tokens[:16].tolist() and y[0].tolist() == tokens[1:17].tolist()
    assert x[1].tolist() == tokens[83:99].tolist() and y[1].tolist() == tokens[84:100].tolist()


class Share:
    def __init__(self, rank, size):
        self.rank, self.size = rank, size


def draw(step, team=None, **values):
    """A batch of a text whose characters are their positions."""
    config = gpt.configure("cpu", **TINY | {"seed": 1} | values)
    return gpt.training_batch(torch.arange(1000), config, step, team or Share(0, 1))


def test_a_process_draws_its_share_of_what_one_process_draws():
    whole = draw(3, batch_size=8)[0]
    parts = [draw(3, Share(rank, 2), batch_size=4)[0] for rank in (0, 1)]
    assert torch.equal(whole, torch.cat(parts))
    assert not torch.equal(whole, draw(4, batch_size=8)[0])


def test_an_epoch_visits_every_window_once_at_an_offset_of_its_own():
    count = (1000 - 1) // 16 - 1  # of windows that fit whatever the offset
    rows = torch.cat([draw(step, batch_size=1, max_steps=-1)[0] for step in range(6 * count)])
    assert rows.min() >= 0 and rows.max() < 999
    epochs = rows.view(6, count, 16)
    for epoch in epochs:
        covered = epoch.flatten().sort().values
        assert torch.equal(covered, torch.arange(covered[0], covered[0] + 16 * count))
        assert not torch.equal(epoch.flatten(), covered), "in random order"
    assert len({int(epoch.min()) for epoch in epochs}) > 2
    other = torch.cat([draw(step, batch_size=1, max_steps=-1, seed=2)[0] for step in range(count)])
    assert not torch.equal(epochs[0], other) and not torch.equal(epochs[1], other)


@pytest.mark.parametrize("length", [17, 20, 32, 40])
def test_a_text_of_hardly_more_than_one_window_has_one_at_every_offset_that_fits(length):
    config = gpt.configure("cpu", **TINY | {"batch_size": 1})
    firsts = set()
    for step in range(300):
        x, y = gpt.training_batch(torch.arange(length), config, step, Share(0, 1))
        assert torch.equal(x, x[0, 0] + torch.arange(16)[None]) and torch.equal(y, x + 1)
        firsts.add(int(x[0, 0]))
    assert firsts == set(range(min(16, length - 16)))


def test_in_the_first_60_percent_of_the_steps_the_windows_are_cut_into_windows_of_64():
    for step in range(10):
        whole = draw(step, block_size=192, max_steps=-1)  # a run without an end never cuts
        x, y = draw(step, block_size=192, max_steps=10)
        assert x.shape == y.shape == ((12, 64) if step < 6 else (4, 192))
        assert torch.equal(x.reshape(4, 192), whole[0]) and torch.equal(y.reshape(4, 192), whole[1])
        assert torch.equal(y, x + 1)
    assert draw(0, block_size=100, max_steps=10)[0].shape == (4, 100), "64 does not divide it"


# Files


@pytest.mark.parametrize(("content", "sentence"), [
    ("one\ntwo\ncafé au lait\n".encode("latin-1"), "line 3 is not UTF-8; it looks like CP1252: "
     + "iconv -f CP1252 -t UTF-8 'my text.txt' > new.txt"),
    ("“quoted”\n".encode("cp1252"), "line 1 is not UTF-8; it looks like CP1252"),
    ("one\ntwo".encode("utf-16"), "it looks like UTF-16: iconv -f UTF-16 -t UTF-8 "),
    ("\ufeff日本\n".encode("utf-16-be"), "it looks like UTF-16"),
    ("aé日xyz\r\n".encode() * 100_000 + b"\xff", "line 100001 is not UTF-8"),
    ("one\ntwo".encode("utf-16-le"), "it looks like UTF-16LE: iconv -f UTF-16LE"),
    ("one\ntwo".encode("utf-16-be"), "it looks like UTF-16BE: iconv -f UTF-16BE"),
    ("анна\nольга\n".encode("koi8-r"), "line 1 is not UTF-8; iconv -f ENCODING"),
    ("zoë\n".encode() * 20 + b"\xed\xa0\x80", "line 21 is not UTF-8, but most of the file is: iconv -c "),
    (b"abc\0def", "it is a binary file"),
])
def test_a_file_in_another_encoding_is_refused_with_the_line_and_the_command_that_converts_it(
        tmp_path, monkeypatch, content, sentence):
    monkeypatch.chdir(tmp_path)
    Path("my text.txt").write_bytes(content)
    with pytest.raises(gpt.UserError) as error:
        gpt.read_file("my text.txt")
    assert str(error.value).startswith("cannot read my text.txt: ") and sentence in str(error.value)


@pytest.mark.parametrize("content", ["one\r\ntwo \x0c\r\n", "\ufeffone\ntwo \x0c\n", "one\rtwo \x0c\r"])
def test_line_ends_and_byte_order_marks_make_no_difference_and_the_rest_stays(tmp_path, content):
    (tmp_path / "text.txt").write_bytes((content + "\u2028\x85 end").encode())
    assert gpt.read_file(tmp_path / "text.txt") == "one\ntwo \x0c\n\u2028\x85 end"


def test_a_file_that_cannot_be_written_is_named_with_the_reason(tmp_path):
    with pytest.raises(gpt.UserError, match="cannot write .*nowhere/x: No such file or directory") as error:
        gpt.write_file(tmp_path / "nowhere" / "x", b"content")
    assert error.value.status == 1


# The door


def test_the_sizes_for_a_cpu_are_those_of_every_cpu():
    assert gpt.configure("cpu:0") == gpt.configure("cpu") != gpt.configure("cuda:0")
    assert gpt.configure(torch.device("cpu")) == gpt.configure("cpu")


def is_plain(value):
    """Whether a checkpoint may hold it: read with `weights_only`, it comes back as it was."""
    if isinstance(value, dict):
        return all(map(is_plain, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(is_plain, value))
    return value is None or type(value) in (int, float, str, torch.Tensor)


def test_numbers_and_names_of_any_type_become_plain_and_the_run_is_loaded_and_resumed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text(TEXT)
    odd = {"n_layer": np.int64(1), "n_head": torch.tensor(2), "n_embd": np.uint8(16),
           "dropout": Fraction(1, 4), "learning_rate": np.logspace(-2, -1, 3)[0], "seed": np.int32(5),
           "max_steps": torch.tensor(2), "batch_size": True, "block_size": np.array(16)}
    config = gpt.configure("cpu", **odd)
    assert vars(config) == vars(gpt.configure(
        "cpu", n_layer=1, n_head=2, n_embd=16, dropout=0.25, learning_rate=0.01, seed=5, max_steps=2,
        batch_size=1, block_size=16))
    assert is_plain(vars(config))
    config = gpt.Config(**odd)  # not checked yet
    sampling = {"temperature": np.float32(0.5), "top_k": np.int8(3), "max_new_tokens": torch.tensor(5)}
    result = gpt.train(TEXT, config, Path("out"), device=torch.device("cpu"), source=Path("text.txt"),
                       **sampling)
    assert is_plain(vars(result.model.config))
    checkpoint = torch.load("out/model.pt", weights_only=True)
    assert is_plain({name: value for name, value in checkpoint.items() if name != "optimizers"})
    assert checkpoint["source"] == str(tmp_path / "text.txt")
    gpt.load(Path("out"))
    assert gpt.resume(Path("out"), max_steps=np.int64(4), device="cpu", **sampling).results["run"].step == 4
    assert type(gpt.read_checkpoint("out")["config"].max_steps) is int


@pytest.mark.parametrize(("settings", "sentence"), [
    ({"max_steps": "100"}, "--max-steps must be a whole number, not '100'"),
    ({"max_steps": None}, "--max-steps must be a whole number, not None"),
    ({"max_steps": 8.0}, "--max-steps must be a whole number, not 8.0"),
    ({"max_steps": -2}, "--max-steps must be from 1 to 1000000000, not -2 (or -1: no end)"),
    ({"learning_rate": "0.1"}, "--learning-rate must be a number, not '0.1'"),
    ({"learning_rate": [0.1]}, "--learning-rate must be a number, not [0.1]"),
    ({"dropout": float("nan")}, "--dropout must be from 0 to 0.99, not nan"),
    ({"seed": torch.tensor([1, 2])}, "--seed must be a whole number, not tensor([1, 2])"),
    ({"n_embd": 20, "n_head": 4}, "--n-embd 20 does not divide into 4 heads of even size"),
])
def test_impossible_settings_are_refused_before_anything_is_written(tmp_path, settings, sentence):
    out = tmp_path / "out"
    with pytest.raises(gpt.UserError, match=re.escape(sentence)):
        gpt.configure("cpu", **settings)
    with pytest.raises(gpt.UserError, match=re.escape(sentence)):
        gpt.train(TEXT, gpt.Config(**settings), out, device="cpu")
    assert not out.exists()


def test_a_config_is_made_by_configure():
    with pytest.raises(gpt.UserError, match="configure.. makes the config; this is {'n_layer': 1}"):
        gpt.train(TEXT, {"n_layer": 1}, device="cpu")


def test_a_setting_that_does_not_exist_is_a_type_error():
    with pytest.raises(TypeError, match="n_layers"):
        gpt.configure("cpu", n_layers=3)


@pytest.mark.parametrize(("text", "sentence"), [
    ("play.txt", "give the text itself, not 'play.txt'; gpt.read_file(name) reads it"),
    ("play", "give the text itself, not 'play'"),
    ("nowhere.txt", "give the text itself, not 'nowhere.txt'"),
    (Path("play.txt"), "give the text itself, not 'play.txt'"),
    (TEXT.encode(), "give the text itself"),
    (TEXT.split(), "give the text itself"),
    (None, "give the text itself, not 'None'"),
    (TEXT + "\ud800", r"'\ud800' is half of a character; it cannot be in a text"),
])
def test_what_is_no_text_is_refused(tmp_path, monkeypatch, text, sentence):
    monkeypatch.chdir(tmp_path)
    Path("play").write_text(TEXT)
    Path("play.txt").write_text(TEXT)
    with pytest.raises(gpt.UserError, match=re.escape(sentence)):
        gpt.train(text, gpt.configure("cpu", **TINY), device="cpu")
    assert not Path("out").exists()


# Devices


def test_auto_is_cuda_or_else_the_cpu_and_never_apples_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert gpt.pick_device("auto") == torch.device("cpu")


def test_a_gpu_cannot_be_chosen_by_its_number_under_torchrun(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(gpt.UserError, match="under torchrun .*: --device cuda, not cuda:0"):
        gpt.pick_device("cuda:0")
    assert gpt.pick_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["cuda:99", "nonsense", "", None])
def test_a_device_that_is_not_there_is_refused(name):
    with pytest.raises(gpt.UserError, match="cannot be used here; try --device cpu"):
        gpt.pick_device(name)


def test_bfloat16_and_compilation_are_for_gpus_that_are_good_at_it(monkeypatch):
    monkeypatch.setattr(gpt.importlib.util, "find_spec", lambda name: name)
    found = []
    for version in ((6, 1), (7, 5), (8, 0), (12, 0)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, version=version: version)
        found.append((gpt.can_compile(torch.device("cuda")), gpt.has_bfloat16(torch.device("cuda"))))
    assert found == [(False, False), (True, False), (True, True), (True, True)]
    monkeypatch.setattr(gpt.importlib.util, "find_spec", lambda name: None)
    assert not gpt.can_compile(torch.device("cuda"))
    assert not gpt.can_compile(torch.device("cpu")) and not gpt.has_bfloat16(torch.device("cpu"))


def test_auto_has_the_sizes_of_the_device_that_it_chooses(monkeypatch):
    assert gpt.configure("auto") == gpt.configure(gpt.pick_device("auto"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert gpt.configure("auto") == gpt.configure("cuda") != gpt.configure("cpu")
