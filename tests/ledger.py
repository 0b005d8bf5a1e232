"""The ledger: what each departure of gpt.py from the textbook is worth, and what each line to try does.

    python tests/benchmark.py gpt --ledger [--seeds 3] [--only NAME] [--steps 300]
    python tests/benchmark.py makemore --ledger [--seeds 3] [--only NAME] [--steps 1000]

Every entry of LEDGER is an edit of a file. A copy of the file with the edit and a copy without it are trained
on the same data with the same seeds and for the same seconds of training: an edit that makes a step cheaper
gets more steps. How long a step takes is measured in short trials in which both copies take turns, so only
the trials need a quiet machine. They can be run first, and the rows then be trained in two processes:

    python tests/benchmark.py gpt --ledger --trials out/times.json
    python tests/benchmark.py gpt --ledger --times out/times.json --part 1/2
    python tests/benchmark.py gpt --ledger --times out/times.json --part 2/2

tests/test_ledger.py applies and trains every edit, so that none can go out of date.
"""
import concurrent.futures
import contextlib
import dataclasses
import functools
import importlib.util
import io
import itertools
import json
import math
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from unittest import mock

import torch

ROOT = Path(__file__).resolve().parent.parent
FILES = {"gpt": "gpt/gpt.py", "mixture": "gpt/mixture.py", "makemore": "makemore/makemore.py"}
STEPS = {"gpt": 300, "mixture": 300, "makemore": 1000}  # of the run without the edit
TRIAL_STEPS = {"gpt": 10, "mixture": 10, "makemore": 100}  # in each trial, to measure a step
TRIALS = 3
FIRST_SEED = 3407


@dataclasses.dataclass
class Edit:
    """One row of the table. Each old text stands in the file exactly once."""

    file: str  # "gpt", "mixture" or "makemore"
    mark: str  # "(5)": this departure of gpt.py; else words of its "# Try:" line; "": no line in the file
    name: str
    changes: dict  # old text: new text
    type: str = ""  # the model of makemore.py that is trained
    steps: int = 0  # of the run without the edit; 0: as in STEPS
    departure: str = ""  # what the edit takes back, in gpt.py
    settings: dict = dataclasses.field(default_factory=dict)  # that differ from the defaults of gpt.py


