"""micrograd's engine, networks, optimizers and drawings; the reference for numbers is torch in float64."""

import doctest
import json
import math
import os
import random
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from micrograd.engine import Value, cross_entropy, dot, gradcheck, linear, logsumexp, no_grad, softmax, vsum
from micrograd.nn import MLP, SGD, Adam, Layer, Neuron, hinge, mse

import micrograd
from micrograd import draw_dot, elementary, make_moons, operation, print_graph

ROOT = Path(__file__).resolve().parent.parent
GRAPHS = int(os.environ.get("MICROGRAD_GRAPHS", "400"))  # random graphs to compare with torch


def close(ours, reference, tolerance=1e-10):
    return abs(ours - reference) <= tolerance * max(1.0, abs(reference))


def leaf(x):
    """The same number as a Value and as a torch scalar that wants a gradient."""
    return Value(x), torch.tensor(x, dtype=torch.float64, requires_grad=True)


# -----------------------------------------------------------------------------
# The engine against torch

def always(*inputs):
    return True


# name: (number of inputs, our form, torch's form, whether the inputs' numbers are safe for it)
OPERATIONS = {
    "add": (2, lambda a, b: a + b, lambda a, b: a + b, always),
    "sub": (2, lambda a, b: a - b, lambda a, b: a - b, always),
    "mul": (2, lambda a, b: a * b, lambda a, b: a * b, always),
    "div": (2, lambda a, b: a / b, lambda a, b: a / b, lambda a, b: abs(b) > 0.3),
    "pow": (2, lambda a, b: a**b, lambda a, b: a**b, lambda a, b: 0.3 < a < 3 and abs(b) < 3),
    "add number": (1, lambda a: 3 + a + 0.7, lambda a: 3 + a + 0.7, always),
    "sub number": (1, lambda a: 2 - (a - 0.3), lambda a: 2 - (a - 0.3), always),
    "mul number": (1, lambda a: 3 * (a * -0.6), lambda a: 3 * (a * -0.6), always),
    "div by number": (1, lambda a: a / 1.7, lambda a: a / 1.7, always),
    "number div": (1, lambda a: 1.3 / a, lambda a: 1.3 / a, lambda a: abs(a) > 0.3),
    "square": (1, lambda a: a**2, lambda a: a**2, always),
    "cube": (1, lambda a: a**3, lambda a: a**3, always),
    "pow number": (1, lambda a: a**-1.5, lambda a: a**-1.5, lambda a: a > 0.3),
    "number pow": (1, lambda a: 1.5**a, lambda a: 1.5**a, always),
    "neg": (1, lambda a: -a, lambda a: -a, always),
    "abs": (1, abs, abs, always),
    "exp": (1, Value.exp, torch.exp, lambda a: a < 3),
    "log": (1, Value.log, torch.log, lambda a: a > 0.1),
    "sqrt": (1, Value.sqrt, torch.sqrt, lambda a: a > 0.1),
    "tanh": (1, Value.tanh, torch.tanh, always),
    "sigmoid": (1, Value.sigmoid, torch.sigmoid, always),
    "relu": (1, Value.relu, torch.relu, always),
    "gelu": (1, Value.gelu, torch.nn.functional.gelu, always),
    "sin": (1, Value.sin, torch.sin, always),
    "cos": (1, Value.cos, torch.cos, always),
    "max": (2, max, lambda a, b: max(a, b), lambda a, b: a != b),
    "vsum": (3, lambda *v: vsum(v), lambda *v: torch.stack(v).sum(), always),
    "dot": (5, lambda *v: dot(v[:2], v[2:4], v[4]), lambda a, b, c, d, e: a * c + b * d + e, always),
    "linear": (4, lambda *v: linear([v[:2], v[1:3]], v[2:])[1], lambda a, b, c, d: b * c + c * d, always),
    "tanh linear": (6, lambda *v: linear([v[:2]], v[2:4], v[4:5], "tanh")[0] * v[5],
                    lambda a, b, c, d, e, f: (a * c + b * d + e).tanh() * f, always),
    "relu linear": (5, lambda *v: linear([v[:2]], v[2:4], v[4:], "relu")[0],
                    lambda a, b, c, d, e: (a * c + b * d + e).relu(), always),
    "dot with itself": (2, lambda *v: dot(v, v), lambda a, b: a * a + b * b, always),
    "dot with numbers": (2, lambda *v: dot(v, [2, 0.5], 3), lambda a, b: 2 * a + 0.5 * b + 3, always),
    "logsumexp": (3, lambda *v: logsumexp(v), lambda *v: torch.stack(v).logsumexp(0), always),
    "softmax": (3, lambda *v: softmax(v)[1], lambda *v: torch.stack(v).softmax(0)[1], always),
    "cross_entropy": (3, lambda *v: cross_entropy(v, 2),
                      lambda *v: -torch.stack(v).log_softmax(0)[2], always),
}


def random_graph(rng):
    """The same random graph twice, nodes in order: leaves first, the last one depends on all others."""
    nodes = [leaf(rng.uniform(-2, 2)) for _ in range(rng.randint(1, 4))]
    for _ in range(rng.randint(5, 25)):
        arity, ours, theirs, safe = OPERATIONS[rng.choice(list(OPERATIONS))]
        inputs = [rng.choice(nodes[-6:]) for _ in range(arity)]  # recent ones: deep graphs, repeated operands
        if safe(*[v.data for v, _ in inputs]):
            value = ours(*[v for v, _ in inputs])
            if abs(value.data) < 10:
                nodes.append((value, theirs(*[t for _, t in inputs])))
    total = nodes[0]
    for node in nodes[1:]:
        total = total[0] + node[0], total[1] + node[1]
    return [*nodes, total]


def test_random_graphs_agree_with_torch_in_every_value_and_gradient():
    rng, used = random.Random(0), set()
    for number in range(GRAPHS):
        nodes = random_graph(rng)
        for _, reference in nodes:
            reference.retain_grad()
        value, reference = nodes[-1]
        value.backward()
        reference.backward()
        for i, (value, reference) in enumerate(nodes):
            assert close(value.data, reference.item()), f"graph {number}, node {i} {value._op}: value"
            assert close(value.grad, reference.grad.item()), f"graph {number}, node {i} {value._op}: gradient"
            used.add(value._op)
    assert len(used) > 25


