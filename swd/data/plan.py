"""A cache that is to be, or partly is already: what is there, what is missing, and the work that makes it."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from tqdm.auto import tqdm

from swd.data.cache import LatentCache
from swd.data.encoding import BatchEncoder
from swd.data.layout import OF_IMAGES, CacheIndex, DamagedIndexError
from swd.data.reading import ImageReader
from swd.data.shards import Shard, Wanted, fingerprint_of, read_shard, shard_rows, write_shard
from swd.errors import CacheError, OutputFolderError
from swd.files import probe_writable, write_json

SLACK_BYTES = 1 << 20  # index, prompts as text, headers
Kept = dict[str, tuple[Shard, int]]  # shard and row by the key of an image or a prompt


@dataclass(frozen=True, slots=True)
class CachePlan:
    """What a cache will hold, compared with what is in its folder.

    Attributes:
        folder: of its shards.
        index: what they hold.
        encoder: what makes them.
        captions: one per image.
        prompts: the distinct ones, the empty one first.
        keys: what names each image, if anything does.
    """

    folder: Path
    index: CacheIndex
    encoder: BatchEncoder
    captions: Sequence[str]
    prompts: list[str]
    keys: Sequence[str] | None = None
    _judged: dict[Path, tuple[tuple[int, ...], bool]] = field(default_factory=dict, repr=False, compare=False)
    _kept: dict[str, Kept] = field(default_factory=dict, repr=False, compare=False)

    def check_room(self, *, progress: bool = True) -> None:
        """Compare with what is there, and with the room on the disk; says what there is to write.

        Raises:
            CacheError: the folder holds a cache of other data.
            OutputFolderError: the folder cannot be written or has no room for what is missing.
        """
        probe_writable(self.folder, needed_bytes=SLACK_BYTES)
        self._check_folder()
        latents, prompts = self.missing_bytes()
        if progress and latents + prompts:
            tqdm.write(f"{self.folder}: {self.estimate()}", file=sys.stderr)
        try:
            probe_writable(self.folder, needed_bytes=SLACK_BYTES + latents + prompts)
        except OutputFolderError as error:
            if prompts < latents:
                raise
            raise OutputFolderError(f"{error}; most of it is embeddings: online keeps captions alone") from error

    def missing_bytes(self) -> tuple[int, int]:
        """What the shards of latents, and of prompts, that are still to be made will take on disk."""
        images, prompts = (
            sum(wanted.count for wanted in shards if not self._intact(wanted))
            for shards in (self._latents(), self._embeddings())
        )
        return images * self.encoder.image_bytes(), prompts * self.encoder.prompt_bytes() if prompts else 0

    def estimate(self) -> str:
        """What is to be written, in words."""
        latents, prompts = self.missing_bytes()
        parts = f"latents {latents / 2**30:.2f}, embeddings of prompts {prompts / 2**30:.2f}"
        return f"{(latents + prompts) / 2**30:.2f} GiB to write ({parts}){self._taken_over()}"

    def missing_images(self, process: int = 0, processes: int = 1) -> list[int]:
        """Images that this process is to encode; its shards are read whole and compared with their checksums."""
        missing = [part for part in self._latents()[process::processes] if not self._intact(part, verify=True)]
        return [row for wanted in missing for row in self._to_encode("latents", wanted)]

    def build(self, images: Iterable[Tensor], *, process: int = 0, processes: int = 1, progress: bool = True) -> None:
        """Make the missing shards, or one process's share of them.

        Args:
            images: as of `build_cache`.
            process: which of them this is.
            processes: how many share the build; each needs all images, and reads those of its own shards.
            progress: show progress bars.

        Raises:
            CacheError: the folder holds a cache of other data, or images do not fit.
            OutputFolderError: the disk became full on the way; finished shards are kept.
        """
        self._check_folder()
        self.folder.mkdir(parents=True, exist_ok=True)
        if process == 0:
            write_json(self.folder / "prompts.json", self.prompts)
            if self.keys is not None:
                write_json(self.folder / "images.json", list(self.keys))
            write_json(self.folder / "index.json", self.index.as_json())  # before the shards: the plan to continue by
        share = slice(process, None, processes)
        self._build_prompts(share, progress)
        self._build_latents(images, share, progress)
        if process == 0:
            self._remove_others()

    def unfinished(self) -> int:
        """Shards that are not there yet, or torn."""
        return sum(not self._intact(wanted) for wanted in self._all())

    def open(self) -> LatentCache:
        """The finished cache; its shards were compared with their checksums where this process made or found them."""
        return LatentCache.open(self.folder, encoder=self.encoder.condition, verify=False)

    def _latents(self) -> list[Wanted]:
        row_of = {prompt: row for row, prompt in enumerate(self.prompts)}
        numbers = [row_of[caption] for caption in self.captions]
        return self.index.wanted_latents(self.folder, self.keys, numbers)

    def _embeddings(self) -> list[Wanted]:
        return self.index.wanted_prompts(self.folder, self.prompts)

    def _all(self) -> list[Wanted]:
        return [*self._embeddings(), *self._latents()]

    def _intact(self, wanted: Wanted, *, verify: bool = False) -> bool:
        """Whether a shard is there. What was judged once, by its checksum where asked, is not read again."""
        try:
            state = _state(wanted.path)
        except OSError:
            return False
        if (known := self._judged.get(wanted.path)) is not None and known[0] == state:
            return known[1]
        try:
            read_shard(wanted, verify=verify)
            intact = True
        except CacheError:
            intact = False
        if verify or not intact:
            self._judged[wanted.path] = (state, intact)
        return intact

    def _build_prompts(self, share: slice, progress: bool) -> None:
        def encode(rows: Sequence[int]) -> Shard:
            return self.encoder.prompts([self.prompts[row] for row in rows])

        for wanted in self._missing(self._embeddings()[share], "prompts", progress):
            self._write_shard(wanted, self._assembled("prompts", wanted, encode))

    def _build_latents(self, images: Iterable[Tensor], share: slice, progress: bool) -> None:
        encoder = self.encoder
        reader = ImageReader(images, smallest=max(self.index.scales) * encoder.pipeline.vae_scale_factor)

        def encode(rows: Sequence[int]) -> Shard:
            return encoder.latents(reader.read(rows))

        for wanted in self._missing(self._latents()[share], "images", progress):
            shard = self._assembled("latents", wanted, encode)
            self._write_shard(wanted, shard | {"prompt": torch.tensor(wanted.prompts)})

    def _missing(self, shards: list[Wanted], unit: str, progress: bool) -> Iterator[Wanted]:
        """Shards that are not there, torn or damaged, with a bar over all."""
        total = sum(wanted.count for wanted in shards)
        with tqdm(total=total, desc=f"caching {unit}", unit=" " + unit, disable=not (progress and shards)) as bar:
            for wanted in shards:
                if not self._intact(wanted, verify=True):
                    yield wanted
                bar.update(wanted.count)

    def _assembled(self, stem: str, wanted: Wanted, encode: Callable[[Sequence[int]], Shard]) -> Shard:
        """The rows of a shard: those that are there already, and the others encoded, a batch at a time."""
        rows, size = self._to_encode(stem, wanted), self.encoder.batch_size
        made = [encode(rows[first : first + size]) for first in range(0, len(rows), size)]
        fresh = {name: torch.cat([part[name] for part in made]) for name in made[0]} if made else {}
        if len(rows) == wanted.count:
            return fresh
        place, kept = {row: number for number, row in enumerate(rows)}, self._kept_rows(stem)
        assert wanted.keys is not None
        picked = [
            (fresh, place[row]) if row in place else kept[key]
            for row, key in zip(wanted.rows, wanted.keys, strict=True)
        ]
        names = [name for name in picked[0][0] if name != "prompt"]
        return {name: torch.stack([shard[name][number] for shard, number in picked]) for name in names}

    def _to_encode(self, stem: str, wanted: Wanted) -> Sequence[int]:
        if wanted.keys is None:
            return wanted.rows
        kept = self._kept_rows(stem)
        return [row for row, key in zip(wanted.rows, wanted.keys, strict=True) if key not in kept]

    def _kept_rows(self, stem: str) -> Kept:
        """What earlier shards hold; they stay mapped while their files are replaced.

        A shard that is as wanted is left out: its rows are in the same place of both lists.
        """
        if stem not in self._kept:
            shards = self._latents() if stem == "latents" else self._embeddings()
            intact = {wanted.path for wanted in shards if self._intact(wanted)}
            self._kept[stem] = shard_rows(self.folder, stem, self.index.fingerprint, beside=intact)
        return self._kept[stem]

    def _taken_over(self) -> str:
        said = []
        for stem, shards in (("latents", self._latents()), ("prompts", self._embeddings())):
            missing = [wanted for wanted in shards if not self._intact(wanted)]
            count = sum(wanted.count - len(self._to_encode(stem, wanted)) for wanted in missing)
            if count:
                said.append(f"{count} of {sum(wanted.count for wanted in missing)} {stem}")
        return f"; taken over as they are: {', '.join(said)}" if said else ""

    def _write_shard(self, wanted: Wanted, shard: Shard) -> None:
        try:
            write_shard(wanted.path, shard, self.index.fingerprint, wanted.keys)
        except OutputFolderError as error:
            count = len(self._all())
            raise OutputFolderError(
                f"{error}; {count - self.unfinished()} of {count} shards are finished and kept: the same build goes on "
                "from there"
            ) from error
        self._judged[wanted.path] = (_state(wanted.path), True)

    def _check_folder(self) -> None:
        """Refuse a cache of something else. What was made of other images in the same way is brought up to date."""
        if not (self.folder / "index.json").exists():
            return
        try:
            found = CacheIndex.read(self.folder)
        except DamagedIndexError:
            self._check_headers()
            return
        if self.index.keyed and not found.keyed:
            raise CacheError(
                f"{self.folder} holds a cache that does not know its images, as earlier versions made them: training "
                "reads it as it is; to make one of these images, use another folder"
            )
        theirs, ours = asdict(found), asdict(self.index)
        follow = OF_IMAGES if self.index.keyed else ()
        changed = [f"{name}: {theirs[name]} -> {ours[name]}" for name in ours if theirs[name] != ours[name]]
        changed = [change for change in changed if change.partition(":")[0] not in follow]
        if changed:
            raise CacheError(
                f"{self.folder} holds a cache of something else ({'; '.join(changed)}): use another folder"
            )

    def _check_headers(self) -> None:
        for path in sorted(self.folder.glob("*-*.safetensors")):
            if fingerprint_of(path) not in (None, self.index.fingerprint):
                raise CacheError(
                    f"{self.folder / 'index.json'} is damaged, and {path.name} belongs to a cache of something "
                    "else: use another folder"
                )

    def _remove_others(self) -> None:
        """Shards past the last one, of images that are gone."""
        names = {wanted.path for wanted in self._all()}
        for stem in ("latents", "prompts"):
            for path in self.folder.glob(f"{stem}-*.safetensors"):
                if path not in names and fingerprint_of(path) == self.index.fingerprint:
                    path.unlink(missing_ok=True)


def _state(path: Path) -> tuple[int, ...]:
    found = path.stat()
    return (found.st_ino, found.st_size, found.st_mtime_ns)
