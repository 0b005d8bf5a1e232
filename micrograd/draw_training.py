"""
A picture of the lecture's training loop: how loss, predictions and gradients move from step to step.

    python draw_training.py      writes training.png; needs matplotlib

The network is trained twice from the same weights, with and without zero_grad() in the loop.
"""

import random

from matplotlib.figure import Figure

from micrograd import MLP, mse

xs = [[2.0, 3.0, -1.0], [3.0, -1.0, 0.5], [0.5, 1.0, 1.0], [1.0, 1.0, -1.0]]
ys = [1.0, -1.0, -1.0, 1.0]


def train(steps, zero_grad):
    """A list with the loss, the predictions and the gradients of all parameters of each step."""
    random.seed(1)
    model = MLP(3, [4, 4, 1], "tanh")
    history = []
    for _ in range(steps):
        predictions = [model(x) for x in xs]
        loss = mse(predictions, ys)
        if zero_grad:
            model.zero_grad()
        loss.backward()
        for p in model.parameters():
            p.data -= 0.1 * p.grad
        history.append((loss.data, [v.data for v in predictions], [p.grad for p in model.parameters()]))
    return history


def draw(path, steps=31):
    figure = Figure(figsize=(9, 7), layout="constrained")
    axes = figure.subplots(3, 2, sharex=True, sharey="row")
    for column, zero_grad in enumerate((True, False)):
        losses, predictions, gradients = zip(*train(steps, zero_grad))
        top, middle, bottom = axes[:, column]
        top.plot(losses, "black")
        top.set_title("with zero_grad()" if zero_grad else "without: the gradients of all steps add up")
        for y, curve in zip(ys, zip(*predictions)):
            middle.plot(curve, "#2c6bb3" if y > 0 else "#c43c1f")
        for y, color in ((1, "#2c6bb3"), (-1, "#c43c1f")):
            middle.axhline(y, color=color, linestyle=":")  # the targets
        bottom.plot(gradients, linewidth=0.8)
        bottom.set_xlabel("step")
    axes[0, 0].set_ylabel("loss")
    axes[1, 0].set_ylabel("four predictions\n(dotted: their targets)")
    axes[2, 0].set_ylabel("gradient of each parameter")
    figure.savefig(path, dpi=80)


if __name__ == "__main__":
    draw("training.png")
    print("wrote training.png")