@pytest.mark.parametrize("name", OPERATIONS)
def test_each_operation_agrees_with_torch(name):
    arity, ours, theirs, safe = OPERATIONS[name]
    rng, compared = random.Random(name), 0
    while compared < 20:
        pairs = [leaf(rng.uniform(-3, 3)) for _ in range(arity)]
        if safe(*[v.data for v, _ in pairs]):
            value, reference = ours(*[v for v, _ in pairs]), theirs(*[t for _, t in pairs])
            value.backward(-1.5)
            (-1.5 * reference).backward()
            assert close(value.data, reference.item(), 1e-13)
            for v, t in pairs:
                assert close(v.grad, 0.0 if t.grad is None else t.grad.item(), 1e-12)
            compared += 1


@pytest.mark.parametrize("x", [-1e4, -745.2, -40.0, -9.0, -1.0, 0.0, 1e-9, 1.0, 9.0, 40.0, 745.2, 1e4])
@pytest.mark.parametrize("name", ["tanh", "sigmoid", "gelu", "relu"])
def test_activations_are_exact_for_small_and_huge_inputs(name, x):
    (value, reference), torch_form = leaf(x), getattr(torch, name, torch.nn.functional.gelu)
    out, expected = getattr(value, name)(), torch_form(reference)
    out.backward()
    expected.backward()
    assert close(out.data, expected.item(), 1e-14)
    assert close(value.grad, reference.grad.item(), 1e-14)


def test_sigmoid_of_a_very_negative_number_keeps_its_relative_precision():
    assert Value(-700).sigmoid().data == pytest.approx(math.exp(-700), rel=1e-13)


@pytest.mark.parametrize("xs", [[1e4, -1e4, 0.0], [1e4, 1e4], [-1e4, -1e4, -9999.0], [3.0], [0.5, 1.5, -2.0]])
def test_softmax_logsumexp_and_cross_entropy_are_stable_and_agree_with_torch(xs):
    values, reference = [Value(x) for x in xs], torch.tensor(xs, dtype=torch.float64, requires_grad=True)
    probabilities = softmax(values)
    weights = range(1, len(xs) + 1)
    total = dot(weights, probabilities) + logsumexp(values) + cross_entropy(values, 0)
    expected = (reference.softmax(0) * torch.tensor(list(weights))).sum() + reference.logsumexp(0)
    expected = expected - reference.log_softmax(0)[0]
    total.backward()
    expected.backward()
    assert all(close(p.data, q) for p, q in zip(probabilities, reference.softmax(0).tolist()))
    assert close(total.data, expected.item())
    assert all(close(v.grad, g) for v, g in zip(values, reference.grad.tolist()))


# -----------------------------------------------------------------------------
# n-ary nodes against their elementary forms

ELEMENTARY = {
    "vsum": (lambda v: vsum(v), lambda v: sum(v)),
    "dot": (lambda v: dot(v[:3], v[3:]), lambda v: sum(w * x for w, x in zip(v[:3], v[3:]))),
    "dot with bias": (lambda v: dot(v[:2], v[2:4], v[4]), lambda v: v[0] * v[2] + v[1] * v[3] + v[4]),
    "logsumexp": (lambda v: logsumexp(v), lambda v: sum(x.exp() for x in v).log()),
    "softmax": (lambda v: softmax(v)[4], lambda v: v[4].exp() / sum(x.exp() for x in v)),
    "cross_entropy": (lambda v: cross_entropy(v, 1), lambda v: logsumexp(v) - v[1]),
}
ELEMENTARY["linear"] = lambda v: vsum(linear([v[:2], v[1:3]], v[2:4], v[4:])), lambda v: (
    v[0] * v[2] + v[1] * v[3] + v[4] + v[1] * v[2] + v[2] * v[3] + v[5])
for activation in ("linear", "relu", "tanh", "sigmoid", "gelu"):
    def fused(v, activation=activation):
        neuron = Neuron(2, activation)
        neuron.w, neuron.b = v[:2], v[4]
        return neuron(v[2:4])

    def apart(v, activation=activation):
        total = sum(w * x for w, x in zip(v[:2], v[2:4])) + v[4]
        return total if activation == "linear" else getattr(total, activation)()
    ELEMENTARY[f"{activation} neuron"] = fused, apart


def inside_elementary(form):
    def built(v):
        with elementary():
            return form(v)
    return built


@pytest.mark.parametrize("name", ELEMENTARY)
def test_an_nary_node_equals_its_elementary_form_written_out_or_made_by_elementary(name):
    rng, (nary, written_out) = random.Random(name), ELEMENTARY[name]
    for _ in range(10):
        numbers = [rng.uniform(-2, 2) for _ in range(6)]
        results = []
        for form in (nary, written_out, inside_elementary(nary)):
            leaves = [Value(x) for x in numbers]
            inputs = [v * v + 1 if i % 2 else v for i, v in enumerate(leaves)]  # leaves and inner nodes
            inputs[3] = inputs[2]  # and one twice
            out = form(inputs)
            out.backward()
            results.append([out.data, *[v.grad for v in leaves]])
        assert results[0] == pytest.approx(results[1], rel=1e-12, abs=1e-12)
        assert results[2] == pytest.approx(results[1], rel=1e-12, abs=1e-12)


def operations_behind(out):
    """The names of all operations behind a Value, in alphabetical order."""
    seen, nodes = set(), [out]
    while nodes:
        v = nodes.pop()
        if v not in seen:
            seen.add(v)
            nodes += v._prev
    return sorted(v._op for v in seen if v._op)


@pytest.mark.parametrize("name, operations", [
    ("vsum", "+ + + + +"), ("dot", "* * * + +"), ("dot with bias", "* * + +"),
    ("logsumexp", "+ + + + + exp exp exp exp exp exp log"),
    ("softmax", "+ + + + + - exp exp exp exp exp exp exp log"),
    ("cross_entropy", "+ + + + + - exp exp exp exp exp exp log"),
    ("linear", "* * * * + + + + +"), ("linear neuron", "* * + +"), ("gelu neuron", "* * + + gelu"),
])
def test_elementary_makes_elementary_nodes_and_only_inside_its_block(name, operations):
    values, (form, _) = [Value(0.1 * i) for i in range(6)], ELEMENTARY[name]
    assert operations_behind(inside_elementary(form)(values)) == operations.split()
    assert operations_behind(form(values)) != operations.split()


def test_elementary_draws_a_neuron_as_the_lecture_does():
    neuron = Neuron(2, "tanh")
    with elementary():
        source = draw_dot(neuron([1.0, -2.0])).source
    assert re.findall(r"label=(\S+) shape=circle", source) == ['"*"', '"*"', '"+"', '"+"', "tanh"]


