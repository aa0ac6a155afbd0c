"""How an image is sampled, as data: along a schedule of scales, or on the teacher's grid at full scale."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

from swd.grid import sigma_grid
from swd.schedule import ScaleSchedule

Grow = Literal["renoise", "spectral"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingPlan:
    """The steps of one image.

    Args:
        schedule: scales and sigmas of the steps; None for the teacher's ODE at the network's own side.
        steps: evaluations, without those for guidance.
        guidance_scale: classifier-free guidance; none at 1 and below.
        shift: time shift of the teacher's grid; a schedule has its own sigmas.
        grow: how a schedule goes on from a step: "renoise" x0 at the next scale, as few-step students do, or along the
            ODE, with "spectral" expansion where the scale grows (``swd.progressive``).
        side: latent side of the teacher's grid in place of the network's own; None for that.

    Raises:
        ValueError: a schedule of other steps, an unknown way to grow, or one without a schedule; a side beside a
            schedule, which has its own, or below 1.
    """

    schedule: ScaleSchedule | None
    steps: int
    guidance_scale: float
    shift: float
    grow: Grow = "renoise"
    side: int | None = None

    def __post_init__(self) -> None:
        if self.grow not in get_args(Grow):
            raise ValueError(f"a schedule grows in one of the ways {', '.join(get_args(Grow))}, got {self.grow!r}")
        if self.grow != "renoise" and self.schedule is None:
            raise ValueError(f"growing by {self.grow!r} needs a schedule, got none")
        if self.schedule is not None and self.schedule.num_steps != self.steps:
            raise ValueError(f"a schedule of {self.schedule.num_steps} steps does not take {self.steps}")
        if self.side is not None and (self.schedule is not None or self.side < 1):
            beside = "" if self.schedule is None else f" beside a schedule of scales {self.schedule.scales}"
            raise ValueError(f"a side is one of the teacher's grid, and positive, got {self.side}{beside}")

    @property
    def is_guided(self) -> bool:
        """Whether every evaluation is doubled, for the caption and for none."""
        return self.guidance_scale > 1

    @property
    def passes(self) -> int:
        """Passes of one image through the network at each step."""
        return 2 if self.is_guided else 1

    def ladder(self, side: int) -> ScaleSchedule:
        """Scale and sigma of every step, of a network whose own latent side is ``side``."""
        if self.schedule is not None:
            return self.schedule
        return ScaleSchedule((self.side or side,) * self.steps, sigma_grid(self.steps, self.shift))

    def as_json(self) -> dict[str, Any]:
        """All that the image follows from, as plain data."""
        if self.schedule is None:
            side = {} if self.side is None else {"side": self.side}
            return {"steps": self.steps, "guidance": self.guidance_scale, "shift": self.shift, **side}
        guidance = {"guidance": self.guidance_scale} if self.is_guided else {}
        grow = {} if self.grow == "renoise" else {"grow": self.grow}
        upscale = {} if self.schedule.upscale == "bicubic" else {"upscale": self.schedule.upscale}
        schedule = {"scales": list(self.schedule.scales), "sigmas": list(self.schedule.sigmas), **upscale}
        return {**schedule, **guidance, **grow}
