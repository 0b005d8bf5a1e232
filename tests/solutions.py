"""The solutions of all exercises, each under its number.

Look here after you have tried. Every function goes into exercises.py as it is. Where the task asks "why", the
comment above the function answers. ANSWERS.md in each folder has the measured figures.
"""
import math
import random

import torch
import torch.nn.functional as F

LETTERS = ".abcdefghijklmnopqrstuvwxyz"  # as in makemore/exercises.py

# ------------------------------------------------------------------------------------------------------------
# Lecture 1: micrograd/exercises.py


# 1.1 Each term has a rule of its own. Only sin(3b) has something inside, so the chain rule multiplies by the
# derivative of 3b.
def gradient(a, b, c):
    return [-3 * a**2 - 0.5 * a**-0.5, 3 * math.cos(3 * b) + 2.5 * b**1.5, 1 / c**2]


# 1.2 Each input gets a copy of the point, because the point must not change.
def forward_difference(function, point, h):
    slopes = []
    for i in range(len(point)):
        moved = [*point]
        moved[i] += h
        slopes.append((function(*moved) - function(*point)) / h)
    return slopes


# 1.3 How does the error shrink? f(x + h) = f + h f' + h^2/2 f'' + h^3/6 f''' + ... In the forward difference
# the term with f'' remains, so the error shrinks in proportion to h. In f(x + h) - f(x - h) all even terms
# cancel. The error is h^2/6 f''', so a tenth of the step makes it a hundred times smaller.
def symmetric_difference(function, point, h):
    slopes = []
    for i in range(len(point)):
        up, down = [*point], [*point]
        up[i] += h
        down[i] -= h
        slopes.append((function(*up) - function(*down)) / (2 * h))
    return slopes


# 1.4 Why "+=", and why the order? A number that is used twice moves the result in two ways, and its gradient
# is the sum of both. It may pass its gradient on only when both parts have arrived, so every number comes
# after all numbers that were computed from it: a topological order, walked backward.
class Number:
    def __init__(self, data, inputs=(), derivatives=()):
        self.data = data
        self.grad = 0.0
        self.inputs = inputs
        self.derivatives = derivatives  # of this number with respect to each of its inputs

    def __add__(self, other):
        return Number(self.data + other.data, (self, other), (1.0, 1.0))

    def __truediv__(self, other):
        return Number(self.data / other.data, (self, other), (1 / other.data, -self.data / other.data**2))

    def __neg__(self):
        return Number(-self.data, (self,), (-1.0,))

    def exp(self):
        return Number(math.exp(self.data), (self,), (math.exp(self.data),))

    def log(self):
        return Number(math.log(self.data), (self,), (1 / self.data,))

    def backward(self):
        order, seen = [], set()

        def visit(number):
            if number not in seen:
                seen.add(number)
                for each in number.inputs:
                    visit(each)
                order.append(number)

        visit(self)
        self.grad = 1.0
        for number in reversed(order):
            for each, derivative in zip(number.inputs, number.derivatives):
                each.grad += number.grad * derivative


# ------------------------------------------------------------------------------------------------------------
# Lecture 2: makemore/exercises.py


# 2.1
def pairs(words):
    counts, totals = {}, {}
    for word in words:
        for first, second in zip("." + word, word + "."):
            counts[first + second] = counts.get(first + second, 0) + 1
            totals[first] = totals.get(first, 0) + 1
    return counts, {pair: count / totals[pair[0]] for pair, count in counts.items()}


# 2.2 Why smooth at all? A group that never occurred would have the probability 0, and a single word that
# contains it would make the loss infinite. Alpha is a belief from before any data: as if every group had been
# seen alpha times already.
def trigrams(words, alpha):
    P = torch.full((27, 27, 27), alpha)
    for word in words:
        for group in zip(".." + word, "." + word, word + "."):
            P[tuple(LETTERS.index(letter) for letter in group)] += 1
    return P / P.sum(2, keepdim=True)


# 2.3 Why shuffle? The list is sorted, first the girls' names, then the boys', each from frequent to rare. Its
# last tenth is rare boys' names, which say little about the rest.
def split(words, seed):
    shuffled = [*words]
    random.Random(seed).shuffle(shuffled)
    a, b = int(0.8 * len(words)), int(0.9 * len(words))
    return shuffled[:a], shuffled[a:b], shuffled[b:]


