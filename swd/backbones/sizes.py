"""Heights and widths as callers write them: of a network that takes some, with the nearest that it does."""

from dataclasses import dataclass

from swd.schedule import ScaleSchedule
from swd.values import shown, whole


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeLimits:
    """What sizes a network and its VAE can take.

    Attributes:
        multiple: of which latent sides are, the patch size.
        factor: pixels per latent.
        max_side: largest latent side, None where any will do.
    """

    multiple: int
    factor: int
    max_side: int | None

    def nearest(self, pixels: float) -> int:
        """The possible side that is nearest, in pixels."""
        unit = self.multiple * self.factor
        most = None if self.max_side is None else self.max_side // self.multiple
        patches = max(1, round(pixels / unit))
        return unit * (patches if most is None else min(patches, most))

    def takes(self, pixels: int) -> bool:
        """Whether a side is possible."""
        return pixels == self.nearest(pixels)


def resolve_size(
    schedule: ScaleSchedule, height: int | None, width: int | None, limits: SizeLimits
) -> tuple[int, int] | None:
    """Height and width of the last latent; None for the square of the schedule's last scale.

    The square of the *first* scale also stands for that default: published snippets pass ``height=scales[0] * 8``, the
    size of the noise that diffusers' own pipeline starts from.

    Raises:
        ValueError: one of the two is missing, no patches tile the size, or the network's positions end before it; names
            the nearest size that is possible.
        TypeError: a side is no whole number.
    """
    schedule.check_size(limits.max_side)
    if height is None and width is None:
        return None
    if height is None or width is None:
        raise ValueError(f"height and width go together, got height={shown(height)} and width={shown(width)}")
    height, width = whole("height", height), whole("width", width)
    if not limits.takes(height) or not limits.takes(width):
        _refuse_size(schedule, height, width, limits)
    if (height, width) == (limits.factor * schedule.scales[0],) * 2:
        return None
    return height // limits.factor, width // limits.factor


def _refuse_size(schedule: ScaleSchedule, height: int, width: int, limits: SizeLimits) -> None:
    unit = limits.multiple * limits.factor
    rows, columns = limits.nearest(height), limits.nearest(width)
    if (rows, columns) == (limits.factor * schedule.scales[0],) * 2:  # would be read as the default
        rows += unit if limits.takes(rows + unit) else -unit
    end = "" if limits.max_side is None else f" up to {limits.nearest(limits.factor * limits.max_side)}"
    raise ValueError(
        f"height and width must be positive multiples of {unit}{end}, got {height} x {width}; the nearest size is "
        f"{rows} x {columns}"
    )
