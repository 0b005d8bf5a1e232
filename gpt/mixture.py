"""mixture: what counting and copying add to a transformer. The sequel to gpt.py.

    python mixture.py                                  train and sample, as gpt.py does, in out/mixture

Two old ideas supply what a small transformer learns slowly, or never. Counts (lecture 2, done right:
Kneser & Ney 1995) know what followed the last six characters anywhere in the training text. A copying
head (Olsson et al. 2022) knows what followed the same characters earlier in the window, for example in a name
that has only just been introduced. `Mixture` gives both to a `GPT` from gpt.py and lets it learn how much to
trust them.

The validation loss on tinyshakespeare.txt is 1.522 with counts alone, 1.488 with the transformer alone (the
default run of gpt.py) and 1.381 with everything (the default run of mixture.py).

Contents: counts, copying, the mixture, training. gpt.py has everything else. The counts' predictions for the
text are computed once, before the first step: a row of log-probabilities for each position, in half
precision. For tinyshakespeare.txt that is 145 MB.
"""
import dataclasses
import signal
import sys
import typing

if __name__ == "__main__":  # importing torch takes seconds: let Ctrl-C end it without a traceback
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

try:
    from . import gpt  # imported from the package
except ImportError:
    import gpt  # run as a script, or imported from this folder

NAME = "mixture"
FORMAT = "mixture 1"  # of model.pt
DEFAULT_OUT = "out/mixture"
CPU = {"block_size": 1024, "batch_size": 2, "n_layer": 2, "max_steps": 1500, "dropout": 0.0}
GPU = {"block_size": 1024, "batch_size": 16}

# ------------------------------------------------------------------------------------------------------------
# Counts


class Level(typing.NamedTuple):
    """What was counted after contexts of one length. The entries of context i, one for each character that
    followed it, are those from start[i] to start[i] + kinds[i]."""

    contexts: np.ndarray  # the contexts as numbers, sorted
    start: np.ndarray  # of each context: its first entry
    kinds: np.ndarray  # of each context: how many different characters followed
    total: np.ndarray  # of each context: the sum of its counts
    char: np.ndarray  # of each entry: the character that followed
    count: np.ndarray  # of each entry: how often


