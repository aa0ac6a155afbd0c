"""Spectra of latents and pixels under noise."""

from repro.harness.kind import Kind, late
from repro.kinds.spectra.declare import SpectraFigure
from repro.kinds.spectra.options import add_arguments, choose_profile, make_options

KIND = Kind(
    name="spectra",
    declaration=SpectraFigure,
    run=late("repro.kinds.spectra.measure:run"),
    result=late("repro.kinds.spectra.result:SpectraResult"),
    page=late("repro.kinds.spectra.page:page"),
    drawing=late("repro.kinds.spectra.figure:drawing"),
    add_arguments=add_arguments,
    choose_profile=choose_profile,
    make_options=make_options,
)