def test_an_nary_node_is_one_node():
    values = [Value(1.0), Value(2.0), Value(3.0)]
    assert vsum(values)._prev == logsumexp(values)._prev == cross_entropy(values, 0)._prev == tuple(values)
    assert set(dot(values[:2], [4, 5], values[2])._prev) > set(values)
    assert set(Neuron(3)(values)._prev) > set(values)


def test_an_empty_sum_is_zero_and_an_empty_dot_its_bias():
    assert vsum([]).data == dot([], []).data == 0.0
    assert dot([], [], 3).data == 3.0
    with elementary():
        assert vsum([]).data == dot([], []).data == 0.0
        assert dot([], [], 3).data == 3.0


def test_a_generator_will_do_for_a_list():
    assert vsum(Value(i) for i in range(4)).data == 6.0
    assert dot((Value(i) for i in range(4)), (i for i in range(4))).data == 14.0


# -----------------------------------------------------------------------------
# Value


def test_the_docstring_of_the_file_is_true():
    results = doctest.testmod(micrograd.engine)
    assert results.failed == 0 and results.attempted > 5


def test_an_operations_result_knows_its_inputs_and_its_name():
    a, b = Value(2), Value(3)
    assert [v._op for v in (a, a + b, a - b, a * b, a / b, a**b)] == ["", "+", "-", "*", "/", "**"]
    assert [v._op for v in (a + 1, 1 - a, a * 2, 2 / a, 2**a)] == ["+1", "1-", "*2", "2/", "2**"]
    assert [v._op for v in (a**2, a - 0.1, a / 3, a.tanh())] == ["**2", "-0.1", "/3", "tanh"]
    assert (a + b)._prev == (a / b)._prev == (a, b)
    assert (a + 1)._prev == a.exp()._prev == (a,) and a._prev == ()


def test_a_value_shows_its_data_and_gradient():
    assert repr(Value(2)) == "Value(data=2.0, grad=0.0)"
    assert Value(1, label="x").label == Value(1, "x").label == "x" and Value(1).label == ""
    assert float(Value(2.5)) == 2.5
    assert f"{Value(2.5):.2f}|{Value(-1):8.1e}|{Value(2)}" == "2.50|-1.0e+00|Value(data=2.0, grad=0.0)"


def test_comparisons_look_at_the_data_and_equality_at_the_object():
    a, b, c = Value(1.0), Value(2.0), Value(1.0)
    assert a < b and b > a and a <= c and a >= c and not a < c and not a > c and not b <= a and not a >= b
    assert a < 1.5 and 1.5 > a and a <= 1 and a >= 1 and 2 > a and 0 < a and not a > 1
    assert max(a, b) is b and min([b, a]) is a
    assert a != c and len({a, b, c, a}) == 3
    with pytest.raises(TypeError):
        bool(a < "2")


def test_a_node_made_by_hand_hands_its_gradient_on_as_in_the_lecture():
    def tanh(x):
        t = math.tanh(x.data)
        out = Value(t, (x,), "tanh")

        def _backward():
            x.grad += (1 - t**2) * out.grad
        out._backward = _backward
        return out

    a, b = Value(0.5), Value(-1.5)
    results = []
    for function in (tanh, Value.tanh):
        a.grad = b.grad = 0.0
        inner = a * b
        out = function(inner) * inner
        out.backward()
        results.append((out.data, a.grad, b.grad, inner.grad))
    assert results[0] == pytest.approx(results[1], rel=1e-14)
    assert tanh(a)._prev == (a,) and tanh(a)._op == "tanh"
    with no_grad():
        assert tanh(a)._prev == () and tanh(a)._op == "", "a leaf"


def test_backward_of_one_node_can_be_called_by_hand():
    x, w, b = Value(2.0), Value(-3.0), Value(7.0)
    product = x * w
    n = product + b
    o = n.tanh()
    o.grad = 1.0
    for v in (o, n, b, product):
        v._backward()
    slope = 1 - math.tanh(1.0)**2
    assert (n.grad, b.grad) == pytest.approx((slope, slope))
    assert (x.grad, w.grad) == pytest.approx((-3 * slope, 2 * slope))


def test_a_value_takes_attributes_of_your_own():
    p = Value(1.0)
    p.m, p.velocity = 0, 0.5
    assert (p.m, p.velocity) == (0, 0.5)


def test_a_changed_leaf_takes_effect_in_the_next_forward_pass():
    a, b = Value(2.0), Value(3.0)
    product = a * b
    a.data = 10.0
    product.backward()
    assert b.grad == 2.0
    b.grad = 0.0
    (a * b).backward()
    assert b.grad == 10.0


def test_an_operation_of_your_own_needs_its_value_and_its_derivatives():
    x, y = Value(2.0), Value(5.0)
    out = operation("x*y*y", lambda a, b: (a * b * b, b * b, 2 * a * b), x, y)
    out.backward()
    assert (out.data, x.grad, y.grad, out._op, out._prev) == (50.0, 25.0, 20.0, "x*y*y", (x, y))
    assert operation("cube", lambda a: (a**3, 3 * a * a), 2)._prev[0].data == 2.0
    with pytest.raises(ValueError, match=r"cube of 2\.0 has 0 derivatives, expected 1"):
        operation("cube", lambda a: (a**3,), x)
    with pytest.raises(ZeroDivisionError, match=r"inverse of 0\.0: "):
        operation("inverse", lambda a: (1 / a, -1 / a / a), Value(0.0))


@pytest.mark.parametrize("x", [np.float64(2), np.float32(2), np.int64(2), 2, True + 1])
def test_numpy_scalars_and_integers_work_on_either_side(x):
    v = Value(3.0)
    results = [v + x, x + v, v - x, x - v, v * x, x * v, v / x, x / v, v**x, x**v, Value(x)]
    assert [r.data for r in results] == pytest.approx([5, 5, 1, -1, 6, 6, 1.5, 2 / 3, 9, 8, 2])
    assert all(type(r) is Value and type(r.data) is float for r in results)
    assert x < v and v > x and x <= v and v >= x


def test_a_numpy_array_takes_a_value_element_by_element():
    array, v = np.array([1.0, 2.0]), Value(3.0)
    for results, expected in [
        (array + v, [4, 5]), (v + array, [4, 5]), (array - v, [-2, -1]), (v - array, [2, 1]),
        (array * v, [3, 6]), (v * array, [3, 6]), (array / v, [1 / 3, 2 / 3]), (v / array, [3, 1.5]),
        (array**v, [1, 8]), (v**array, [3, 9]),
    ]:
        assert [result.data for result in results] == pytest.approx(expected)


