"""
micrograd: backpropagation over a graph of single numbers, and a small neural-network library on top of it.

Every number is a Value that remembers which Values it was made from and how much it changes when each of
them changes. backward() walks from the result to the inputs and applies the chain rule at every step: that
is all there is to training a neural network, everything else is efficiency. Here is a neuron:

>>> x1, x2 = Value(2.0, label="x1"), Value(0.0, label="x2")
>>> w1, w2 = Value(-3.0, label="w1"), Value(1.0, label="w2")
>>> b = Value(6.8813735870195432, label="b")
>>> o = (x1*w1 + x2*w2 + b).tanh()
>>> print(f"{o.data:.4f}")
0.7071
>>> o.backward()
>>> for v in (x1, w1, x2, w2):
...     print(f"{v.label}.grad {v.grad:.4f}")
x1.grad -1.5000
w1.grad 1.0000
x2.grad 0.5000
w2.grad 0.0000

In this file: Value, the elementary operations and backward; n-ary nodes; Module, Neuron, Layer, MLP; SGD and
Adam; losses; draw_dot and print_graph; a demo. It needs nothing but Python: `python micrograd.py` trains a
network on two moons (and draws it with numpy and matplotlib).
"""

import math
import random
from contextlib import contextmanager
from functools import lru_cache
from itertools import repeat
from math import isfinite
from numbers import Real
from operator import mul

__all__ = ["ACTIVATIONS", "MLP", "SGD", "Adam", "Layer", "Module", "Neuron", "Value", "cross_entropy", "dot",
           "draw_dot", "gradcheck", "hinge", "linear", "logsumexp", "make_moons", "mse", "no_grad", "print_graph",
           "softmax", "vsum"]

# -----------------------------------------------------------------------------
# Value: a number in a graph


