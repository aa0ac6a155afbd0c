"""Scores of a table's rows on images of prompts, and quality against compute."""

from repro.harness.kind import Kind, late
from repro.kinds.scores.declare import Table
from repro.kinds.scores.options import add_arguments, choose_profile, make_options

KIND = Kind(
    name="scores",
    declaration=Table,
    run=late("repro.kinds.scores.measure:run"),
    result=late("repro.kinds.scores.result:ScoresResult"),
    page=late("repro.kinds.scores.page:page"),
    drawing=late("repro.kinds.scores.figure:drawing"),
    units=late("repro.kinds.scores.units:units"),
    add_arguments=add_arguments,
    choose_profile=choose_profile,
    make_options=make_options,
)
