"""The world of the paper's own numbers, whole: its prompts, the metrics that a profile declares, and what they need."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from repro.harness.needs import Need, PromptPlan
from repro.harness.profile import Scorer
from repro.metrics import Metric, Prompt, external, weights
from repro.metrics.reference import Features
from repro.metrics.reference import Reference as Statistics
from repro.worlds import benchmark_images, external_scorers, scorers
from repro.worlds.base import References
from repro.worlds.benchmark_prompts import SETS, BenchmarkPrompts
from repro.worlds.data_folder import BENCHMARKS, Benchmark, from_here
from repro.worlds.prompts.entry import PromptFileError
from repro.worlds.real_images import ImagesOfPrompts, ReadImage, centre_square, check_readable
from repro.worlds.references import ReferenceStatistics, image_folder
from repro.worlds.sources import ImageSource

NO_REFERENCE = "nothing"
THINGS = ("lighthouses by the sea", "cats on a red sofa", "bicycles in the rain", "bowls of ripe peaches")


@dataclass(frozen=True)
class Benchmarks(BenchmarkPrompts):
    """Prompts and references of the field's benchmarks, with metrics."""

    def check(self) -> None:
        """Read all prompt files, and look for weights and references.

        Raises:
            PromptFileError: a file is missing or broken.
            WeightsError: weights are not to be had.
        """
        super().check()
        for scorer in self.profile.scorers:
            scorers.identity(scorer, self.folder)
            if scorers.is_external(scorer):
                external_scorers.check(scorer)
            for name in scorer.prompts if scorers.compares(scorer) else ():
                self.reference(name)

    def metric_inputs(self) -> dict[str, Any]:
        """Declarations of the metrics, and hashes of their weights.

        Raises:
            WeightsError: weights are not to be had.
        """
        return {scorer.name: scorers.identity(scorer, self.folder) for scorer in self.profile.scorers}

    def metrics(self, prompt_set: str, device: torch.device, references: References) -> list[Metric]:
        """The metrics that the profile declares for a set, but for those of other environments.

        Raises:
            WeightsError: weights are missing or broken.
        """

        def reference(features: Features) -> Statistics:
            return references.statistics(self.reference(prompt_set), features)

        wanted = [scorer for scorer in self._of(prompt_set) if not scorers.is_external(scorer)]
        return [scorers.build(scorer, self.folder, device, reference) for scorer in wanted]

    def check_real_images(self, prompts: Sequence[Prompt], read: ReadImage | None = None) -> None:
        """Look for the photographs behind captions, and read them where ``read`` is given.

        Raises:
            PromptFileError: one is missing or cannot be read; it is named.
        """
        files = self._photographs.of_prompts(prompts)
        if read is not None:
            check_readable(files, read)

    def real_images(self, prompts: Sequence[Prompt], read: ReadImage) -> Tensor:
        """The photographs behind captions of the profile's first set: centre squares, (B, 3, H, H) in [-1, 1].

        Raises:
            PromptFileError: one is missing; it is named.
        """
        side = self.profile.data.resolution
        return torch.stack([centre_square(read(file), side) for file in self._photographs.of_prompts(prompts)])

    @cached_property
    def _photographs(self) -> ImagesOfPrompts:
        name = self.profile.prompt_sets[0].key
        benchmark = BENCHMARKS[self._set(name).benchmark]
        folder = image_folder(benchmark, self.folder)
        if folder is None:
            place = self.folder / benchmark.folder
            raise PromptFileError(
                f"no real images in {place}, which {name} starts from: expected {' or '.join(benchmark.images)}. To "
                f"get them: {benchmark.images_from.format(folder=place)} (licence: {benchmark.licence})"
            )
        return ImagesOfPrompts.of(self.entries(name), folder)

    def image_source(self, name: str, side: int, count: int) -> ImageSource:
        """Square images of MJHQ-30K, as `benchmark_images.images` gives them."""
        return benchmark_images.images(name, self.folder, side=side, count=count)

    def image_needs(self) -> Iterator[Need]:
        """The folder of those images."""
        yield benchmark_images.need(self.folder)

    def external_scorers(self, prompt_set: str, device: torch.device) -> list[external.Scorer]:
        """Programs of other environments that the profile declares for a set.

        Raises:
            WeightsError: a program or its weights are not here.
        """
        wanted = [scorer for scorer in self._of(prompt_set) if scorers.is_external(scorer)]
        return [external_scorers.build(scorer, self.folder, device) for scorer in wanted]

    def _of(self, prompt_set: str) -> list[Scorer]:
        return [scorer for scorer in self.profile.scorers if prompt_set in scorer.prompts]

    def captions(self, count: int) -> list[str]:
        """Captions for a clock, all different: timing needs no prompt file."""
        numbers = (count + len(THINGS) - 1) // len(THINGS)
        return [f"a photograph of {number} {thing}" for number in range(1, numbers + 1) for thing in THINGS][:count]

    def prompt_plans(self) -> Iterator[PromptPlan]:
        """Every set of prompts of the profile, also where its file is missing."""
        for prompt_set in self.profile.prompt_sets:
            declared = self._set(prompt_set.key)
            try:
                images, source = len(self.prompts(prompt_set.key)), self._read_from(declared.benchmark)
            except PromptFileError:
                prompts = min(declared.most or declared.published, self.profile.images_per_set)
                where = self.files.get(declared.benchmark) or BENCHMARKS[declared.benchmark].folder
                images, source = prompts * declared.images, f"{where}/not there"
            yield PromptPlan(
                key=prompt_set.key,
                images=images,
                source=source,
                reference=_reference(self, prompt_set.key) if _compared(self, prompt_set.key) else NO_REFERENCE,
            )

    def needs(self) -> Iterator[Need]:
        """Every file of prompts, folder of real images and metric's weights."""
        names = [prompt_set.key for prompt_set in self.profile.prompt_sets]
        for name in dict.fromkeys(self._set(name).benchmark for name in names):
            if name in self.files:
                yield _named(name, self.files[name])
            else:
                yield _prompt_file(BENCHMARKS[name], self.folder, f"prompts {name}")
        for name in names:
            if _compared(self, name):
                yield _real_images(self, name)
        for scorer in self.profile.scorers:
            if scorers.is_external(scorer):
                yield from external_scorers.program(scorer)
            yield from _weights(scorer, self.folder)

    def _read_from(self, benchmark: str) -> str:
        """As a reader of a plan knows it."""
        if benchmark in self.files:
            return self.files[benchmark]
        declared = BENCHMARKS[benchmark]
        return f"{declared.folder}/{declared.prompt_file(self.folder).name}"


