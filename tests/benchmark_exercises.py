"""The figures in the ANSWERS.md of each folder: python tests/benchmark.py exercises PART

    solutions   the checks of all exercises on the solutions, with what they print, a quarter of a minute;
                6.3 and 7.7 are wrong until their runs are in out/
    why         the figures behind the answers to "why?": lectures 2 to 7, half a minute
    counting    Kneser-Ney beside add-alpha counts, one to six letters of context, half a minute
    networks FOLDER ...   counts beside trained models of makemore.py, letter by letter;
                          folders as given to its -o
    picture FOLDER        README's picture: the runs of `makemore.py --type all -o FOLDER`, and Kneser-Ney
    direct      the MLP of lecture 3 with and without direct connections, three seeds, two minutes
    search      wavenets with other settings (exercise 6.3), into out/search, half an hour or more
    sums [STEPS [SEEDS]]  a gpt that learns to add, four ways and five seeds (exercises 7.5 and 7.6)
    calculator [STEPS]    a gpt that calculates, with a scratchpad and without one (exercise 7.8)
    idea        the idea of the solution of 7.9 beside the unchanged gpt.py, three seeds, ten minutes
"""
import itertools
import math
import statistics
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import torch
import torch.nn.functional as F

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import solutions

import makemore
import micrograd.exercises
from gpt import exercises as gpt_exercises
from makemore import exercises


def solved():
    """What every check says of the solution."""
    for module in (micrograd.exercises, exercises, gpt_exercises):
        for number, (blank, check) in module.EXERCISES.items():
            result, message = module.verdict(getattr(solutions, blank.__name__), check)
            print(f"{number:4}  {result}: {message}".removesuffix(": "))


def std_by_layer(tensors):
    return "  ".join(f"{t.std().item():9.2e}" for t in tensors)


# Why? -------------------------------------------------------------------------------------------------------


def why():
    print(f"{torch.get_num_threads()} threads, float32")
    torch.manual_seed(1)
    zero_start()
    first_losses()
    large_logits()
    row_or_product()
    fan_in()
    gradient_scale()
    folding()
    tree_or_convolution()
    sqrt_of_d()


def zero_start():
    """4.1: the loss when all weights start at zero."""
    data = exercises._groups(exercises._names()["training"], 3)
    x, y = data[:, :3], data[:, 3]
    for start, factor in (("zero", 0.0), ("random", 1.0)):
        p = {"C": torch.randn(27, 10), "W1": torch.randn(30, 200) * (5 / 3) / 30**0.5, "b1": torch.zeros(200),
             "W2": torch.randn(200, 27) * 0.01, "b2": torch.zeros(27)}
        p = {name: (t * factor).requires_grad_() for name, t in p.items()}
        for step in range(2000):
            batch = torch.randint(len(x), (256,))
            loss = F.cross_entropy(solutions.mlp(x[batch], **p), y[batch])
            for t, gradient in zip(p.values(), torch.autograd.grad(loss, list(p.values()))):
                t.data -= 0.5 * (1 - step / 2000) * gradient
        with torch.no_grad():
            print(f"4.1 {start} start, 2,000 steps: training loss "
                  f"{F.cross_entropy(solutions.mlp(x, **p), y):.4f}")
    share = y.bincount() / len(y)
    print(f"4.1 the loss of one distribution for all positions: {-(share * share.log()).sum():.4f}")


def first_losses():
    """3.2: the first loss by the size of W2."""
    h, y = torch.randn(5000, 200).tanh(), torch.randint(27, (5000,))
    for factor in (1.0, 0.1, 0.01, 0.0):
        loss = F.cross_entropy(h @ (factor * torch.randn(200, 27)), y)
        print(f"3.2 W2 = {factor} randn: first loss {loss:.4f} (ln 27 = {math.log(27):.4f})")


def large_logits():
    """2.6: where exp, sum, log breaks down in float32."""
    for size in (80.0, 90.0, 1000.0):
        logits = torch.tensor([[size, 0.0]])
        print(f"2.6 logits {size:g} and 0, target the first / the second: "
              + ", ".join(f"by hand {-(logits.exp() / logits.exp().sum()).log()[0, i].item():.4f}, "
                          f"F.cross_entropy {F.cross_entropy(logits, torch.tensor([i])).item():.4f}"
                          for i in (0, 1)))