class Counts:
    """How often each character followed the last n: interpolated Kneser-Ney smoothing (Kneser & Ney 1995;
    Chen & Goodman 1998).

    Lecture 2 adds 1 to every count, so that no probability is 0. Here, a discount D = 0.9 is subtracted from
    every count. The next shorter context, without the first character, decides which characters get the rest:

        q(c | context) = max(count(c) - D, 0) / total + D kinds / total * q(c | shorter context)

    `kinds` is how many different characters followed. Say "e" followed "th" three times and "a" once: total
    is 4 and kinds is 2. Then q(e | th) = 2.1 / 4 + 0.45 q(e | h), and "o", which never followed, gets
    0.45 q(o | h). The rarer a context, the more weight its shorter context gets. Below the empty context,
    every q is 1 / V.

    The longest contexts count how often c followed. A shorter one counts how many different characters stood
    before it when c followed, because "Francisco" is frequent, but a bad guess unless "San" comes before it.

    A group of characters is one number whose digits in base V are the characters. With a, b, c = 0, 1, 2 and
    V = 3, "cab" is 2 * 9 + 0 * 3 + 1 = 19. Its context, "ca", is 19 // 3 = 6; its last two, "ab", are 19 % 9.

    Counts are overconfident on the text they were fitted to. So there are several tables. Table k leaves out
    the k-th part of the text, and in training it predicts only the characters of that part. The last
    table counts the whole text, for validation and sampling.
    """

    PARTS = 8  # more parts leave out less text each, but take longer to count
    PIECES = 4  # a part is this many pieces, spread over the text, since the plays differ
    LONGEST = 6  # characters of context
    DISCOUNT = 0.9
    ENOUGH = 4_000_000  # characters; the rest of a longer text is not counted

    def __init__(self, V, groups, counts, size=0, progress=None):
        """`groups`: numbers of n + 1 characters, sorted, with the table as first digit; `counts`: how often
        each occurred; `size`: how many characters were counted. `progress` shows a line in between."""
        self.V = V
        self.n = self.longest(V)
        self.size = size
        self.groups = groups
        self.counts = counts
        self.levels = []  # by the length of the context
        for length in reversed(range(self.n + 1)):
            if progress:
                progress.show(f"counting: contexts of {length} characters")
            contexts = groups // V  # sorted, as the groups are
            start = np.flatnonzero(np.diff(contexts, prepend=-1))  # where another context begins
            kinds = np.diff(np.append(start, len(groups)))
            total = np.add.reduceat(counts, start)
            char = (groups % V).astype(np.int32)
            self.levels.append(Level(contexts[start], start, kinds, total, char, counts))
            # The next level drops the first character and counts each different group once.
            table, group = np.divmod(groups, V ** (self.n + 1))
            groups, counts = np.unique(table * V ** (self.n + 1) + group % V**length, return_counts=True)
        self.levels.reverse()

    @classmethod
    def longest(cls, V):
        """The most characters a context can have if the numbers of all tables are to fit into 63 bits."""
        n = cls.LONGEST
        while (cls.PARTS + 1) * V ** (n + 1) >= 2**63:
            n -= 1
        return n

    @classmethod
    def from_tokens(cls, tokens, V, progress=None):
        """Count a text (an array of tokens), in all tables. `progress` shows a line in between."""
        tokens = tokens[: cls.ENOUGH].astype(np.int64)
        n = cls.longest(V)
        padded = np.concatenate([np.zeros(n, np.int64), tokens])
        groups = np.zeros(len(tokens), np.int64)
        for i in range(n + 1):
            groups = groups * V + padded[i : i + len(tokens)]
        parts = cls.part_of(np.arange(len(tokens)), len(tokens))
        tables = []
        for k in range(cls.PARTS + 1):  # the last table, k = PARTS, leaves nothing out
            if progress:
                progress.show(f"counting: table {k + 1} of {cls.PARTS + 1}")
            tables.append(np.unique(groups[parts != k] + k * V ** (n + 1), return_counts=True))
        groups, counts = map(np.concatenate, zip(*tables))
        return cls(V, groups, counts, len(tokens), progress)

    @classmethod
    def part_of(cls, positions, size):
        """For each of these positions of a text of `size` characters, its part, 0 to PARTS - 1."""
        piece = positions * cls.PARTS * cls.PIECES // size
        return piece % cls.PARTS

    def table_without(self, positions):
        """For each of these positions of the text, the table that leaves it out."""
        return np.where(positions < self.size, self.part_of(positions, self.size), self.PARTS)

    def whole(self):
        """The groups and counts of the last table, the only one that a trained model needs."""
        is_last = self.groups >= self.PARTS * self.V ** (self.n + 1)
        return self.groups[is_last], self.counts[is_last]

    def log_probs(self, tokens, positions, table=PARTS):
        """log q (N, V) of the character after each of these positions (N,) of a text, from its table (N,)."""
        V = self.V
        context = np.zeros(len(positions), np.int64)  # the last n characters as a number
        for i in reversed(range(self.n)):
            earlier = positions - i
            char = np.where(earlier < 0, 0, tokens[earlier.clip(min=0)])  # zeros before the text
            context = context * V + char
        q = np.full((len(positions), V), 1 / V, np.float32)
        for length, level in enumerate(self.levels):
            wanted = table * V**self.n + context % V**length
            found = np.searchsorted(level.contexts, wanted).clip(max=len(level.contexts) - 1)
            rows = np.flatnonzero(level.contexts[found] == wanted)  # those whose context was counted
            found = found[rows]
            kinds, total = level.kinds[found], level.total[found]
            q[rows] *= (self.DISCOUNT * kinds / total)[:, None]
            entries = ranges(level.start[found], kinds)
            share = (level.count[entries] - self.DISCOUNT) / np.repeat(total, kinds)
            q[np.repeat(rows, kinds), level.char[entries]] += share.astype(np.float32)
        return np.log(q)


def ranges(start, length):
    """The numbers of several ranges, one after the other: ranges([5, 9], [2, 3]) is 5, 6, 9, 10, 11."""
    ends = np.cumsum(length)
    within = np.arange(length.sum()) - np.repeat(ends - length, length)  # 0, 1, 0, 1, 2
    return np.repeat(start, length) + within