def _compared(world: BenchmarkPrompts, prompt_set: str) -> bool:
    return any(scorers.compares(scorer) and prompt_set in scorer.prompts for scorer in world.profile.scorers)


def _reference(world: BenchmarkPrompts, prompt_set: str) -> str:
    try:
        found = world.reference(prompt_set)
    except PromptFileError:
        return "not there"
    return found.path.name if isinstance(found, ReferenceStatistics) else f"{len(found.files):,} real images"


def _named(benchmark: str, file: str) -> Need:
    """Prompts that the user named; a data set of the Hub is fetched where it is read."""
    return Need(name=file, why=f"prompts {benchmark}", command=f"# named with --prompts {benchmark}={file}")


def _prompt_file(benchmark: Benchmark, folder: Path, why: str) -> Need:
    command = benchmark.prompts_from.format(folder=from_here(folder / benchmark.folder))
    try:
        found = str(benchmark.prompt_file(folder))
    except PromptFileError:
        name = f"{benchmark.folder}/{benchmark.files[0]}"
        return Need(name=name, why=why, command=command, terms=benchmark.licence, missing=True)
    return Need(name=found, why=why, command=command, terms=benchmark.licence)


def _real_images(world: BenchmarkPrompts, prompt_set: str) -> Need:
    benchmark = BENCHMARKS[SETS[prompt_set].benchmark]  # a set of the user's own is compared with none
    return Need(
        name=f"{benchmark.folder}: real images, or reference.npz",
        why=f"FID on {prompt_set}",
        command=benchmark.images_from.format(folder=from_here(world.folder / benchmark.folder)),
        terms=benchmark.licence,
        missing=_reference(world, prompt_set) == "not there",
    )


def _weights(scorer: Scorer, folder: Path) -> Iterator[Need]:
    for name, source in scorers.sources(scorer).items():
        why = f"metric {scorer.name}" + ("" if name == "weights" else f" ({name})")
        terms = (scorer.licence if name == "weights" else "") or str(weights.TERMS.get(source.repo, ""))
        own = scorer.get.format(folder=from_here(folder)) if name == "weights" else ""
        command = own or weights.command(source.repo, source.revision, [source.file] if source.file else None)
        yield Need(name=str(source), why=why, command=command, terms=terms, missing=not scorers.is_here(source, folder))
