"""Images that nobody samples here: a folder of them, or the real ones behind the prompts, also through the VAE."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repro.harness.experiment import ExperimentError, Row
from repro.harness.files import digest_folder
from repro.harness.plan import pixels_of
from repro.metrics import Prompt
from repro.metrics.base import levels, pictures
from repro.stages.image_files import read_image
from repro.stages.image_folders import check_drawn, check_folder, images_of_folder
from repro.stages.image_sets import ImageSetError, identified
from repro.stages.images import ENLARGED, Generate, ImageSet, Unusable, enlarged, finished
from repro.stages.references import StoredReferences
from swd.resize import downscale_area

if TYPE_CHECKING:
    from PIL.Image import Image

    from repro.kinds.scores.sources import Studio


@dataclass(frozen=True)
class RealSource:
    """The real images behind prompts; the same for every training seed."""

    studio: "Studio"
    row: Row

    def inputs(self) -> dict[str, Any]:
        """The world, and the VAE and a smaller side where they play a part."""
        found: dict[str, Any] = {"real": self.row.real, "world": self.studio.measurement.world.fingerprint()}
        if self.row.share < 1:
            found |= {"side": pixels_of(self.studio.profile, self.row), "enlarged": ENLARGED}
        return found if self.row.real == "real" else {**found, "vae": self._references.vae}

    def images(self, prompt_set: str, prompts: Sequence[Prompt], place: str = "") -> ImageSet:
        """Read or drawn."""
        label = f"{place}{self.row.key}, {prompt_set}: images"
        return self.studio.made(label, prompts, self.inputs(), self._make, side=self._side)

    def missing_bytes(self, prompts: Sequence[Prompt]) -> float:
        """Of those that are not there yet."""
        return self.studio.missing_bytes(prompts, self.inputs(), side=self._side)

    def has(self, prompt_set: str) -> bool:
        """A world that has this row has real images of every set."""
        return True

    def close(self) -> None:
        """Nothing is kept."""

    @property
    def _side(self) -> int:
        return self.studio.profile.data.resolution

    @cached_property
    def _references(self) -> StoredReferences:
        own = self.studio.measurement
        return StoredReferences(own.store, own.world, own.device)

    def _make(self) -> Generate:
        world, decoded = self.studio.measurement.world, self.row.real == "decoded"
        side = None if self.row.share == 1 else pixels_of(self.studio.profile, self.row)

        def generate(prompts: Sequence[Prompt]) -> "list[Image | Unusable]":
            real = world.real_images(prompts, read_image)
            found = levels(real if side is None else downscale_area(real, (side, side)))
            found = self._references.through(found) if decoded else found
            return [*pictures(found)] if side is None else finished(enlarged(found / 255, self._side))

        return generate


@dataclass(frozen=True)
class FolderSource:
    """Images that were sampled elsewhere: a folder for each prompt set, or one where there is one set alone."""

    studio: "Studio"
    row: Row
    folder: Path

    def inputs(self) -> dict[str, Any]:
        """Names and contents of the files."""
        return {"folder": digest_folder(self.folder)}

    def missing_bytes(self, prompts: Sequence[Prompt]) -> float:
        """None: the files stay where they are."""
        return 0.0

    def has(self, prompt_set: str) -> bool:
        """Whether there are images of that set."""
        return (self.folder / prompt_set).is_dir() or not self._by_set

    def images(self, prompt_set: str, prompts: Sequence[Prompt], place: str = "") -> ImageSet:
        """Found by the ids of the prompts."""
        execution, store = self.studio.measurement.execution, self.studio.measurement.store
        size = execution.shard_size or execution.batch_size
        return images_of_folder(store, self._folder_of(prompt_set), prompts, shard_size=size)

    def check(self, prompt_set: str, prompts: Sequence[Prompt]) -> None:
        """Whether every prompt has an image, before any work.

        Raises:
            ExperimentError: one has none, or the folder cannot be read; the row is named.
        """
        try:
            found = check_folder(self._folder_of(prompt_set), prompts)
            check_drawn([found[prompt["id"]] for prompt in identified(prompts)])
        except (ImageSetError, OSError) as error:
            raise ExperimentError(f"row {self.row.key}, prompts {prompt_set}: --images {error}") from error

    def close(self) -> None:
        """Nothing is kept."""

    def _folder_of(self, prompt_set: str) -> Path:
        folder = self.folder / prompt_set
        return folder if folder.is_dir() else self.folder

    @property
    def _by_set(self) -> bool:
        return any((self.folder / prompts.key).is_dir() for prompts in self.studio.profile.prompt_sets)
