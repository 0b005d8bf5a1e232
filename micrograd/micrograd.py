"""
micrograd: backpropagation over a graph of single numbers, and a small neural-network library on top of it.

Every number is a Value. It remembers which Values it was made from, and how much it changes when each of them
changes: the local derivatives. backward() walks from the result back to the inputs and applies the chain rule
at every step. Training a neural network needs nothing else; the rest is efficiency. Here is a neuron:

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

In this file: Value with its operations and backward; nodes with many inputs; neurons, layers, MLP; SGD and
Adam; losses; no_grad, elementary and gradcheck; drawings; a demo. It needs nothing but Python:
`python micrograd.py` trains a network on two moons, and draws the result if matplotlib is installed.
"""

import math
import random
import re
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from math import isfinite
from numbers import Real
from operator import mul
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

    data is the number. grad is the derivative of a result with respect to it, filled in by backward().
    label is a name for drawings. Three attributes say how the Value was made: _op names the operation, _prev
    holds its inputs, _local the local derivatives, one for each input. All three are empty in a leaf, a Value
    that no operation made. A plain number in an expression is part of the operation, not a node.

    You can make a node by hand: out = Value(data, (a, b), "op"). Then set out._backward to a function that
    adds to a.grad and b.grad. Value(2.0, "x") is short for Value(2.0, label="x").
    """

    # With slots a Value is small and quick. __dict__ is among them, so you can still set your own attributes.
    __slots__ = ("__dict__", "_local", "_op", "_prev", "data", "grad", "label")
    __array_priority__ = -1.0  # lower than NumPy's: np.float64(2) * v calls v.__rmul__

    def __init__(self, data, _children=(), _op="", label=""):
        if isinstance(_children, str):  # Value(2.0, "x")
            label = _children
            _children = ()
        self.data = _number(data)
        self.grad = 0.0
        self.label = label
        if _inside_no_grad():
            _children = ()
            _op = ""
        self._op = _op
        self._prev = tuple(_children)
        self._local = ()

    def _backward(self):
        """The chain rule at this node: add grad * local derivative to the grad of each input."""
        grad = self.grad
        if grad == 0.0:
            return  # every product would be 0
        for child, local in zip(self._prev, self._local):
            child.grad += grad * local

    # Each operation passes its name, its result, its inputs and its local derivatives to _node. The other
    # operand may be a Value or a plain number. If it is neither, NotImplemented tells Python to ask that
    # operand: a NumPy array then applies the operation to each of its elements.

    def __add__(self, other):
        """a + b; local derivatives 1 and 1."""
        if isinstance(other, Value):
            return _node("+", self.data + other.data, (self, other), (1.0, 1.0))
        if isinstance(other, NUMBERS):
            b = float(other)
            return _node(_op_name("+", b), self.data + b, (self,), (1.0,))
        return NotImplemented

    def __sub__(self, other):
        """a - b; local derivatives 1 and -1."""
        if isinstance(other, Value):
            return _node("-", self.data - other.data, (self, other), (1.0, -1.0))
        if isinstance(other, NUMBERS):
            b = float(other)
            return _node(_op_name("-", b), self.data - b, (self,), (1.0,))
        return NotImplemented

    def __mul__(self, other):
        """a * b; local derivatives b and a."""
        if isinstance(other, Value):
            return _node("*", self.data * other.data, (self, other), (other.data, self.data))
        if isinstance(other, NUMBERS):
            b = float(other)
            return _node(_op_name("*", b), self.data * b, (self,), (b,))
        return NotImplemented

    # The operations below can fail, as 1 / 0 does. They call operation(), which computes the result and the
    # local derivatives with a function on floats, and turns a failure into a message with the inputs.

    def __truediv__(self, other):
        """a / b; local derivatives 1 / b and -a / b**2."""
        if isinstance(other, Value):
            return operation("/", lambda a, b: (a / b, 1 / b, -a / b / b), self, other)
        if isinstance(other, NUMBERS):
            b = float(other)
            return operation(_op_name("/", b), lambda a: (a / b, 1 / b), self)
        return NotImplemented

    def __pow__(self, other):
        """
        a**b; local derivatives b * a**(b - 1) and a**b * log(a).

        For a < 0 the second does not exist, so write a constant exponent as a plain number: x**3.
        """
        if isinstance(other, Value):
            return operation("**", _power, self, other)
        if isinstance(other, NUMBERS):
            b = float(other)
            return operation(_op_name("**", b), lambda a: (math.pow(a, b), _base_derivative(a, b)), self)
        return NotImplemented

    # number + v, number * v and so on, with the plain number on the left

    __radd__ = __add__
    __rmul__ = __mul__

    def __rsub__(self, other):
        a = _number(other)
        return _node(_op_name(a, "-"), a - self.data, (self,), (-1.0,))

    def __rtruediv__(self, other):
        a = _number(other)
        return operation(_op_name(a, "/"), lambda b: (a / b, -a / b / b), self)

    def __rpow__(self, other):
        a = _number(other)
        return operation(_op_name(a, "**"), lambda b: (math.pow(a, b), _exponent_derivative(a, b)), self)

    def __neg__(self):
        """-a; local derivative -1."""
        return self * -1.0

    def __abs__(self):
        """|a|; local derivative 1 for a > 0, -1 for a < 0, and 0 at 0."""
        return operation("abs", _abs, self)

    def exp(self):
        """e**a; local derivative e**a."""
        return operation("exp", lambda a: (math.exp(a), math.exp(a)), self)

    def log(self):
        """The natural logarithm; local derivative 1 / a."""
        return operation("log", lambda a: (math.log(a), 1 / a), self)

    def sqrt(self):
        """The square root; local derivative 1 / (2 sqrt(a))."""
        return operation("sqrt", lambda a: (math.sqrt(a), _base_derivative(a, 0.5)), self)

    def sin(self):
        """The sine; local derivative cos(a)."""
        return operation("sin", lambda a: (math.sin(a), math.cos(a)), self)

    def cos(self):
        """The cosine; local derivative -sin(a)."""
        return operation("cos", lambda a: (math.cos(a), -math.sin(a)), self)

    def tanh(self):
        """The hyperbolic tangent; local derivative 1 - tanh(a)**2."""
        return operation("tanh", _tanh, self)

    def sigmoid(self):
        """s = 1 / (1 + e**-a); local derivative s (1 - s)."""
        return operation("sigmoid", _sigmoid, self)

    def relu(self):
        """max(0, a); local derivative 1 for a > 0, else 0."""
        return operation("relu", _relu, self)

    def gelu(self):
        """a P(a), P(a) = (1 + erf(a / sqrt(2))) / 2 (normal distribution); local derivative P + a P'."""
        return operation("gelu", _gelu, self)

    def backward(self, grad=1.0):
        """
        Compute d(self)/dv for every Value v in the graph and add it to v.grad.

        Leaves accumulate over calls, so set their grad to zero before the next training step. All other
        nodes start from zero in each call. grad is the derivative of self to start from, usually 1.

        The local derivatives were computed together with the results. After you change the data of a leaf,
        compute the result again before you call backward().
        """
        order = _topological_order(self)
        for v in order:
            if v._prev:
                v.grad = 0.0
        self.grad += _number(grad)
        for v in reversed(order):
            v._backward()

    # Printing and comparing use the data: max(a, b) is the Value with the larger one. == compares identity.

    def __repr__(self):
        return f"Value(data={self.data}, grad={self.grad})"

    def __format__(self, spec):
        return format(self.data, spec) if spec else repr(self)

    def __float__(self):
        return float(self.data)

    def __lt__(self, other):
        return self.data < _data(other)

    def __le__(self, other):
        return self.data <= _data(other)

    def __gt__(self, other):
        return self.data > _data(other)

    def __ge__(self, other):
        return self.data >= _data(other)