@pytest.mark.parametrize("x", ["2", 2j, None, [2], np.complex128(2), np.array([1.0, 2.0]), Value(2)])
def test_what_is_no_real_number_is_refused(x):
    with pytest.raises(TypeError, match=type(x).__name__):
        Value(x)


@pytest.mark.parametrize("x", [np.array(2.0), torch.tensor(2.0)])
def test_an_array_of_one_number_is_refused_with_the_word_that_makes_it_a_number(x):
    for take in (Value, lambda x: dot([Value(1)], [x]), lambda x: Value(1) < x, Value(1).backward):
        with pytest.raises(TypeError, match=r"pass x\.item\(\)$"):
            take(x)
    assert Value(x.item()).data == 2.0


@pytest.mark.parametrize("x", ["2", 2j, None])
@pytest.mark.parametrize("operation", [
    lambda v, x: v + x, lambda v, x: x + v, lambda v, x: v - x, lambda v, x: x - v, lambda v, x: v * x,
    lambda v, x: x * v, lambda v, x: v / x, lambda v, x: x / v, lambda v, x: v**x, lambda v, x: x**v,
    lambda v, x: vsum([v, x]), lambda v, x: dot([v], [x]), lambda v, x: dot([v], [v], x or "no"),
    lambda v, x: v.backward(x),
])
def test_no_operation_takes_what_is_no_real_number(operation, x):
    with pytest.raises(TypeError):
        operation(Value(2.0), x)


@pytest.mark.parametrize("message, operation", [
    (r"log of 0\.0", lambda: Value(0).log()),
    (r"log of -2\.5", lambda: Value(-2.5).log()),
    (r"log of 1e-310", lambda: Value(1e-310).log()),
    (r"sqrt of -1\.0", lambda: Value(-1).sqrt()),
    (r"sqrt of 0\.0", lambda: Value(0).sqrt()),
    (r"exp of 1000\.0", lambda: Value(1000).exp()),
    (r"\*\*-1 of 0\.0", lambda: Value(0)**-1),
    (r"\*\*0\.5 of 0\.0", lambda: Value(0)**0.5),
    (r"\*\*0\.333\d* of -8\.0", lambda: Value(-8)**(1 / 3)),
    (r"\*\* of -8\.0, 2\.0", lambda: Value(-8)**Value(2)),
    (r"\*\* of 0\.0, -1\.0", lambda: Value(0)**Value(-1)),
    (r"\*\* of 1e\+200, 2\.0", lambda: Value(1e200)**Value(2)),
    (r"\*\*2 of 1e\+200", lambda: Value(1e200)**2),
    (r"-2\*\* of 0\.5", lambda: (-2)**Value(0.5)),
    (r"-2\*\* of 2\.0", lambda: (-2)**Value(2)),
    (r"/ of 3\.0, 0\.0", lambda: Value(3) / Value(0)),
    (r"/ of 1\.0, 1e-310", lambda: Value(1) / Value(1e-310)),
    (r"/0 of 3\.0", lambda: Value(3) / 0),
    (r"3/ of 0\.0", lambda: 3 / Value(0)),
    (r"\* of 1e\+200, -1e\+200 is -inf", lambda: Value(1e200) * Value(-1e200)),
    (r"\+ of 1e\+308, 1e\+308 is inf", lambda: Value(1e308) + Value(1e308)),
    (r"- of -1e\+308, 1e\+308 is -inf", lambda: Value(-1e308) - Value(1e308)),
    (r"\+1 of nan is nan", lambda: Value(math.nan) + 1),
    (r"sum of 1e\+308, 1e\+308 is inf", lambda: vsum([Value(1e308), 1e308])),
    (r"sum of 1e\+308, 1e\+308, 0\.0, 1\.0 is inf", lambda: vsum([1e308, 1e308, 0, 1])),
    (r"dot of 1e\+200, 1e\+200 is inf", lambda: dot([Value(1e200)], [Value(1e200)])),
    (r"dot of nan, 1\.0, 2\.0, 3\.0, \.\.\. is nan",
     lambda: linear([[Value(math.nan), Value(1)]], [2, 3], [Value(4)], "relu")),
    (r"dot of 1e\+200, 1e\+200, 0\.0 is inf", lambda: linear([[Value(1e200)]], [1e200], [Value(0)], "tanh")),
    (r"relu of nan is nan", lambda: Value(math.nan).relu()),
])
def test_a_result_or_derivative_that_is_not_finite_names_the_operation_and_the_value(message, operation):
    with pytest.raises((ValueError, ArithmeticError), match=message):
        operation()


def test_a_negative_base_with_a_value_as_exponent_names_the_exponent_and_the_cure():
    with pytest.raises(OverflowError, match=r"derivative with respect to 3\.0; .* pass a plain number"):
        Value(-2.0) ** Value(3.0)
    with pytest.raises(OverflowError, match=r"^sqrt of 0\.0 has no finite derivative with respect to 0\.0$"):
        Value(0.0).sqrt()
    base, reference = leaf(-2.0)
    (base**3.0).backward()
    (reference**3.0).backward()
    assert base.grad == reference.grad.item() == 12.0


def test_at_a_kink_the_derivative_is_torchs():
    for function, derivative in [(Value.relu, 0.0), (abs, 0.0), (lambda v: v**0, 0.0), (lambda v: v**1, 1.0),
                                 (lambda v: v**2, 0.0), (lambda v: 0**v, 0.0), (lambda v: v**Value(1), 1.0)]:
        v = Value(0.0)
        function(v).backward()
        assert v.grad == derivative
    exponent = Value(2.0)
    (Value(0.0)**exponent).backward()
    assert exponent.grad == 0.0


# -----------------------------------------------------------------------------
# backward


def test_leaves_accumulate_and_inner_nodes_keep_the_last_calls_gradient():
    a, b = Value(2.0), Value(3.0)
    c = a * b
    d = c + a
    d.backward()
    assert (a.grad, b.grad, c.grad, d.grad) == (4.0, 2.0, 1.0, 1.0)
    d.backward(10)
    assert (a.grad, b.grad, c.grad, d.grad) == (44.0, 22.0, 10.0, 10.0)
    (c * 0.5).backward()
    assert (a.grad, b.grad, c.grad, d.grad) == (45.5, 23.0, 0.5, 10.0)


