"""Says which images a grid of samples would show."""

from collections.abc import Mapping

from repro.harness.profile import Profile
from repro.kinds.gallery.declare import Gallery
from repro.kinds.gallery.measure import check, source
from repro.kinds.gallery.options import GalleryOptions
from repro.stages.failures import problem


def planned(gallery: Gallery, profile: Profile, options: GalleryOptions) -> Mapping[str, str]:
    """The plan of a grid, as names and words."""
    rows, columns = gallery.rows_in(profile), gallery.choice.count * gallery.seeds
    shown = "; ".join(f"{row.key}, {source(row, profile, options)}" for row in rows)
    prompts = f"{gallery.choice.rule.replace('*', '')} of the set {gallery.prompt_set(profile)}"
    seeds = f", {gallery.seeds} seeds each" if gallery.seeds > 1 else ""
    return {
        "Prompts": prompts + seeds,
        "Images": f"{len(rows) * columns}, {columns} of each row: {shown}",
        "Missing": problem(lambda: check(gallery, profile, options)),
    }
