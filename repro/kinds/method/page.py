"""The page of a figure of the method: the picture, and the numbers that the records hold."""

from collections.abc import Callable, Mapping
from pathlib import Path

from repro.harness.cells import DASH, markdown, number
from repro.harness.page import footer, joined
from repro.harness.plots import figure_path
from repro.kinds.method import keys
from repro.kinds.method.declare import Part
from repro.kinds.method.result import MethodResult

TERMS: Mapping[str, str] = {
    "pdm": "Patch distribution matching (PDM)",
    "dmd": "Distribution matching (DMD)",
    "gan": "GAN, student's side",
    "total": "Student's total",
    "fake": "Fake model, mean squared error of x0",
    "discriminator": "Discriminator",
}


def page(result: MethodResult, folder: Path) -> str:
    """The Markdown page. Figures are linked where they are in ``folder``; all else comes from the records."""
    part = result.experiment.part
    blocks = [
        f"# {result.title}",
        result.experiment.question,
        f"> **Profile `{result.profile.name}`.** {result.profile.caption}",
        _pictures(result, folder),
        *_BLOCKS[part](result),
        *result.experiment.notes,
        *footer(result),
    ]
    return joined(blocks)


def _pictures(result: MethodResult, folder: Path) -> str:
    part = result.experiment.part
    picture, drawing = (figure_path(folder, result.stem, kind) for kind in (part, f"{part}.svg"))
    if not picture.exists():
        return ""
    shown = f"![{result.title}](figures/{picture.name})"
    return f"{shown}\n\n[The same as SVG](figures/{drawing.name})." if drawing.exists() else shown


def _training(result: MethodResult) -> list[str]:
    shown, found = result.shown, result.numbers
    side, lower, config = found[keys.SIDE], found[keys.LOWER], result.run.config["training"]
    said = (
        f"Image {shown['image']} of a batch of {config['batch_size']}, \u201c{shown['caption']}\u201d: number "
        f"{shown['row']} of the training images. Step {found[keys.STEP]:.0f} of `{config['preset']}`, from "
        f"latents of side {lower:.0f} to {side:.0f}; steps and iterations count from 0. "
        f"**Iteration {found[keys.ITERATION]:.0f} of a training that begins with the student that ships**: the "
        "fake model and the discriminator do not ship, so "
        f"they begin as the teacher and at random, and have had {_updates(result)} updates; the recipe is that of the "
        f"profile's students, with {config['fake_updates']} updates of the fake model before each of the student."
    )
    reading = (
        "In the figure, 1 to 3 are data, 4 to 8 the student's pass, 9 to 13 what its losses compare, and 14 to 16 the "
        "last update of the fake model, which is of another batch. Numbers under 6 and 8 are root mean square "
        "distances to the target in latents. A prediction may be farther from it than what it started from: the "
        "losses match distributions, of patches and of samples, and not latents place by place."
    )
    return [said, reading, "## Losses", _losses(result), "## What is shown", _levels(result)]


def _updates(result: MethodResult) -> str:
    iterations = result.numbers[keys.ITERATION] + 1
    return number(iterations * result.run.config["training"]["fake_updates"], 0)


def _losses(result: MethodResult) -> str:
    """Every term with its weight, and its share of the sum that it belongs to."""
    found, rows = result.numbers, []
    for term in (*keys.LOSSES, *keys.FAKE_LOSSES):
        value = found[keys.loss(term)]
        weight = found.get(keys.weight(term), 1.0 if term == "fake" else None)
        share = DASH if weight is None else number(weight * value, 5)
        rows.append([TERMS[term], number(value, 5), DASH if weight is None else f"{weight:g}", share])
    table = markdown(["Term, mean over the batch", "Value", "Weight", "Weighted"], rows)
    return f"{table}\n\nThe last two are means over the updates of the fake model, whose sum they make up."


def _levels(result: MethodResult) -> str:
    found = result.numbers
    rows = [
        ["Side of the pair", f"{found[keys.LOWER]:.0f} \u2192 {found[keys.SIDE]:.0f}"],
        ["Noise level of the student's input, sigma", number(found[keys.SIGMA], 4)],
        ["Noise level of PDM, of this image", number(found[keys.SIGMA_PDM], 4)],
        ["Noise level of DMD and GAN, of this image", number(found[keys.SIGMA_DMD], 4)],
        ["Noise level of the fake model's update, of its image", number(found[keys.SIGMA_FAKE], 4)],
        ["Upscaled lower latent, distance to the target", number(found[keys.UPSCALED_ERROR], 4)],
        ["Prediction, distance to the target", number(found[keys.PREDICTED_ERROR], 4)],
    ]
    return markdown(["", "Value"], rows)


def _sampling(result: MethodResult) -> list[str]:
    shown = result.shown
    said = (
        f"Image {shown['image']} of the prompts `{result.run.config['prompts']}`: \u201c{shown['caption']}\u201d, seed "
        f"{shown['seed']}, by the finished student. Each column is a step: the prediction of the one before, upscaled; "
        "the same with fresh noise, which the student sees; and what it predicts. The last prediction is the image."
    )
    legend = (
        "*RMS* is the root mean square of a latent. *Change* is that of the prediction less the upscaled one before: "
        "what the step added or corrected."
    )
    return [said, "## Steps", _steps(result), legend]


def _steps(result: MethodResult) -> str:
    heads = ["Step", "Side", "sigma", "t = 1000 sigma", "RMS of x_t", "RMS of x0", "Change"]
    columns = (keys.SIDES, keys.SIGMAS, keys.TIMESTEPS, keys.NOISY, keys.PREDICTED, keys.CHANGE)
    digits = (0, 4, 0, 3, 3, 3)
    rows = []
    for step, values in enumerate(zip(*map(result.steps, columns), strict=True)):
        cells = [number(value, places) for value, places in zip(values, digits, strict=True)]
        rows.append([str(step), *cells[:-1], cells[-1] if step else DASH])
    return markdown(heads, rows)


_BLOCKS: Mapping[Part, Callable[[MethodResult], list[str]]] = {"training": _training, "sampling": _sampling}
