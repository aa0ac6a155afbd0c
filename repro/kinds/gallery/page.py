"""The page of a grid of samples: the picture, the rule, and every prompt with its seed."""

from pathlib import Path

from repro.harness.cells import markdown
from repro.harness.page import footer, joined, session
from repro.harness.plots import figure_path
from repro.kinds.gallery.result import GalleryResult

KIND = "samples"  # of the picture's file name


def page(result: GalleryResult, folder: Path) -> str:
    """The Markdown page. Figures are linked where they are in ``folder``; all else comes from the records."""
    shown, gallery = result.shown, result.experiment
    seeds = f", each with {gallery.seeds} seeds" if gallery.seeds > 1 else ""
    rule = f"Prompts: {gallery.choice.rule} of the {shown['total']} of the set `{shown['prompts']}`{seeds}."
    picture = figure_path(folder, result.stem, KIND)
    caption = f"{result.title}: rows are systems, and every column has one prompt and one seed."
    blocks = [
        f"# {result.title}",
        gallery.question,
        f"> **Profile `{result.profile.name}`.** {result.profile.caption}",
        f"{rule} Nothing was chosen by its looks." if not gallery.choice.by_hand else rule,
        f"![{caption}](figures/{picture.name})" if picture.exists() else "",
        "## Prompts",
        markdown(
            ["Column", "Prompt", "Seed"],
            [[str(n), column["caption"], str(column["seed"])] for n, column in enumerate(shown["columns"], 1)],
            left=2,
        ),
        "## Systems",
        markdown(["Row", "System", "Images"], [[r["key"], r["label"], r["source"]] for r in shown["rows"]], left=3),
        f"An image depends on its prompt, its seed and its row alone: `{session(result)}` makes all of them again, and "
        "`nox -s gallery` shows them one by one, in a page that opens from disk.",
        *gallery.notes,
        *footer(result),
    ]
    return joined(blocks)
