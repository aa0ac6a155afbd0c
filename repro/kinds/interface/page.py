"""The page of a figure of the interface: its pictures, and the words of the question."""

from pathlib import Path

from repro.harness.page import footer, joined
from repro.harness.plots import figure_path
from repro.kinds.interface.declare import PICTURES
from repro.kinds.interface.result import InterfaceResult


def page(result: InterfaceResult, folder: Path) -> str:
    """The Markdown page. Figures are linked where they are in ``folder``; all else comes from the records."""
    shown = result.shown
    parts = "\n".join(f"- {part}" for part in shown["parts"])
    blocks = [
        f"# {result.title}",
        result.experiment.question,
        f"> **Profile `{result.profile.name}`.** {result.profile.caption}",
        f"**{shown['name']}: {shown['question']}** Before this, the parts of the question are answered one by one:",
        parts,
        *_pictures(result, folder),
        *result.experiment.notes,
        *footer(result),
    ]
    return joined(blocks)


def _pictures(result: InterfaceResult, folder: Path) -> list[str]:
    blocks = []
    for kind, text in PICTURES.items():
        path = figure_path(folder, result.stem, kind)
        if path.exists():
            caption = f"The page of the question about {result.experiment.criterion}: {text}."
            blocks += [f"![{caption}](figures/{path.name})", f"*{caption}*"]
    return blocks