class Value:
    """
    A number that remembers how it was made.

    data is the number, grad the derivative of the last backward()'s result by it, label a name for drawings.
    _op names the operation that made it, _prev holds the operation's inputs and _local the derivatives of the
    operation by each of them; all three are empty in a leaf. A plain number in an expression is a constant: it
    gets no node and no gradient.
    """

    __slots__ = ("_local", "_op", "_prev", "data", "grad", "label")
    __array_priority__ = -1.0  # above numpy's scalars: np.float64(2) * v is left to v.__rmul__

    def __init__(self, data, label=""):
        self.data = _number(data)
        self.grad = 0.0
        self.label = label
        self._op = ""
        self._prev = ()
        self._local = ()

    def __repr__(self):
        return f"Value(data={self.data}, grad={self.grad})"

    def __float__(self):
        return float(self.data)

    # Each operation gives its value, its inputs and the local derivative by each input.

    def __add__(self, other):
        """a + b; derivatives 1, 1."""
        if isinstance(other, Value):
            return _node("+", self.data + other.data, (self, other), (1.0, 1.0))
        other = _number(other)
        return _node(_name("+{}", other), self.data + other, (self,), (1.0,))

    def __sub__(self, other):
        """a - b; derivatives 1, -1."""
        if isinstance(other, Value):
            return _node("-", self.data - other.data, (self, other), (1.0, -1.0))
        other = _number(other)
        return _node(_name("-{}", other), self.data - other, (self,), (1.0,))

    def __mul__(self, other):
        """a * b; derivatives b, a."""
        if isinstance(other, Value):
            return _node("*", self.data * other.data, (self, other), (other.data, self.data))
        other = _number(other)
        return _node(_name("*{}", other), self.data * other, (self,), (other,))

    def __truediv__(self, other):
        """a / b; derivatives 1/b, -a/b**2."""
        if isinstance(other, Value):
            return _operation("/", lambda a, b: (a / b, 1 / b, -a / b / b), self, other)
        b = _number(other)
        return _operation(_name("/{}", b), lambda a: (a / b, 1 / b), self)

    def __pow__(self, other):
        """a ** b; derivatives b * a**(b - 1), which is 0 for b = 0, and a**b * log(a), which is 0 at a = 0."""
        if isinstance(other, Value):
            return _operation("**", lambda a, b: (math.pow(a, b), _power_slope(a, b), _exponent_slope(a, b)), self, other)
        b = _number(other)
        return _operation(_name("**{}", other), lambda a: (math.pow(a, b), _power_slope(a, b)), self)

    def __rsub__(self, other):
        other = _number(other)
        return _node(_name("{}-", other), other - self.data, (self,), (-1.0,))

    def __rtruediv__(self, other):
        a = _number(other)
        return _operation(_name("{}/", a), lambda b: (a / b, -a / b / b), self)

    def __rpow__(self, other):
        a = _number(other)
        return _operation(_name("{}**", other), lambda b: (math.pow(a, b), _exponent_slope(a, b)), self)

    __radd__ = __add__
    __rmul__ = __mul__

    def __neg__(self):
        """-a; derivative -1."""
        return self * -1.0

    def __abs__(self):
        """|a|; derivative the sign of a, 0 at 0."""
        return _operation("abs", lambda a: (abs(a), (a > 0) - (a < 0)), self)

    def exp(self):
        """e**a; derivative e**a."""
        return _operation("exp", lambda a: (math.exp(a), math.exp(a)), self)

    def log(self):
        """The natural logarithm; derivative 1/a."""
        return _operation("log", lambda a: (math.log(a), 1 / a), self)

    def sqrt(self):
        """The square root; derivative 1 / (2 sqrt(a))."""
        return _operation("sqrt", lambda a: (math.sqrt(a), 0.5 / math.sqrt(a)), self)

    def sin(self):
        """The sine; derivative cos(a)."""
        return _operation("sin", lambda a: (math.sin(a), math.cos(a)), self)

    def cos(self):
        """The cosine; derivative -sin(a)."""
        return _operation("cos", lambda a: (math.cos(a), -math.sin(a)), self)

    def tanh(self):
        """The hyperbolic tangent; derivative 1 - tanh(a)**2."""
        return _operation("tanh", _tanh, self)

    def sigmoid(self):
        """s = 1 / (1 + e**-a); derivative s (1 - s)."""
        return _operation("sigmoid", _sigmoid, self)

    def relu(self):
        """max(0, a); derivative 1 for a > 0, else 0."""
        return _operation("relu", _relu, self)

    def gelu(self):
        """a P(a), where P is the normal distribution function; derivative P(a) + a P'(a)."""
        return _operation("gelu", _gelu, self)

    # Comparisons look at the data, so max(a, b) picks a Value; == and hash stay those of the object.

    def __lt__(self, other):
        return self.data < _data(other)

    def __le__(self, other):
        return self.data <= _data(other)

    def __gt__(self, other):
        return self.data > _data(other)

    def __ge__(self, other):
        return self.data >= _data(other)

    def backward(self, grad=1.0):
        """
        Put the derivative of this Value by every Value that it was made from into their grad.

        grad is the derivative to start with. Leaves add to the grad that they have, so call zero_grad() between
        steps; the grad of any other node is replaced.
        """
        order = _topological_order(self)
        for v in order:
            if v._prev:
                v.grad = 0.0
        self.grad += _number(grad)
        for v in reversed(order):
            v_grad = v.grad
            if v_grad:
                for child, local in zip(v._prev, v._local):
                    child.grad += v_grad * local  # the chain rule


def _topological_order(root):
    """Every Value that root was made from, each one after its inputs, and root last; without recursion."""
    order, seen, stack = [], set(), [root]
    while stack:
        v = stack.pop()
        if v is None:  # the node below it has seen all its inputs come
            order.append(stack.pop())
        elif v not in seen:
            seen.add(v)
            if seen.issuperset(v._prev):
                order.append(v)
            else:
                stack += (v, None, *v._prev)
    return order


def _node(op, data, prev, local):
    """The Value data, made by the operation op from the Values prev; local are its derivatives by each of them."""
    if not isfinite(data):
        raise OverflowError(f"{op} of {', '.join(str(v.data) for v in prev)} is {data}")
    v = Value.__new__(Value)
    v.data = data
    v.grad = 0.0
    v.label = ""
    if _recording:
        v._op = op
        v._prev = prev
        v._local = local
    else:
        v._op = ""
        v._prev = v._local = ()
    return v


def _operation(op, function, *inputs):
    """A node whose function returns its value and its local derivatives, and may fail or be infinite somewhere."""
    try:
        data, *local = function(*[v.data for v in inputs])
        problem = "" if all(map(isfinite, local)) else "the derivative is not finite"
    except (ArithmeticError, ValueError) as error:
        problem = error
    if problem:
        raise ValueError(f"{op} of {', '.join(str(v.data) for v in inputs)}: {problem}")
    return _node(op, data, inputs, tuple(local))


