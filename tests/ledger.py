"""The ledger: what each departure of gpt.py from the textbook is worth, and what each line to try does.

    python tests/benchmark.py gpt --ledger [--seeds 3] [--only NAME] [--steps 150]
    python tests/benchmark.py makemore --ledger [--seeds 3] [--only NAME] [--steps 1000]

Every entry of LEDGER is an edit of a file. A copy of the file with the edit and a copy without it are trained
on the same data with the same seeds and for the same seconds of training: an edit that makes a step cheaper
gets more steps. tests/test_ledger.py applies and trains every edit, so that none can go out of date.
"""
import contextlib
import dataclasses
import functools
import importlib.util
import io
import itertools
import math
import statistics
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

import torch

ROOT = Path(__file__).resolve().parent.parent
STEPS = {"gpt": 150, "makemore": 1000}  # of the run without the edit
TRIAL_STEPS = {"gpt": 10, "makemore": 100}  # to measure how long a step takes
TRIALS = 5  # of each side, in turns
FIRST_SEED = 3407


@dataclasses.dataclass
class Edit:
    """One row of the table. Each old text stands in the file exactly once."""

    file: str  # "gpt" or "makemore"
    mark: str  # "(5)": this departure in the docstring of gpt.py; else words of its "# Try:" line
    name: str
    changes: dict  # old text: new text
    type: str = ""  # the model of makemore.py that is trained
    steps: int = 0  # of the run without the edit; 0: as in STEPS


