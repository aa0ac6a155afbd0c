"""A callback of diffusers in the loop: between two steps it may change latents, condition and guidance."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from swd.backbones.base import Condition, Denoiser
from swd.backbones.numbers import floats, guidance
from swd.flow import NoiseProcess
from swd.guidance import step_conditions
from swd.values import typed

# (rows of the condition, guidance scale) -> a denoiser, and what to call it with
Guide = Callable[[Any, float], tuple[Any, Any]]


class Steered:
    """A denoiser whose condition and guidance may change between two evaluations.

    Args:
        student: what is evaluated.
        cond: rows as the callback sees them: with guidance the unconditional ones first, as in diffusers.
        guidance_scale: at first.
        guide: from such rows and a scale to a denoiser and its condition.
    """

    def __init__(self, student: Denoiser, cond: Condition, guidance_scale: float, guide: Guide) -> None:
        self.process: NoiseProcess = student.process
        self.latent_channels, self.patch_size = student.latent_channels, student.patch_size
        self.cond, self.guidance_scale = cond, guidance_scale
        self._guide = guide

    def prepare(self, sigmas: Tensor, cond: Any) -> list[int]:
        """The number of each evaluation; the condition of ``sample`` is not needed."""
        self._sigmas = sigmas
        self._plan(0)
        return list(range(len(sigmas)))

    def __call__(self, x_t: Tensor, sigma: Tensor, cond: int) -> Tensor:
        """Clean estimate of evaluation ``cond``, (B, C, H, W)."""
        x0: Tensor = self._denoiser(x_t, sigma, self._conds[cond - self._first])
        return x0

    def change(self, step: int, cond: Condition, guidance_scale: float) -> None:
        """From the step after ``step`` on, evaluate on these rows at this guidance scale."""
        if cond is not self.cond or guidance_scale != self.guidance_scale:
            self.cond, self.guidance_scale = cond, guidance_scale
            self._plan(step + 1)

    def _plan(self, first: int) -> None:
        self._first = first
        if first < len(self._sigmas):
            self._denoiser, cond = self._guide(self.cond, self.guidance_scale)
            self._conds = step_conditions(self._denoiser, self._sigmas[first:], cond)


class StepEndCallback:
    """``callback_on_step_end`` as diffusers calls it, as `swd.sampler.sample` wants it.

    Args:
        pipeline: what the callback gets first; its ``_interrupt`` and ``_guidance_scale`` count.
        callback: gets (pipeline, step, timestep, tensors) and may return other tensors.
        names: of the tensors that it gets.
        fields: the condition's fields by the names that a callback knows them by.
        steered: the denoiser of the loop.
        timesteps: of each step.

    Raises:
        ValueError: a name that there is not.
    """

    def __init__(
        self,
        pipeline: Any,
        callback: Callable[..., Mapping[str, Any] | None],
        names: Sequence[str],
        *,
        fields: Mapping[str, str],
        steered: Steered,
        timesteps: Tensor,
    ) -> None:
        self.pipeline, self.callback, self.names = pipeline, callback, names
        self.fields, self.steered, self.timesteps = fields, steered, timesteps
        check_names(names, fields)

    def __call__(self, step: int, latents: Tensor) -> tuple[Tensor, bool]:
        """What to go on with, and whether to.

        Raises:
            TypeError: the callback returned no mapping, or something else than tensors in it.
            ValueError: unknown names, tensors of other shapes, or guidance out of range.
        """
        rows = self.steered.cond.tensors()
        tensors = {"latents": latents, **{name: rows[field] for name, field in self.fields.items()}}
        shown = {name: tensors[name] for name in self.names}
        returned: Any = self.callback(self.pipeline, step, self.timesteps[step], shown)
        if not isinstance(returned, Mapping | None):
            raise TypeError(f"a callback returns tensors by their names, or None, got {typed(returned)}")
        changed = dict(returned or {})
        check_names(list(changed), self.fields)
        given = {field: changed[name] for name, field in self.fields.items() if changed.get(name) is not None}
        _check_rows(rows, given)
        kept = all(value is rows[field] for field, value in given.items())
        cond = self.steered.cond if kept else type(self.steered.cond)(**{**rows, **given})
        self.steered.change(step, cond, guidance("guidance_scale", self.pipeline._guidance_scale))
        return _like(latents, changed.get("latents")), not self.pipeline._interrupt


def check_names(names: Sequence[str], fields: Mapping[str, str]) -> None:
    """Raise ValueError where a callback asks for tensors, or returns some, that it cannot have."""
    unknown = [name for name in names if name != "latents" and name not in fields]
    if unknown:
        raise ValueError(f"callbacks see {', '.join(['latents', *fields])}, not {', '.join(unknown)}")


def _check_rows(rows: Mapping[str, Tensor], given: Mapping[str, Any]) -> None:
    """Raise TypeError or ValueError unless what a callback returned is as wide as what it got; rows may be others."""
    for field, value in given.items():
        found, width = floats(f"{field} of a callback", value), rows[field].shape[-1]
        if found.ndim != rows[field].ndim or found.shape[-1] != width:
            raise ValueError(f"a callback returned {field} {tuple(found.shape)} for {tuple(rows[field].shape)}")


def _like(latents: Tensor, changed: Tensor | None) -> Tensor:
    if changed is None:
        return latents
    if floats("latents of a callback", changed).shape != latents.shape:
        raise ValueError(f"a callback returned latents {tuple(changed.shape)} for {tuple(latents.shape)}")
    return changed.to(latents)