def row_or_product():
    """2.5: how long a look-up takes, and a product with one-hot vectors."""
    W, x = torch.randn(27, 27), torch.randint(27, (10_000,))
    print(f"2.5 equal: {torch.equal(W[x], F.one_hot(x, 27).float() @ W)}; 10,000 letters: "
          f"W[x] {milliseconds(lambda: W[x]):.2f} ms, "
          f"one-hot {milliseconds(lambda: F.one_hot(x, 27).float() @ W):.2f} ms")


def milliseconds(action):
    times = []
    for _ in range(50):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return 1000 * sorted(times)[25]


def deep_tanh(gain, norm=False, scale=1.0):
    """Activations and gradients of ten tanh layers of 100 units; weights scaled by gain and by scale."""
    x, hidden = torch.randn(1000, 100), []
    weights = [(torch.randn(100, 100) * gain * scale).requires_grad_() for _ in range(10)]
    h = x
    for W in weights:
        h = h @ W
        h = F.batch_norm(h, None, None, training=True) if norm else h
        h = h.tanh()
        h.retain_grad()
        hidden.append(h)
    (h * torch.randn_like(h)).sum().backward()
    return hidden, [h.grad for h in hidden], [W.grad for W in weights]


def fan_in():
    """Lecture 4: the standard deviation of activations and gradients, layer by layer."""
    for name, gain in (("1", 1.0), ("1 / sqrt(100)", 0.1), ("5/3 / sqrt(100)", 1 / 6),
                       ("0.5 / sqrt(100)", 0.05)):
        hidden, gradients, _ = deep_tanh(gain)
        print(f"4   ten tanh layers, weights times {name}: activations of layers 1, 4, 7, 10 "
              f"{std_by_layer(hidden[::3])}; gradients {std_by_layer(gradients[::3])}; "
              f"saturated (|h| > 0.97) {100 * (hidden[-1].abs() > 0.97).float().mean():.0f} %")


def gradient_scale():
    """Lecture 4 and 5: what batch norm does to the gradients' scale."""
    for scale in (0.3, 1.0, 3.0, 10.0):
        for norm in (False, True):
            torch.manual_seed(2)
            _, gradients, by_weights = deep_tanh(1 / 6, norm, scale)
            print(f"5   weights times {scale:4g}, batch norm {norm!s:5}: gradient with respect to the "
                  f"output of layers 1, 10 {std_by_layer(gradients[::9])}, "
                  f"ratio {(gradients[0].std() / gradients[-1].std()).item():.2g}; "
                  f"to the weights {std_by_layer(by_weights[::9])}")


def folding():
    """4.3: how far the folded layer is from the batch norm."""
    W, x = torch.randn(200, 200) / 14, torch.randn(1000, 200)
    gain, bias, mean, var = torch.rand(4, 200) + 0.5
    W2, b2 = solutions.fold(W, gain, bias, mean, var)

    difference = F.batch_norm(x @ W, mean, var, gain, bias, False) - (x @ W2 + b2)
    print(f"4.3 largest difference of 1,000 rows of 200: {difference.abs().max():.1e}")


def tree_or_convolution():
    """6.2: one pass over a word beside a tree for each of its windows."""
    T, C, H = 16, 24, 128
    x = torch.randn(32, T + 7, C)
    weights = [torch.randn(2 * C, H) / 7, torch.randn(2 * H, H) / 16, torch.randn(2 * H, H) / 16]

    def windows():
        return solutions.tree(x.unfold(1, 8, 1).mT.flatten(0, 1), weights).view(32, T, H)

    difference = (solutions.dilated(x, weights) - windows()).abs().max()
    print(f"6.2 32 words of 16: largest difference {difference:.1e}; "
          f"one pass {milliseconds(lambda: solutions.dilated(x, weights)):.2f} ms, "
          f"all windows {milliseconds(windows):.2f} ms")


def sqrt_of_d():
    """7.2: the largest of 32 attention weights, for heads of several sizes."""
    for D in (4, 16, 64, 256):
        q, k = torch.randn(1000, D), torch.randn(32, D)
        plain, divided = ((q @ k.T / c).softmax(1).max(1).values.mean() for c in (1, D**0.5))
        print(f"7.2 heads of {D:3}: largest of 32 weights, on average, without the root {plain:.2f}, "
              f"with it {divided:.2f}")