def test_an_inner_node_behind_a_dead_relu_gets_the_last_calls_zero():
    a = Value(1.0)
    b = a * 2
    b.backward()
    neuron = Neuron(1)
    neuron.w[0].data, neuron.b.data = -1.0, 0.0
    neuron([b]).backward()
    assert b.grad == 0.0 and a.grad == 2.0


def test_backward_of_a_leaf_adds_the_starting_gradient():
    a = Value(5.0)
    a.backward()
    a.backward(0.5)
    assert a.grad == 1.5


def test_deep_graphs_neither_overflow_the_stack_nor_crash_when_they_are_dropped():
    x = y = Value(1.0)
    for _ in range(10**5):
        y = y * 1.0000001
    for _ in range(10**5):
        y = y + x
    y.backward()
    assert x.grad == pytest.approx(10**5 + math.exp(10**5 * math.log1p(1e-7)))
    del y
    assert x.data == 1.0


def test_a_graph_with_exponentially_many_paths_takes_each_node_once():
    x = y = Value(1.0)
    for _ in range(60):
        y = y + y
    y.backward()
    assert x.grad == 2.0**60


def test_under_no_grad_results_remember_nothing_and_afterwards_they_do_again():
    a = Value(2.0)
    with no_grad():
        with no_grad():
            pass
        results = [a * a, a.exp(), vsum([a, a]), Neuron(1)([a])]
        assert all(r._prev == () and r._op == "" for r in results) and results[0].data == 4.0
    with pytest.raises(ZeroDivisionError), no_grad():
        raise ZeroDivisionError
    assert (a * a)._prev == (a, a)


def test_no_grad_in_one_thread_leaves_the_others_alone():
    a, inside, leave = Value(2.0), threading.Event(), threading.Event()

    def evaluate():
        with no_grad():
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=evaluate)
    thread.start()
    inside.wait(10)
    recorded = (a * a)._prev
    leave.set()
    thread.join()
    assert recorded == (a, a)


def test_after_two_overlapping_no_grads_results_are_recorded_again():
    a, first, second = Value(2.0), no_grad(), no_grad()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert (a * a)._prev == ()
    second.__exit__(None, None, None)
    assert (a * a)._prev == (a, a)


@pytest.mark.parametrize("operation, value", [
    (lambda: Value(0).sqrt(), 0.0), (lambda: Value(0)**0.5, 0.0), (lambda: Value(0)**Value(0.5), 0.0),
    (lambda: Value(-8)**Value(2), 64.0), (lambda: (-2)**Value(2), 4.0), (lambda: Value(1e-300)**-1, 1e300),
])
def test_a_derivative_that_does_not_exist_matters_only_outside_no_grad(operation, value):
    with pytest.raises(OverflowError, match=" of .* has no finite derivative"):
        operation()
    with no_grad():
        assert operation().data == pytest.approx(value)


def test_gradcheck_passes_good_derivatives_and_names_the_input_of_a_bad_one():
    assert gradcheck(lambda a, b: (a * b).tanh() / (a + 3), [0.5, Value(-1.5)]) is True

    def forgets_one_path(a, b):
        return a * b + Value(b.data)**2  # the square is cut off from b

    with pytest.raises(ValueError, match=r"input 1 \(bias\)"):
        gradcheck(forgets_one_path, [Value(2.0, "weight"), Value(3.0, "bias")])
    with pytest.raises(ValueError, match=r"input 0: "):
        gradcheck(lambda a: a.data * a, [3.0])


@pytest.mark.parametrize("x", [0.01, 3.0, 1000.0])
def test_gradcheck_refuses_a_derivative_that_is_a_little_off_unless_the_tolerance_allows_it(x):
    def square(a):
        return operation("square", lambda a: (a * a, 2 * a + error), a)

    derivative = max(1.0, 2 * x)
    error = 1e-7 * derivative
    assert gradcheck(square, [x])
    error = 1e-5 * derivative
    with pytest.raises(ValueError, match="input 0"):
        gradcheck(square, [x])
    assert gradcheck(square, [x], tolerance=1e-4)


# -----------------------------------------------------------------------------
# Networks


def test_a_network_has_the_parameters_of_its_layers_with_a_relu_in_all_but_the_last():
    random.seed(1)
    model = MLP(3, [4, 2])
    assert model.num_parameters() == len(model.parameters()) == 4 * 4 + 5 * 2
    assert [n.activation for layer in model.layers for n in layer.neurons] == ["relu"] * 4 + ["linear"] * 2
    assert repr(model) == "MLP of [Layer of 4 x Neuron(3, relu), Layer of 2 x Neuron(4, linear)]"
    assert len(model([1, 2, 3])) == 2 and isinstance(Layer(3, 1)([1, 2, 3]), Value)
    assert {p.data for n in model.layers[1].neurons for p in [n.b]} == {0.0}
    assert all(-1 < w.data < 1 for w in model.layers[0].neurons[0].w)


def test_a_layer_computes_what_its_neurons_compute():
    class Doubled(Neuron):
        def __call__(self, x):
            return super().__call__(x) * 2

    random.seed(4)
    layer, x = Layer(2, 3, "tanh"), [Value(0.5), -1.5]
    layer.neurons[0].activation = "linear"
    layer.neurons[1] = Doubled(2, "sigmoid")
    sums = [n.w[0].data * 0.5 - n.w[1].data * 1.5 + n.b.data for n in layer.neurons]
    expected = [sums[0], 2 / (1 + math.exp(-sums[1])), math.tanh(sums[2])]
    assert [out.data for out in layer(x)] == pytest.approx(expected, rel=1e-14)


def test_the_neurons_of_a_layer_share_their_inputs_and_one_neuron_alone_hands_on_its_output():
    first, second = Layer(2, 2)([0.5, 1.5])
    assert set(first._prev) & set(second._prev) == {v for v in first._prev if v.data in (0.5, 1.5)}
    model = MLP(2, [1, 3])
    assert len(model([0.5, 1.5])) == 3 and all(out._prev for out in model([0.5, 1.5]))


def test_nonlin_says_whether_a_neuron_has_an_activation_and_may_stand_second():
    neurons = [Neuron(2), Neuron(2, False), Neuron(2, True), Neuron(2, "tanh"), Neuron(2, nonlin=False)]
    assert [n.nonlin for n in neurons] == [True, False, True, True, False]
    assert [n.activation for n in neurons] == ["relu", "linear", "relu", "tanh", "linear"]