MUON = """# Training

from makemore.makemore import Muon


class Both:
    def __init__(self, model):
        others = [p for name, p in model.named_parameters() if not name.startswith("blocks.")]
        self.parts = (Muon(list(model.blocks.parameters()), lr=0.0, weight_decay=0.0),
                      torch.optim.Adam(others, betas=(0.8, 0.95), fused=True))
        self.param_groups = [group for part in self.parts for group in part.param_groups]

    def step(self):
        for part in self.parts:
            part.step()

    def state_dict(self):
        return {}
"""
LEDGER = [
    # gpt.py: each departure taken back.
    Edit("gpt", "(1)", "(1a) no counts as an input", {
        "self.embed(idx) + self.from_counts(log_q.exp()) * math.sqrt(log_q.size(2))": "self.embed(idx)",
    }),
    Edit("gpt", "(1)", "(1b) no counts beside the output", {" + self.weight * log_q": ""}),
    Edit("gpt", "(1)", "(1) no counts: q is uniform", {"in enumerate(self.levels):": "in []:"}),
    Edit("gpt", "(2)", "(2) no copying head", {
        "self.copy(logits.log_softmax(dim=2), text)": "logits.log_softmax(dim=2)",
    }),
    Edit("gpt", "(3)", "(3) LayerNorm with weights, and biases in the blocks", {
        "self.attn = Attention(config)\n":
            "self.attn = Attention(config)\n"
            "        self.norm1, self.norm2 = nn.LayerNorm(config.n_embd), nn.LayerNorm(config.n_embd)\n",
        "self.attn(norm(x), start, cache)": "self.attn(self.norm1(x), start, cache)",
        "self.up(norm(x))": "self.up(self.norm2(x))",
        "config.n_embd, 3 * config.n_embd, bias=False)": "config.n_embd, 3 * config.n_embd)",
        "(config.n_embd, config.n_embd, bias=False)": "(config.n_embd, config.n_embd)",
        "(config.n_embd, 4 * config.n_embd, bias=False)": "(config.n_embd, 4 * config.n_embd)",
        "(4 * config.n_embd, config.n_embd, bias=False)": "(4 * config.n_embd, config.n_embd)",
        "self.head = nn.Linear(C, V, bias=False)\n":
            "self.head = nn.Linear(C, V, bias=False)\n        self.norm = nn.LayerNorm(C)\n",
        "self.head(norm(x))": "self.head(self.norm(x))",
    }),
    Edit("gpt", "(4)", "(4) learned positions, a table added to the embedding", {
        "self.embed = nn.Embedding(V, C)\n":
            "self.embed = nn.Embedding(V, C)\n        self.position = nn.Embedding(config.block_size, C)\n",
        "self.embed(idx) +": "self.embed(idx) + self.position.weight[: idx.size(1)] +",
        "return rotate(norm(q), start), rotate(norm(k), start), v": "return norm(q), norm(k), v",
    }),
    Edit("gpt", "(5)", "(5) no QK-norm", {
        "rotate(norm(q), start), rotate(norm(k), start)": "rotate(q, start), rotate(k, start)",
    }),
    Edit("gpt", "(6)", "(6) GELU", {"F.relu(self.up(norm(x))).square()": "F.gelu(self.up(norm(x)))"}),
    # gpt.py: lines to try.
    Edit("gpt", "a batch of 4 with a context of 512", "a batch of 4 with a context of 512", {
        '"cpu":  (1500,    2, 0.003,   1024,': '"cpu":  (1500,    4, 0.003,    512,',
    }),
    Edit("gpt", "4 heads", "4 heads", {
        '0.003,   1024,     2,    2,     128,': '0.003,   1024,     2,    4,     128,',
    }),
    Edit("gpt", "counts of 4 letters", "counts of 4 letters of context, not 6", {
        "LONGEST, DISCOUNT = 8, 4, 6, 0.9": "LONGEST, DISCOUNT = 8, 4, 4, 0.9",
    }),
    Edit("gpt", "held_out=False", "the model sees its own text in the counts", {
        "config.block_size, counts, held_out=True)": "config.block_size, counts, held_out=False)",
    }),
    Edit("gpt", "SwiGLU", "SwiGLU, as many weights", {
        "self.up = nn.Linear(config.n_embd, 4 * config.n_embd, bias=False)":
            "self.up = nn.Linear(config.n_embd, 2 * (8 * config.n_embd // 3), bias=False)",
        "self.down = nn.Linear(4 * config.n_embd, config.n_embd, bias=False)":
            "self.down = nn.Linear(8 * config.n_embd // 3, config.n_embd, bias=False)",
        "return x + self.drop(self.down(F.relu(self.up(norm(x))).square()))":
            "a, b = self.up(norm(x)).chunk(2, dim=2)\n        return x + self.drop(self.down(F.silu(a) * b))",
    }),
    Edit("gpt", 'without "proj.weight", "down.weight"', "the blocks' last layers do not begin at zero", {
        'name.endswith(("proj.weight", "down.weight", "head.weight"))': 'name.endswith("head.weight")',
    }),
    Edit("gpt", "Muon", "Muon for the blocks, as in makemore.py, and what suits it", {
        '"cpu":  (1500,    2, 0.003,': '"cpu":  (1500,    2, 0.01,',
        "optimizer = torch.optim.Adam(model.parameters(), betas=(0.9, 0.95), fused=True)":
            "optimizer = Both(model)",
        "std=2 / math.sqrt(p.size(1))": "std=0.5 / math.sqrt(p.size(1))",
        "# Training\n": MUON,
    }),
    # makemore.py: lines to try.
    Edit("makemore", "a context of 4 in DEFAULTS", "a context of 4", {
        'Config("ngram", max_steps=1, block_size=3)': 'Config("ngram", max_steps=1, block_size=4)',
    }, type="ngram", steps=1),
    Edit("makemore", "nn.ReLU() in place of nn.Tanh()", "ReLU in place of tanh", {
        "self.context * config.n_embd, config.n_embd2), nn.Tanh())":
            "self.context * config.n_embd, config.n_embd2), nn.ReLU())",
    }, type="mlp"),
    Edit("makemore", "A context of 5 in DEFAULTS", "a context of 5", {
        "block_size=3, n_embd=10, n_embd2=200": "block_size=5, n_embd=10, n_embd2=200",
    }, type="mlp"),
    Edit("makemore", "leave it out", "the last layer does not start small", {
        "model.head.weight *= 0.1": "pass",
    }, type="mlp"),
    Edit("makemore", "tanh(linear(h))", "no batch normalisation", {
        "h = tanh(norm(linear(h)))": "h = tanh(linear(h))",
    }, type="batchnorm"),
    Edit("makemore", "no position", "no position", {
        "self.embed(x) + self.position(t)": "self.embed(x)",
    }, type="bow"),
    Edit("makemore", "torch.relu", "ReLU in place of tanh", {
        "torch.tanh(inputs + self.from_state(h))": "torch.relu(inputs + self.from_state(h))",
    }, type="rnn"),
    Edit("makemore", "new_h without r *", "the state is never reset", {
        "new_x + r * new_h)": "new_x + new_h)",
    }, type="gru"),
    Edit("makemore", "never forget", "never forget", {"c = torch.sigmoid(f) * c +": "c = c +"}, type="lstm"),
]


# The copies


def source_of(file):
    return (ROOT / file / f"{file}.py").read_text(encoding="utf-8")


def edited(source, edit):
    """The source with the edit. Raises ValueError if an old text does not stand there exactly once."""
    for old, new in edit.changes.items():
        if source.count(old) != 1:
            raise ValueError(f"{edit.file}.py has {source.count(old)} times, not once, what the edit "
                             f"{edit.name!r} replaces: {old!r}")
        source = source.replace(old, new)
    return source


numbers = itertools.count()


def load_copy(file, folder, edit=None):
    """A copy of gpt.py or makemore.py as a module of its own, with the edit."""
    name = f"{file}_{next(numbers)}"
    path = Path(folder) / f"{name}.py"
    path.write_text(edited(source_of(file), edit) if edit else source_of(file), encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, path)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def data_of(file, module):
    """The text that gpt.py reads without -i, or the words that makemore.py reads."""
    if file == "gpt":
        return module.read_file(ROOT / "data" / module.DEFAULT_TEXT)
    return module.read_words(ROOT / "data" / module.DEFAULT_WORDS)


