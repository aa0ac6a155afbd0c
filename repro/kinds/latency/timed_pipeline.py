"""What a table of times is about: the pipeline of a profile, true or drawn at random, and how its rows sample."""

import gc
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderTiny

from repro.harness.experiment import ExperimentError
from repro.harness.files import ROOT, digest_folder, digest_json
from repro.harness.plan import Plan, resolve
from repro.harness.profile import Profile
from repro.kinds.latency.declare import Protocol, TimedRow
from repro.stages.images import check_pipeline, load_pipeline, text_encoders
from repro.stages.random_weights import random_pipeline, random_tiny_vae
from repro.worlds.base import load_world
from swd.backbones import backbone_of
from swd.backbones.fast import FastOptions
from swd.cost import weight_bytes
from swd.pipelines import ScalewiseStableDiffusion3Pipeline
from swd.schedule import ScaleSchedule


@dataclass(frozen=True)
class TimedPipeline:
    """Networks of a profile under a protocol; everything heavy is made when it is first asked for.

    Attributes:
        profile: says the pipeline, or the architecture whose weights are drawn.
        protocol: how it is timed.
        device: where.
        weights: folder or hub name in place of the profile's; empty for the profile's own, or random ones.
    """

    profile: Profile
    protocol: Protocol
    device: torch.device
    weights: str = ""

    @property
    def dtype(self) -> torch.dtype:
        """Of all networks."""
        dtype: torch.dtype = getattr(torch, self.protocol.dtype)
        return dtype

    @property
    def architecture(self) -> Mapping[str, Any] | None:
        """Configs of a profile that is timed with random weights; None where a pipeline is loaded."""
        if self.weights or self.profile.weights.architecture is None:
            return None
        found = self.profile.weights.architecture
        return found if self.protocol.t5 else {**found, "text_encoders": found["text_encoders"][:2]}

    def check(self) -> None:
        """Whatever can be known to be missing is, before any work.

        Raises:
            ExperimentError: the profile has no tiny VAE, or T5 would read nothing.
            PipelineError: its pipeline is not there, or a file of it is broken.
        """
        if self.architecture is None and not self.weights:
            check_pipeline(ROOT / self.profile.weights.pipeline)
        if self.protocol.vae == "tiny" and "tiny_vae" not in (self.profile.weights.architecture or {}):
            raise ExperimentError(f"profile {self.profile.name} has no tiny VAE; choose another --vae")
        if self.architecture is not None and len(self.architecture["text_encoders"]) > 2 and not self.text_length:
            raise ExperimentError(f"profile {self.profile.name} has a T5, which needs a --text-length of at least 1")

    def digest(self) -> str:
        """Identity of the networks."""
        if self.architecture is not None:
            return digest_json(self.architecture)
        return digest_folder(Path(self._name)) if Path(self._name).is_dir() else digest_json(self._name)

    @property
    def _name(self) -> str:
        """Folder, or hub name."""
        name = self.weights or self.profile.weights.pipeline
        return str(ROOT / name) if (ROOT / name).is_dir() else name

    def load(self, device: torch.device) -> ScalewiseStableDiffusion3Pipeline:
        """A fresh pipeline; on "meta" only where the weights are random."""
        if self.architecture is None:
            return load_pipeline(self._name, self.protocol.dtype, device)
        pipeline: ScalewiseStableDiffusion3Pipeline = random_pipeline(self.architecture, device, self.dtype)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    @cached_property
    def pipeline(self) -> ScalewiseStableDiffusion3Pipeline:
        """What is timed, in place and compiled if the protocol asks for it."""
        pipeline = self.load(self.device)
        if self.protocol.vae == "tiny":
            pipeline.vae = self._tiny_vae(self.device)
        if self.protocol.compile:
            _compile(pipeline, blocks=not self.protocol.fast)  # the fast path compiles copies of its own
        if self.protocol.fast:
            pipeline.enable_fast(FastOptions(prompt_cache=0, compile=self.protocol.compile))
        return pipeline

    def release(self) -> None:
        """Let go of the pipeline: what comes next needs the room."""
        vars(self).pop("pipeline", None)
        if self.architecture is None:  # then it is the same
            vars(self).pop("skeleton", None)
        gc.collect()

    def weights_to_load(self, *, copies: int = 1) -> int:
        """Bytes that loading the pipeline will take, with so many transformers; 0 once it is loaded, or if unknown."""
        if "pipeline" in vars(self) or self.architecture is None:
            return 0
        pipeline = self.skeleton
        return weight_bytes(*[pipeline.transformer] * copies, pipeline.vae, *text_encoders(pipeline))

    @cached_property
    def skeleton(self) -> ScalewiseStableDiffusion3Pipeline:
        """The same architecture, without weights where they are random: to count."""
        if self.architecture is None:
            return self.pipeline
        pipeline = self.load(torch.device("meta"))
        if self.protocol.vae == "tiny":
            pipeline.vae = self._tiny_vae(torch.device("meta"))
        return pipeline

    def _tiny_vae(self, device: torch.device) -> AutoencoderTiny:
        if self.architecture is not None:
            return random_tiny_vae(self.architecture, device, self.dtype)
        name = self.profile.required(self.profile.weights.tiny_pipeline, "tiny VAE")
        try:
            made: AutoencoderTiny = AutoencoderTiny.from_pretrained(name, torch_dtype=self.dtype)
        except (OSError, ValueError) as error:
            raise ExperimentError(f"cannot load the tiny VAE {name}: {error}") from error
        return made.to(device)

    @property
    def text_length(self) -> int:
        """T5 tokens, 0 for a model without any."""
        return self.t5_tokens(self.skeleton)

    def t5_tokens(self, pipeline: ScalewiseStableDiffusion3Pipeline) -> int:
        """As asked for, or else what the pipeline reads."""
        asked = self.protocol.text_length
        return backbone_of(pipeline).token_length(pipeline) if asked is None else asked

    @property
    def text_tokens(self) -> int:
        """Of all text encoders together."""
        return backbone_of(self.skeleton).count_text_tokens(self.skeleton, self.text_length)

    def schedule(self, timed: TimedRow) -> ScaleSchedule:
        """Scale and sigma of every step of a row."""
        return self.plan(timed).sample.ladder(self.side)

    def plan(self, timed: TimedRow) -> Plan:
        """What a row trains and samples."""
        return resolve(self.profile, timed.row)

    @property
    def side(self) -> int:
        """The network's own latent side."""
        return int(self.skeleton.transformer.config.sample_size)

    def captions(self, count: int) -> list[str]:
        """Different ones, so that none is encoded for free."""
        return load_world(self.profile, ROOT).captions(count)


def _compile(pipeline: ScalewiseStableDiffusion3Pipeline, *, blocks: bool) -> None:
    """Everything that is called; blocks once for all scales, whose number of tokens is a variable."""
    torch.compiler.reset()  # torch keeps a few versions of a piece of code, and refuses more
    for block in pipeline.transformer.transformer_blocks if blocks else ():
        block.compile(fullgraph=True, dynamic=True)
    for module in (*text_encoders(pipeline), pipeline.vae.decoder):
        module.compile(dynamic=True)