def _topological_order(root):
    """
    All Values that root was made from, and root, each after its inputs.

    A recursive function would be shorter, but Python's recursion limit is about 1,000 calls. The stack takes
    its place: a Value stays on it until all its inputs are in the order.
    """
    order = []
    placed = set()
    stack = [root]
    while stack:
        v = stack[-1]
        if v in placed:  # it is the input of several nodes, and stood on the stack more than once
            stack.pop()
        elif placed.issuperset(v._prev):
            stack.pop()
            placed.add(v)
            order.append(v)
        else:
            stack.extend(v._prev)
    return order


def _node(op, data, prev, local):
    """The result of the operation op on the Values prev, with the local derivatives."""
    if not isfinite(data):
        raise OverflowError(f"{_formula(op, prev)} is {data}")
    if _inside_no_grad():
        op = ""
        prev = ()
        local = ()
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

    function takes the inputs as floats. It returns the result, then the local derivative with respect to each
    input. If it fails, or if a number is not finite, the exception names the operation and its inputs.
    """
    inputs = _values(inputs)
    try:
        data, *local = function(*[v.data for v in inputs])
    except (ArithmeticError, ValueError) as error:
        raise type(error)(f"{_formula(op, inputs)}: {error}") from None
    if len(local) != len(inputs):
        raise ValueError(f"{_formula(op, inputs)} has {len(local)} derivatives, expected {len(inputs)}")
    if not all(map(isfinite, local)) and not _inside_no_grad():
        raise OverflowError(_no_derivative(op, inputs, local))
    return _node(op, data, inputs, tuple(local))


# Functions on floats. Each returns its result and its derivative; these are also the activations of neurons.


def _linear(a):
    return a, 1.0


def _relu(a):
    if a <= 0:
        return 0.0, 0.0
    return a, 1.0


def _tanh(a):
    t = math.tanh(a)
    return t, 1 - t * t


def _sigmoid(a):
    e = math.exp(-abs(a))  # never overflows
    s = 1 / (1 + e)
    result = s if a >= 0 else e * s
    return result, e * s * s


def _gelu(a):
    p = 0.5 * math.erfc(-a / math.sqrt(2))  # (1 + erf(a / sqrt(2))) / 2, precise for a < 0 too
    return a * p, p + a * math.exp(-0.5 * a * a) / math.sqrt(2 * math.pi)


ACTIVATIONS = {"linear": _linear, "relu": _relu, "tanh": _tanh, "sigmoid": _sigmoid, "gelu": _gelu}


def _abs(a):
    if a == 0:
        return 0.0, 0.0
    return abs(a), math.copysign(1.0, a)


def _power(a, b):
    return math.pow(a, b), _base_derivative(a, b), _exponent_derivative(a, b)


def _base_derivative(a, b):
    """The derivative of a**b with respect to a; nan where there is none."""
    if b == 0:
        return 0.0
    try:
        return b * math.pow(a, b - 1)
    except (ArithmeticError, ValueError):
        return math.nan


def _exponent_derivative(a, b):
    """The derivative of a**b with respect to b; nan where there is none."""
    if a == 0:
        return 0.0
    if a < 0:
        return math.nan
    return math.pow(a, b) * math.log(a)


# -----------------------------------------------------------------------------
# The engine is complete. The functions below compute nothing new, but with fewer nodes, for speed.
#
# A sum of n numbers takes n - 1 additions, but all its local derivatives are known, so it can be one node of
# n inputs. Inside `with elementary():` each function builds its elementary form, given in its docstring.


def vsum(values):
    """v1 + v2 + ...; every local derivative is 1. Elementary form: v1 + v2 + ..., node by node."""
    values = _values(values)
    if _inside_elementary() and values:
        total = values[0]
        for v in values[1:]:
            total = total + v
        return total
    return _node("sum", sum([v.data for v in values], 0.0), values, (1.0,) * len(values))


def dot(ws, xs, bias=None, activation="linear"):
    """
    activation(w1 x1 + w2 x2 + ... + bias), which is a neuron. activation is a key of ACTIVATIONS.

    The local derivative with respect to a w is its x, to an x its w, to the bias 1, each times the derivative
    of the activation. Elementary form: w1 * x1 + w2 * x2 + ... + bias, then the activation.
    """
    ws = _values(ws)
    xs = _values(xs)
    biases = () if bias is None else (_value(bias),)
    if len(ws) != len(xs):
        raise ValueError(f"{len(ws)} weights do not fit {len(xs)} inputs")
    function = ACTIVATIONS[activation]
    if _inside_elementary():
        products = [w * x for w, x in zip(ws, xs)]
        total = vsum([*products, *biases])
        return total if activation == "linear" else operation(activation, function, total)
    inputs = (*ws, *xs, *biases)
    w_data = [w.data for w in ws]
    x_data = [x.data for x in xs]
    total = sum(map(mul, w_data, x_data), biases[0].data if biases else 0.0)
    if not isfinite(total):  # tanh and sigmoid would hide it
        raise OverflowError(f"{_formula('dot', inputs)} is {total}")
    result, derivative = function(total)
    local = x_data + w_data
    if biases:
        local.append(1.0)
    if derivative == 0.0:
        local = ()  # all are 0, so there is nothing to propagate; half the ReLUs do this, and it saves time
    elif derivative != 1.0:
        local = [derivative * d for d in local]
    return _node("dot" if activation == "linear" else activation, result, inputs, local)


def linear(rows, xs, biases=None, activation="linear"):
    """The outputs of a layer: dot(row, xs, bias, activation) for each row of weights and its bias."""
    xs = _values(xs)
    if biases is None:
        biases = [None] * len(rows)
    return [dot(row, xs, bias, activation) for row, bias in zip(rows, biases, strict=True)]


def logsumexp(values):
    """
    log(e**v1 + e**v2 + ...); the local derivatives are softmax(values).

    Elementary form: vsum(v.exp() for v in values).log().
    """
    values = _values(values)
    if _inside_elementary() and values:
        return vsum(v.exp() for v in values).log()
    result, probabilities = _logsumexp([v.data for v in values])
    return _node("logsumexp", result, values, tuple(probabilities))


def cross_entropy(logits, target):
    """
    -log(softmax(logits)[target]), in nats; the local derivatives are softmax(logits), less 1 at target.

    Elementary form: logsumexp(logits) - logits[target].
    """
    logits = _values(logits)
    if not 0 <= target < len(logits):
        raise IndexError(f"cross_entropy has {len(logits)} logits, got target {target}")
    if _inside_elementary():
        return logsumexp(logits) - logits[target]
    result, local = _logsumexp([v.data for v in logits])
    local[target] -= 1.0
    return _node("cross_entropy", result - logits[target].data, logits, tuple(local))


def softmax(values):
    """p = e**v / (e**v1 + e**v2 + ...) for each v, computed as (v - logsumexp(values)).exp()."""
    values = _values(values)
    total = logsumexp(values)
    return [(v - total).exp() for v in values]


def _logsumexp(xs):
    """The result and the derivatives, from floats. Subtracting the largest x keeps exp from overflowing."""
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
        names = [str(i) for i in range(len(parameters))]
        if set(state) != set(names):
            raise ValueError(f"a network of {len(parameters)} parameters cannot load a state of {len(state)}")
        numbers = [_number(state[name]) for name in names]
        for p, number in zip(parameters, numbers):
            p.data = number


class Neuron(Module):
    """
    activation(w1 x1 + w2 x2 + ... + b), as one node.

    activation is a key of ACTIVATIONS; Neuron(nin, nonlin=False) is short for "linear". Weights start between
    -1 and 1, b at 0.
    """

    def __init__(self, nin, activation="relu", nonlin=True):
        if isinstance(activation, bool):  # Neuron(2, False), as in PyPI's micrograd
            nonlin = activation
            activation = "relu"
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
        x = _values([x] if isinstance(x, Value) else x)  # a layer of one neuron returns a single Value
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
# Optimizers, matching torch.optim step for step


class Optimizer:
    """Updates parameters from their gradients: zero_grad(), then backward(), then step()."""

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
    """Adam (Kingma & Ba 2015): p -= lr * mean gradient / root of mean squared gradient (running means)."""

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
        correction1 = 1 - beta1**self.steps  # both running means start at 0 and are too small at first
        correction2 = 1 - beta2**self.steps
        for i, p in enumerate(self.parameters):
            grad = p.grad + self.weight_decay * p.data
            mean = beta1 * self.means[i] + (1 - beta1) * grad
            square = beta2 * self.squares[i] + (1 - beta2) * grad * grad
            p.data -= self.lr * mean / correction1 / (math.sqrt(square / correction2) + self.eps)
            self.means[i] = mean
            self.squares[i] = square


# -----------------------------------------------------------------------------
# Losses (cross_entropy, above, is one too)


def mse(predictions, targets):
    """The mean squared error: the mean of (prediction - target)**2."""
    differences = [prediction - target for prediction, target in _pairs(predictions, targets)]
    return dot(differences, differences) / len(differences)


def hinge(scores, labels):
    """The mean of max(0, 1 - label * score), for labels 1 and -1. Scores beyond the margin cost nothing."""
    losses = [(1 - label * score).relu() for score, label in _pairs(scores, labels)]
    return vsum(losses) / len(losses)


def _pairs(predictions, targets):
    if len(predictions) != len(targets) or len(predictions) == 0:
        raise ValueError(f"a loss needs one target per prediction, got {len(targets)} for {len(predictions)}")
    return zip(predictions, targets)


# -----------------------------------------------------------------------------
# no_grad, elementary, gradcheck

# How many blocks of each kind the program is inside. A context variable gives each thread its own count.
_no_grad_depth = ContextVar("no_grad", default=0)
_elementary_depth = ContextVar("elementary", default=0)
_inside_no_grad = _no_grad_depth.get
_inside_elementary = _elementary_depth.get


@contextmanager
def _deeper(depth):
    depth.set(depth.get() + 1)
    try:
        yield
    finally:
        depth.set(depth.get() - 1)


def no_grad():
    """
    with no_grad(): results do not remember their inputs. Use it for evaluation: it saves time and memory.

    backward() of such a result reaches nothing but the result itself.
    """
    return _deeper(_no_grad_depth)


def elementary():
    """with elementary(): dot, vsum, softmax, neurons and the like are built from nodes such as + and *."""
    return _deeper(_elementary_depth)


def gradcheck(f, inputs, tolerance=1e-6):
    """
    True if backward() and central differences, (f(x + h) - f(x - h)) / 2h, give f the same derivatives.

    inputs are Values or numbers; f is called with new Values. A ValueError names the first input whose two
    derivatives differ by more than tolerance * max(1, derivative).
    """
    numbers = [_data(x) for x in inputs]
    values = [Value(x) for x in numbers]
    f(*values).backward()
    for i, x in enumerate(numbers):
        h = 1e-5 * max(1.0, abs(x))
        upper = [Value(number) for number in numbers]
        lower = [Value(number) for number in numbers]
        upper[i].data += h
        lower[i].data -= h
        with no_grad():
            numeric = (f(*upper).data - f(*lower).data) / (2 * h)
        automatic = values[i].grad
        if not abs(automatic - numeric) <= tolerance * max(1.0, abs(numeric)):  # not >, because of nan
            name = f"input {i}"
            if isinstance(inputs[i], Value) and inputs[i].label:
                name += f" ({inputs[i].label})"
            raise ValueError(f"{name}: backward() gives {automatic}, central differences give {numeric}")
    return True


# -----------------------------------------------------------------------------
# Plain numbers, names of operations, error messages

NUMBERS = float, int, Real  # Real includes float, int and NumPy's scalars; the first two are found faster


def _number(x):
    """x as a float; TypeError when it is not a real number."""
    if isinstance(x, NUMBERS):
        return float(x)
    hint = "; pass x.item()" if getattr(x, "shape", None) == () else ""  # an array or a tensor of one number
    raise TypeError(f"a Value needs a real number, got {x!r} ({type(x).__name__}){hint}")


def _data(x):
    """The number of a Value or of a plain number, as a float."""
    return x.data if isinstance(x, Value) else _number(x)


def _value(x):
    """x as a Value; a number becomes a new leaf."""
    return x if isinstance(x, Value) else Value(x)


def _values(xs):
    """xs as a tuple of Values; a number becomes a new leaf."""
    xs = tuple(xs)
    if set(map(type, xs)) == {Value}:  # the usual case; faster than looking at each in a loop
        return xs
    return tuple([_value(x) for x in xs])


@lru_cache(maxsize=1000)  # a million nodes made in a loop share one string
def _op_name(left, right):
    """The name of an operation with a plain number: "*2" for ("*", 2.0), "2-" for (2.0, "-")."""
    if isinstance(left, str):
        return f"{left}{right:.12g}"
    return f"{left:.12g}{right}"


def _formula(op, inputs):
    """The operation and its inputs, for an error message: "* of 2.0, 3.0"."""
    numbers = [str(v.data) for v in inputs]
    if len(numbers) > 4:
        numbers = [*numbers[:4], "..."]
    return f"{op} of {', '.join(numbers)}"


def _no_derivative(op, inputs, local):
    """The error message for an operation without a finite derivative."""
    first = next(v.data for v, derivative in zip(inputs, local) if not isfinite(derivative))
    message = f"{_formula(op, inputs)} has no finite derivative with respect to {first}"
    if len(inputs) > 1:
        message += "; if that is a constant, pass a plain number instead of a Value"
    return message


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
        name = str(id(v))
        label = re.sub(r"([\\{}|<> ])", r"\\\1", v.label)  # a record reserves these characters
        graph.node(name, f"{{ {label} | data {v.data:.4f} | grad {v.grad:.4f} }}", shape="record")
        operation_name = name
        if v._op:
            operation_name = f"{name}_op"
            graph.node(operation_name, v._op, shape="circle")
            graph.edge(operation_name, name)
        for child in v._prev:
            graph.edge(str(id(child)), operation_name)
    if which("dot") is None:
        graph.render = _no_dot
        graph.pipe = _no_dot
        graph._repr_mimebundle_ = _no_dot_in_notebook
    return graph


def _no_dot(*args, **kwargs):
    raise RuntimeError(NO_DOT)


def _no_dot_in_notebook(*args, **kwargs):
    return {"text/plain": NO_DOT}


def print_graph(root):
    """
    Print the Values behind root in the order of backward(), and what each adds to the grad of its inputs.

    "e.grad += -20.00  (d.grad -2.00 * local derivative 10.0)" is the chain rule from d to its input e. A
    Value without a label is called v0, v1, ... by its place in the list.
    """
    order = _topological_order(root)
    order.reverse()
    names = {v: v.label or f"v{i}" for i, v in enumerate(order)}
    for v in order:
        name = names[v]
        inputs = [names[child] for child in v._prev]
        if not inputs:
            made = ""
        elif len(inputs) == 2 and v._op in ("+", "-", "*", "/", "**"):
            made = f" = {inputs[0]} {v._op} {inputs[1]}"
        else:
            made = f" = {v._op} of {', '.join(inputs)}"
        print(f"{name}{made}  data {v.data:.4f}  grad {v.grad:.4f}")
        if "_backward" in vars(v):  # made by hand: what it adds to its inputs is not known here
            continue
        for i, child in enumerate(inputs):
            local = v._local[i] if v._local else 0.0  # dot leaves them out when all are 0
            product = f"{name}.grad {v.grad:.2f} * local derivative {round(local, 4)}"
            print(f"    {child}.grad += {v.grad * local:.2f}  ({product})")


# -----------------------------------------------------------------------------
# The demo: two moons


def make_moons(n, noise=0.1):
    """n points on two interlocking half circles, and their labels 1 and -1."""
    points = []
    labels = []
    for i in range(n):
        angle = math.pi * random.random()
        x = math.cos(angle)
        y = math.sin(angle)
        label = 1 if i % 2 == 0 else -1
        if label == -1:  # the other half circle, upside down
            x = 1 - x
            y = 0.5 - y
        points.append([random.gauss(x, noise), random.gauss(y, noise)])
        labels.append(label)
    return points, labels


def draw_moons(model, points, labels, path):
    """A picture of the points over the model's scores: the boundary lies at 0, the margins at -1 and 1."""
    from matplotlib.figure import Figure  # not pyplot, which opens windows

    xs = [0.1 * i for i in range(-17, 28)]
    ys = [0.1 * i for i in range(-12, 18)]
    with no_grad():
        scores = [[model([x, y]).data for x in xs] for y in ys]
    axes = Figure(figsize=(6, 4), layout="tight").add_subplot()
    axes.contourf(xs, ys, scores, [-1e9, -1, 0, 1, 1e9], colors=["#e8927c", "#f6d5cc", "#d3e0f0", "#7fa8d8"])
    axes.contour(xs, ys, scores, [0], colors="black")
    colors = ["#2c6bb3" if label > 0 else "#c43c1f" for label in labels]
    axes.scatter(*zip(*points), c=colors, edgecolors="white")
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
