"""Which of two systems people prefer, from votes of a study, or by a metric in their place."""

from repro.harness.kind import Kind, late
from repro.kinds.preference.declare import PreferenceFigure
from repro.kinds.preference.options import add_arguments, make_options

KIND = Kind(
    name="preference",
    declaration=PreferenceFigure,
    run=late("repro.kinds.preference.measure:run"),
    result=late("repro.kinds.preference.result:PreferenceResult"),
    page=late("repro.kinds.preference.page:page"),
    plan=late("repro.kinds.preference.planned:planned"),
    drawing=late("repro.kinds.preference.figure:drawing"),
    add_arguments=add_arguments,
    make_options=make_options,
)