def test_a_layer_without_neurons_is_a_sentence():
    for sizes in ([0], [4, 0, 1]):
        with pytest.raises(ValueError, match="a Layer needs at least one neuron, got 0"):
            MLP(2, sizes)


def test_weights_begin_between_minus_1_and_1_and_biases_at_0():
    random.seed(0)
    neuron = Neuron(1000)
    weights = [w.data for w in neuron.w]
    assert -1 <= min(weights) < -0.99 and 0.99 < max(weights) <= 1
    assert abs(sum(weights)) / 1000 < 0.06 and neuron.b.data == 0


def test_the_same_seed_gives_the_same_network():
    weights = []
    for seed in (5, 5, 6):
        random.seed(seed)
        weights.append([p.data for p in MLP(2, [3, 1]).parameters()])
    assert weights[0] == weights[1] != weights[2]


def test_a_wrong_number_of_inputs_is_a_sentence():
    for module in (Neuron(3), Layer(3, 2), MLP(3, [2, 1])):
        with pytest.raises(ValueError, match="3 weights do not fit 2 inputs"):
            module([1.0, 2.0])
    with pytest.raises(ValueError, match="1 weights do not fit 2 inputs"):
        dot([Value(1)], [1, 2])
    with pytest.raises(ValueError):
        linear([[Value(1)], [Value(2)]], [3], [Value(4)])
    with pytest.raises(ValueError, match="got 1 for 2"):
        mse([Value(1), Value(2)], [1])
    with pytest.raises(ValueError, match="got 0 for 0"):
        hinge([], [])
    with pytest.raises(ValueError, match="logsumexp of no values"):
        logsumexp([])
    for target in (2, -1):
        with pytest.raises(IndexError, match=f"2 logits, got target {target}"):
            cross_entropy([Value(1), Value(2)], target)


def test_an_unknown_activation_is_a_sentence_with_the_known_ones():
    with pytest.raises(ValueError, match="'swish' is not one of linear, relu, tanh, sigmoid, gelu"):
        MLP(2, [3, 1], "swish")


def test_json_saves_a_network():
    random.seed(2)
    saved, other = MLP(2, [3, 1]), MLP(2, [3, 1])
    assert saved([1, 2]).data != other([1, 2]).data
    other.load_state_dict(json.loads(json.dumps(saved.state_dict())))
    assert [p.data for p in saved.parameters()] == [p.data for p in other.parameters()]


def test_a_state_that_does_not_fit_changes_nothing():
    model = MLP(2, [3, 1])
    before = model.state_dict()
    good = {name: 0.0 for name in before}
    with pytest.raises(ValueError, match="network of 13 parameters cannot load a state of 16"):
        model.load_state_dict(MLP(3, [3, 1]).state_dict())
    with pytest.raises(ValueError, match="network of 13 parameters"):
        model.load_state_dict({f"p{name}": 0.0 for name in before})
    with pytest.raises(TypeError, match="'x'"):
        model.load_state_dict({**good, "12": "x"})
    assert model.state_dict() == before


def test_zero_grad_sets_every_gradient_to_zero():
    model = MLP(2, [2, 1], "tanh")
    for clear in (model, SGD(model.parameters()), Adam(model.parameters())):
        model([1.0, 2.0]).backward()
        assert any(p.grad for p in model.parameters())
        clear.zero_grad()
        assert all(p.grad == 0.0 for p in model.parameters())


@pytest.mark.parametrize("loss", [mse, hinge])
def test_losses_take_numpy_arrays(loss):
    predictions, targets = [Value(0.5), Value(-2.0), Value(0.25)], [1.0, -1.0, -1.0]
    expected = loss(predictions, targets).data
    assert loss(predictions, np.array(targets)).data == expected
    assert loss(np.array(predictions), np.array(targets)).data == expected
    with pytest.raises(ValueError, match="got 0 for 0"):
        loss(np.array([]), np.array([]))


def torch_network(model, activation):
    """The weights and biases of model as torch parameters, and the network that they make."""
    def tensor(numbers):
        return torch.tensor(numbers, dtype=torch.float64, requires_grad=True)

    layers = [(tensor([[w.data for w in neuron.w] for neuron in layer.neurons]),
               tensor([neuron.b.data for neuron in layer.neurons])) for layer in model.layers]

    def forward(x):
        for i, (weight, bias) in enumerate(layers):
            x = x @ weight.T + bias
            x = activation(x) if i < len(layers) - 1 else x
        return x
    return layers, forward


def flat(layers):
    return [x for weight, bias in layers for row, b in zip(weight.tolist(), bias.tolist()) for x in (*row, b)]


@pytest.mark.parametrize("name, loss", [
    ("relu", "hinge"), ("tanh", "mse"), ("sigmoid", "cross_entropy"), ("gelu", "mse"),
])
def test_training_gives_the_weights_of_torch(name, loss):
    random.seed(3)
    model = MLP(2, [4, 3, 3 if loss == "cross_entropy" else 1], name)
    torch_activation = {"gelu": torch.nn.functional.gelu}.get(name) or getattr(torch, name)
    layers, forward = torch_network(model, torch_activation)
    parameters = [p for pair in layers for p in pair]
    ours = SGD(model.parameters(), lr=0.1, momentum=0.5)
    theirs = torch.optim.SGD(parameters, lr=0.1, momentum=0.5)
    points = [[random.uniform(-1, 1), random.uniform(-1, 1)] for _ in range(6)]
    labels = [1, -1, 1, -1, -1, 1]
    x, y = torch.tensor(points, dtype=torch.float64), torch.tensor(labels, dtype=torch.float64)
    for _ in range(100):
        scores, out = [model(point) for point in points], forward(x)
        if loss == "cross_entropy":
            value = vsum([cross_entropy(s, label + 1) for s, label in zip(scores, labels)]) / 6
            reference = torch.nn.functional.cross_entropy(out, (y + 1).long())
        elif loss == "mse":
            value, reference = mse(scores, labels), torch.nn.functional.mse_loss(out[:, 0], y)
        else:
            value, reference = hinge(scores, labels), torch.relu(1 - y * out[:, 0]).mean()
        assert close(value.data, reference.item(), 1e-9)
        ours.zero_grad()
        theirs.zero_grad()
        value.backward()
        reference.backward()
        ours.step()
        theirs.step()
    assert all(close(p.data, q, 1e-9) for p, q in zip(model.parameters(), flat(layers)))