# Counting ---------------------------------------------------------------------------------------------------


def counted(words, n, alpha):
    """A function like the one of exercise 2.7: add-alpha counts of n letters."""
    counts = {}
    for word in words:
        text = "." * n + word + "."
        for i in range(n, len(text)):
            row = counts.setdefault(text[i - n : i], [0] * 27)
            row[exercises.LETTERS.index(text[i])] += 1

    def distribution(beginning):
        row = counts.get(("." * n + beginning)[-n:], [0] * 27)
        total = sum(row) + 27 * alpha
        return [(count + alpha) / total for count in row]

    return distribution


def letter_losses(distribution, words, n):
    """For each word the nats of each of its letters, its end included."""
    known, losses = {}, []
    for word in words:
        losses.append([])
        for i, letter in enumerate(word + "."):
            context = ("." * n + word[:i])[-n:]
            if context not in known:
                known[context] = distribution(word[:i])
            losses[-1].append(-math.log(known[context][exercises.LETTERS.index(letter)]))
    return losses


def mean_loss(losses):
    """Nats per letter and the standard error over words."""
    letters = sum(map(len, losses))
    mean = sum(map(sum, losses)) / letters
    return mean, math.sqrt(sum((sum(word) - mean * len(word)) ** 2 for word in losses)) / letters


def counting():
    words = exercises._names()
    print("letters  add-alpha: alpha, validation, test        "
          "Kneser-Ney: discount, validation, test, seconds")
    for n in range(1, 7):
        rows = []
        for make, values in ((counted, (0.01, 0.03, 0.1, 0.3, 1.0)),
                             (solutions.kneser_ney, (0.7, 0.8, 0.9, 1.0))):
            best = min((mean_loss(letter_losses(make(words["training"], n, value),
                                                words["validation"], n))[0], value)
                       for value in values)
            start = time.perf_counter()
            test = mean_loss(letter_losses(make(words["training"], n, best[1]), words["test"], n))
            rows.append((best[1], best[0], *test, time.perf_counter() - start))
        (alpha, *plain, _), (discount, *better, seconds) = rows
        print(f"{n}        {alpha:<4} {plain[0]:.4f} {plain[1]:.4f} +- {plain[2]:.4f}            "
              f"{discount} {better[0]:.4f} {better[1]:.4f} +- {better[2]:.4f}  {seconds:.1f}")


def networks(folders):
    """Kneser-Ney of five letters beside networks, by what the counts have seen and by the position."""
    words = exercises._names()
    test, n = words["test"], 5
    seen = {}
    for word in words["training"]:
        text = "." * n + word + "."
        for i in range(n, len(text)):
            seen[text[i - n : i]] = seen.get(text[i - n : i], 0) + 1
    columns = {"Kneser-Ney 5": letter_losses(solutions.kneser_ney(words["training"], n, 0.9), test, n)}
    for folder in folders:
        model, vocab = makemore.load(folder)
        data = makemore.Words(test, vocab)
        batches = [data.batch(torch.tensor([i])) for i in range(len(test))]
        with torch.no_grad():
            columns[Path(folder).name] = [
                makemore.loss_of(model(x), y, reduction="none")[0].tolist() for x, y in batches]
    # For each letter of the test words: how often its context was seen, its position, is it the end?
    keys = []
    for word in test:
        for i in range(len(word) + 1):
            keys.append((seen.get(("." * n + word[:i])[-n:], 0), i, i == len(word)))
    flat = {name: list(itertools.chain(*losses)) for name, losses in columns.items()}
    for name in list(flat)[1:]:
        mixed = [-math.log((math.exp(-a) + math.exp(-b)) / 2)
                 for a, b in zip(flat["Kneser-Ney 5"], flat[name])]
        flat[f"half {name}"] = mixed
    groups = {
        "all": lambda key: True,
        "context never seen": lambda key: key[0] == 0,
        "context seen 1 to 4 times": lambda key: 1 <= key[0] <= 4,
        "context seen 5 to 49 times": lambda key: 5 <= key[0] <= 49,
        "context seen 50 times or more": lambda key: key[0] >= 50,
        "letters 1 to 3": lambda key: key[1] < 3,
        "letters 4 to 6": lambda key: 3 <= key[1] < 6,
        "letters from 7 on": lambda key: key[1] >= 6,
        "the end of a word": lambda key: key[2],
    }
    print(f"{'test letters':32} {'share':>6}  " + "  ".join(f"{name:>16}" for name in flat))
    for title, belongs in groups.items():
        chosen = [i for i, key in enumerate(keys) if belongs(key)]
        means = [sum(losses[i] for i in chosen) / len(chosen) for losses in flat.values()]
        print(f"{title:32} {100 * len(chosen) / len(keys):4.0f} %  "
              + "  ".join(f"{mean:16.3f}" for mean in means))