# 2.4 Why not on the training words? They are the words that were counted, so the less smoothing, the better
# they look. Why the test words only once? The best of many results on them is partly luck.
def tune_smoothing(loss, alphas):
    best = min(alphas, key=lambda alpha: loss("validation", alpha))
    return best, loss("test", best)


# 2.5 Why is it the same? Entry k of the product is the sum over all i of onehot[i] * W[i, k]. Every term but
# one is 0 times something, and the remaining one is 1 * W[x, k]. A look-up finds it without 26 needless
# products.
def rows(W, x):
    return W[x]


# 2.6 Why is F.cross_entropy better? It first subtracts the largest logit, which changes no probability: exp
# never gets a number above 0, so nothing overflows, and log never sees a rounded 0. It is also one operation
# for autograd, with the short derivative of exercise 5.2, instead of five that each keep a tensor.
def bigram_loss(W, x, y):
    return F.cross_entropy(W[x], y)


# 2.7 Why count contexts and not occurrences? A shorter context is asked about letters that are new after the
# longer one. A letter that is frequent only after one certain context (such as "u" after "q") is a bad guess
# there, however often it occurs. A letter that follows many different contexts is a good one.
def kneser_ney(words, n, discount):
    followers = [{} for _ in range(n + 1)]  # followers[k][context of k letters][letter]: the count
    for word in words:
        text = "." * n + word + "."
        for i in range(n, len(text)):
            counts = followers[n].setdefault(text[i - n : i], {})
            counts[text[i]] = counts.get(text[i], 0) + 1
    for k in range(n, 0, -1):
        for context, counts in followers[k].items():
            shorter = followers[k - 1].setdefault(context[1:], {})
            for letter in counts:
                shorter[letter] = shorter.get(letter, 0) + 1  # one for each longer context

    def distribution(beginning):
        text = "." * n + beginning
        q = [1 / 27] * 27
        for k in range(n + 1):
            counts = followers[k].get(text[len(text) - k :], {})
            total = sum(counts.values())
            if total:
                share = discount * len(counts) / total  # what the discount took off
                q = [max(counts.get(letter, 0) - discount, 0) / total + share * shorter
                     for letter, shorter in zip(LETTERS, q)]
        return q

    return distribution


# ------------------------------------------------------------------------------------------------------------
# Lecture 3: makemore/exercises.py


# 3.1
def mlp(x, C, W1, b1, W2, b2):
    vectors = C[x]  # (N, n, d)
    return torch.tanh(vectors.flatten(1) @ W1 + b1) @ W2 + b2


# 3.2 Why small and not zero? Zero works too, for this layer. But then no gradient passes through it in the
# first step (exercise 4.1). A factor of 0.01 keeps the loss at ln 27, and all layers learn at once.
def output_layer(H, V):
    return 0.01 * torch.randn(H, V), torch.zeros(V)


# 3.3 Why a longer context? With three letters, a network cannot tell "elizab" from "tizab". Each further
# letter costs only n_embd * n_embd2 weights; a table of counts would get 27 times as large.
def configuration():
    return {"block_size": 5}


# 3.4 What are the direct connections good for? Bengio et al. found that they neither help nor hurt the
# result, but that a network with them learns faster: the linear part of the task need not go through tanh.
def direct(x, C, W1, b1, W2, b2, W3):
    inputs = C[x].flatten(1)  # (N, n * d)
    return torch.tanh(inputs @ W1 + b1) @ W2 + inputs @ W3 + b2


# ------------------------------------------------------------------------------------------------------------
# Lecture 4: makemore/exercises.py


# 4.1 Why does only b2 learn? The gradient of a weight is a product: what comes in, times the gradient of what
# goes out. With all weights zero, h = tanh(0) = 0 comes into W2, so W2 stays 0, and with W2 = 0 nothing goes
# back to the layers before it. No step ever changes that: b2 alone learns how frequent each letter is. A
# single zero layer does no harm: it gets a gradient in the first step, and all others from the second on.
def zero_start():
    return {
        "all": {"b2"},
        "all, 100 steps": {"b2"},
        "W2 and b2": {"W2", "b2"},
        "W1 and b1": {"W1", "b1", "b2"},
    }


# 4.2
def batch_norm(x, gain, bias, mean, var, training, momentum=0.1, eps=1e-5):
    if not training:
        return (x - mean) / (var + eps).sqrt() * gain + bias, mean, var
    batch_mean, batch_var = x.mean(0), x.var(0, correction=0)
    out = (x - batch_mean) / (batch_var + eps).sqrt() * gain + bias
    new_mean = (1 - momentum) * mean + momentum * batch_mean
    new_var = (1 - momentum) * var + momentum * x.var(0)
    return out, new_mean, new_var


