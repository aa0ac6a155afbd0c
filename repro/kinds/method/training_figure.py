"""Figure 2: data above, the student's pass below it, and under both what its losses compare."""

import textwrap
from collections.abc import Mapping

from repro.kinds.method import keys
from repro.kinds.method.canvas import Box, Canvas, Pixels, checked, number_mark
from repro.kinds.method.result import MethodResult

WIDTH, HEIGHT = 12.0, 7.75
LARGE, STEP_X, LEFT = 1.3, 2.3, 0.45  # side of the picture at the side of the step; from a picture to the next
UPPER, LOWER, LOSSES = 1.3, 3.4, 5.78  # middles of the three rows
SMALL = 1.0  # side of a picture under the losses
NAMES = ("image", "image at the side", "target", "image at the lower side", "lower", "upscaled", "x_t", "x0")
COMPARED = ("patch fake", "patch real", "renoised", "teacher", "fake", "sample", "sample renoised", "sample predicted")


def draw_training(result: MethodResult, pictures: Mapping[str, Pixels]) -> Canvas:
    """Pictures are numbered in the order of reading."""
    checked(pictures, [*NAMES, *COMPARED])
    canvas = Canvas(WIDTH, HEIGHT)
    caption = textwrap.shorten(result.shown["caption"], 90)
    number = result.numbers
    step, iteration = number[keys.STEP], number[keys.ITERATION]
    canvas.words(
        (WIDTH / 2, 0.28),
        f"Step {step:.0f} of the schedule, iteration {iteration:.0f}: \u201c{caption}\u201d",
        size=10.5,
    )
    boxes = _places(number)
    for place, name in enumerate(NAMES, start=1):
        number_mark(canvas, canvas.picture(boxes[name], pictures[name]), place)
    _draw_data(canvas, boxes, number)
    _draw_student(canvas, boxes, number)
    _draw_losses(canvas, pictures, boxes["x0"], number)
    return canvas


def _places(number: Mapping[str, float]) -> dict[str, Box]:
    """Where pictures stand: those of the lower side are smaller, true to scale."""
    small = LARGE * number[keys.LOWER] / number[keys.SIDE]
    columns = {"image": 0, "image at the side": 1, "target": 2}
    below = {"image at the lower side": 1, "lower": 2, "upscaled": 3, "x_t": 4, "x0": 5}
    found = {}
    for names, middle in ((columns, UPPER), (below, LOWER)):
        for name, column in names.items():
            side = small if "lower" in name else LARGE
            centre = LEFT + LARGE / 2 + column * STEP_X * 0.84
            found[name] = Box(centre - side / 2, middle - side / 2, side)
    return found


def _label(canvas: Canvas, box: Box, text: str) -> None:
    canvas.words((box.bottom[0], box.bottom[1] + 0.07), text, size=8, va="top")


def _across(canvas: Canvas, start: Box, end: Box, text: str) -> None:
    """An arrow to the right with what happens on it."""
    canvas.arrow(start.right, end.left)
    canvas.words(((start.right[0] + end.left[0]) / 2, start.right[1] - 0.07), text, size=7.5, va="bottom")


def _draw_data(canvas: Canvas, boxes: Mapping[str, Box], number: Mapping[str, float]) -> None:
    side, lower = number[keys.SIDE], number[keys.LOWER]
    _label(canvas, boxes["image"], "image")
    _label(canvas, boxes["target"], f"target: latent $x_0$,\n$s_i$ = {side:.0f}")
    _label(canvas, boxes["lower"], f"latent $x_0$,\n$s_{{i-1}}$ = {lower:.0f}")
    _label(canvas, boxes["image at the lower side"], "image for $s_{i-1}$")
    _across(canvas, boxes["image"], boxes["image at the side"], "down-\nscale")
    _across(canvas, boxes["image at the side"], boxes["target"], "VAE")
    _across(canvas, boxes["image at the lower side"], boxes["lower"], "VAE")
    upper = boxes["image at the side"]
    canvas.arrow(upper.bottom, boxes["image at the lower side"].top)
    canvas.words((upper.bottom[0] + 0.08, upper.bottom[1] + 0.12), "image for $s_i$", size=8, ha="left", va="center")
    canvas.words((upper.bottom[0] + 0.08, upper.bottom[1] + 0.5), "downscale", size=7.5, ha="left", va="center")


