"""What an experiment runs in, as data: a model with its weights, its prompts and images, and what training gets."""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Literal, TypeVar

from repro.harness.experiment import Column, ExperimentError, PromptSet
from repro.harness.systems import HubFile

T = TypeVar("T")

Process = Literal["flow", "variance-preserving"]
Encoding = Literal["png", "webp"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Teacher:
    """The undistilled model and how it samples.

    Args:
        steps: network evaluations of an image, without those for guidance.
        guidance_scale: classifier-free guidance; none at 1 and below.
        shift: time shift of the sigma grid, of the teacher's sampling and of its students' training.
        embedded_guidance: guidance that the network takes as an input (FLUX); None for none.
        finishing_steps: of Table 1, where the teacher finishes latents that others began: of the whole grid; None for
            the same.
        finishing_guidance: likewise; None for the same.
        process: how it mixes clean latents and noise.
    """

    steps: int = 28
    guidance_scale: float = 7.0
    shift: float = 3.0
    embedded_guidance: float | None = None
    finishing_steps: int | None = None
    finishing_guidance: float | None = None
    process: Process = "flow"


@dataclass(frozen=True, slots=True, kw_only=True)
class Distil:
    """Options of ``swd.training.DistillConfig`` that all students of a profile share, where they differ from its own.

    Args:
        common: of every student.
        scalewise: also of students whose scale grows.
        fullscale: also of students at one scale.
    """

    common: Mapping[str, Any] = field(default_factory=dict)
    scalewise: Mapping[str, Any] = field(default_factory=dict)
    fullscale: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapters:
    """Students that ship.

    Args:
        folder: one folder for each variant.
        distil: how they were trained, whatever the profile trains by now.
    """

    folder: str
    distil: Distil


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """Where networks come from. Folders are relative to the repository.

    Args:
        pipeline: folder of the diffusers pipeline, or a hub name.
        adapters: the students that ship; None where none do.
        revision: of the pipeline on the Hub; None for the newest.
        published: base model whose place ``pipeline`` takes, where the command line names another; empty for itself.
        revisions: of other repositories of the Hub, by name, where the command line pins them.
        released: variant of a row -> student on the Hub.
        networks: name -> folder of another network of the pipeline's class, that a row may ask for in its place.
        clip: folder of the CLIP that scores images; None where nothing is scored.
        tiny_pipeline: folder or hub name of the tiny autoencoder that may stand in for the VAE.
        tiny: whether the pipeline is a tiny autoencoder by itself, without a transformer.
        vae_config: the VAE's architecture, to draw its weights at random.
        architecture: configs of ``transformer``, ``vae``, ``tiny_vae`` and ``text_encoders``; a profile that has them
            is timed and counted with random weights.
    """

    pipeline: str
    adapters: Adapters | None = None
    revision: str | None = None
    published: str = ""
    revisions: Mapping[str, str] = field(default_factory=dict)
    released: Mapping[str, HubFile] = field(default_factory=dict)
    networks: Mapping[str, str] = field(default_factory=dict)
    clip: str | None = None
    tiny_pipeline: str | None = None
    tiny: bool = False
    vae_config: Mapping[str, Any] | None = None
    architecture: Mapping[str, Any] | None = None

    @property
    def base(self) -> HubFile:
        """The pipeline, at its revision."""
        return HubFile(self.pipeline, revision=self.revision)


@dataclass(frozen=True, slots=True)
class Scorer:
    """A metric of images and where its weights are.

    Args:
        name: of `repro.worlds.scorers`.
        weights: file or folder on the Hub, or of this machine; None where it needs none.
        prompts: sets of prompts in which it measures.
        settings: of the metric, by name; ``command`` (words, or None) and ``backend`` "official" have a program of
            another environment score the images.
        licence: what a user has to accept or know, in words.
        get: what gets the weights, where that is not a download from the Hub; ``{folder}`` is the data folder.
    """

    name: str
    weights: HubFile | None
    prompts: tuple[str, ...]
    _: KW_ONLY
    settings: Mapping[str, Any] = field(default_factory=dict)
    licence: str = ""
    get: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """Prompts and images.

    Args:
        resolution: side of an image in pixels.
        world: where prompts, references and training images come from, as "module:Class"; None where none are needed.
        reference_images: real images for each prompt set that the set metric compares with.
        training_images: images that students are distilled on.
        drawn_images: those that the teacher draws where it is to be distilled on its own.
        sources: the world's sources of images whose spectra are measured.
        folder: of prompt files and reference images, where they are not made; empty for the checkout's own.
        num_prompts: at most so many of every set, where the command line says so.
        finished_set: set of prompts whose real images Table 1 starts from; empty for all.
        finished_images: of Table 1; None for as many as it says itself.
        prompt_files: set -> file, or name on the Hub, in place of what lies in ``folder``.
    """

    resolution: int
    world: str | None = None
    reference_images: int = 0
    training_images: int = 0
    drawn_images: int = 0
    sources: tuple[str, ...] = ()
    folder: str = ""
    num_prompts: int | None = None
    finished_set: str = ""
    finished_images: int | None = None
    prompt_files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """How images are made.

    Args:
        batch_size: so many at once.
        dtype: of all networks.
        tiny_vae: whether the profile's tiny autoencoder decodes in place of the VAE.
        shard_size: images that one process claims at a time; None for the batch size.
        encoding: of the image files, "png" or "webp", both without loss.
    """

    batch_size: int
    dtype: str
    tiny_vae: bool = False
    shard_size: int | None = None
    encoding: Encoding = "png"


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The world an experiment runs in. The same table runs in any profile.

    Args:
        name: on the command line and in the records.
        title: short name for captions ("the mini world").
        caption: one or two sentences that say plainly what was measured, and what it is not.
        presets: prefix of the schedule presets ("mini" makes "mini-full-4" of a row's "full-4").
        columns: this profile's own metrics.
        prompt_sets: in table order.
        images_per_set: images for each row and prompt set.
        data: prompts and images.
        weights: where networks come from.
        scorers: metrics with weights of their own; none where the world has its own metrics.
        optional: likewise, measured where the command line asks for them.
        optional_sets: of prompts, likewise.
        teacher: the undistilled model and how it samples.
        execution: how images are made; None where none are.
        distil: how students are trained.
        seeds: training seeds of the students.
        most_seeds: of a table over seeds, that are trained; None for all.
        committed: whether results belong into ``paper_tables``; others may never be written there.
        output: default output folder, relative to the repository.
        suffix: part of the file names ("table2.sd35-medium.md"); empty for mini and smoke.
        missing: metric key -> why this profile cannot measure it, for the footnote.
    """

    name: str
    title: str
    caption: str
    presets: str
    columns: tuple[Column, ...]
    prompt_sets: tuple[PromptSet, ...]
    images_per_set: int
    data: Data
    weights: Weights
    scorers: tuple[Scorer, ...] = ()
    optional: tuple[Scorer, ...] = ()
    optional_sets: tuple[PromptSet, ...] = ()
    teacher: Teacher = field(default_factory=Teacher)
    execution: Execution | None = None
    distil: Distil = field(default_factory=Distil)
    seeds: tuple[int, ...] = (0,)
    most_seeds: int | None = None
    committed: bool = False
    output: str = "paper_tables"
    suffix: str = ""
    missing: Mapping[str, str] = field(default_factory=dict)

    def column(self, key: str) -> Column | None:
        """The column of a metric, or None where this profile does not measure it."""
        return next((column for column in self.columns if column.key == key), None)

    def stem(self, key: str) -> str:
        """File name of an experiment's outputs, without the ending."""
        return key + (f".{self.suffix}" if self.suffix else "")

    def required(self, value: T | None, what: str) -> T:
        """A value of this profile that an experiment cannot do without.

        Raises:
            ExperimentError: the profile does not have it; the message names ``what``.
        """
        if value is None:
            raise ExperimentError(f"profile {self.name} has no {what}, which this needs: choose another --profile")
        return value