def picture(folder):
    """Draw the validation losses of all types, and that of Kneser-Ney as a line: makemore/losses.png."""
    words = exercises._names()
    losses = letter_losses(solutions.kneser_ney(words["training"], 5, 0.9), words["validation"], 5)
    loss, _ = mean_loss(losses)
    runs = {name: SimpleNamespace(**makemore.read_checkpoint(Path(folder) / name)["progress"])
            for name in makemore.MODELS}
    ends = (0, 0.0, math.nan, loss), (max(run.step for run in runs.values()), 0.0, math.nan, loss)
    runs["Kneser-Ney, 5 letters"] = SimpleNamespace(losses=[loss, loss], log=ends, best_loss=loss)
    makemore.draw_losses(runs, ROOT / "makemore" / "losses.png")


# Direct connections -----------------------------------------------------------------------------------------


def direct():
    """3.4: the MLP of lecture 3, 10,000 steps, with and without direct connections."""
    words = exercises._names()
    data = {part: exercises._groups(words[part], 3) for part in words}
    ends = {}
    for hidden, seed, with_direct in itertools.product((200, 20), (1, 2, 3), (False, True)):
        generator = torch.Generator().manual_seed(seed)

        def randn(rows, columns, factor, generator=generator):
            return (torch.randn(rows, columns, generator=generator) * factor).requires_grad_()

        p = {"C": randn(27, 10, 1), "W1": randn(30, hidden, (5 / 3) / 30**0.5),
             "b1": torch.zeros(hidden, requires_grad=True),
             "W2": randn(hidden, 27, 0.1 * (5 / 3) / hidden**0.5),
             "b2": torch.zeros(27, requires_grad=True)}
        network = solutions.mlp
        if with_direct:
            p["W3"] = randn(30, 27, 0)
            network = solutions.direct
        optimizer = torch.optim.AdamW(p.values(), lr=0.01, weight_decay=0.01)
        losses = {}
        for step in range(10_001):
            if step in (500, 2000, 10_000):
                with torch.no_grad():
                    group = data["validation"]
                    losses[step] = F.cross_entropy(network(group[:, :3], **p), group[:, 3]).item()
            for setting in optimizer.param_groups:
                setting["lr"] = 0.01 * (1 - step / 10_001)
            batch = data["training"][torch.randint(len(data["training"]), (512,), generator=generator)]
            loss = F.cross_entropy(network(batch[:, :3], **p), batch[:, 3])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print(f"3.4 {hidden} hidden units, seed {seed}, "
              f"{'direct' if with_direct else 'plain ':6}: validation "
              + ", ".join(f"{loss:.4f} after {step:,}" for step, loss in losses.items()), flush=True)
        ends.setdefault((hidden, with_direct), []).append(losses[10_000])
    for hidden in (200, 20):
        differences = [a - b for a, b in zip(ends[hidden, True], ends[hidden, False])]
        print(f"3.4 {hidden} hidden units: {statistics.fmean(ends[hidden, True]):.3f} with, "
              f"{statistics.fmean(ends[hidden, False]):.3f} without, difference "
              f"{statistics.fmean(differences):+.4f} ± {standard_error(differences):.4f}")


# A search ---------------------------------------------------------------------------------------------------