# 4.3 Why can it be folded? At evaluation mean and variance are constants, so batch norm is one multiplication
# and one addition per channel. A linear layer followed by these is another linear layer.
def fold(W, gain, bias, mean, var, eps=1e-5):
    scale = gain / (var + eps).sqrt()
    return W * scale, bias - mean * scale


# ------------------------------------------------------------------------------------------------------------
# Lecture 5: makemore/exercises.py


# 5.1 Two rules do most of the work. What was used twice gets the sum of two gradients. What was used for many
# rows (or columns) gets the sum over them: a sum forward is a copy backward, and the other way round.
def backward(v, x, y):
    N = len(x)
    d = {}
    d["log_probs"] = torch.zeros_like(v.log_probs)
    d["log_probs"][range(N), y] = -1 / N
    d["probs"] = d["log_probs"] / v.probs
    d["inverse_total"] = (d["probs"] * v.counts).sum(1, keepdim=True)
    d["total"] = d["inverse_total"] * -(v.total**-2)
    d["counts"] = d["probs"] * v.inverse_total + d["total"]
    d["shifted"] = d["counts"] * v.counts
    d["largest"] = -d["shifted"].sum(1, keepdim=True)
    d["logits"] = d["shifted"] + d["largest"] * F.one_hot(v.logits.argmax(1), v.logits.shape[1])
    d["h"] = d["logits"] @ v.W2.T
    d["W2"] = v.h.T @ d["logits"]
    d["b2"] = d["logits"].sum(0)
    d["before_tanh"] = d["h"] * (1 - v.h**2)
    d["gain"] = (d["before_tanh"] * v.normalized).sum(0)
    d["bias"] = d["before_tanh"].sum(0)
    d["normalized"] = d["before_tanh"] * v.gain
    d["inverse_std"] = (d["normalized"] * v.centred).sum(0, keepdim=True)
    d["var"] = d["inverse_std"] * -0.5 * (v.var + 1e-5) ** -1.5
    d["squared"] = d["var"].expand(v.squared.shape) / N
    d["centred"] = d["normalized"] * v.inverse_std + d["squared"] * 2 * v.centred
    d["mean"] = -d["centred"].sum(0, keepdim=True)
    d["linear"] = d["centred"] + d["mean"] / N
    d["flat"] = d["linear"] @ v.W1.T
    d["W1"] = v.flat.T @ d["linear"]
    d["b1"] = d["linear"].sum(0)
    d["vectors"] = d["flat"].view(v.vectors.shape)
    d["C"] = torch.zeros_like(v.C).index_add_(0, x.flatten(), d["vectors"].flatten(0, 1))
    return d


# 5.2 The loss of a row is log(sum of exp(logits)) - logits[y]. The derivative of the first part is the
# softmax, and that of logits[y] is 1 at y. Each row of the result sums to zero: what pulls y up pushes the
# others down.
def cross_entropy_gradient(logits, y):
    return (logits.softmax(1) - F.one_hot(y, logits.shape[1])) / len(y)


# 5.3 What does batch norm do to a gradient? It removes the mean and the part along the normalised input,
# because no step in these two directions would change the output. And it divides by the standard deviation.
# So weights ten times as large get gradients a tenth as large, and the layers before them notice nothing.
# With the lecture's N - 1, the variance and the last mean change: x.var(0), and a sum over N - 1.
def batch_norm_gradient(dout, x, gain, eps=1e-5):
    scale = (x.var(0, correction=0) + eps) ** -0.5
    normalized = (x - x.mean(0)) * scale
    d = dout * gain
    return scale * (d - d.mean(0) - normalized * (d * normalized).mean(0))