class Predictions:
    """What the counts predict after each position of a text: a row of log-probabilities, computed once.

    `held_out`: each from the table that left out the character to predict, for training. If the rows of a
    text would take more than 300 MB, none is kept; each is computed when it is needed.
    """

    def __init__(self, counts, tokens, device, held_out, progress=None):
        self.counts = counts
        self.tokens = tokens
        self.device = device
        self.held_out = held_out
        self.rows = None
        if 2 * len(tokens) * counts.V <= 3e8:  # bytes
            pieces = []
            for positions in np.array_split(np.arange(len(tokens)), 1 + len(tokens) // 20_000):
                pieces.append(self.compute(positions))
                if progress:
                    progress.show(f"asking the counts: {positions[-1]:,} of {len(tokens):,} characters")
            self.rows = torch.cat(pieces).to(device)
        if progress:
            progress.clear()

    def compute(self, positions):
        table = Counts.PARTS
        if self.held_out:
            table = self.counts.table_without(positions + 1)
        return torch.from_numpy(self.counts.log_probs(self.tokens, positions, table)).half()

    def windows(self, starts, block_size):
        """log q (B, T, V) for the windows that begin at `starts` (B,)."""
        positions = starts[:, None] + torch.arange(block_size, device=starts.device)  # (B, T)
        if self.rows is not None:
            return self.rows[positions.to(self.device)].float()
        rows = self.compute(positions.cpu().numpy().ravel())
        return rows.view(*positions.shape, -1).float().to(self.device)


# ------------------------------------------------------------------------------------------------------------
# Copying


class Copy(nn.Module):
    """A head that copies: what followed the last characters when they occurred earlier in the window?

    Say "ROMEO" was there, and the text has come to "ROM" again. The earlier "M" matches, and the length of
    the match is 3, "ROM" (at most 8). The earlier positions with the longest match say what followed them,
    here always "E": `copied`. `trust`, learned for each length, weighs `copied` against the model's own
    prediction. Transformers learn such "induction heads" by themselves (Olsson et al. 2022), but from far
    more text than ours. This one is written by hand.
    """

    LONGEST = 8

    def __init__(self):
        super().__init__()
        # By length, before the sigmoid; length 0 is unused.
        self.trust = nn.Parameter(torch.linspace(-6, 0, self.LONGEST + 1))

    def forward(self, log_probs, text):
        """Mix log_probs (B, T, V), for the last T positions of text (B, S), with the copies found in text."""
        S = text.shape[1]
        T, V = log_probs.shape[1:]
        rows = min(S, T + self.LONGEST - 1)  # the T positions and the characters just before them
        is_same = text[:, S - rows :, None] == text[:, None, :]  # (B, rows, S)
        is_same = is_same.tril(S - rows - 1)  # only with earlier positions
        matches = is_same  # the last k characters are the same, first for k = 1
        length = matches.byte()
        for _ in range(self.LONGEST - 1):
            one_before = F.pad(matches, (1, 0, 1, 0))[:, :-1, :-1]
            matches = is_same & one_before
            length = length + matches
        length = length[:, rows - T :]  # of the match that ends at each earlier position, (B, T, S)
        longest = length.amax(dim=2, keepdim=True)  # (B, T, 1)
        sources = (length == longest) & (longest > 0)  # where to copy from
        sources = sources.to(log_probs.dtype)
        following = F.one_hot(text.roll(-1, dims=1), V).to(log_probs.dtype)  # (B, S, V); the last is unused
        copied = sources @ following / sources.sum(dim=2, keepdim=True).clamp(min=1)  # (B, T, V)
        trust = self.trust.sigmoid()[longest.long()] * (longest > 0)  # (B, T, 1)
        return torch.log((1 - trust) * log_probs.exp() + trust * copied + 1e-9)


# ------------------------------------------------------------------------------------------------------------
# The mixture


class Mixture(nn.Module):
    """A GPT that is told what the counts predict, at its input and at its output, and that can copy."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.counts = None  # `train` and `load` set it
        self.gpt = gpt.GPT(config)
        self.from_counts = nn.Linear(config.vocab_size, config.n_embd, bias=False)
        self.weight = nn.Parameter(torch.tensor(1.0))  # of the counts in the output
        self.copy = Copy()
        nn.init.normal_(self.from_counts.weight, std=0.25)

    def forward(self, idx, cache=None, log_q=None):
        """Log-probabilities (B, T, V) of the character after each of idx (B, T); they are valid logits:
        softmax returns the same distribution.

        `log_q` (B, T, V): what the counts predict. If it is not given, the counts are asked, which is slow.
        """
        model = self.gpt
        T = idx.shape[1]
        text = idx if cache is None else cache.extend_tokens(idx)
        if log_q is None:
            log_q = self.ask_counts(text, T)
        x = model.embed(text[:, -(T + model.PREVIOUS) :])[:, -T:]  # (B, T, C)
        x = x + 8 * self.from_counts(log_q.exp())  # the 8 lets this layer learn faster
        for block in model.blocks:
            x = block(x, cache)
        logits = model.head(gpt.norm(x)).float() + self.weight * log_q  # (B, T, V)
        return self.copy(logits.log_softmax(dim=2), text)

    def ask_counts(self, text, T):
        """What the counts predict after the last T positions of text (B, S), (B, T, V)."""
        rows = []
        for tokens in text.cpu().numpy():
            rows.append(self.counts.log_probs(tokens, np.arange(len(tokens) - T, len(tokens))))
        return torch.from_numpy(np.stack(rows)).to(text.device)


# ------------------------------------------------------------------------------------------------------------
# Training


class Run(gpt.Run):
    """A gpt.Run that evaluates with the predictions of the counts, and saves the counts."""

    name = NAME
    format = FORMAT

    def evaluate(self, characters=None):
        def predict(x, starts):
            return self.model(x, log_q=self.predictions.windows(starts, self.config.block_size))

        return gpt.evaluate(self.model, self.validation, characters, self.progress, predict)

    def content(self):
        groups, counts = self.model.counts.whole()
        return super().content() | {"groups": torch.from_numpy(groups), "counts": torch.from_numpy(counts)}


def read_checkpoint(out):
    """The content of a checkpoint; see gpt.read_checkpoint."""
    return gpt.read_checkpoint(out, FORMAT, (*gpt.CONTENT, "groups", "counts"))


def configure(device="cpu", **values):
    """The Config for a kind of device; see gpt.configure."""
    defaults = CPU if gpt.is_cpu(device) else GPU
    return gpt.configure(device, **defaults | values)


def train(text, config, out=DEFAULT_OUT, *, device="auto", source="", checkpoint=None, init_from=None,
          **sampling):
    """Train a mixture on a text: see gpt.train. A run that begins with the weights of another one counts
    its own text."""
    config = gpt.check_config(config)
    device = gpt.pick_device(device)
    source = gpt.absolute(source)
    text = gpt.check_text(text)
    before = read_checkpoint(init_from) if init_from else checkpoint
    vocab = gpt.Vocab(text, first=before["chars"] if before else "")
    sampling = gpt.check_sampling(vocab, {"seed": config.seed} | sampling)
    data = gpt.split(torch.from_numpy(vocab.encode(text)), config.block_size)
    config = dataclasses.replace(config, vocab_size=len(vocab))

    team = gpt.Team(device)
    tokens = data["training"].to(device)
    with gpt.seeded(config.seed):
        model = Mixture(config).to(device)
    if init_from:
        gpt.take_weights(model, before)
    optimizers = gpt.make_optimizers(model, config)
    run = Run(out, config, model, vocab, optimizers, data["validation"], sampling, source,
              gpt.digest_of(text), checkpoint, team)
    run.introduce(data)
    model.counts = Counts.from_tokens(data["training"].numpy(), len(vocab), run.progress)
    if model.counts.size < len(tokens):
        print(f"counted: the first {model.counts.size:,} characters")
    predictions = Predictions(model.counts, data["training"].numpy(), device, True, run.progress)
    run.predictions = Predictions(model.counts, data["validation"].numpy(), device, False, run.progress)
    bfloat16 = gpt.has_bfloat16(device)
    forward = gpt.for_training(model, team)

    # The loop: as in gpt.py, with the counts' predictions, and with whole windows from the first step on.
    with gpt.seeded(config.seed), run:
        for step in run:
            starts = gpt.batch_starts(len(tokens), config, step, team).to(device)
            x, y = gpt.windows(tokens, starts, config.block_size)
            log_q = predictions.windows(starts, config.block_size)
            with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
                log_probs = forward(x, log_q=log_q)
            loss = F.nll_loss(log_probs.flatten(0, 1), y.flatten())
            model.zero_grad()
            loss.backward()
            gpt.set_learning_rate(optimizers, step, config)
            for optimizer in optimizers:
                optimizer.step()
            run.loss = loss.item()

    run.finish()
    return run.result()


def resume(out=DEFAULT_OUT, text=None, *, device="auto", source="", max_steps=None, **sampling):
    """Continue the run in a folder exactly where it stopped: see gpt.resume."""
    out = gpt.folder_of(out)
    checkpoint = read_checkpoint(out)
    text, config, source = gpt.of_the_same_run(checkpoint, out, text, source, max_steps)
    return train(text, config, out, device=device, source=source, checkpoint=checkpoint, **sampling)


def load(out=DEFAULT_OUT, device="cpu", last=False):
    """(model, vocab) of the run in a folder: see gpt.load."""
    checkpoint = read_checkpoint(out)
    model = Mixture(checkpoint["config"])
    model.load_state_dict(checkpoint["model"] if last else checkpoint["progress"]["best"])
    vocab = gpt.Vocab("", first=checkpoint["chars"])
    model.counts = Counts(len(vocab), checkpoint["groups"].numpy(), checkpoint["counts"].numpy())
    return model.to(gpt.pick_device(device)).eval(), vocab


def main(argv=None):
    """The command line of gpt.py, with these functions."""
    return gpt.main(argv, sys.modules[__name__])


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # torch is imported now
    sys.exit(main(sys.argv[1:]))