@lru_cache(maxsize=1000)  # a loop over one number makes its name once
def _name(operation, number):
    """The name of an operation with a plain number: _name("*{}", 2.0) is "*2.0"."""
    return operation.format(number)


def _number(x):
    """x as a float; TypeError when it is no real number."""
    if isinstance(x, (float, int, Real)):  # numpy's scalars are Real
        return float(x)
    raise TypeError(f"a Value needs real numbers, got {x!r} ({type(x).__name__})")


def _data(x):
    return x.data if isinstance(x, Value) else _number(x)


# The functions that networks use as activations, on plain floats: each returns its value and its derivative.


def _linear(a):
    return a, 1.0


def _relu(a):
    return (a, 1.0) if a > 0 else (0.0, 0.0)


def _tanh(a):
    t = math.tanh(a)
    return t, 1 - t * t


def _sigmoid(a):
    e = math.exp(-abs(a))  # never overflows
    s = 1 / (1 + e)
    return (s if a >= 0 else e * s), e * s * s


def _gelu(a):
    p = 0.5 * math.erfc(-a / math.sqrt(2))
    return a * p, p + a * math.exp(-0.5 * a * a) / math.sqrt(2 * math.pi)


def _power_slope(a, b):
    """The derivative of a**b by a."""
    return b * math.pow(a, b - 1) if b else 0.0


def _exponent_slope(a, b):
    """The derivative of a**b by b."""
    return math.pow(a, b) * math.log(a) if a else 0.0


_recording = True


@contextmanager
def no_grad():
    """with no_grad(): results remember nothing, for evaluation in less time and memory."""
    global _recording
    before, _recording = _recording, False
    try:
        yield
    finally:
        _recording = before


def gradcheck(f, inputs, tolerance=1e-6):
    """
    Compare the derivatives of f(*inputs) by backward() with central differences (f(x + h) - f(x - h)) / 2h.

    inputs are Values or numbers, f is called with new Values. Returns True; raises a ValueError that names the
    input when one of its two derivatives differs by more than tolerance * max(1, derivative).
    """
    numbers = [_data(x) for x in inputs]
    values = [Value(x) for x in numbers]
    f(*values).backward()
    for i, x in enumerate(numbers):
        h = 1e-5 * max(1.0, abs(x))
        with no_grad():
            low, high = [float(f(*[Value(n) for n in (*numbers[:i], y, *numbers[i + 1:])])) for y in (x - h, x + h)]
        automatic, numeric = values[i].grad, (high - low) / (2 * h)
        if not abs(automatic - numeric) <= tolerance * max(1.0, abs(numeric)):
            name = f"input {i}" + (f" ({inputs[i].label})" if getattr(inputs[i], "label", "") else "")
            raise ValueError(f"{name}: backward() gives {automatic}, central differences give {numeric}")
    return True


# -----------------------------------------------------------------------------
# The engine is complete here; what follows is the same with fewer nodes.
# A sum of n numbers takes n - 1 additions, but its derivatives are known at once: one node with n inputs.


def vsum(values):
    """v1 + v2 + ...; every derivative is 1. Elementary form: sum(values)."""
    values = _values(values)
    return _node("sum", sum([v.data for v in values]), values, (1.0,) * len(values))


def dot(ws, xs, bias=None):
    """
    w1 x1 + w2 x2 + ... + bias; the derivative by each w is its x, the one by each x its w, the one by bias 1.

    Elementary form: sum(w * x for w, x in zip(ws, xs)) + bias. ValueError when ws and xs differ in length.
    """
    return linear([_values(ws)], xs, None if bias is None else _values([bias]))[0]