@pytest.mark.parametrize("ours, theirs, options", [
    (SGD, torch.optim.SGD, {}),
    (SGD, torch.optim.SGD, {"lr": 0.05}),
    (SGD, torch.optim.SGD, {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.01}),
    (Adam, torch.optim.Adam, {}),
    (Adam, torch.optim.Adam, {"lr": 0.1, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.02}),
])
def test_optimizers_take_the_steps_of_torch(ours, theirs, options):
    rng = random.Random(4)
    pairs = [leaf(rng.uniform(-2, 2)) for _ in range(5)]
    ours, theirs = ours([v for v, _ in pairs], **options), theirs([t for _, t in pairs], **options)
    for _ in range(50):
        for value, reference in pairs:
            value.grad = rng.gauss(0, 1)
            reference.grad = torch.tensor(value.grad, dtype=torch.float64)
        ours.step()
        theirs.step()
        assert all(close(v.data, t.item(), 1e-12) for v, t in pairs)


# -----------------------------------------------------------------------------
# Drawings


def lecture_expression():
    a, b, c, f = Value(2, "a"), Value(-3, "b"), Value(10, "c"), Value(-2, "f")
    e = a * b
    e.label = "e"
    d = e * c
    d.label = "d"
    loss = d + f
    loss.label = "L"
    loss.backward(-2)
    return loss


def test_print_graph_works_out_each_contribution(capsys):
    print_graph(lecture_expression())
    assert capsys.readouterr().out == """\
L = d + f  data -62.0000  grad -2.0000
    d.grad += -2.00  (L.grad -2.00 * local derivative 1.0)
    f.grad += -2.00  (L.grad -2.00 * local derivative 1.0)
d = e * c  data -60.0000  grad -2.0000
    e.grad += -20.00  (d.grad -2.00 * local derivative 10.0)
    c.grad += 12.00  (d.grad -2.00 * local derivative -6.0)
e = a * b  data -6.0000  grad -20.0000
    a.grad += 60.00  (e.grad -20.00 * local derivative -3.0)
    b.grad += -40.00  (e.grad -20.00 * local derivative 2.0)
a  data 2.0000  grad 60.0000
b  data -3.0000  grad -40.0000
c  data 10.0000  grad 12.0000
f  data -2.0000  grad -2.0000
"""


def test_print_graph_writes_only_arithmetic_between_its_inputs(capsys):
    a, b = Value(2.0, "a"), Value(3.0, "b")
    for result in (a**b, a - b, cross_entropy([a, b], 0), operation("atan2", lambda a, b: (a, 1, 1), a, b)):
        print_graph(result)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("v0")]
    assert [line.split("  ")[0] for line in lines] == [
        "v0 = a ** b", "v0 = a - b", "v0 = cross_entropy of a, b", "v0 = atan2 of a, b"]


def test_print_graph_lists_no_contributions_of_a_node_made_by_hand(capsys):
    a = Value(2.0, "a")
    out = Value(4.0, (a, a), "own", label="out")
    out._backward = lambda: None
    print_graph(out)
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["out = own of a, a  data 4.0000  grad 0.0000", "a  data 2.0000  grad 0.0000"]


def test_print_graph_names_values_without_a_label_and_shows_dead_neurons(capsys):
    neuron = Neuron(1)
    neuron.w[0].data = -1.0
    out = neuron([2.0]) * 3
    out.backward()
    print_graph(out)
    assert capsys.readouterr().out.splitlines()[:4] == [
        "v0 = *3 of v1  data 0.0000  grad 1.0000",
        "    v1.grad += 3.00  (v0.grad 1.00 * local derivative 3.0)",
        "v1 = relu of v2, v3, v4  data 0.0000  grad 3.0000",
        "    v2.grad += 0.00  (v1.grad 3.00 * local derivative 0.0)",
    ]


def test_draw_dot_has_a_record_for_each_value_and_a_circle_for_each_operation():
    loss = lecture_expression()
    source = draw_dot(loss).source
    assert "rankdir=LR" in source
    assert source.count("shape=record") == 7 and source.count("shape=circle") == 3
    assert r'label="{ d | data -60.0000 | grad -2.0000 }"' in source
    d, f = loss._prev
    circle = re.search(rf'"?(\S+?)"? -> "?{id(loss)}"?\n', source)[1]
    for v in (d, f):
        assert re.search(rf'"?{id(v)}"? -> "?{re.escape(circle)}"?\n', source)
    assert source.count(" -> ") == 3 + 6
    assert draw_dot(loss, format="png", rankdir="TB").format == "png"


def test_draw_dot_escapes_what_a_record_reserves():
    v = Value(1.0, "a|b {c} <d> \\")
    assert r"a\|b\ \{c\}\ \<d\>\ \\" in draw_dot(v).source


def test_draw_dot_takes_operations_of_any_name():
    x = Value(2.0)
    out = operation("a:b", lambda a: (3 * a, 3.0), x)
    source = draw_dot(out).source
    nodes = set(re.findall(r'^\t("[^"]*"|\d+) \[', source, re.MULTILINE))
    edges = re.findall(r"^\t(.*) -> (.*)\n", source, re.MULTILINE)
    assert len(nodes) == 3 and len(edges) == 2 and {end for edge in edges for end in edge} == nodes