NOT_AT_ZERO = {
    "nn.init.zeros_(linear.weight)":
        "nn.init.normal_(linear.weight, std=0.5 / math.sqrt(linear.in_features))",
}
LEDGER = [
    # gpt.py: each departure taken back. They can be taken back together.
    Edit("gpt", "(1)", "(1) LayerNorm with weights, and biases in the blocks", {
        "self.dropout = nn.Dropout(config.dropout)\n":
            "self.dropout = nn.Dropout(config.dropout)\n"
            "        self.norm1 = nn.LayerNorm(config.n_embd)\n"
            "        self.norm2 = nn.LayerNorm(config.n_embd)\n",
        "self.attention(norm(x), cache)": "self.attention(self.norm1(x), cache)",
        "self.feed_forward(norm(x))": "self.feed_forward(self.norm2(x))",
        "self.query = nn.Linear(C, C, bias=False)": "self.query = nn.Linear(C, C)",
        "self.key = nn.Linear(C, C, bias=False)": "self.key = nn.Linear(C, C)",
        "self.value = nn.Linear(C, C, bias=False)": "self.value = nn.Linear(C, C)",
        "self.proj = nn.Linear(C, C, bias=False)": "self.proj = nn.Linear(C, C)",
        "nn.Linear(config.n_embd, 4 * config.n_embd, bias=False)":
            "nn.Linear(config.n_embd, 4 * config.n_embd)",
        "nn.Linear(4 * config.n_embd, config.n_embd, bias=False)":
            "nn.Linear(4 * config.n_embd, config.n_embd)",
        "self.head = nn.Linear(C, V, bias=False)\n":
            "self.head = nn.Linear(C, V, bias=False)\n        self.norm = nn.LayerNorm(C)\n",
        "nn.init.zeros_(self.head.weight)":
            "for name, p in self.named_parameters():\n"
            "            if name.endswith('bias'):\n"
            "                nn.init.zeros_(p)\n"
            "        nn.init.zeros_(self.head.weight)",
        "self.head(norm(x))": "self.head(self.norm(x))",
    }, departure="layer norm without weights, and no biases"),
    Edit("gpt", "(2)", "(2) learned positions, a table added to the embedding", {
        "self.head = nn.Linear(C, V, bias=False)":
            "self.position = nn.Embedding(config.block_size, C)\n"
            "        self.head = nn.Linear(C, V, bias=False)",
        "nn.init.normal_(self.token_embedding.weight, std=1.0)":
            "nn.init.normal_(self.token_embedding.weight, std=1.0)\n"
            "        nn.init.normal_(self.position.weight, std=0.02)",
        "for block in self.blocks:\n            x = block(x, cache)":
            "x = x + self.position.weight[:T]\n"
            "        for block in self.blocks:\n            x = block(x, cache)",
        "    T, D = x.shape[-2:]": "    return x\n    T, D = x.shape[-2:]",
    }, departure="rotary positions"),
    Edit("gpt", "(3)", "(3) no QK-norm", {
        "rotate(norm(q), start)": "rotate(q, start)",
        "rotate(norm(k), start)": "rotate(k, start)",
    }, departure="QK-norm"),
    Edit("gpt", "(4)", "(4) GELU", {"self.down(F.relu(h) * h)": "self.down(F.gelu(h))"},
         departure="squared ReLU"),
    Edit("gpt", "(5)", "(5) a block's last layers do not begin at zero", NOT_AT_ZERO,
         departure="a block's last layers begin at zero"),
    Edit("gpt", "(6)", "(6) the characters before are not added", {"PREVIOUS = 3": "PREVIOUS = 0"},
         departure="the three characters before are added to the embedding"),
    Edit("gpt", "(7)", "(7) Adam for everything, at a rate of 0.003", {
        "torch.optim.Adam(others,": "torch.optim.Adam(others + blocks,",
        "return [adam, muon]": "return [adam]",
    }, settings={"learning_rate": 0.003}, departure="Muon for the blocks"),
    Edit("gpt", "(8)", "(8) windows drawn at random", {
        "return torch.stack(starts)":
            "generator = torch.Generator().manual_seed(config.seed * 1_000_003 + step)\n"
            "    return torch.randint(length - config.block_size, (config.batch_size,), generator=generator)",
    }, departure="an epoch visits all of the text once"),
    Edit("gpt", "(9)", "(9) long windows from the first step on", {
        " and config.block_size % 64 == 0:": " and False:",
    }, departure="short windows at first"),
    # gpt.py: lines to try.
    Edit("gpt", "F.rms_norm", "RMSNorm, which does not subtract the mean", {
        "F.layer_norm(x, (x.shape[-1],))": "F.rms_norm(x, (x.shape[-1],))",
    }),
    Edit("gpt", "--n-head 4", "4 heads", {}, settings={"n_head": 4}),
    Edit("gpt", "value embeddings", "value embeddings, with a share that is learned", {
        "self.proj = nn.Linear(C, C, bias=False)":
            "self.proj = nn.Linear(C, C, bias=False)\n        self.share = nn.Parameter(torch.tensor(0.5))",
        "def forward(self, x, cache=None):\n        \"\"\"x (B, T, C) -> (B, T, C). `cache`":
            "def forward(self, x, cache, embedded):\n        \"\"\"x (B, T, C) -> (B, T, C). `cache`",
        "v = self.split_heads(self.value(x))": "v = self.split_heads(self.value(x) + self.share * embedded)",
        "def forward(self, x, cache=None):\n        x = x + self.dropout(self.attention(norm(x), cache))":
            "def forward(self, x, cache, embedded):\n"
            "        x = x + self.dropout(self.attention(norm(x), cache, embedded))",
        "self.head = nn.Linear(C, V, bias=False)":
            "self.head = nn.Linear(C, V, bias=False)\n"
            "        self.tables = nn.ModuleList(nn.Embedding(V, C) for _ in self.blocks)",
        "for block in self.blocks:\n            x = block(x, cache)":
            "for block, table in zip(self.blocks, self.tables):\n"
            "            x = block(x, cache, table(idx))",
    }),
    Edit("gpt", "SwiGLU", "SwiGLU, as many weights", {
        "nn.Linear(config.n_embd, 4 * config.n_embd, bias=False)":
            "nn.Linear(config.n_embd, 2 * (8 * config.n_embd // 3), bias=False)",
        "nn.Linear(4 * config.n_embd, config.n_embd, bias=False)":
            "nn.Linear(8 * config.n_embd // 3, config.n_embd, bias=False)",
        "return self.down(F.relu(h) * h)":
            "gate, h = h.chunk(2, dim=2)\n        return self.down(F.silu(gate) * h)",
    }),
    # The group of the last characters as a number, in base V. 16381 is the largest prime below 2^14.
    Edit("gpt", "Engram", "vectors for the last 2, 3 and 4 characters, from tables of 2^14 rows", {
        "self.head = nn.Linear(C, V, bias=False)":
            "self.head = nn.Linear(C, V, bias=False)\n"
            "        self.groups = nn.ModuleList(nn.Embedding(2**14, C) for _ in range(3))\n"
            "        for table in self.groups:\n"
            "            nn.init.zeros_(table.weight)",
        "x = self.token_embedding(tokens)\n":
            "x = self.token_embedding(tokens)\n"
            "        group = tokens\n"
            "        for distance, table in enumerate(self.groups, start=1):\n"
            "            before = F.pad(tokens, (distance, 0))[:, : tokens.shape[1]]\n"
            "            group = group * self.config.vocab_size + before\n"
            "            x = x + table(group % 16381)\n",
    }),
    Edit("gpt", "x = block(x + embedded, cache)", "the embedding is added again before each block", {
        "for block in self.blocks:\n            x = block(x, cache)":
            "embedded = x\n        for block in self.blocks:\n            x = block(x + embedded, cache)",
    }),
    Edit("gpt", "15 * torch.tanh(logits / 15)", "soft-capped logits: 15 tanh(x / 15)", {
        "return self.head(norm(x)).float()": "return 15 * torch.tanh(self.head(norm(x)).float() / 15)",
    }),
    Edit("gpt", "--weight-decay 0.1", "weight decay of 0.1 in the blocks", {},
         settings={"weight_decay": 0.1}),
    # gpt.py: the lecture's own parts left out.
    Edit("gpt", "", "no attention", {
        "x = x + self.dropout(self.attention(norm(x), cache))": "pass",
    }),
    Edit("gpt", "", "one head", {}, settings={"n_head": 1}),
    Edit("gpt", "", "no feed-forward layers", {
        "return x + self.dropout(self.feed_forward(norm(x)))": "return x",
    }),
    Edit("gpt", "", "no residual connections, and a block's last layers do not begin at zero", {
        "x = x + self.dropout(self.attention(norm(x), cache))":
            "x = self.dropout(self.attention(norm(x), cache))",
        "return x + self.dropout(self.feed_forward(norm(x)))":
            "return self.dropout(self.feed_forward(norm(x)))",
        **NOT_AT_ZERO,
    }),
    Edit("gpt", "", "no norm, but QK-norm", {
        "self.attention(norm(x), cache)": "self.attention(x, cache)",
        "self.feed_forward(norm(x))": "self.feed_forward(x)",
        "self.head(norm(x))": "self.head(x)",
    }),
    Edit("gpt", "", "no positions, but the characters before are added", {
        "    T, D = x.shape[-2:]": "    return x\n    T, D = x.shape[-2:]",
    }),
    Edit("gpt", "", "no positions at all", {
        "    T, D = x.shape[-2:]": "    return x\n    T, D = x.shape[-2:]",
        "PREVIOUS = 3": "PREVIOUS = 0",
    }),
    # mixture.py: what is in it left out.
    Edit("mixture", "", "the sequel without counts", {
        "x = x + 8 * self.from_counts(log_q.exp())": "pass",
        " + self.weight * log_q": "",
    }),
    Edit("mixture", "", "the sequel without copies", {
        "return self.copy(logits.log_softmax(dim=2), text)": "return logits.log_softmax(dim=2)",
    }),
    Edit("mixture", "", "the sequel without both, a transformer of its sizes", {
        "x = x + 8 * self.from_counts(log_q.exp())": "pass",
        " + self.weight * log_q": "",
        "return self.copy(logits.log_softmax(dim=2), text)": "return logits.log_softmax(dim=2)",
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
    return (ROOT / FILES[file]).read_text(encoding="utf-8")


def edited(source, edit):
    """The source with the edit. Raises ValueError if an old text does not stand there exactly once."""
    for old, new in edit.changes.items():
        if source.count(old) != 1:
            raise ValueError(f"{edit.file}.py has {source.count(old)} times, not once, what the edit "
                             f"{edit.name!r} replaces: {old!r}")
        source = source.replace(old, new)
    return source


def departures():
    """The edits that take back a departure of gpt.py, in the order of the numbers."""
    edits = [edit for edit in LEDGER if edit.file == "gpt" and edit.mark.startswith("(")]
    return sorted(edits, key=lambda edit: int(edit.mark.strip("()")))


numbers = itertools.count()


def load_copy(file, folder, *edits):
    """A copy of a file as a module of its own, with the edits."""
    source = source_of(file)
    for edit in edits:
        source = edited(source, edit)
    name = f"{file}_{next(numbers)}"
    path = Path(folder) / f"{name}.py"
    path.write_text(source, encoding="utf-8")
    if file == "mixture":
        name = f"gpt.{name}"  # it imports gpt.py from the package
    spec = importlib.util.spec_from_file_location(name, path)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def data_of(file, module):
    """The text that gpt.py and mixture.py read without -i, or the words that makemore.py reads."""
    if file == "makemore":
        return module.read_words(ROOT / "data" / module.DEFAULT_WORDS)
    machinery = machinery_of(module)
    return machinery.read_file(ROOT / "data" / machinery.DEFAULT_TEXT)


def settings(module, type="", **values):
    """The default Config of a copy, of this type of makemore.py or for a CPU."""
    return module.configure(type or "cpu", **values)


def machinery_of(module):
    """The module that reads, draws and prints: for mixture.py it is gpt.py."""
    return getattr(module, "gpt", module)


predictions = {}  # of the counts of mixture.py, which no edit changes


def keep_predictions(compute):
    """mixture.Predictions, but computed only once for each text."""
    def kept(counts, tokens, device, held_out, progress=None):
        key = tokens.tobytes(), held_out
        if key not in predictions:
            predictions[key] = compute(counts, tokens, device, held_out, progress)
        return predictions[key]
    return kept


@contextlib.contextmanager
def quiet(module):
    """Inside, a run prints, draws and samples nothing."""
    nothing = dict.fromkeys(("draw_loss", "draw_losses", "draw_pairs", "draw_letters", "print_texts"),
                            lambda *_, **__: None)
    nothing["generate"] = lambda *_, **__: [""]
    machinery = machinery_of(module)
    replaced = {name: function for name, function in nothing.items() if hasattr(machinery, name)}
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        stack.enter_context(mock.patch.multiple(machinery, **replaced))
        if hasattr(module, "Predictions"):
            kept = keep_predictions(module.Predictions)
            stack.enter_context(mock.patch.object(module, "Predictions", kept))
        yield


def train(module, data, config, folder):
    """The results of a run on the CPU, which prints, draws and samples nothing."""
    with quiet(module):
        return module.train(data, config, Path(folder) / "out", device="cpu").results


# The trials


def step_times(modules, data, configs, folder):
    """The milliseconds of each step of two runs without evaluations. They take turns, a step each, so that
    both see the same machine, whose speed changes from second to second."""
    turns = threading.Semaphore(1), threading.Semaphore(0)
    times = [], []

    def run(i):
        module, other = modules[i], 1 - i
        iterate = module.Run.__iter__

        def in_turn(run):
            turns[i].acquire()
            for step in iterate(run):
                start = time.perf_counter()
                yield step
                times[i].append(1000 * (time.perf_counter() - start))
                turns[other].release()
                turns[i].acquire()

        try:
            with mock.patch.object(module.Run, "__iter__", in_turn):
                module.train(data, configs[i], Path(folder) / f"out{i}", device="cpu")
        finally:
            turns[other].release(10**6)  # the other run goes on alone

    with contextlib.ExitStack() as stack:
        for module in modules:
            stack.enter_context(quiet(module))
            evaluates = module.Run if hasattr(module.Run, "evaluate") else module
            stack.enter_context(mock.patch.object(evaluates, "evaluate", lambda *_, **__: (0.0, 0.0)))
        with concurrent.futures.ThreadPoolExecutor() as pool:
            list(pool.map(run, (0, 1)))  # raises what a run raised
    return times


def milliseconds(modules, data, configs, folder):
    """The time of a training step of each of two modules.

    Not every step takes the same time: gpt.py begins with short windows. So it is the shortest of the trials
    for each step, since whatever else the machine does only adds time, and the mean over the steps.
    """
    trials = [step_times(modules, data, configs, folder) for _ in range(TRIALS)]
    return [statistics.fmean(map(min, zip(*times))) for times in zip(*trials)]


# The table


def difference(base, changed):
    """How much higher the loss is with the edit: the mean over the seeds ± its standard error."""
    differences = [b - a for a, b in zip(base, changed)]
    mean = statistics.fmean(differences)
    if len(differences) == 1:
        return f"{mean:+.4f}"
    error = statistics.stdev(differences) / math.sqrt(len(differences))
    return "no difference" if abs(mean) <= 2 * error else f"{mean:+.4f} ± {error:.4f}"


def selected(files, only, part="1/1"):
    """The edits of some files whose name has this text; part 2/3: every third of them, from the second on."""
    edits = {f"{edit.type} {edit.name}".strip(): edit for edit in LEDGER if edit.file in files}
    found = [edit for name, edit in edits.items() if only.lower() in name.lower()]
    if not found:
        sys.exit("\n  ".join([f"--only {only!r}: no such edit; there are", *edits]))
    first, parts = map(int, part.split("/"))
    if not 1 <= first <= parts:
        sys.exit(f"--part {part}: K/N needs a K from 1 to N")
    return found[first - 1 :: parts]


class Table:
    """Rows of the ledger of some files: their copies, their data, how they are trained."""

    def __init__(self, files, folder, steps):
        self.folder = folder
        self.steps = steps
        self.unedited = {file: load_copy(file, folder) for file in files}
        self.data = {file: data_of(file, module) for file, module in self.unedited.items()}

    def steps_of(self, edit):
        """The steps of the run without the edit."""
        return edit.steps or self.steps or STEPS[edit.file]

    def measure(self, edit):
        """The milliseconds of a step without and with the edit."""
        steps = min(self.steps_of(edit), TRIAL_STEPS[edit.file])
        modules = self.unedited[edit.file], load_copy(edit.file, self.folder, edit)
        configs = (settings(modules[0], edit.type, max_steps=steps),
                   settings(modules[1], edit.type, max_steps=steps, **edit.settings))
        return milliseconds(modules, self.data[edit.file], configs, self.folder)

    def losses(self, file, module, type, seeds, **values):
        """The validation loss for each seed."""
        found = []
        for seed in seeds:
            config = settings(module, type, seed=seed, **values)
            found.append(train(module, self.data[file], config, self.folder)["validation"][0])
        return found


def print_table(files, seeds, only="", steps=None, part="1/1", times=None):
    """Train everything, print a row of the table after each edit. `files`: one of FILES, or several;
    `times`: a file with the times of the steps, from `write_times`; without it they are measured here."""
    if isinstance(files, str):
        files = [files]
    edits = selected(files, only, part)
    if times:
        known = json.loads(Path(times).read_text(encoding="utf-8"))
        missing = [edit.name for edit in edits if f"{edit.type} {edit.name}" not in known]
        if missing:
            sys.exit(f"{times} has no times of: {', '.join(missing)}; measure them with --trials")
    seeds = range(FIRST_SEED, FIRST_SEED + seeds)
    listed = ", ".join(map(str, seeds))
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, float32, seeds {listed}")
    print("the validation loss without and with each edit, after the same seconds of training\n")
    typed = "makemore" in files
    print(("| type " if typed else "") + "| edit | unchanged | edited | difference | ms a step | steps |")
    print(("|---" if typed else "") + "|---|---:|---:|---:|---:|---:|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        table = Table(files, folder, steps)

        @functools.cache  # one run for all edits of a file, in makemore.py for all of a type
        def unchanged(file, type, steps):
            return table.losses(file, table.unedited[file], type, seeds, max_steps=steps)

        for edit in edits:
            before = after = table.steps_of(edit)
            pace = "-"
            if before > 1:
                a, b = known[f"{edit.type} {edit.name}"] if times else table.measure(edit)
                pace = f"{a:.2f}, {b:.2f}"
                after = max(1, round(before * a / b))
            rows = [unchanged(edit.file, edit.type, before)]
            module = load_copy(edit.file, folder, edit)
            values = {**edit.settings, "max_steps": after}
            try:
                rows.append(table.losses(edit.file, module, edit.type, seeds, **values))
                result = difference(*rows)
            except machinery_of(module).UserError as error:  # the loss is not finite
                rows.append([math.nan])
                result = str(error).split(":")[0]
            means = " | ".join(f"{statistics.fmean(row):.4f}" for row in rows)
            print((f"| {edit.type} " if typed else "")
                  + f"| {edit.name} | {means} | {result} | {pace} | {before}, {after} |", flush=True)


def write_times(files, path, only="", steps=None):
    """Measure the times of the steps for all rows and write them to a file for `print_table`."""
    times = {}
    edits = selected(files, only)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        table = Table(files, folder, steps)
        for edit in edits:
            a, b = table.measure(edit)
            print(f"{edit.type} {edit.name}: {a:.2f} ms without it, {b:.2f} ms with it".strip(), flush=True)
            times[f"{edit.type} {edit.name}"] = a, b
            Path(path).write_text(json.dumps(times, indent=1), encoding="utf-8")


def add_arguments(parser):
    parser.add_argument("--ledger", action="store_true", help="train with and without each edit")
    parser.add_argument("--seeds", type=int, default=3, help="for --ledger: how many (default: 3)")
    parser.add_argument("--only", default="", metavar="NAME", help="for --ledger: edits with NAME in theirs")
    parser.add_argument("--steps", type=int, metavar="N",
                        help=f"for --ledger: of the unchanged file (default: {STEPS['gpt']} of gpt.py and "
                             f"mixture.py, {STEPS['makemore']} of makemore.py)")
    parser.add_argument("--trials", metavar="FILE",
                        help="for --ledger: train nothing, write how long a step of each copy takes to FILE")
    parser.add_argument("--times", metavar="FILE",
                        help="for --ledger: take these times from FILE; they are not measured again")
    parser.add_argument("--part", default="1/1", metavar="K/N",
                        help="for --ledger: every Nth row from the Kth on (default: 1/1)")


def run(files, args):
    """What the arguments of `add_arguments` ask for."""
    if args.trials:
        if args.times or args.part != "1/1":
            sys.exit("--trials cannot be combined with --times or --part")
        write_times(files, args.trials, args.only, args.steps)
    else:
        print_table(files, args.seeds, args.only, args.steps, args.part, args.times)
