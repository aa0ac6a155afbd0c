"""Options of a distillation run: one frozen dataclass is config, command line and study file at once."""

import json
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from swd.errors import ConfigError
from swd.schedule import UpscaleMode
from swd.training.options import (
    BandwidthRule,
    Checkpointing,
    Distance,
    Downscale,
    Features,
    Kernel,
    Method,
    Objective,
    Precision,
    Tracker,
    check_options,
)

if TYPE_CHECKING:
    from swd.grid import TeacherGrid
    from swd.schedule import ScaleSchedule

# What may differ between the run that saved a state and the run that resumes from it: none of these changes what is
# computed, only how (the order of sums, as the number of processes does; Triton's strips are rounded to bfloat16 where
# the features are).
FREE_ON_RESUME = frozenset(
    {
        "iterations",
        "checkpoint_every",
        "keep_last",
        "diverged_above",
        "log_with",
        "progress",
        "micro_batch_size",
        "gradient_checkpointing",
        "share_student_pass",
        "share_fake_pass",
        "prefetch",
        "compile",
        "pdm_method",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DistillConfig:
    """One distillation run. Defaults are the paper's for SD3.5 Medium (SwD v1, experiments).

    A loss with weight 0 is not computed, and nothing else changes: random numbers are drawn per purpose.
    """

    preset: str
    """Schedule: sd35-6, sd35-4, sd35-full-2, mini-6, ... (swd.schedule.PRESETS)."""
    objective: Objective = "distribution"
    """What the student learns: distribution (SwD: the weighted losses below, with a fake model), or consistency (LCM:
    one place on a trajectory of the teacher's ODE is to give the same x0 as the next; full scale alone). The
    distribution's own losses are then left at their defaults and not computed, and options of the fake model and the
    discriminator, which there are none of, are not read."""
    scales: tuple[int, ...] | None = None
    """Latent sides, one per step, in place of the preset's (needs boundaries too)."""
    boundaries: tuple[int, ...] | None = None
    """Boundary indices into the teacher's sigma grid, one more than scales, in place of the preset's."""
    iterations: int = 3000
    """Student updates."""
    batch_size: int = 64
    """Images per update over all processes together."""
    lr: float = 4e-6
    """Learning rate of the student adapter."""
    lr_fake: float | None = None
    """Learning rate of the fake adapter; the student's when absent."""
    lr_discriminator: float | None = None
    """Learning rate of the discriminator head; the fake adapter's when absent."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay rates of AdamW's moments."""
    weight_decay: float = 1e-2
    """AdamW's."""
    clip_norm: float = 10.0
    """Gradient norm limit, for student and for fake model with head."""
    warmup: int = 0
    """Iterations over which the learning rates rise linearly from 0."""
    weight_pdm: float = 1.0
    """Patch distribution matching, or the naive loss in its place."""
    weight_dmd: float = 1.0
    """Distribution matching by the scores of teacher and fake model."""
    weight_gan: float = 5e-3
    """Student's side of the GAN; at 0 there is no discriminator."""
    weight_gan_discriminator: float = 1e-2
    """Discriminator's side of the GAN, beside the fake model's MSE."""
    fake_updates: int = 5
    """Updates of the fake model before each student update."""
    rank: int = 64
    """LoRA rank of student and fake adapters."""
    alpha: float = 64.0
    """LoRA alpha of both; an update counts alpha / rank."""
    guidance_scale: float = 7.0
    """Classifier-free guidance of the teacher inside DMD, and along its ODE under consistency: 7.0 for Medium, 4.5 for
    Large."""
    pdm_kernel: Kernel = "linear"
    """Kernel of PDM: linear (pseudo-Huber of mean tokens), rbf (MMD), or naive, the token-by-token baseline."""
    pdm_huber_c: float = 1e-3
    """Width of the quadratic part of the linear kernel's pseudo-Huber."""
    pdm_bandwidth: float = 100.0
    """Length scale of the RBF kernel."""
    pdm_bandwidth_rule: BandwidthRule = "fixed"
    """Where the length scale comes from: pdm_bandwidth, or the median distance between tokens of the batch's
    targets (Gretton et al., 2012), which follows the features."""
    pdm_method: Method = "auto"
    """How the RBF kernel is computed: see swd.kernels.rbf_mmd."""
    pdm_pool_batch: bool = False
    """Match patches of the whole batch in place of image by image."""
    pdm_features: Features = "teacher"
    """Whose features PDM and the naive loss compare: teacher (the paper) or fake (the released code)."""
    pdm_noise: bool = True
    """Noise sample and target before the features that PDM compares; without, both are clean."""
    feature_block: int = 11
    """Transformer block whose output PDM and GAN read: 11 for Medium, 20 for Large."""
    dmd_indices: tuple[int, int] | None = None
    """Noise levels of DMD and GAN: half-open range of indices into the sigma grid; as published for the grid when
    absent (12..27 of SD3.5's 28)."""
    pdm_indices: tuple[int, int] | None = None
    """Noise levels of PDM, likewise (18..27 of SD3.5's 28)."""
    consistency_skip: int = 1
    """k of LCM: levels of the teacher's grid between the two points that are to agree, one step of its ODE."""
    consistency_distance: Distance = "huber"
    """Distance of the two x0: huber (pseudo-Huber) or l2, as in LCM's code."""
    consistency_huber_c: float = 1e-3
    """Width of the quadratic part of that pseudo-Huber."""
    consistency_decay: float | None = None
    """Take the target from an average of the student of this decay (LCM: 0.95); when absent, from the student itself
    without a gradient, as LCM-LoRA does."""
    grid: str | None = None
    """Sigma grid of the teacher: sd35, sd35-even, flux or sdxl (swd.grid.GRIDS); the preset's when absent, and that of
    SD3.5 where the preset is a name of your own."""
    shift: float | None = None
    """Time shift of the teacher's sigma grid; the grid's own when absent (3 of sd35 and flux, none of sdxl)."""
    grid_steps: int | None = None
    """Steps of the teacher's sigma grid; the grid's own when absent (28 of sd35 and flux, 50 of sdxl)."""
    upscale: UpscaleMode = "bicubic"
    """How x0 gets from a scale to the next, in training and, by the student's card, in sampling."""
    downscale: Downscale = "pixels"
    """Where images get smaller: in pixels, before the VAE (the method), or their latents, by area."""
    mixed_steps: bool = False
    """Draw a step of the schedule for every image by itself, in place of one for the whole batch, which cycles."""
    sample_latents: bool = False
    """Draw every latent from the Gaussian that the VAE's encoder predicts, in place of its mode; takes a cache with
    moments."""
    mixed_precision: Precision | None = None
    """Autocast of accelerate; adapters, their optimisers and the discriminator stay float32. When absent, what
    `accelerate launch` was asked for, and no without it."""
    micro_batch_size: int | None = None
    """Images per pass of one process; gradients of the passes add up to those of its whole share, the default."""
    gradient_checkpointing: Checkpointing = "auto"
    """What the way back computes again rather than finds in memory: off (nothing), selective (what is cheap: neither
    attention nor the base's matrix products), half (every second block), full (every block); auto takes the first of
    them that fits into the memory of a GPU, and off elsewhere."""
    share_student_pass: bool = True
    """Sample for all fake updates of an iteration in one pass, which holds fake_updates x batch_size images, without a
    graph: the student does not move between them. Not with micro_batch_size."""
    share_fake_pass: bool = True
    """Take the fake model's x0 and the features that the GAN reads from one pass."""
    prefetch: bool = True
    """Read the next batch while this one is computed."""
    compile: bool = False
    """Compile the blocks with torch.compile: minutes at the start, and a compiler (on the CPU for C++)."""
    ema_decay: float | None = None
    """Average the student adapter; the average is then what is exported."""
    diverged_above: float = 100.0
    """Stop once the student's total loss is more than so many times the largest of the first cycle of the schedule."""
    seed: int = 0
    """Of adapters, data order and every random number of the losses."""
    checkpoint_every: int = 250
    """Iterations between saved states."""
    keep_last: int = 2
    """Saved states to keep."""
    log_with: Tracker | None = None
    """A tracker of accelerate, beside log.jsonl which is always written."""
    progress: bool = True
    """Show a progress bar with every named loss."""

    def __post_init__(self) -> None:
        check_options(self)

    @property
    def uses_gan(self) -> bool:
        """Whether there is a discriminator at all: a head that teaches nobody is not trained."""
        return self.objective == "distribution" and self.weight_gan > 0

    @property
    def uses_fake(self) -> bool:
        """Whether the fake model is trained: its updates are skipped when no student term reads it."""
        reads_features = self.weight_pdm > 0 and self.pdm_features == "fake"
        return self.objective == "distribution" and (self.weight_dmd > 0 or self.uses_gan or reads_features)

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names of those that training puts on the teacher's network, the student first."""
        if self.objective == "distribution":
            return ("student", "fake")
        return ("student",) if self.consistency_decay is None else ("student", "target")

    @property
    def batches(self) -> int:
        """Batches of one iteration; the fake model's count whether or not it is trained."""
        return self.fake_updates + 1 if self.objective == "distribution" else 1

    @property
    def precision(self) -> Precision:
        """Of the run; where nobody asked for one, none is reduced."""
        return self.mixed_precision or "no"

    @property
    def images_read(self) -> int:
        """Images that a whole run reads, those of later epochs again."""
        return self.iterations * self.batch_size * self.batches

    def schedule(self) -> "ScaleSchedule":
        """The student's steps.

        Raises:
            ConfigError: unknown preset (with the nearest names), a schedule that is not one, a preset that does not
                fit the grid, or scales that grow under the objective consistency.
        """
        try:
            schedule = self._schedule()
        except ValueError as error:
            raise ConfigError(str(error)) from error
        if self.objective == "consistency" and schedule.is_scalewise:
            raise ConfigError(
                "objective consistency compares points of one trajectory, which has one scale: take a full-scale "
                f"preset, got scales {schedule.scales}"
            )
        return schedule

    def _schedule(self) -> "ScaleSchedule":
        from swd.schedule import ScaleSchedule, preset_spec

        scales, boundaries = self.scales, self.boundaries
        if scales is None or boundaries is None:
            spec = preset_spec(self.preset)
            spec.check_grid(self.teacher_grid)
            scales, boundaries = spec.scales, spec.boundaries
        process = self.teacher_grid.process
        return ScaleSchedule.from_boundaries(
            boundaries, scales, self.sigma_grid(), process=process, upscale=self.upscale
        )

    @property
    def teacher_grid(self) -> "TeacherGrid":
        """The grid that the schedule is cut from and that the losses draw from, with the options of this run in it."""
        from swd.grid import GRIDS
        from swd.schedule import PRESETS

        family = self.grid or (PRESETS[self.preset].family if self.preset in PRESETS else "sd35")
        names = ("shift", "dmd_indices", "pdm_indices")
        own = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        if self.grid_steps is not None:
            own["num_steps"] = self.grid_steps
        return replace(GRIDS[family], **own)

    def sigma_grid(self) -> tuple[float, ...]:
        """The teacher's noise levels, ``grid_steps + 1`` of them: what the losses draw from."""
        return self.teacher_grid.levels()

    def as_json(self) -> dict[str, Any]:
        """The options as plain JSON values, in declaration order; those of the grid as they come out."""
        plain, grid = asdict(self), self.teacher_grid
        names = {
            "shift": "shift",
            "grid_steps": "num_steps",
            "dmd_indices": "dmd_indices",
            "pdm_indices": "pdm_indices",
        }
        plain |= {name: getattr(grid, of_grid) for name, of_grid in names.items()}
        found: dict[str, Any] = json.loads(json.dumps(plain))
        return found

    def identity(self) -> dict[str, Any]:
        """What a training is known by: preset, iterations, and the options that are not at their defaults.

        An option that does not exist yet will be at its default, so finished trainings stay known when it comes. A
        default must therefore not change without a new version of whatever stores trainings by this.
        """
        defaults = DistillConfig(preset=self.preset).as_json()
        known = {"preset", "iterations"}
        return {name: value for name, value in self.as_json().items() if name in known or value != defaults[name]}


def differences(saved: dict[str, Any], config: DistillConfig) -> list[str]:
    """Options in which a saved run differs from ``config``, as ``name: saved -> wanted``; harmless ones left out."""
    wanted = config.as_json()
    # a run from before an option existed had its default
    before = {**DistillConfig(preset=saved.get("preset", "")).as_json(), **saved}
    wanted["mixed_precision"], before["mixed_precision"] = config.precision, before["mixed_precision"] or "no"
    names = [field.name for field in fields(config) if field.name not in FREE_ON_RESUME]
    return [f"{name}: {before.get(name)} -> {wanted[name]}" for name in names if before.get(name) != wanted[name]]