def linear(rows, xs, biases=None, activation="linear"):
    """
    The outputs of a layer: one node for each row of weights and its bias, which are Values.

    Elementary form: [activation(dot(row, xs, bias)) for row, bias in zip(rows, biases)]. The derivatives are those
    of dot() times the one of the activation, a key of ACTIVATIONS.
    """
    xs = _values(xs)
    x_data = [x.data for x in xs]
    function, op = ACTIVATIONS[activation], "dot" if activation == "linear" else activation
    by_weights = [*x_data, 1.0] if biases else x_data  # derivatives of the sum by the weights and the bias
    outputs = []
    for row, bias in zip(rows, biases or repeat(None)):
        w_data = [w.data for w in row]
        if len(w_data) != len(x_data):
            raise ValueError(f"a row of {len(w_data)} weights does not fit {len(x_data)} inputs")
        value, slope = function(sum(map(mul, w_data, x_data), bias.data if biases else 0.0))
        if slope == 1.0:
            local = by_weights + w_data
        elif slope == 0.0:
            local = ()  # all zero: nothing to hand on
        else:
            local = [slope * d for d in by_weights + w_data]
        outputs.append(_node(op, value, (*row, bias, *xs) if biases else (*row, *xs), local))
    return outputs


def logsumexp(values):
    """log(e**v1 + e**v2 + ...); the derivatives are softmax(values). Elementary form: sum of v.exp(), then log()."""
    values = _values(values)
    result, probabilities = _logsumexp([v.data for v in values])
    return _node("logsumexp", result, values, tuple(probabilities))


def cross_entropy(logits, target):
    """
    -log of the probability that softmax(logits) gives to the class number target, in nats.

    The derivatives are softmax(logits), less 1 at target. Elementary form: logsumexp(logits) - logits[target].
    IndexError when there is no such class.
    """
    logits = _values(logits)
    if not 0 <= target < len(logits):
        raise IndexError(f"cross_entropy has {len(logits)} logits, got target {target}")
    result, local = _logsumexp([v.data for v in logits])
    local[target] -= 1.0
    return _node("cross_entropy", result - logits[target].data, logits, tuple(local))


def softmax(values):
    """[e**v / (e**v1 + e**v2 + ...) for v in values]: positive numbers that sum to 1."""
    values = _values(values)
    total = logsumexp(values)
    return [(v - total).exp() for v in values]


def _logsumexp(xs):
    """log(sum(exp(x))) of floats and its derivatives; the largest x is taken out, so that nothing overflows."""
    if not xs:
        raise ValueError("logsumexp of no values")
    largest = max(xs)
    exps = [math.exp(x - largest) for x in xs]
    total = sum(exps)
    return largest + math.log(total), [e / total for e in exps]


def _values(xs):
    """xs as a tuple of Values; a number becomes a new leaf."""
    xs = tuple(xs)
    if set(map(type, xs)) == {Value}:  # the usual case, in less time
        return xs
    return tuple([x if isinstance(x, Value) else Value(x) for x in xs])


# -----------------------------------------------------------------------------
# Neural networks

ACTIVATIONS = {"linear": _linear, "relu": _relu, "tanh": _tanh, "sigmoid": _sigmoid, "gelu": _gelu}


class Module:
    """Something with parameters. A subclass overrides parameters()."""

    def parameters(self):
        """The list of all Values to be trained."""
        return []

    def num_parameters(self):
        return len(self.parameters())

    def zero_grad(self):
        for p in self.parameters():
            p.grad = 0.0

    def state_dict(self):
        """The parameters as floats by their number, which json.dump can save."""
        return {str(i): float(p.data) for i, p in enumerate(self.parameters())}

    def load_state_dict(self, state):
        """Set the parameters from a state_dict(); ValueError, and nothing changed, when it is of another network."""
        parameters = self.parameters()
        if set(state) != {str(i) for i in range(len(parameters))}:
            raise ValueError(f"this network has {len(parameters)} parameters, the state has {len(state)} others")
        numbers = [_number(state[str(i)]) for i in range(len(parameters))]
        for p, number in zip(parameters, numbers):
            p.data = number


class Neuron(Module):
    """
    activation(w1 x1 + w2 x2 + ... + b), as one node.

    activation is a key of ACTIVATIONS; nonlin=False means linear. Weights start uniformly in (-1, 1), b at 0.
    """

    def __init__(self, n_in, activation="relu", *, nonlin=True):
        self.w = [Value(random.uniform(-1, 1)) for _ in range(n_in)]
        self.b = Value(0.0)
        self.activation = _activation_name(activation) if nonlin else "linear"

    def __call__(self, x):
        return linear([self.w], self._checked(x), [self.b], self.activation)[0]

    def _checked(self, x):
        x = list(x)
        if len(x) != len(self.w):
            raise ValueError(f"Neuron has {len(self.w)} inputs, got {len(x)}")
        return x

    def parameters(self):
        return [*self.w, self.b]

    def __repr__(self):
        return f"Neuron({len(self.w)}, {self.activation})"


