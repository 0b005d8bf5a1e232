"""
A GPT made of single numbers. It learns to make up names, and needs nothing but micrograd.

    python tiny_gpt.py           trains on 1,000 names in about half a minute, then makes up twenty
    python tiny_gpt.py 100       trains on 100 names

This project has the model three times: with single numbers here, with tensors as Transformer in makemore.py,
and in its modern form in gpt.py. A comment at each step names its counterpart there.
"""

import random
import sys
import time
from itertools import pairwise
from pathlib import Path

from micrograd import Adam, Module, Value, cross_entropy, dot, linear, no_grad, softmax, vsum

LETTERS = ".abcdefghijklmnopqrstuvwxyz"  # a token is an index into LETTERS; a dot begins and ends each name

# -----------------------------------------------------------------------------
# The model. A vector is a list of Values, and a matrix is a list of such vectors.


class GPT(Module):
    """A transformer of one layer (Radford et al. 2018). In makemore.py: `Transformer`; in gpt.py: `GPT`."""

    def __init__(self, n_embd=16, n_head=4, block_size=16):
        self.n_embd = n_embd
        self.n_head = n_head
        self.block_size = block_size
        self.embed = matrix(len(LETTERS), n_embd)  # a vector for each letter
        self.position = matrix(block_size, n_embd)  # and one for each position
        self.query = matrix(n_embd, n_embd)
        self.key = matrix(n_embd, n_embd)
        self.value = matrix(n_embd, n_embd)
        self.proj = matrix(n_embd, n_embd)
        self.up = matrix(4 * n_embd, n_embd)
        self.down = matrix(n_embd, 4 * n_embd)
        self.head = matrix(len(LETTERS), n_embd)

    def parameters(self):
        matrices = [self.embed, self.position, self.query, self.key, self.value, self.proj,
                    self.up, self.down, self.head]
        return [p for rows in matrices for row in rows for p in row]

    def __call__(self, token, keys, values):
        """
        The logits of the letter that comes after token.

        keys and values hold a vector for each earlier letter, and this call appends those of token. They are
        the KV cache (in gpt.py: `KVCache`).
        """
        x = add(self.embed[token], self.position[len(keys)])
        x = add(x, self.attention(norm(x), keys, values))  # the letters talk to each other,
        x = add(x, self.mlp(norm(x)))  # then each thinks alone. Block in makemore.py and gpt.py
        return linear(self.head, norm(x))

    def attention(self, x, keys, values):
        """Each head takes a weighted mean of the values so far (in gpt.py: `MultiHeadAttention`)."""
        q = linear(self.query, x)  # what this letter looks for
        keys.append(linear(self.key, x))  # what later letters find it by
        values.append(linear(self.value, x))  # what it tells them
        size = self.n_embd // self.n_head  # channels per head
        mixed = []
        for i in range(0, self.n_embd, size):
            head = slice(i, i + size)
            weights = softmax([dot(q[head], k[head]) / size**0.5 for k in keys])
            mixed += [dot(weights, channel) for channel in zip(*[v[head] for v in values])]
        return linear(self.proj, mixed)

    def mlp(self, x):
        """Two linear layers with a ReLU between them, for each position alone (in gpt.py: `FeedForward`)."""
        return linear(self.down, linear(self.up, x, activation="relu"))

    def loss(self, name):
        """The mean cross-entropy over the letters and the end of a name, in nats (in gpt.py: `loss_of`)."""
        tokens = [LETTERS.index(letter) for letter in f".{name}."][:self.block_size + 1]
        keys = []
        values = []
        losses = [cross_entropy(self(token, keys, values), target) for token, target in pairwise(tokens)]
        return vsum(losses) / len(losses)

    def sample(self, temperature=0.7):
        """A made-up name, letter by letter (in makemore.py and gpt.py: `generate`)."""
        token = 0
        name = ""
        keys = []
        values = []
        with no_grad():
            while len(keys) < self.block_size:
                probabilities = softmax([logit / temperature for logit in self(token, keys, values)])
                token = random.choices(range(len(LETTERS)), [p.data for p in probabilities])[0]
                if LETTERS[token] == ".":
                    break
                name += LETTERS[token]
        return name


def matrix(n_out, n_in):
    return [[Value(random.gauss(0, 0.08)) for _ in range(n_in)] for _ in range(n_out)]


def add(x, y):
    """The residual connection: attention and MLP add to the vector x instead of replacing it."""
    return [a + b for a, b in zip(x, y)]


def norm(x):
    """RMSNorm: the vector divided by its root mean square. norm in gpt.py also subtracts the mean."""
    scale = (dot(x, x) / len(x) + 1e-5)**-0.5
    return [a * scale for a in x]


# -----------------------------------------------------------------------------
# Training


def train(names, steps):
    """Train a GPT for this number of steps, one name per step (in makemore.py and gpt.py: `train`)."""
    model = GPT()
    optimizer = Adam(model.parameters(), lr=0.01, betas=(0.85, 0.99))
    losses = []
    start = time.time()
    print(f"{model.num_parameters():,} parameters")
    for step in range(steps):
        loss = model.loss(names[step % len(names)])
        optimizer.lr = 0.01 * (1 - step / steps)  # linear decay to 0: schedule in gpt.py
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.data)
        if (step + 1) % 100 == 0 or step + 1 == steps:
            recent = losses[-100:]
            seconds_per_step = (time.time() - start) / (step + 1)
            left = seconds_per_step * (steps - step - 1)
            print(f"name {step + 1:5,}  loss {sum(recent) / len(recent):.3f}  {left:3.0f} s left", flush=True)
    return model


def main(arguments):
    if arguments and not arguments[0].isdecimal():
        print(f"tiny_gpt: {arguments[0]} is not a number of names", file=sys.stderr)
        return 2
    random.seed(1)
    names = (Path(__file__).resolve().parent.parent / "data" / "names.txt").read_text().split()
    random.shuffle(names)
    model = train(names, steps=int(arguments[0]) if arguments else 1000)
    for _ in range(20):
        print(model.sample())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
