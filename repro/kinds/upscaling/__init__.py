"""Where to upscale on the way from a small clean latent to a large noisy one."""

from repro.harness.kind import Kind, late, profile_with_metrics
from repro.kinds.upscaling.declare import UpscalingTable

KIND = Kind(
    name="upscaling",
    declaration=UpscalingTable,
    run=late("repro.kinds.upscaling.measure:run"),
    result=late("repro.kinds.upscaling.result:UpscalingResult"),
    page=late("repro.kinds.upscaling.page:page"),
    choose_profile=profile_with_metrics,
)