class Layer(Module):
    """n_out Neurons that see the same n_in inputs; a list of their outputs, or the output of a single one."""

    def __init__(self, n_in, n_out, activation="relu", *, nonlin=True):
        self.neurons = [Neuron(n_in, activation, nonlin=nonlin) for _ in range(n_out)]

    def __call__(self, x):
        x = self.neurons[0]._checked(x)
        out = linear([n.w for n in self.neurons], x, [n.b for n in self.neurons], self.neurons[0].activation)
        return out[0] if len(out) == 1 else out

    def parameters(self):
        return [p for neuron in self.neurons for p in neuron.parameters()]

    def __repr__(self):
        return f"Layer({', '.join(map(repr, self.neurons))})"


class MLP(Module):
    """A multi-layer perceptron: Layers of the sizes n_outs one after the other, the last one linear."""

    def __init__(self, n_in, n_outs, activation="relu"):
        sizes = [n_in, *n_outs]
        self.layers = [Layer(*sizes[i:i + 2], activation, nonlin=i < len(n_outs) - 1) for i in range(len(n_outs))]

    def __call__(self, x):
        for layer in self.layers:
            x = layer(x)
        return x

    def parameters(self):
        return [p for layer in self.layers for p in layer.parameters()]

    def __repr__(self):
        return f"MLP({', '.join(map(repr, self.layers))})"


def _activation_name(name):
    if name not in ACTIVATIONS:
        raise ValueError(f"activation {name!r} is not one of {', '.join(ACTIVATIONS)}")
    return name


# -----------------------------------------------------------------------------
# Optimizers, step by step those of torch.optim


class SGD:
    """Stochastic gradient descent: p -= lr * v, where v = momentum * v + grad + weight_decay * p."""

    def __init__(self, parameters, lr=0.001, momentum=0.0, weight_decay=0.0):
        self.parameters = list(parameters)
        self.lr, self.momentum, self.weight_decay = lr, momentum, weight_decay
        self.velocities = [0.0] * len(self.parameters)

    def step(self):
        for i, p in enumerate(self.parameters):
            velocity = self.momentum * self.velocities[i] + p.grad + self.weight_decay * p.data
            self.velocities[i] = velocity
            p.data -= self.lr * velocity

    def zero_grad(self):
        for p in self.parameters:
            p.grad = 0.0


