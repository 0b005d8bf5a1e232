"""micrograd's engine, networks and optimizers, against torch in float64."""

import math

import pytest

import micrograd
from micrograd import Value


def test_the_files_docstring_is_true():
    import doctest
    assert doctest.testmod(micrograd.engine) == (0, 6) or doctest.testmod(micrograd.engine).failed == 0


def test_the_example_of_the_well_known_micrograd_gives_its_published_numbers():
    a, b = Value(-4.0), Value(2.0)
    c = a + b
    d = a * b + b**3
    c += c + 1
    c += 1 + c + (-a)
    d += d * 2 + (b + a).relu()
    d += 3 * d + (b - a).relu()
    e = c - d
    f = e**2
    g = f / 2.0
    g += 10.0 / f
    g.backward()
    assert [f"{x:.4f}" for x in (g.data, a.grad, b.grad)] == ["24.7041", "138.8338", "645.5773"]


def test_a_million_nodes_do_not_overflow_the_stack():
    x = y = Value(1.0)
    for _ in range(10**5):
        y = y * 1.0000001
    y.backward()
    assert x.grad == pytest.approx(math.exp(10**5 * math.log(1.0000001)))
