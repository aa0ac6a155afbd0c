"""Grids of samples, and the gallery of all of them: rows are systems, columns prompts chosen by a stated rule."""

from repro.harness.kind import Command, Kind, late
from repro.kinds.gallery.declare import Gallery
from repro.kinds.gallery.options import add_arguments, add_site_arguments, make_options

KIND = Kind(
    name="gallery",
    declaration=Gallery,
    run=late("repro.kinds.gallery.measure:run"),
    result=late("repro.kinds.gallery.result:GalleryResult"),
    page=late("repro.kinds.gallery.page:page"),
    plan=late("repro.kinds.gallery.planned:planned"),
    add_arguments=add_arguments,
    make_options=make_options,
    commands=(
        Command(
            name="gallery",
            help="write a page of all sample figures, to be opened from disk",
            add_arguments=add_site_arguments,
            run=late("repro.kinds.gallery.measure:write_site"),
        ),
    ),
)