def settings(module, type="", **values):
    """The default Config of a copy, of this type of makemore.py or for a CPU of gpt.py."""
    return module.configure(type or "cpu", **values)


def train(module, data, config, folder):
    """The results of a run on the CPU, which prints and draws nothing."""
    pictures = "draw_loss", "draw_losses", "draw_pairs", "draw_letters", "print_texts"
    quiet = {name: lambda *_, **__: None for name in pictures if hasattr(module, name)}
    with contextlib.redirect_stdout(io.StringIO()), mock.patch.multiple(module, **quiet):
        return module.train(data, config, Path(folder) / "out", device="cpu").results


# The table


def step_times(module, data, config, folder):
    """The milliseconds of each step of a run; its evaluations, which only take time here, are left out."""
    times, iterate = [], module.Run.__iter__

    def timed(run):
        for step in iterate(run):
            start = time.perf_counter()
            yield step
            times.append(1000 * (time.perf_counter() - start))

    with (mock.patch.object(module.Run, "__iter__", timed),
          mock.patch.object(module, "evaluate", lambda *_, **__: (0.0, 0.0))):
        train(module, data, config, folder)
    return times


def milliseconds(modules, data, type, steps, folder):
    """The median time of a training step of each module, measured in turns."""
    times = {module: [] for module in modules}
    for module in modules * TRIALS:
        times[module] += step_times(module, data, settings(module, type, max_steps=steps), folder)
    return [statistics.median(some) for some in times.values()]


def difference(base, changed):
    """How much higher the loss is with the edit: the mean over the seeds ± its standard error."""
    differences = [b - a for a, b in zip(base, changed)]
    mean = statistics.fmean(differences)
    if len(differences) == 1:
        return f"{mean:+.4f}"
    error = statistics.stdev(differences) / math.sqrt(len(differences))
    return "no difference" if abs(mean) <= 2 * error else f"{mean:+.4f} ± {error:.4f}"


def selected(file, only):
    """The edits of a file whose name has this text."""
    edits = {f"{edit.type} {edit.name}": edit for edit in LEDGER if edit.file == file}
    found = [edit for name, edit in edits.items() if only.lower() in name.lower()]
    if not found:
        sys.exit("\n  ".join([f"--only {only!r}: no such edit; there are", *edits]))
    return found


def print_table(file, seeds, only="", steps=None):
    """Train everything, print a row of the table after each edit."""
    edits = selected(file, only)
    seeds = range(FIRST_SEED, FIRST_SEED + seeds)
    listed = ", ".join(map(str, seeds))
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, float32, seeds {listed}")
    print(f"{file}.py: the validation loss without and with each edit, after the same seconds of training\n")
    with tempfile.TemporaryDirectory() as folder:
        base = load_copy(file, folder)
        data = data_of(file, base)

        def losses(module, type, steps):
            configs = [settings(module, type, max_steps=steps, seed=seed) for seed in seeds]
            return [train(module, data, config, folder)["validation"][0] for config in configs]

        @functools.cache  # one run for all edits of gpt.py, one for each type of makemore.py
        def unchanged(type, steps):
            return losses(base, type, steps)

        typed = file == "makemore"
        print("| type " * typed + "| edit | unchanged | edited | difference | ms a step | steps |")
        print("|---" * typed + "|---|---:|---:|---:|---:|---:|", flush=True)
        for edit in edits:
            module = load_copy(file, folder, edit)
            before = after = edit.steps or steps or STEPS[file]
            pace = "-"
            if before > 1:
                a, b = milliseconds((base, module), data, edit.type, min(before, TRIAL_STEPS[file]), folder)
                pace, after = f"{a:.2f}, {b:.2f}", max(1, round(before * a / b))
            rows = [unchanged(edit.type, before)]
            try:
                rows.append(losses(module, edit.type, after))
                result = difference(*rows)
            except module.UserError as error:  # the loss is not finite
                rows.append([math.nan])
                result = str(error).split(":")[0]
            means = " | ".join(f"{statistics.fmean(row):.4f}" for row in rows)
            print(f"| {edit.type} " * bool(edit.type)
                  + f"| {edit.name} | {means} | {result} | {pace} | {before}, {after} |", flush=True)


def add_arguments(parser):
    parser.add_argument("--ledger", action="store_true", help="train with and without each edit")
    parser.add_argument("--seeds", type=int, default=3, help="for --ledger: how many (default: 3)")
    parser.add_argument("--only", default="", metavar="NAME", help="for --ledger: edits with NAME in theirs")
    parser.add_argument("--steps", type=int, metavar="N",
                        help=f"for --ledger: of the unchanged file (default: {STEPS['gpt']} of gpt.py, "
                             f"{STEPS['makemore']} of makemore.py)")