def test_without_the_program_dot_a_sentence_says_what_to_do_and_the_text_is_there(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    drawing = draw_dot(lecture_expression())
    for draw in (drawing.render, drawing.pipe, drawing.view, drawing._repr_image_svg_xml):
        with pytest.raises(RuntimeError, match="^the program dot is missing: apt, brew or winget install"):
            draw()
    shown = drawing._repr_mimebundle_(include=None, exclude=None)
    assert list(shown) == ["text/plain"] and shown["text/plain"].startswith("the program dot is missing")
    assert drawing.source.count("shape=circle") == 3
    assert list(tmp_path.iterdir()) == []


def test_with_the_program_dot_a_notebook_shows_its_drawing(tmp_path, monkeypatch):
    dot_program = tmp_path / "dot"  # stands in for Graphviz, which may not be installed
    dot_program.write_text(f"#!{sys.executable}\nimport sys\nprint('<svg>', sys.stdin.read(), '</svg>')\n")
    dot_program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    shown = draw_dot(Value(4.0, "x"))._repr_mimebundle_()
    assert list(shown) == ["image/svg+xml"] and "x | data 4.0000" in shown["image/svg+xml"]


def test_without_graphviz_a_sentence_says_what_to_do():
    code = "import sys, micrograd; sys.modules['graphviz'] = None; micrograd.draw_dot(micrograd.Value(1))"
    run = python("-c", code, cwd=ROOT)
    assert run.returncode == 1 and "ImportError: draw_dot needs the package graphviz" in run.stderr


# -----------------------------------------------------------------------------
# The file as a program and as a package


def python(*arguments, cwd, **environment):
    environment = {**os.environ, "PYTHONPATH": "", **environment}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def test_the_demo_separates_the_moons_and_draws_them(tmp_path):
    code = """if True:
        import runpy, sys
        runpy.run_path(sys.argv[1], run_name="__main__")
        assert "matplotlib.pyplot" not in sys.modules  # which would switch off the plots of a notebook
        """
    run = python("-c", code, ROOT / "micrograd" / "micrograd.py", cwd=tmp_path)
    assert run.returncode == 0 and run.stderr == ""
    lines = run.stdout.splitlines()
    epochs = [line for line in lines if re.fullmatch(r"epoch +\d+  loss \d\.\d{4}  accuracy +\d+%", line)]
    assert len(epochs) == len(lines) - 2 and epochs[-1].endswith("accuracy 100%")
    assert (tmp_path / "moons.png").read_bytes().startswith(b"\x89PNG")


def test_the_demo_needs_nothing_but_python(tmp_path):
    run = python("-S", "-m", "micrograd", cwd=tmp_path, PYTHONPATH=str(ROOT))
    assert run.returncode == 0 and run.stderr == ""
    assert run.stdout.splitlines()[-1] == "moons.png was not drawn: No module named 'matplotlib'"
    assert list(tmp_path.iterdir()) == []


def test_a_picture_that_cannot_be_written_is_a_sentence(tmp_path, monkeypatch, capsys):
    (tmp_path / "moons.png").mkdir()
    monkeypatch.chdir(tmp_path)
    micrograd.engine.main(epochs=1)
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("moons.png was not drawn: ") and "'moons.png'" in last


def test_the_picture_of_the_moons_is_blue_where_scores_and_labels_are_positive(monkeypatch):
    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *args, **options: figures.append(figure))
    points, labels = make_moons(40)
    micrograd.engine.draw_moons(lambda point: Value(point[0] - 0.5), points, labels, "moons.png")
    areas, boundary, dots = figures[0].axes[0].collections
    assert [red < blue for red, _, blue, _ in areas.get_facecolor()] == [False, False, True, True]
    assert boundary.get_paths()[0].vertices[:, 0] == pytest.approx(0.5)
    assert dots.get_offsets().tolist() == pytest.approx(np.array(points))
    assert [red < blue for red, _, blue, _ in dots.get_facecolor()] == [label == 1 for label in labels]


def test_the_picture_of_a_training_run_is_drawn_from_its_losses_predictions_and_gradients(tmp_path):
    from micrograd import draw_training
    good, bad = [draw_training.train(3, zero_grad) for zero_grad in (True, False)]
    loss, predictions, gradients = good[0]
    assert loss == pytest.approx(sum((p - y)**2 for p, y in zip(predictions, draw_training.ys)) / 4)
    assert good[1][0] < loss and good[0] == bad[0] and len(gradients) == 41
    assert bad[1][2] == pytest.approx([sum(both) for both in zip(good[0][2], good[1][2])])  # they add up
    draw_training.draw(tmp_path / "training.png", steps=2)
    assert (tmp_path / "training.png").read_bytes().startswith(b"\x89PNG")


def test_each_moon_is_a_half_circle_with_its_label():
    points, labels = make_moons(10, noise=0.0)
    assert sorted(labels) == [-1] * 5 + [1] * 5
    for (x, y), label in zip(points, labels):
        x, y = (x, y) if label == 1 else (1 - x, 0.5 - y)  # turned over
        assert x * x + y * y == pytest.approx(1) and y >= 0
    shifts = [math.dist(p, q) for p, q in zip(noisy_moons(0.2), noisy_moons(0.0))]
    assert math.hypot(*shifts) / 500**0.5 == pytest.approx(0.2 * 2**0.5, rel=0.1)


def noisy_moons(noise):
    random.seed(5)
    return make_moons(500, noise)[0]


def test_it_imports_with_the_standard_library_alone_and_under_its_well_known_names():
    code = """if True:
        import sys
        import micrograd
        from micrograd import nn
        from micrograd.engine import Value
        from micrograd.nn import MLP
        assert Value is micrograd.Value is nn.Value and MLP is nn.MLP is micrograd.MLP
        assert nn.Neuron(2, nonlin=False).activation == "linear"
        assert not {"numpy", "torch", "matplotlib", "graphviz"} & set(sys.modules)
        print(nn.MLP(2, [16, 16, 1])([Value(1.0), -2.0]).data)
        """
    assert float(python("-c", code, cwd=ROOT).stdout) != 0


def test_it_imports_inside_its_directory_and_installed(tmp_path):
    code = "import micrograd; print(float(micrograd.Value(2) * 3), micrograd.__file__)"
    inside = python("-c", code, cwd=ROOT / "micrograd").stdout
    assert inside == f"6.0 {ROOT / 'micrograd' / 'micrograd.py'}\n"
    shutil.copytree(ROOT / "micrograd", tmp_path / "site" / "micrograd")
    installed = python("-c", code, cwd=tmp_path, PYTHONPATH=str(tmp_path / "site")).stdout
    assert installed == f"6.0 {tmp_path / 'site' / 'micrograd' / '__init__.py'}\n"


PAGE = (ROOT / "micrograd" / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def test_the_sessions_of_the_page_are_true():
    sessions = blocks("pycon")
    assert len(sessions) >= 4
    for number, session in enumerate(sessions):
        test = doctest.DocTestParser().get_doctest(session, {}, f"session {number}", None, None)
        assert test.examples and doctest.DocTestRunner().run(test).failed == 0


def test_the_blocks_of_python_on_the_page_run(tmp_path):
    for block in blocks("python"):
        run = python("-c", block, cwd=tmp_path, PYTHONPATH=str(ROOT))
        assert run.returncode == 0, run.stderr


def test_the_page_names_the_lines_where_things_stand():
    lines = (ROOT / "micrograd" / "micrograd.py").read_text(encoding="utf-8").splitlines()
    places = re.findall(r"`(\w+)` \(line (\d+)", PAGE)
    assert len(places) >= 6
    for name, number in places:
        assert re.match(rf" *(class|def) {name}\b", lines[int(number) - 1]), (name, number)
