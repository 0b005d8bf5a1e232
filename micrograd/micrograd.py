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
network on two moons, and draws it if matplotlib is there.
"""

import math
import random
import re
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache, reduce
from math import isfinite
from numbers import Real
from operator import add, countOf, mul
from shutil import which

__all__ = [
    "ACTIVATIONS", "MLP", "SGD", "Adam", "Layer", "Module", "Neuron", "Optimizer", "Value",
    "cross_entropy", "dot", "draw_dot", "elementary", "gradcheck", "hinge", "linear", "logsumexp",
    "make_moons", "mse", "no_grad", "operation", "print_graph", "softmax", "vsum",
]

# -----------------------------------------------------------------------------
# Value: a number in a graph


class Value:
    """
    A number that remembers how it was made.

    data is the number, grad the derivative of a result by it (see backward), label a name for drawings.
    _op names the operation that made it, _prev holds the operation's inputs, _local its derivatives by them;
    all three are empty in a leaf. A plain number in an expression is part of the operation, not a node.

    The derivatives are computed in the forward pass. After you change the data of a leaf, compute the result
    again before you call backward().

    You can make a node by hand: out = Value(data, (a, b), "op"). Then set out._backward to a function that
    adds to a.grad and b.grad. Value(2.0, "x") is short for Value(2.0, label="x").
    """

    __slots__ = ("__dict__", "_local", "_op", "_prev", "data", "grad", "label")  # __dict__: your own names
    __array_priority__ = -1.0  # above numpy's scalars: np.float64(2) * v is left to v.__rmul__

    def __init__(self, data, _children=(), _op="", label=""):
        if isinstance(_children, str):  # Value(2.0, "x")
            _children, label = (), _children
        self.data = _number(data)
        self.grad = 0.0
        self.label = label
        self._op = _op
        self._prev = () if _no_grad_depth.get() else tuple(_children)
        self._local = ()

    def __repr__(self):
        return f"Value(data={self.data}, grad={self.grad})"

    def __float__(self):
        return float(self.data)

    # Each operation states its value, its inputs and its derivatives by them. If one of these numbers is not
    # real and finite, an exception (ValueError or ArithmeticError) names the operation and its inputs.

    def __add__(self, other):
        """a + b; derivatives 1, 1."""
        if isinstance(other, Value):
            return _node("+", self.data + other.data, (self, other), (1.0, 1.0))
        if not isinstance(other, NUMBERS):
            return NotImplemented
        other = float(other)
        return _node(_name("+", other), self.data + other, (self,), (1.0,))

    def __sub__(self, other):
        """a - b; derivatives 1, -1."""
        if isinstance(other, Value):
            return _node("-", self.data - other.data, (self, other), (1.0, -1.0))
        if not isinstance(other, NUMBERS):
            return NotImplemented
        other = float(other)
        return _node(_name("-", other), self.data - other, (self,), (1.0,))

    def __mul__(self, other):
        """a * b; derivatives b, a."""
        if isinstance(other, Value):
            return _node("*", self.data * other.data, (self, other), (other.data, self.data))
        if not isinstance(other, NUMBERS):
            return NotImplemented
        other = float(other)
        return _node(_name("*", other), self.data * other, (self,), (other,))

    def __truediv__(self, other):
        """a / b; derivatives 1 / b, -a / b**2."""
        if isinstance(other, Value):
            return operation("/", lambda a, b: (a / b, 1 / b, -a / b / b), self, other)
        if not isinstance(other, NUMBERS):
            return NotImplemented
        b = float(other)
        return operation(_name("/", b), lambda a: (a / b, 1 / b), self)

    def __pow__(self, other):
        """a**b; derivatives b * a**(b - 1) (0 for b = 0) and a**b * log(a) (0 for a = 0)."""
        if isinstance(other, Value):
            slopes = _base_slope, _exponent_slope
            return operation("**", lambda a, b: (math.pow(a, b), *[f(a, b) for f in slopes]), self, other)
        if not isinstance(other, NUMBERS):
            return NotImplemented
        b = float(other)
        return operation(_name("**", b), lambda a: (math.pow(a, b), _base_slope(a, b)), self)

    def __rsub__(self, other):
        other = _number(other)
        return _node(_name(other, "-"), other - self.data, (self,), (-1.0,))

    def __rtruediv__(self, other):
        a = _number(other)
        return operation(_name(a, "/"), lambda b: (a / b, -a / b / b), self)

    def __rpow__(self, other):
        a = _number(other)
        return operation(_name(a, "**"), lambda b: (math.pow(a, b), _exponent_slope(a, b)), self)

    __radd__ = __add__
    __rmul__ = __mul__

    def __neg__(self):
        """-a; derivative -1."""
        return self * -1.0

    def __abs__(self):
        """|a|; derivative the sign of a, 0 at 0."""
        return operation("abs", lambda a: (abs(a), (a > 0) - (a < 0)), self)

    def exp(self):
        """e**a; derivative e**a."""
        return operation("exp", lambda a: (math.exp(a), math.exp(a)), self)

    def log(self):
        """The natural logarithm; derivative 1/a."""
        return operation("log", lambda a: (math.log(a), 1 / a), self)

    def sqrt(self):
        """The square root; derivative 1 / (2 sqrt(a))."""
        return operation("sqrt", lambda a: (math.sqrt(a), _base_slope(a, 0.5)), self)

    def sin(self):
        """The sine; derivative cos(a)."""
        return operation("sin", lambda a: (math.sin(a), math.cos(a)), self)

    def cos(self):
        """The cosine; derivative -sin(a)."""
        return operation("cos", lambda a: (math.cos(a), -math.sin(a)), self)

    def tanh(self):
        """The hyperbolic tangent; derivative 1 - tanh(a)**2."""
        return operation("tanh", _tanh, self)

    def sigmoid(self):
        """s = 1 / (1 + e**-a); derivative s (1 - s)."""
        return operation("sigmoid", _sigmoid, self)

    def relu(self):
        """max(0, a); derivative 1 for a > 0, else 0."""
        return operation("relu", _relu, self)

    def gelu(self):
        """a P(a), where P(a) = (1 + erf(a / sqrt(2))) / 2 is the normal distribution; derivative P + a P'."""
        return operation("gelu", _gelu, self)

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
        Compute the derivative of this Value by each Value that it was made from, into their grad.

        A leaf adds the derivative to its grad, so set that to zero between two training steps. Any other node
        starts from zero in each call. This Value's own derivative is the argument grad. The operations'
        derivatives are those of the forward pass: after you change a leaf's data, compute the result again.
        """
        order = _topological_order(self)
        for v in order:
            if v._prev:
                v.grad = 0.0
        self.grad += _number(grad)
        for v in reversed(order):
            v._backward()

    def _backward(self):
        """The chain rule at this node: each input gets grad times the derivative by it."""
        grad = self.grad
        if grad:
            for child, local in zip(self._prev, self._local):
                child.grad += grad * local


def _topological_order(root):
    """All Values that root was made from, each after its inputs; no recursion, so the graph may be deep."""
    order, seen, stack = [], set(), [root]
    while stack:
        v = stack.pop()
        if v is None:  # all inputs of the node beneath are in order now
            order.append(stack.pop())
        elif v not in seen:
            seen.add(v)
            inputs = v._prev
            if seen.issuperset(inputs):
                order.append(v)
            else:
                stack += (v, None)
                stack += inputs
    return order


def _node(op, data, prev, local):
    """The result of the operation op on the Values prev; local are its derivatives by them."""
    if not isfinite(data):
        raise OverflowError(f"{_formula(op, prev)} is {data}")
    if _no_grad_depth.get():
        op, prev, local = "", (), ()
    v = Value.__new__(Value)  # faster than Value(), which checks its arguments
    v.data = data
    v.grad = 0.0
    v.label = ""
    v._op = op
    v._prev = prev
    v._local = local
    return v


def operation(op, function, *inputs):
    """
    The result of an operation. Use it for your own: operation("cube", lambda a: (a**3, 3 * a * a), x).

    function takes the inputs as floats. It returns the value, and then the derivative by each input. If it
    fails, or if a derivative is not finite, the exception names the operation and its inputs.
    """
    inputs = _values(inputs)
    try:
        data, *local = function(*[v.data for v in inputs])
    except (ArithmeticError, ValueError) as error:
        raise type(error)(f"{_formula(op, inputs)}: {error}") from None
    if len(local) != len(inputs):
        raise ValueError(f"{_formula(op, inputs)} has {len(local)} derivatives, expected {len(inputs)}")
    if not all(map(isfinite, local)) and not _no_grad_depth.get():
        raise OverflowError(f"{_formula(op, inputs)} has no finite derivative")
    return _node(op, data, inputs, tuple(local))


def _formula(op, inputs):
    numbers = [str(v.data) for v in inputs]
    return f"{op} of {', '.join(numbers[:4])}{', ...' * (len(numbers) > 4)}"


@lru_cache(maxsize=1000)  # an operation in a loop gets one name, not a million
def _name(*parts):
    """The name of an operation with a plain number: _name("*", 2.0) is "*2"."""
    return "".join(part if isinstance(part, str) else f"{part:.12g}" for part in parts)


NUMBERS = float, int, Real  # numpy's scalars are Real; float and int are too, but are found faster by name


def _number(x):
    """x as a float; TypeError when it is not a real number."""
    if isinstance(x, NUMBERS):
        return float(x)
    raise TypeError(f"a Value needs real numbers, got {x!r} ({type(x).__name__})")


def _data(x):
    return x.data if isinstance(x, Value) else _number(x)


def _values(xs):
    """xs as a tuple of Values; a number becomes a new leaf."""
    xs = tuple(xs)
    if countOf(map(type, xs), Value) == len(xs):  # the usual case, in less time
        return xs
    return tuple([x if isinstance(x, Value) else Value(x) for x in xs])


# These functions on floats are the activations too. Each returns its value and its derivative.


def _relu(a):
    return (0.0, 0.0) if a <= 0 else (a, 1.0)


def _tanh(a):
    t = math.tanh(a)
    return t, 1 - t * t


def _sigmoid(a):
    e = math.exp(-abs(a))  # never overflows
    s = 1 / (1 + e)
    return (s if a >= 0 else e * s), e * s * s


def _gelu(a):
    p = 0.5 * math.erfc(-a / math.sqrt(2))  # erfc keeps its precision where 1 + erf loses it
    return a * p, p + a * math.exp(-0.5 * a * a) / math.sqrt(2 * math.pi)


def _base_slope(a, b):
    return b * _or_nan(math.pow, a, b - 1) if b else 0.0


def _exponent_slope(a, b):
    return math.pow(a, b) * _or_nan(math.log, a) if a else 0.0


def _or_nan(function, *numbers):
    """nan stands for a derivative that does not exist; operation() accepts it under no_grad()."""
    try:
        return function(*numbers)
    except (ArithmeticError, ValueError):
        return math.nan


ACTIVATIONS = {"linear": lambda a: (a, 1.0), "relu": _relu, "tanh": _tanh, "sigmoid": _sigmoid, "gelu": _gelu}

# How many of these blocks the program is inside. A thread or an asyncio task counts its own.
_no_grad_depth = ContextVar("no_grad", default=0)
_elementary_depth = ContextVar("elementary", default=0)


@contextmanager
def _inside(depth):
    depth.set(depth.get() + 1)
    try:
        yield
    finally:
        depth.set(depth.get() - 1)


def no_grad():
    """with no_grad(): results remember nothing. Use it for evaluation: it takes less time and memory."""
    return _inside(_no_grad_depth)


def elementary():
    """with elementary(): dot, vsum, softmax, neurons and the like are built from nodes such as + and *."""
    return _inside(_elementary_depth)


def gradcheck(f, inputs, tolerance=1e-6):
    """
    True if the derivatives of f(*inputs) by backward() and by differences, (f(x + h) - f(x - h)) / 2h, agree.

    inputs are Values or numbers; f is called with new Values. A ValueError names the first input whose two
    derivatives differ by more than tolerance * max(1, derivative).
    """
    numbers = [_data(x) for x in inputs]
    values = [Value(x) for x in numbers]
    f(*values).backward()
    for i, x in enumerate(numbers):
        h = 1e-5 * max(1.0, abs(x))
        with no_grad():
            low = f(*map(Value, [*numbers[:i], x - h, *numbers[i + 1:]]))
            high = f(*map(Value, [*numbers[:i], x + h, *numbers[i + 1:]]))
        automatic, numeric = values[i].grad, (high.data - low.data) / (2 * h)
        if not abs(automatic - numeric) <= tolerance * max(1.0, abs(numeric)):
            name = f"input {i}" + (f" ({inputs[i].label})" if getattr(inputs[i], "label", "") else "")
            raise ValueError(f"{name}: backward() gives {automatic}, central differences give {numeric}")
    return True


# -----------------------------------------------------------------------------
# The engine is complete here; what follows is the same with fewer nodes.
# A sum of n numbers takes n - 1 additions, but all its derivatives are known: it can be one node of n inputs.
# Inside `with elementary():` each of these functions builds its elementary form, as its docstring states it.


def vsum(values):
    """v1 + v2 + ...; every derivative is 1. Elementary form: v1 + v2 + ..., node by node."""
    values = _values(values)
    if _elementary_depth.get() and values:
        return reduce(add, values)
    return _node("sum", sum([v.data for v in values], 0.0), values, (1.0,) * len(values))


def dot(ws, xs, bias=None, activation="linear"):
    """
    activation(w1 x1 + w2 x2 + ... + bias), which is a neuron. activation is a key of ACTIVATIONS.

    The derivative by each w is its x, by each x its w, by bias 1, all times the derivative of the activation.
    Elementary form: w1 * x1 + w2 * x2 + ... + bias, then the activation. ValueError when lengths differ.
    """
    ws, xs = _values(ws), _values(xs)
    biases = () if bias is None else (bias,) if isinstance(bias, Value) else (Value(bias),)
    if len(ws) != len(xs):
        raise ValueError(f"{len(ws)} weights do not fit {len(xs)} inputs")
    function = ACTIVATIONS[activation]
    if _elementary_depth.get():
        total = vsum([*map(mul, ws, xs), *biases])
        return total if activation == "linear" else operation(activation, function, total)
    inputs = (*ws, *xs, *biases)
    w_data, x_data = [w.data for w in ws], [x.data for x in xs]
    total = sum(map(mul, w_data, x_data), biases[0].data if biases else 0.0)
    if not isfinite(total):  # tanh and sigmoid would hide it
        raise OverflowError(f"{_formula('dot', inputs)} is {total}")
    value, slope = function(total)
    local = x_data + w_data + [1.0] * len(biases)
    if slope != 1.0:
        local = [slope * d for d in local] if slope else ()  # all zero: nothing to hand on
    return _node("dot" if activation == "linear" else activation, value, inputs, local)


def linear(rows, xs, biases=None, activation="linear"):
    """The outputs of a layer: dot(row, xs, bias, activation) for each row of weights and its bias."""
    xs = _values(xs)
    biases = [None] * len(rows) if biases is None else biases
    return [dot(row, xs, bias, activation) for row, bias in zip(rows, biases, strict=True)]


def logsumexp(values):
    """
    log(e**v1 + e**v2 + ...); the derivatives are softmax(values).

    Elementary form: vsum(v.exp() for v in values).log(). ValueError when there are no values.
    """
    values = _values(values)
    if _elementary_depth.get() and values:
        return vsum(v.exp() for v in values).log()
    result, probabilities = _logsumexp([v.data for v in values])
    return _node("logsumexp", result, values, tuple(probabilities))


def cross_entropy(logits, target):
    """
    -log(softmax(logits)[target]), in nats; the derivatives are softmax(logits), less 1 at target.

    Elementary form: logsumexp(logits) - logits[target]. IndexError when there is no logit number target.
    """
    logits = _values(logits)
    if not 0 <= target < len(logits):
        raise IndexError(f"cross_entropy has {len(logits)} logits, got target {target}")
    if _elementary_depth.get():
        return logsumexp(logits) - logits[target]
    result, local = _logsumexp([v.data for v in logits])
    local[target] -= 1.0
    return _node("cross_entropy", result - logits[target].data, logits, tuple(local))


def softmax(values):
    """
    p = e**v / (e**v1 + e**v2 + ...) for each v; derivatives p (1 - p) by its v, -p q by the v of another q.

    Elementary form: total = logsumexp(values), then (v - total).exp() for each v. ValueError without values.
    """
    values = _values(values)
    total = logsumexp(values)
    return [(v - total).exp() for v in values]


def _logsumexp(xs):
    """The value and the derivatives, from floats. The largest x is subtracted first, so nothing overflows."""
    if not xs:
        raise ValueError("logsumexp of no values")
    largest = max(xs)
    exps = [math.exp(x - largest) for x in xs]
    total = sum(exps)
    return largest + math.log(total), [e / total for e in exps]


# -----------------------------------------------------------------------------
# Neural networks


class Module:
    """Something with parameters, the Values to be trained."""

    def parameters(self):
        """The list of parameters; a subclass says which."""
        return []

    def num_parameters(self):
        return len(self.parameters())

    def zero_grad(self):
        for p in self.parameters():
            p.grad = 0.0

    def state_dict(self):
        """The parameters as a dict of floats, which json.dump can save."""
        return {str(i): float(p.data) for i, p in enumerate(self.parameters())}

    def load_state_dict(self, state):
        """Set the parameters from a state_dict(). If it does not fit: ValueError, and nothing changes."""
        parameters = self.parameters()
        if set(state) != {str(i) for i in range(len(parameters))}:
            raise ValueError(f"a network of {len(parameters)} parameters cannot load a state of {len(state)}")
        numbers = [_number(state[str(i)]) for i in range(len(parameters))]
        for p, number in zip(parameters, numbers):
            p.data = number


class Neuron(Module):
    """
    activation(w1 x1 + w2 x2 + ... + b), as one node. ValueError for a wrong number of inputs.

    activation is a key of ACTIVATIONS; Neuron(nin, nonlin=False) is short for "linear". Weights start between
    -1 and 1, b at 0.
    """

    def __init__(self, nin, activation="relu", nonlin=True):
        if isinstance(activation, bool):  # Neuron(2, False), as in PyPI's micrograd
            activation, nonlin = "relu", activation
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation {activation!r} is not one of {', '.join(ACTIVATIONS)}")
        self.w = [Value(random.uniform(-1, 1)) for _ in range(nin)]
        self.b = Value(0.0)
        self.activation = activation if nonlin else "linear"

    @property
    def nonlin(self):
        return self.activation != "linear"

    def __call__(self, x):
        return dot(self.w, x, self.b, self.activation)

    def parameters(self):
        return [*self.w, self.b]

    def __repr__(self):
        return f"Neuron({len(self.w)}, {self.activation})"


class Layer(Module):
    """nout Neurons with the same nin inputs. Returns the list of their outputs, or a single output alone."""

    def __init__(self, nin, nout, activation="relu", nonlin=True):
        if nout < 1:
            raise ValueError(f"a Layer needs at least one neuron, got {nout}")
        self.neurons = [Neuron(nin, activation, nonlin) for _ in range(nout)]

    def __call__(self, x):
        x = _values([x] if isinstance(x, Value) else x)  # a layer of one neuron hands on a Value
        outputs = [neuron(x) for neuron in self.neurons]
        return outputs[0] if len(outputs) == 1 else outputs

    def parameters(self):
        return [p for neuron in self.neurons for p in neuron.parameters()]

    def __repr__(self):
        return f"Layer of {len(self.neurons)} x {self.neurons[0]}"


class MLP(Module):
    """A multi-layer perceptron: Layers of nouts neurons, one after the other, the last one linear."""

    def __init__(self, nin, nouts, activation="relu"):
        sizes = [nin, *nouts]
        last = len(nouts) - 1
        self.layers = [Layer(sizes[i], sizes[i + 1], activation, nonlin=i < last) for i in range(len(nouts))]

    def __call__(self, x):
        for layer in self.layers:
            x = layer(x)
        return x

    def parameters(self):
        return [p for layer in self.layers for p in layer.parameters()]

    def __repr__(self):
        return f"MLP of [{', '.join(map(repr, self.layers))}]"


# -----------------------------------------------------------------------------
# Optimizers, step by step those of torch.optim


class Optimizer:
    """Improves parameters by their gradients: zero_grad(), then backward(), then step()."""

    def __init__(self, parameters, lr, weight_decay):
        self.parameters = list(parameters)
        self.lr = lr
        self.weight_decay = weight_decay

    def zero_grad(self):
        for p in self.parameters:
            p.grad = 0.0


class SGD(Optimizer):
    """Stochastic gradient descent: v = momentum * v + grad + weight_decay * p, then p -= lr * v."""

    def __init__(self, parameters, lr=0.001, momentum=0.0, weight_decay=0.0):
        super().__init__(parameters, lr, weight_decay)
        self.momentum = momentum
        self.velocities = [0.0] * len(self.parameters)

    def step(self):
        for i, p in enumerate(self.parameters):
            self.velocities[i] *= self.momentum
            self.velocities[i] += p.grad + self.weight_decay * p.data
            p.data -= self.lr * self.velocities[i]


class Adam(Optimizer):
    """Adam (Kingma and Ba, 2014): p -= lr * the mean gradient / the root of the mean squared gradient."""

    def __init__(self, parameters, lr=0.001, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
        super().__init__(parameters, lr, weight_decay)
        self.betas = betas
        self.eps = eps
        self.means = [0.0] * len(self.parameters)
        self.squares = [0.0] * len(self.parameters)
        self.steps = 0

    def step(self):
        self.steps += 1
        beta1, beta2 = self.betas
        bias1, bias2 = 1 - beta1**self.steps, 1 - beta2**self.steps  # the means start at 0 and are too small
        for i, p in enumerate(self.parameters):
            grad = p.grad + self.weight_decay * p.data
            self.means[i] = mean = beta1 * self.means[i] + (1 - beta1) * grad
            self.squares[i] = square = beta2 * self.squares[i] + (1 - beta2) * grad * grad
            p.data -= self.lr * mean / bias1 / (math.sqrt(square / bias2) + self.eps)


# -----------------------------------------------------------------------------
# Losses; cross_entropy is one too


def mse(predictions, targets):
    """The mean of (prediction - target)**2."""
    differences = [prediction - target for prediction, target in _pairs(predictions, targets)]
    return dot(differences, differences) / len(differences)


def hinge(scores, labels):
    """The mean of max(0, 1 - label * score); labels are 1 or -1; a score beyond its label costs nothing."""
    losses = [(1 - label * score).relu() for score, label in _pairs(scores, labels)]
    return vsum(losses) / len(losses)


def _pairs(predictions, targets):
    if len(predictions) != len(targets) or not predictions:
        raise ValueError(f"a loss needs one target per prediction, got {len(targets)} for {len(predictions)}")
    return zip(predictions, targets)


# -----------------------------------------------------------------------------
# Drawings

NO_DOT = "the program dot is missing: apt, brew or winget install graphviz (.source has the drawing as text)"


def draw_dot(root, format="svg", rankdir="LR"):
    """
    The graph of root as a graphviz.Digraph: a record for each Value, a circle for each operation.

    A notebook shows it, and .render("name") writes a file; both need the program dot. .source is the text.
    """
    try:
        from graphviz import Digraph
    except ImportError:
        raise ImportError("draw_dot needs the package graphviz: pip install graphviz") from None
    graph = Digraph(format=format, graph_attr={"rankdir": rankdir})
    for v in _topological_order(root):
        label = re.sub(r"([\\{}|<> ])", r"\\\1", v.label)  # a record reserves these characters
        graph.node(str(id(v)), f"{{ {label} | data {v.data:.4f} | grad {v.grad:.4f} }}", shape="record")
        if v._op:
            graph.node(f"{id(v)}{v._op}", v._op, shape="circle")
            graph.edge(f"{id(v)}{v._op}", str(id(v)))
        for child in v._prev:
            graph.edge(str(id(child)), f"{id(v)}{v._op}")
    if which("dot") is None:
        graph.render = graph.pipe = _no_dot
        graph._repr_mimebundle_ = lambda *args, **kwargs: {"text/plain": NO_DOT}  # what a notebook shows
    return graph


def _no_dot(*args, **kwargs):
    raise RuntimeError(NO_DOT)


def print_graph(root):
    """
    Print the Values behind root in the order in which backward() visits them, and what each gives its inputs.

    "e: d.grad -2.00 * local 10.0 -> +-20.00" says that by the chain rule d adds -20 to the gradient of e. A
    Value without a label is called v and its place in the list.
    """
    names = {v: v.label or f"v{i}" for i, v in enumerate(reversed(_topological_order(root)))}
    for v, name in names.items():
        inputs = [names[child] for child in v._prev]
        infix = len(inputs) == 2 and v._op in ("+", "-", "*", "/", "**")
        formula = f" {v._op} ".join(inputs) if infix else f"{v._op} of {', '.join(inputs)}"
        print(f"{name}{' = ' + formula if inputs else ''}  data {v.data:.4f}  grad {v.grad:.4f}")
        # What your own _backward gives the inputs is unknown here.
        locals_ = [] if "_backward" in vars(v) else v._local or [0.0] * len(inputs)
        for child, local in zip(inputs, locals_):
            print(f"    {child}: {name}.grad {v.grad:.2f} * local {round(local, 4)} -> +{v.grad * local:.2f}")


# -----------------------------------------------------------------------------
# The demo: two moons


def make_moons(n, noise=0.1):
    """n points on two interlocking half circles, and their labels 1 and -1."""
    points, labels = [], []
    for i in range(n):
        angle, label = math.pi * random.random(), 1 - 2 * (i % 2)
        x, y = math.cos(angle), math.sin(angle)
        if label == -1:
            x, y = 1 - x, 0.5 - y
        points.append([random.gauss(x, noise), random.gauss(y, noise)])
        labels.append(label)
    return points, labels


def draw_moons(model, points, labels, path):
    """A picture of the points over the model's scores: the boundary lies at 0, the margins at -1 and 1."""
    from matplotlib.figure import Figure  # not pyplot, which opens windows

    xs, ys = [0.1 * i for i in range(-17, 28)], [0.1 * i for i in range(-12, 18)]
    with no_grad():
        scores = [[model([x, y]).data for x in xs] for y in ys]
    axes = Figure(figsize=(6, 4), layout="tight").add_subplot()
    axes.contourf(xs, ys, scores, [-1e9, -1, 0, 1, 1e9], colors=["#e8927c", "#f6d5cc", "#d3e0f0", "#7fa8d8"])
    axes.contour(xs, ys, scores, [0], colors="black")
    axes.scatter(*zip(*points), c=["#2c6bb3" if y > 0 else "#c43c1f" for y in labels], edgecolors="white")
    axes.figure.savefig(path, dpi=100)


def main(epochs=60):
    random.seed(2)
    points, labels = make_moons(100)
    model = MLP(2, [16, 16, 1])
    optimizer = SGD(model.parameters(), lr=0.5)
    print(f"{model}: {model.num_parameters()} parameters")
    for epoch in range(1, epochs + 1):
        scores = [model(point) for point in points]
        weights = model.parameters()
        loss = hinge(scores, labels) + 1e-4 * dot(weights, weights)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        accuracy = sum((score > 0) == (label > 0) for score, label in zip(scores, labels)) / len(labels)
        print(f"epoch {epoch:2}  loss {loss.data:.4f}  accuracy {accuracy:.0%}")
    try:
        draw_moons(model, points, labels, "moons.png")
        print("wrote moons.png")
    except (ImportError, OSError) as error:
        print(f"moons.png was not drawn: {error}")


if __name__ == "__main__":
    main()
