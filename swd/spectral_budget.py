"""A schedule from the spectrum at a given cost: the widest margin of noise over signal that the tokens pay for."""

from collections.abc import Sequence

from swd.flow import FlowMatching, NoiseProcess, signal_and_noise
from swd.schedule import ScaleSchedule
from swd.spectra import Spectrum, schedule_from_spectrum
from swd.values import several, typed, whole


def fill_budget(
    clean: Spectrum,
    *,
    sigmas: Sequence[float],
    num_tokens: int,
    multiple: int = 2,
    least: int = 0,
    process: NoiseProcess | None = None,
) -> tuple[ScaleSchedule, float]:
    """The schedule with the widest margin at the given levels that costs no more than another one.

    A wider margin asks for larger scales. All margins that matter are tried: where noise and a ring balance.

    Args:
        clean: power (F,) at the final scale, of square latents.
        sigmas: levels of the steps with the final 0.
        num_tokens: most image tokens over all steps, of the patch size ``multiple``.
        multiple: as of `schedule_from_spectrum`.
        least: likewise.
        process: likewise.

    Returns:
        The schedule, and the widest margin that it keeps.

    Raises:
        TypeError: an argument of another type.
        ValueError: even the smallest scales cost more, or as in `schedule_from_spectrum`.
    """
    if not isinstance(clean, Spectrum):
        raise TypeError(f"clean must be a Spectrum, such as radial_spectrum makes, got {typed(clean)}")
    sigmas, num_tokens = several("sigmas", sigmas), whole("num_tokens", num_tokens, 1)
    ScaleSchedule((min(clean.size),) * (len(sigmas) - 1), tuple(sigmas))  # levels that are none are found here
    weights = [signal_and_noise(sigma, process or FlowMatching()) for sigma in sigmas[1:-1]]
    powers = clean.power[clean.inscribed & (clean.power > 0)].tolist()
    margins = sorted((noise / signal) ** 2 / power for signal, noise in weights for power in powers)
    found = None
    for margin in margins:
        schedule = schedule_from_spectrum(
            clean, sigmas=sigmas, margin=margin, multiple=multiple, least=least, process=process
        )
        if schedule.num_tokens(multiple) > num_tokens:
            break
        found = schedule, margin
    if found is None:
        raise ValueError(f"no schedule at sigmas {tuple(sigmas)} takes {num_tokens} tokens or fewer")
    return found
