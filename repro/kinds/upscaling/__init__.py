"""Where to upscale on the way from a small clean latent to a large noisy one."""

from repro.harness.kind import Kind, late
from repro.kinds.upscaling.declare import UpscalingTable
from repro.kinds.upscaling.options import add_arguments, choose_profile, make_options

KIND = Kind(
    name="upscaling",
    declaration=UpscalingTable,
    run=late("repro.kinds.upscaling.measure:run"),
    result=late("repro.kinds.upscaling.result:UpscalingResult"),
    page=late("repro.kinds.upscaling.page:page"),
    add_arguments=add_arguments,
    choose_profile=choose_profile,
    make_options=make_options,
)
