"""The world of the paper's own numbers: COCO 2014, MJHQ-30K, GenEval, PartiPrompts and what a user brings.

The profile may name a file, a folder of parquet, or a data set of the Hub for a benchmark, in place of what lies in the
data folder; a set of another name than those below is a file of the user's own.

| prompt set | prompts | images of each |
|---|---|---|
| `coco`, `mjhq` | as many as the profile asks for: 30,000 | 1 |
| `geneval` | 553 | 4, as published |
| `diversity` | 500 of `coco` | 4 seeds |
| `parti` | 1,632 | 1 |

Which prompts and which seeds follows from ids alone (``repro.worlds.prompts.subset``). Metrics are not this world's: a
profile names them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from repro.harness.experiment import ExperimentError, UnknownNameError
from repro.harness.files import digest_json
from repro.harness.profile import Profile
from repro.worlds.data_folder import BENCHMARKS, data_folder
from repro.worlds.prompts.coco import read_coco
from repro.worlds.prompts.entry import PromptEntry, PromptFileError
from repro.worlds.prompts.geneval import read_geneval
from repro.worlds.prompts.mjhq import read_mjhq
from repro.worlds.prompts.parti import read_parti
from repro.worlds.prompts.plain import read_plain
from repro.worlds.prompts.subset import VERSION, image_seed, subset
from repro.worlds.references import Reference, find_reference

READERS: Mapping[str, Callable[[Any], list[PromptEntry]]] = {
    "coco": read_coco,
    "mjhq": read_mjhq,
    "geneval": read_geneval,
    "parti": read_parti,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SetOfPrompts:
    """How a set is drawn from a benchmark: at most ``most`` prompts (None: what the profile asks for; 0: all).

    ``published`` is how many the benchmark has, for a plan before its file is there.
    """

    benchmark: str
    published: int
    images: int = 1
    most: int | None = None


SETS: Mapping[str, SetOfPrompts] = {
    "coco": SetOfPrompts(benchmark="coco", published=30_000),
    "mjhq": SetOfPrompts(benchmark="mjhq", published=30_000),
    "geneval": SetOfPrompts(benchmark="geneval", published=553, images=4, most=0),
    "diversity": SetOfPrompts(benchmark="coco", published=30_000, images=4, most=500),
    "parti": SetOfPrompts(benchmark="parti", published=1_632, most=0),
}


@dataclass(frozen=True)
class BenchmarkPrompts:
    """Prompts and references of the field's benchmarks, below a data folder.

    Attributes:
        profile: gives the counts.
        root: the checkout.
        data: the data folder; None for ``repro.worlds.data_folder.data_folder(root)``.
    """

    profile: Profile
    root: Path
    data: Path | None = None
    _read: dict[str, list[PromptEntry]] = field(default_factory=dict, repr=False, compare=False)

    def prompts(self, prompt_set: str) -> list[dict[str, Any]]:
        """``id``, ``caption`` and ``seed`` of every image, with ``prompt_id`` and what the benchmark knows.

        Raises:
            UnknownNameError: no such prompt set.
            PromptFileError: the file is missing or broken, or has fewer prompts than are asked for.
        """
        images = self._set(prompt_set).images
        chosen = self.entries(prompt_set)
        return [_prompt(entry, index, images) for entry in chosen for index in range(images)]

    def entries(self, prompt_set: str) -> list[PromptEntry]:
        """The prompts of a set, in its order, before they are given seeds."""
        declared = self._set(prompt_set)
        entries = self._entries(declared.benchmark)
        wanted = self._count(declared, len(entries))
        if wanted > len(entries):
            raise PromptFileError(
                f"{self._source(declared.benchmark)} has {len(entries)} prompts, {wanted} are asked for; "
                f"--num-prompts {len(entries)} takes all of them"
            )
        return subset(entries, wanted)

    def reference(self, prompt_set: str) -> Reference:
        """The real images behind the prompts of a set, or their statistics.

        Raises:
            UnknownNameError: no such prompt set.
            PromptFileError: they are missing or broken, or this set has none.
        """
        declared = self._set(prompt_set)
        benchmark = BENCHMARKS.get(declared.benchmark)
        if benchmark is None or not benchmark.images:
            raise PromptFileError(f"prompt set {prompt_set} has no real images; expected coco or mjhq")
        return find_reference(benchmark, self.folder, self.entries(prompt_set))

    def fingerprint(self) -> dict[str, Any]:
        """What prompts follow from: the contents of files in any order, and the rules that draw subsets and seeds."""
        digests = {name: digest_json(subset(self._entries(name))) for name in self._benchmarks()}
        counts = {"num_prompts": self.profile.data.num_prompts, "images_per_set": self.profile.images_per_set}
        return {"world": "benchmarks", "subset": VERSION, "files": digests, **counts}

    def check(self) -> None:
        """Read all prompt files of the profile's sets, so that what is wrong with one is known before any work."""
        for prompt_set in self.profile.prompt_sets:
            self.entries(prompt_set.key)

    def captions(self, count: int) -> list[str]:
        """The first different captions of the first set, for a clock.

        Raises:
            PromptFileError: there are fewer.
        """
        name = next((prompt_set.key for prompt_set in self.profile.prompt_sets), "coco")
        source = self._set(name).benchmark
        found = list(dict.fromkeys(entry.caption for entry in subset(self._entries(source))))
        if len(found) < count:
            raise PromptFileError(f"{self._source(source)} has {len(found)} different captions, expected {count}")
        return found[:count]

    def training_images(self) -> tuple[Sequence[Any], list[str], str]:
        """None: benchmarks are not trained on.

        Raises:
            ExperimentError: always; it says what to do.
        """
        raise ExperimentError(
            f"profile {self.profile.name} has no training images: benchmarks are for scoring. Train with "
            "python -m swd.cache and python -m swd.train on images of your own, and pass --adapters DIR"
        )

    @property
    def folder(self) -> Path:
        """Of prompt files and real images."""
        return self.data or data_folder(self.root, self.profile.data.folder)

    @property
    def files(self) -> Mapping[str, str]:
        """What the profile names in place of the data folder's own."""
        return self.profile.data.prompt_files

    def _set(self, name: str) -> SetOfPrompts:
        if name in SETS:
            found = SETS[name]
            if name in self.files and name != found.benchmark:
                raise PromptFileError(
                    f"prompts of {name} are drawn from {found.benchmark}: name a file of that, not {self.files[name]}"
                )
            return found
        if name in self.files:
            return SetOfPrompts(benchmark=name, published=0, most=0)
        raise UnknownNameError("prompt set", name, [*SETS, *self.files])

    def _benchmarks(self) -> list[str]:
        return list(dict.fromkeys(self._set(prompt_set.key).benchmark for prompt_set in self.profile.prompt_sets))

    def _source(self, benchmark: str) -> Path | str:
        if benchmark not in self.files:
            return BENCHMARKS[benchmark].prompt_file(self.folder)
        named = self.files[benchmark]
        if Path(named).exists() or benchmark != "coco":
            return Path(named)
        return named  # a data set on the hub

    def _entries(self, benchmark: str) -> list[PromptEntry]:
        if benchmark not in self._read:
            self._read[benchmark] = READERS.get(benchmark, read_plain)(self._source(benchmark))
        return self._read[benchmark]

    def _count(self, declared: SetOfPrompts, there: int) -> int:
        if declared.most is None:
            return self.profile.data.num_prompts or self.profile.images_per_set
        return min(number for number in (declared.most or there, self.profile.data.num_prompts or there, there))


def _prompt(entry: PromptEntry, index: int, images: int) -> dict[str, Any]:
    known = {"category": entry.category, "kind": entry.kind, "geneval": entry.geneval}
    return {
        "id": entry.id if images == 1 else f"{entry.id}-{index}",
        "prompt_id": entry.id,
        "caption": entry.caption,
        "seed": image_seed(entry.id, index),
        **{name: value for name, value in known.items() if value is not None},
    }