def search():
    """6.3: the default wavenet, more steps for it, and a wider one with as many."""
    tries = {
        "default": {},
        "steps": {"max_steps": 15_000},
        "wide": {"max_steps": 15_000, "n_embd2": 192, "dropout": 0.2},
    }
    words = makemore.read_words("names.txt")
    results = {}
    for name, settings in tries.items():
        config = makemore.configure("wavenet", **settings)
        results[name] = makemore.train(words, config, Path("out/search") / name).results
    for name, settings in tries.items():
        print(f"6.3 {name:8} {settings!s:40} validation {results[name]['validation'][0]:.4f}, "
              f"{results[name]['seconds']:.0f} s of training")
    best = min(results, key=lambda name: results[name]["validation"])
    print("6.3 the best on the test words: {} {:.4f} +- {:.4f}".format(best, *results[best]["test"]))


# Sums and the calculator ------------------------------------------------------------------------------------


def forward(pairs):
    """The lines of 7.5 with the answers forward."""
    return "".join(f"{a}+{b}={a + b}\n" for a, b in pairs)


def sums(steps=None, seeds=5):
    """7.5 and 7.6: answers backwards or forward, all characters learned or the answers alone."""
    steps = gpt_exercises._STEPS["7.5"] if steps is None else int(steps)
    orders = {"backwards": solutions.sum_lines, "forward": forward}
    losses = {"all characters": gpt_exercises._everything, "the answers alone": solutions.answers_only}
    shares = {}
    for seed in range(1, int(seeds) + 1):
        for (order, write), (loss, targets) in itertools.product(orders.items(), losses.items()):
            print(f"answers {order}, loss on {loss}, seed {seed}")
            share = gpt_exercises.train_sums(write, targets, steps, seed)
            shares.setdefault((order, loss), []).append(100 * share)
    for (order, loss), percents in shares.items():
        print(f"7.6 answers {order}, loss on {loss}, {steps} steps: "
              f"{statistics.fmean(percents):.1f} ± {standard_error(percents):.1f} % of the unseen sums are "
              f"right; each seed: {', '.join(f'{percent:.1f}' for percent in percents)}")
    for loss in losses:
        differences = [b - f for b, f in zip(shares["backwards", loss], shares["forward", loss])]
        print(f"7.5 backwards - forward, loss on {loss}: {statistics.fmean(differences):+.1f} ± "
              f"{standard_error(differences):.1f}")


def standard_error(numbers):
    return statistics.stdev(numbers) / math.sqrt(len(numbers)) if len(numbers) > 1 else math.nan


def idea():
    """7.9: the idea of the solution."""
    gpt_exercises.train_idea(solutions.idea(), gpt_exercises._STEPS["7.9"])


class Answers(solutions.Calculator):
    """7.8 without a scratchpad."""

    def write(self, a, operation, b):
        return super().write(a, operation, b).rpartition(">")[2]


def calculator(steps=None):
    """7.8: with a scratchpad and without one."""
    steps = gpt_exercises._STEPS["7.8"] if steps is None else int(steps)
    for name, solution in (("with a scratchpad", solutions.Calculator()), ("without", Answers())):
        start, used = time.perf_counter(), time.process_time()
        shares = gpt_exercises.train_calculator(solution, steps)
        print(f"7.8 {name}, {steps} steps: "
              + ", ".join(f"{operation} {100 * share:.1f} %" for operation, share in shares.items())
              + f"; {time.perf_counter() - start:.0f} s by the clock, {time.process_time() - used:.0f} s of "
              f"processors, {torch.get_num_threads()} threads, float32", flush=True)


if __name__ == "__main__":
    parts = {"solutions": solved, "why": why, "counting": counting, "direct": direct, "search": search,
             "sums": sums, "calculator": calculator, "idea": idea}
    if sys.argv[1:] in (["-h"], ["--help"]):
        print(__doc__)
    elif sys.argv[1:2] == ["networks"] and len(sys.argv) > 2:
        networks(sys.argv[2:])
    elif sys.argv[1:2] == ["picture"] and len(sys.argv) == 3:
        picture(sys.argv[2])
    elif len(sys.argv) == 2 and sys.argv[1] in parts:
        parts[sys.argv[1]]()
    elif sys.argv[1:2] in (["sums"], ["calculator"]):
        parts[sys.argv[1]](*sys.argv[2:])
    else:
        sys.exit(__doc__)
