"""Figure 3: a column for every step: what it starts from, with fresh noise, and what the student makes of that."""

import textwrap
from collections.abc import Mapping

from repro.kinds.method import keys
from repro.kinds.method.canvas import Box, Canvas, Pixels, checked
from repro.kinds.method.result import MethodResult

LARGEST, GAP, LEFT, RIGHT, TOP, BETWEEN, BOTTOM = 1.5, 0.62, 1.95, 0.25, 1.25, 0.5, 0.3
ROWS = (
    "upscaled $x_0$\nof the step before",
    "$x_t$: renoised,\nwhat the student sees",
    "$x_0$: what the\nstudent predicts",
)


def draw_sampling(result: MethodResult, pictures: Mapping[str, Pixels]) -> Canvas:
    """Read from top to bottom, then from left to right; sizes are true to scale."""
    sides, count = result.steps(keys.SIDES), len(result.steps(keys.SIDES))
    checked(pictures, [f"{name} {step}" for step in range(count) for name in ("x_t", "x0")])
    unit = LARGEST / max(sides)
    width = LEFT + sum(unit * side for side in sides) + GAP * (count - 1) + RIGHT
    canvas = Canvas(width, TOP + 3 * LARGEST + 2 * BETWEEN + BOTTOM)
    caption = textwrap.fill(result.shown["caption"], 110)
    canvas.words((width / 2, 0.25), f"\u201c{caption}\u201d, seed {result.shown['seed']}", size=10)
    for row, label in enumerate(ROWS):
        canvas.words((LEFT - 0.45, _middle(row)), label, ha="right")
    before, x = None, LEFT
    for step, side in enumerate(sides):
        boxes = [Box(x, _middle(row) - unit * side / 2, unit * side) for row in range(3)]
        _draw_step(canvas, result, pictures, boxes, step)
        if before is not None:
            _draw_way(canvas, before, boxes[0])
        before, x = boxes[2], x + unit * side + GAP
    return canvas


def _middle(row: int) -> float:
    """Height of the middle of a row of pictures."""
    return TOP + LARGEST / 2 + row * (LARGEST + BETWEEN)


def _draw_step(
    canvas: Canvas, result: MethodResult, pictures: Mapping[str, Pixels], boxes: list[Box], step: int
) -> None:
    """One column: heading, three pictures, and the arrows between them."""
    upscaled, noisy, clean = boxes
    sigma, timestep, side = (result.steps(name)[step] for name in (keys.SIGMAS, keys.TIMESTEPS, keys.SIDES))
    heading = f"step {step}\n{side:.0f} \u00d7 {side:.0f}\n$\\sigma$ = {sigma:.3f}\n$t$ = {timestep:.0f}"
    canvas.words((noisy.top[0], TOP - 0.42), heading, size=8)
    if step:
        canvas.picture(upscaled, pictures[f"upscaled {step}"])
        canvas.arrow(upscaled.bottom, noisy.top)
        canvas.words((noisy.top[0] + 0.06, _between(upscaled, noisy)), "+ noise", size=7.5, ha="left")
    else:
        canvas.words((noisy.top[0], _middle(0)), "nothing yet:\nnoise alone", size=7.5)
        canvas.arrow((noisy.top[0], _middle(0) + 0.22), noisy.top)
    canvas.picture(noisy, pictures[f"x_t {step}"])
    canvas.arrow(noisy.bottom, clean.top)
    canvas.words((noisy.top[0] + 0.06, _between(noisy, clean)), "student", size=7.5, ha="left")
    canvas.picture(clean, pictures[f"x0 {step}"])


def _between(upper: Box, lower: Box) -> float:
    return (upper.bottom[1] + lower.top[1]) / 2


def _draw_way(canvas: Canvas, before: Box, after: Box) -> None:
    """From a prediction to where it is found upscaled: through the gap between two columns."""
    middle = after.x - GAP * 0.42
    canvas.arrow(before.right, (middle, before.right[1]), (middle, after.left[1]), after.left)
    canvas.words((middle - 0.07, _middle(1)), "upscale", size=7.5, rotation=90)
