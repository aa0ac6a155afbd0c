"""A published text-to-image system as its authors sample it, as data: what Table 4 compares."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file or folder of the Hub, or of this machine.

    Args:
        repo: name on the Hub, or a folder.
        file: inside it; empty for the whole.
        revision: branch, tag or commit; None for the newest.
    """

    repo: str
    file: str = ""
    revision: str | None = None

    def __str__(self) -> str:
        return f"{self.repo}{f'/{self.file}' if self.file else ''}"

    def pinned(self, revisions: Mapping[str, str]) -> "HubFile":
        """The same at the revision of its repository, if that is among them."""
        return replace(self, revision=revisions.get(self.repo, self.revision))


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """A pipeline of diffusers with the settings that its authors publish.

    Args:
        base: the pipeline.
        steps: network evaluations of an image, without those for guidance.
        guidance_scale: as the pipeline takes it; None leaves the pipeline's own (a scale-wise student has one).
        resolution: side of an image in pixels.
        student: scale-wise adapter, which brings its schedule with it.
        network: weights that stand in for those of the pipeline's network.
        lora: adapter of another method, merged with ``lora_scale``.
        lora_scale: 1 is the adapter as it was trained.
        scheduler: class of diffusers in place of the pipeline's; empty leaves that.
        scheduler_options: what the scheduler is made with, over the config of the pipeline's.
        call: further arguments of the pipeline's call, such as ``timesteps``.
        variant: of the weight files, such as "fp16"; None for none.
        until: latent side of a scale-wise student after whose step the image is taken; None for its last.
        architecture: profile whose architecture it has, to count what it costs.
        parameters: of its network, in billions, as published.
        licence: that a user has to accept, in words; empty where none is asked for.
        no_float16: whether it overflows in float16, so that bfloat16 takes its place.

    Raises:
        ValueError: steps or resolution below 1, a student beside another method, or an early side of what is no student
            on its own schedule.
    """

    base: HubFile
    steps: int
    guidance_scale: float | None = None
    resolution: int = 1024
    student: HubFile | None = None
    network: HubFile | None = None
    lora: HubFile | None = None
    lora_scale: float = 1.0
    scheduler: str = ""
    scheduler_options: Mapping[str, Any] = field(default_factory=dict)
    call: Mapping[str, Any] = field(default_factory=dict)
    variant: str | None = None
    until: int | None = None
    architecture: str = ""
    parameters: float | None = None
    licence: str = ""
    no_float16: bool = False

    def __post_init__(self) -> None:
        if self.steps < 1 or self.resolution < 1:
            raise ValueError(f"steps and resolution must be positive, got {self.steps} and {self.resolution}")
        if self.student is not None and (self.lora or self.network or self.scheduler):
            raise ValueError(f"{self.student} is a scale-wise student: it takes no other weights and no scheduler")
        if self.until is not None and (self.student is None or "schedule" in self.call):
            raise ValueError(f"only a student on its own schedule stops after side {self.until}: {self.base}")

    @property
    def is_guided(self) -> bool:
        """Whether every evaluation is doubled; a network that takes the scale as an input says so in ``call``."""
        return self.guidance_scale is not None and self.guidance_scale > 1 and not self.distilled_guidance

    @property
    def distilled_guidance(self) -> bool:
        """Whether the network takes the scale as an input (FLUX)."""
        return self.architecture == "flux"

    def pinned(self, revisions: Mapping[str, str]) -> "System":
        """The same with all its files at the revisions of their repositories."""
        files = {name: getattr(self, name) for name in ("base", "student", "network", "lora")}
        return replace(self, **{name: file.pinned(revisions) for name, file in files.items() if file is not None})

    @property
    def sources(self) -> tuple[HubFile, ...]:
        """All that has to be on this machine."""
        return tuple(source for source in (self.base, self.student, self.network, self.lora) if source is not None)