# 5.4
def train_step(p, x, y, learning_rate):
    vectors = p["C"][x]  # (N, n, d)
    flat = vectors.flatten(1)
    linear = flat @ p["W1"]
    scale = (linear.var(0, correction=0) + 1e-5) ** -0.5
    normalized = (linear - linear.mean(0)) * scale
    h = (normalized * p["gain"] + p["bias"]).tanh()
    log_probs = (h @ p["W2"] + p["b2"]).log_softmax(1)
    loss = -log_probs[range(len(y)), y].mean()

    dlogits = (log_probs.exp() - F.one_hot(y, log_probs.shape[1])) / len(y)
    dbefore = dlogits @ p["W2"].T * (1 - h**2)
    d = dbefore * p["gain"]
    dlinear = scale * (d - d.mean(0) - normalized * (d * normalized).mean(0))
    dvectors = (dlinear @ p["W1"].T).view(vectors.shape)
    gradients = {
        "b2": dlogits.sum(0),
        "W2": h.T @ dlogits,
        "bias": dbefore.sum(0),
        "gain": (dbefore * normalized).sum(0),
        "W1": flat.T @ dlinear,
        "C": torch.zeros_like(p["C"]).index_add_(0, x.flatten(), dvectors.flatten(0, 1)),
    }
    for name, gradient in gradients.items():
        p[name] -= learning_rate * gradient
    return loss


# ------------------------------------------------------------------------------------------------------------
# Lecture 6: makemore/exercises.py