def _draw_student(canvas: Canvas, boxes: Mapping[str, Box], number: Mapping[str, float]) -> None:
    side, sigma = number[keys.SIDE], number[keys.SIGMA]
    _across(canvas, boxes["lower"], boxes["upscaled"], "upscale")
    _across(canvas, boxes["upscaled"], boxes["x_t"], "+ noise")
    _across(canvas, boxes["x_t"], boxes["x0"], "student")
    _label(canvas, boxes["upscaled"], f"upscaled to {side:.0f};\nRMS to target {number[keys.UPSCALED_ERROR]:.3f}")
    _label(canvas, boxes["x_t"], f"$x_t$, $\\sigma$ = {sigma:.3f}")
    _label(canvas, boxes["x0"], f"prediction $\\hat{{x}}_0$;\nRMS to target {number[keys.PREDICTED_ERROR]:.3f}")
    target, x0 = boxes["target"], boxes["x0"]
    canvas.arrow(target.right, (x0.top[0], target.right[1]), x0.top, dashed=True)
    place = ((target.right[0] + x0.top[0]) / 2, target.right[1] - 0.07)
    canvas.words(place, "matched with: PDM compares 9 and 10", size=8, va="bottom")


def _draw_losses(canvas: Canvas, pictures: Mapping[str, Pixels], x0: Box, number: Mapping[str, float]) -> None:
    """Three panels: PDM, DMD with the GAN, and the updates of the fake model; then the sum."""
    top, height = LOSSES - 0.98, 2.0
    panels = (
        (0.25, 2.75, "PDM: patches of both under one noise", _pdm(number), COMPARED[:2]),
        (3.2, 4.3, "DMD and GAN: $\\hat{x}_0$ renoised, by teacher and fake model", _dmd(number), COMPARED[2:5]),
        (7.7, 4.05, "Fake model and discriminator, on another batch", _fake(number), COMPARED[5:]),
    )
    below, bar = (x0.bottom[0], x0.bottom[1] + 0.42), top - 0.2
    for left, width, _, _, _ in panels[:2]:  # the third is of another batch
        canvas.arrow(below, (below[0], bar), (left + width / 2, bar), (left + width / 2, top))
    place = 9
    for left, width, title, text, names in panels:
        canvas.panel((left, top), width, height)
        canvas.words((left + width / 2, top + 0.16), title, size=8.2, weight="bold")
        _draw_row(canvas, pictures, (left, width, place), names)
        canvas.words((left + width / 2, top + height - 0.2), text, size=8.5)
        place += len(names)
    canvas.words((WIDTH / 2, HEIGHT - 0.4), _total(number), size=11)


SHOWN = {
    "patch fake": "$\\hat{x}_0$ noised",
    "patch real": "target noised",
    "renoised": "$\\hat{x}_0$ renoised",
    "teacher": "teacher's $x_0$",
    "fake": "fake's $x_0$",
    "sample": "student's $x_0$",
    "sample renoised": "renoised",
    "sample predicted": "fake's $x_0$",
}


def _draw_row(
    canvas: Canvas, pictures: Mapping[str, Pixels], at: tuple[float, float, int], names: tuple[str, ...]
) -> None:
    """Pictures of a panel, evenly over its width, numbered on from a place."""
    left, width, place = at
    for column, name in enumerate(names):
        centre = left + width * (column + 0.5) / len(names)
        box = canvas.picture(Box(centre - SMALL / 2, LOSSES - 0.65, SMALL), pictures[name])
        number_mark(canvas, box, place + column)
        canvas.words((centre, box.bottom[1] + 0.12), SHOWN[name], size=7.8)


def _pdm(number: Mapping[str, float]) -> str:
    return f"$\\sigma$ = {number[keys.SIGMA_PDM]:.3f}     $L_{{PDM}}$ = {number[keys.loss('pdm')]:.4f}"


def _dmd(number: Mapping[str, float]) -> str:
    losses = f"$L_{{DMD}}$ = {number[keys.loss('dmd')]:.4f}     $L_{{GAN}}$ = {number[keys.loss('gan')]:.4f}"
    return f"$\\sigma$ = {number[keys.SIGMA_DMD]:.3f}     {losses}"


def _fake(number: Mapping[str, float]) -> str:
    losses = f"$L_{{fake}}$ = {number[keys.loss('fake')]:.4f}     $L_D$ = {number[keys.loss('discriminator')]:.4f}"
    return f"$\\sigma$ = {number[keys.SIGMA_FAKE]:.3f}     {losses}"


def _total(number: Mapping[str, float]) -> str:
    """The weighted sum, with its numbers."""
    parts = " + ".join(
        f"{number[keys.weight(term)]:g} \u00b7 {number[keys.loss(term)]:.4f} ({term.upper()})"
        for term in ("pdm", "dmd", "gan")
    )
    return f"Student's loss  $L$ = {parts} = {number[keys.loss('total')]:.4f},  means over the batch"