class Adam:
    """Adam (Kingma and Ba, 2014): a step along the mean gradient, in units of the root of its mean square."""

    def __init__(self, parameters, lr=0.001, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
        self.parameters = list(parameters)
        self.lr, self.betas, self.eps, self.weight_decay = lr, betas, eps, weight_decay
        self.means = [0.0] * len(self.parameters)
        self.squares = [0.0] * len(self.parameters)
        self.steps = 0

    def step(self):
        self.steps += 1
        beta1, beta2 = self.betas
        bias1, bias2 = 1 - beta1**self.steps, 1 - beta2**self.steps  # the averages start at 0: too small at first
        for i, p in enumerate(self.parameters):
            grad = p.grad + self.weight_decay * p.data
            self.means[i] = mean = beta1 * self.means[i] + (1 - beta1) * grad
            self.squares[i] = square = beta2 * self.squares[i] + (1 - beta2) * grad * grad
            p.data -= self.lr * mean / bias1 / (math.sqrt(square / bias2) + self.eps)

    def zero_grad(self):
        for p in self.parameters:
            p.grad = 0.0


# -----------------------------------------------------------------------------
# Losses (and cross_entropy, above)


def mse(predictions, targets):
    """The mean of (prediction - target)**2."""
    differences = [p - t for p, t in _pairs("mse", predictions, targets)]
    return dot(differences, differences) / len(differences)


def hinge(scores, labels):
    """The mean of max(0, 1 - label * score), for labels 1 and -1: every score should be on its side by 1 or more."""
    losses = [(1 - label * score).relu() for score, label in _pairs("hinge", scores, labels)]
    return vsum(losses) / len(losses)


def _pairs(name, predictions, targets):
    if len(predictions) != len(targets) or not predictions:
        raise ValueError(f"{name} needs a target for each prediction, got {len(predictions)} and {len(targets)}")
    return zip(predictions, targets)


# -----------------------------------------------------------------------------
# Drawings


def draw_dot(root, format="svg", rankdir="LR"):
    """The graph of root as a graphviz.Digraph: a record for each Value, a circle for each operation."""
    try:
        from graphviz import Digraph
    except ImportError:
        raise ImportError("draw_dot needs the graphviz package (pip install graphviz); print_graph does not") from None
    graph = Digraph(format=format, graph_attr={"rankdir": rankdir})
    for v in _topological_order(root):
        label = "".join("\\" + c if c in "\\{}|<> " else c for c in v.label)
        graph.node(str(id(v)), f"{{ {label} | data {v.data:.4f} | grad {v.grad:.4f} }}", shape="record")
        if v._op:
            graph.node(f"{id(v)}{v._op}", v._op, shape="circle")
            graph.edge(f"{id(v)}{v._op}", str(id(v)))
        for child in v._prev:
            graph.edge(str(id(child)), f"{id(v)}{v._op}")
    return graph


def print_graph(root):
    """
    Print the graph of root in the order in which backward() visits it, with what each node adds to its inputs.

    A line "e: d.grad -2.00 * local 10.0 -> +-20.00" says: e got -20 from d, by the chain rule. A Value without
    a label is called v and its place in the list.
    """
    names = {v: v.label or f"v{i}" for i, v in enumerate(reversed(_topological_order(root)))}
    for v, name in names.items():
        inputs = [names[child] for child in v._prev]
        infix = len(inputs) == 2 and not v._op.isalnum()
        formula = f" {v._op} ".join(inputs) if infix else f"{v._op} of {', '.join(inputs)}"
        print(f"{name}{' = ' + formula if inputs else ''}  data {v.data:.4f}  grad {v.grad:.4f}")
        for child, local in zip(v._prev, v._local or (0.0,) * len(v._prev)):
            print(f"    {names[child]}: {name}.grad {v.grad:.2f} * local {round(local, 4)} -> +{v.grad * local:.2f}")


# -----------------------------------------------------------------------------
# The demo: two moons


def make_moons(n, noise=0.1):
    """n points of two half circles that reach into each other, and their labels 1 and -1."""
    points, labels = [], []
    for i in range(n):
        angle = math.pi * random.random()
        x, y = math.cos(angle), math.sin(angle)
        if i % 2:
            x, y = 1 - x, 0.5 - y
        points.append([x + random.gauss(0, noise), y + random.gauss(0, noise)])
        labels.append(-1 if i % 2 else 1)
    return points, labels


def draw_moons(model, points, labels, path):
    """Write a picture of the points and of the side of the decision boundary that each place is on."""
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import numpy as np

    xs, ys = np.meshgrid(np.linspace(-1.75, 2.75, 91), np.linspace(-1.25, 1.75, 61))
    with no_grad():
        scores = [float(model(place)) for place in zip(xs.flat, ys.flat)]
    plt.figure(figsize=(6, 4))
    plt.contourf(xs, ys, np.reshape(scores, xs.shape), levels=[-100, -1, 0, 1, 100], cmap="RdYlBu", alpha=0.6)
    plt.scatter(*zip(*points), c=labels, cmap="RdYlBu", edgecolors="black", s=30)
    plt.tight_layout()
    plt.savefig(path, dpi=100)


def main():
    random.seed(2)
    points, labels = make_moons(100)
    model = MLP(2, [16, 16, 1])
    epochs = 60
    optimizer = SGD(model.parameters(), lr=1.0)
    print(f"{model.num_parameters()} parameters")
    for epoch in range(epochs):
        scores = [model(point) for point in points]
        weights = model.parameters()
        loss = hinge(scores, labels) + 1e-4 * dot(weights, weights)
        accuracy = sum((score > 0) == (label > 0) for score, label in zip(scores, labels)) / len(labels)
        model.zero_grad()
        loss.backward()
        optimizer.lr = 1.0 - 0.9 * epoch / epochs
        optimizer.step()
        print(f"epoch {epoch + 1:3}  loss {loss.data:.4f}  accuracy {accuracy:.0%}")
    draw_moons(model, points, labels, "moons.png")
    print("wrote moons.png")


if __name__ == "__main__":
    main()