# 6.1
def tree(x, weights):
    for W in weights:
        B, T, C = x.shape
        x = torch.tanh(x.reshape(B, T // 2, 2 * C) @ W)  # neighbours lie side by side in memory
    return x.squeeze(1)


# 6.2 Why is it a convolution? The same weights are applied at every position, and each node looks at two
# inputs, which are 1, 2 or 4 positions apart. A node serves up to four trees, so a word of T letters takes
# about 3T nodes instead of 7T.
def dilated(x, weights):
    for k, W in enumerate(weights):
        distance = 2**k
        older, newer = x[:, :-distance], x[:, distance:]
        x = torch.tanh(torch.cat([older, newer], dim=2) @ W)
    return x


# 6.3 The harness is `search` in tests/benchmark_exercises.py: `python tests/benchmark.py exercises search`
# trains these runs.
def search():
    return ["out/search/steps", "out/search/wide", "out/search/default"]


# ------------------------------------------------------------------------------------------------------------
# Lecture 7: gpt/exercises.py


# 7.0a
def average_by_loop(x):
    means = []
    for t in range(x.shape[1]):
        means.append(x[:, : t + 1].mean(1))  # (B, C)
    return torch.stack(means, dim=1)


# 7.0b
def averaging_matrix(T):
    past = torch.ones(T, T).tril()
    return past / past.sum(1, keepdim=True)


# 7.0c Why does the third way lead to the fourth? exp(-inf) is 0 and exp(0) is 1, so with scores of 0 softmax
# does what 7.0b does. But softmax turns any scores into weights, so they may depend on the text.
def softmax_weights(scores):
    past = torch.ones_like(scores).tril()
    return scores.masked_fill(past == 0, -math.inf).softmax(-1)


# 7.0d This is attention with nothing to learn: x is query, key and value at once.
def average_by_scores(x):
    scores = x @ x.mT  # (B, T, T)
    past = torch.ones_like(scores).tril()
    return scores.masked_fill(past == 0, -math.inf).softmax(-1) @ x


# 7.1
def attention_by_loop(q, k, v):
    results = []
    for t in range(len(q)):
        scores = torch.stack([q[t] @ k[s] for s in range(t + 1)]) / q.shape[1] ** 0.5
        results.append(sum(weight * value for weight, value in zip(scores.softmax(0), v)))
    return torch.stack(results)


# 7.2 Why sqrt(D)? The product of two random vectors of D numbers has a variance of D. Without the root, the
# scores of a wide head are so far apart that the softmax puts nearly all weight on one position, where its
# gradient vanishes.
def attention(q, k, v):
    scores = q @ k.mT / q.shape[-1] ** 0.5  # (B, T, T): row t, what position t looks at
    future = torch.ones_like(scores, dtype=torch.bool).triu(1)
    return scores.masked_fill(future, -math.inf).softmax(-1) @ v


# 7.3
def heads(x, W, n_head):
    B, T, C = x.shape
    q, k, v = (t.view(B, T, n_head, C // n_head).transpose(1, 2) for t in (x @ W).split(C, dim=2))
    y = F.scaled_dot_product_attention(q, k, v, is_causal=True)  # (B, n_head, T, D)
    return y.transpose(1, 2).reshape(B, T, C)


# 7.4 Why only the distance? Rotating both vectors by the same angle does not change their product. Rotate a
# query by s * speed and a key by t * speed: the product is the same as if the query had been rotated by
# (s - t) * speed and the key not at all.
def rotate(x, positions):
    D = x.shape[1]
    speed = 10000.0 ** (-2 * torch.arange(D // 2) / D)
    angles = positions[:, None] * speed.to(x)  # (T, D/2)
    a, b = x[:, ::2], x[:, 1::2]
    rotated = a * angles.cos() - b * angles.sin(), a * angles.sin() + b * angles.cos()
    return torch.stack(rotated, dim=2).flatten(1)


# 7.5 Why backwards? A sum is done from the last digit to the first, since each carry comes from the right.
# Written backwards, every digit depends on two digits of the question and one carry; written forward, the
# first digit depends on all of them.
def sum_lines(pairs):
    return "".join(f"{a}+{b}={str(a + b)[::-1]}\n" for a, b in pairs)


# 7.6
def answers_only(x, y, newline, equals):
    t = torch.arange(x.shape[1])
    last_newline = torch.where(x == newline, t, -1).cummax(1).values  # where it stood, -1: nowhere yet
    last_equals = torch.where(x == equals, t, -1).cummax(1).values
    return torch.where((last_newline >= 0) & (last_equals > last_newline), y, -1)


# 7.7
def finetuned():
    return "out/scratch", "out/finetuned"


# 7.8 What is the next character computed from? Here nearly every one is a copy of an earlier one or depends
# on the last four alone, which gpt.py adds up at its input (departure 6). So little has to be computed over
# several layers. The operands of every small step are written again, right before its result.
class Calculator:
    def write(self, a, operation, b):
        if operation == "+":
            steps, digits, carry = self.add(a, b)
            return f"{steps}>{carry}{digits}"
        if operation == "-":
            return self.minus(a, b)
        if operation == "*":
            return self.times(a, b)
        return self.divide(a, b)

    def read(self, operation, text):
        answer = text.rpartition(">")[2]
        if operation == "/":
            return int(answer[:2]), int(answer[2:])
        return int(answer)

    # 37+48: 7851 3480. 7 + 8 gives 5 and a carry of 1, then 3 + 4 + 1 gives 8 and a carry of 0.
    def add(self, a, b, sign=1):
        steps, digits, carry = "", "", 0
        for x, y in ((a % 10, b % 10), (a // 10, b // 10)):
            total = x + sign * (y + carry)
            carry = int(not 0 <= total <= 9)
            steps += f"{x}{y}{total % 10}{carry}"
            digits = f"{total % 10}{digits}"
        return steps, digits, carry

    # The same with what is borrowed. If something is borrowed at the end, b is larger: 37-48 is 89 - 100.
    def minus(self, a, b):
        steps, _, _ = self.add(a, b, sign=-1)
        sign = "-" if a < b else "+"
        return f"{steps}>{sign}{abs(a - b):02}"

    # Four products of two digits, then the columns from right to left: the digits of a column, their sum with
    # the units first, so that the carry is the first number of the next column.
    def times(self, a, b):
        steps = ""
        products = {}
        for j, y in enumerate((b % 10, b // 10)):
            for i, x in enumerate((a % 10, a // 10)):
                products[i, j] = x * y
                steps += f"{x}{y}{x * y // 10}{x * y % 10}"
        tens = [products[0, 0] // 10, products[1, 0] % 10, products[0, 1] % 10]
        hundreds = [products[1, 0] // 10, products[0, 1] // 10, products[1, 1] % 10]
        carry = sum(tens) // 10
        steps += "".join(map(str, tens)) + f"{sum(tens) % 10}{carry}"
        total = sum(hundreds) + carry
        steps += "".join(map(str, hundreds)) + f"{total % 10}{total // 10}"
        thousands = products[1, 1] // 10
        steps += f"{thousands}{thousands + total // 10}"
        return f"{steps}>{a * b:04}"

    # First the tens of a, which only a divisor below 10 fits into. What is left and the units of a are the
    # number from which b is subtracted, with a count, until something is borrowed at the end.
    def divide(self, a, b):
        tens = a // 10 // b
        left = a - 10 * tens * b
        steps = f"{a // 10}{b:02}{tens}{left // 10}"
        for count in range(10):
            subtraction, digits, borrowed = self.add(left, b, sign=-1)
            steps += f"{count}{subtraction}"
            if borrowed:
                break
            left = int(digits)
        return f"{steps}>{tens}{count}{left:02}"


# 7.9 Gemma 2 (2024) caps its logits at 30 with a tanh, which is said to make training steadier. Here, at 15.
def idea():
    return {
        "return self.head(norm(x)).float()": "return 15 * torch.tanh(self.head(norm(x)).float() / 15)",
    }
