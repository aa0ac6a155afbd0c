"""Draws the images of a grid of samples, or finds them in folders; its picture and record, and the gallery of all."""

import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from repro.harness import records
from repro.harness.experiment import Experiment, ExperimentError, Row, UnknownNameError
from repro.harness.files import ROOT, digest_folder, digest_json, probe_writable
from repro.harness.options import RunOptions
from repro.harness.plan import resolve
from repro.harness.plots import figure_path, recorded_digest
from repro.harness.profile import Profile
from repro.harness.provenance import OpenRun, versions
from repro.harness.sample_grid import sample_grid
from repro.harness.schema import RecordSet
from repro.kinds.gallery.declare import Gallery
from repro.kinds.gallery.options import GalleryOptions, folders
from repro.kinds.gallery.page import KIND
from repro.kinds.gallery.site import Cell, Section, write
from repro.profiles import load_profile
from repro.stages.failures import told
from repro.stages.image_files import read_image
from repro.stages.image_folders import check_folder, images_of_folder
from repro.stages.image_sets import ImageSetError, read_manifest
from repro.stages.images import ImageSet, image_inputs, make_images
from repro.stages.measurement import Measurement
from repro.stages.shipped import ShippedNetworks

STAGE, VERSION = "gallery", 1
MOST_BYTES = 600_000  # of a picture: what a page of them takes to load


def run(gallery: Gallery, profile: Profile, options: GalleryOptions) -> Path:
    """Make the images that are missing, draw the grid, and write the record of the run.

    Returns:
        The records file. It is left alone where it already holds exactly this.

    Raises:
        ExperimentError: no student that ships and no folder for a row, a broken image, or a picture above 600 KB.
        UsageError: the folder holds the records of other settings.
    """
    with told(options.work):
        return _Runner(gallery, profile, options).run()


def write_site(typed: Namespace, experiments: Mapping[str, Experiment]) -> int:
    """Write the page of all grids that a profile has; returns the exit status.

    Args:
        typed: what was typed.
        experiments: all that there are.

    Raises:
        ExperimentError: as `run`.
        UnknownNameError: images of a row that no grid has.
    """
    profile = load_profile(typed.profile)
    work = typed.work or ROOT / "results" / "stages"
    common = RunOptions(out=typed.out, work=work, device=typed.device)
    images = folders(typed.images)
    probe_writable(typed.out)
    ordered = sorted(experiments.values(), key=lambda one: (len(one.key), one.key))  # 6 before 10
    galleries = [one for one in ordered if isinstance(one, Gallery)]
    rows = {row.key for gallery in galleries for row in gallery.rows_in(profile)}
    for key in images:
        if key not in rows:
            raise UnknownNameError("row of the gallery", key, rows)
    with told(work):
        sections = []
        for gallery in galleries:
            known = {row.key for row in gallery.rows_in(profile)}
            own = {key: folder for key, folder in images.items() if key in known}
            sections.append(_Runner(gallery, profile, GalleryOptions.extending(common, images=own)).section())
        page = write(typed.out, sections, profile.caption)
    print(f"{page}: {sum(len(section.cells) for section in sections)} images; open it in a browser", file=sys.stderr)
    return 0


def check(gallery: Gallery, profile: Profile, options: GalleryOptions) -> None:
    """Whatever can be known to be missing or broken is, before the first image.

    Raises:
        ExperimentError: and the errors of models.
    """
    _Runner(gallery, profile, options).check()


def source(row: Row, profile: Profile, options: GalleryOptions) -> str:
    """Where a row's images come from."""
    if row.key in options.images:
        return "a folder of images"
    plan = resolve(profile, row).sample
    guided = f", guidance {plan.guidance_scale:g}" if plan.is_guided else ""
    return f"sampled here: {plan.steps} steps{guided}"


class _Runner(Measurement[Gallery, GalleryOptions]):
    def run(self) -> Path:
        self.check()
        return self.once(STAGE, self.open(self._config()), lambda opened: partial(self._write, opened))

    def section(self) -> Section:
        """What the gallery shows of this grid."""
        self.check()
        cells = []
        for row in self._rows:
            for column, file in zip(self._columns, self._files(row), strict=True):
                cells.append(Cell(row.label, column["caption"], column["seed"], self._source(row), file))
        words = self.table.choice.rule.replace("*", "")
        return Section(self.table.key, self.table.title, self._prompt_set, words, len(self._columns), tuple(cells))

    @property
    def grid_path(self) -> Path:
        """The picture."""
        return figure_path(self.options.out, self.profile.stem(self.table.key), KIND)

    @cached_property
    def networks(self) -> ShippedNetworks:
        """What samples images."""
        return ShippedNetworks(self)

    @cached_property
    def _rows(self) -> tuple[Row, ...]:
        return self.table.rows_in(self.profile)

    @cached_property
    def _prompt_set(self) -> str:
        return self.table.prompt_set(self.profile)

    @cached_property
    def _prompts(self) -> list[dict[str, Any]]:
        return self.world.prompts(self._prompt_set)

    @cached_property
    def _columns(self) -> list[dict[str, Any]]:
        return self.table.columns(self._prompts)

    def check(self) -> None:
        sampled = [row for row in self._rows if row.key not in self.options.images]
        if sampled and self.profile.scorers:
            keys = ", ".join(row.key for row in sampled)
            raise ExperimentError(
                f"in {self.profile.name} grids show images that were made before: --images ROW=DIR for {keys}, such as "
                f"the folders of images that `nox -s table2` leaves in results/stages"
            )
        for row in self._rows:
            if row.key in self.options.images:
                self._check_folder(row)
        if sampled:
            self.networks.check(sampled)

    def _check_folder(self, row: Row) -> None:
        try:
            check_folder(self._folder_of(row), self._columns)
        except (ImageSetError, OSError) as error:
            raise ExperimentError(f"row {row.key}: --images {error}") from error

    def _folder_of(self, row: Row) -> Path:
        folder = self.options.images[row.key]
        return folder / self._prompt_set if (folder / self._prompt_set).is_dir() else folder

    def _config(self) -> dict[str, Any]:
        return {
            "figure": self.table.content,
            "profile": self.profile.name,
            "inputs": [self._own(row) for row in self._rows],
            "shown": {
                "prompts": self._prompt_set,
                "total": len(self._prompts),
                "columns": self._columns,
                "rows": [
                    {"key": row.key, "label": row.label.replace("\n", " "), "source": self._source(row)}
                    for row in self._rows
                ],
            },
            "versions": versions(),
            "device": self.device.type,
            "version": VERSION,
        }

    def _source(self, row: Row) -> str:
        return source(row, self.profile, self.options)

    def _own(self, row: Row) -> dict[str, Any]:
        """What a row's images follow from, beside prompts and seeds."""
        if row.key in self.options.images:
            return {"folder": digest_folder(self.options.images[row.key])}
        return self.networks.inputs(row)

    def _images(self, row: Row) -> ImageSet:
        if row.key in self.options.images:
            size = self.execution.batch_size
            return images_of_folder(self.store, self._folder_of(row), self._columns, shard_size=size)
        inputs = image_inputs(self._own(row), self._columns, self.execution, self.device)
        label = f"{row.key}, {self._prompt_set}: images"
        batch, side = self.execution.batch_size, self.profile.data.resolution
        make = partial(self.networks.generator, row)
        return make_images(self.store, inputs, self._columns, make, label, batch_size=batch, side=side)

    def _files(self, row: Row) -> list[Path]:
        """The image file of every column.

        Raises:
            ExperimentError: an image that could not be made or read.
        """
        found, images = [], self._images(row)
        for shard, part in images.shards.items():
            for one in read_manifest(images.folder, shard, part):
                if "skipped" in one:
                    raise ExperimentError(f"row {row.key}: image {one['id']} is missing: {one['skipped']}")
                found.append(images.folder / one["file"])
        return found

    def _write(self, opened: OpenRun) -> None:
        self._draw()
        config = opened.config
        closed = opened.close(
            device=self.device.type,
            dtype=self.execution.dtype,
            data_hash=digest_json(config["shown"]["columns"]),
            weights_hash=digest_json(config["inputs"]),
            reused=self.store.reused,
            figures={KIND: recorded_digest(self.grid_path) or ""},
        )
        records.save(self.records_path, RecordSet.of([closed]))

    def _draw(self) -> None:
        files = [self._files(row) for row in self._rows]
        _check_sizes(files)
        captions = [self._heading(column) for column in self._columns]
        sample_grid(self.grid_path, files, rows=[row.label for row in self._rows], captions=captions)
        if (size := self.grid_path.stat().st_size) > MOST_BYTES:
            self.grid_path.unlink()
            raise ExperimentError(
                f"{self.grid_path.name} takes {size:,} bytes, at most {MOST_BYTES:,}: too many images"
            )

    def _heading(self, column: dict[str, Any]) -> str:
        return f"{column['caption']} (seed {column['seed']})" if self.table.seeds > 1 else column["caption"]


def _check_sizes(files: Sequence[Sequence[Path]]) -> None:
    sizes = {read_image(file).size for row in files for file in row}
    if len(sizes) > 1:
        found = ", ".join(f"{width}x{height}" for width, height in sorted(sizes))
        raise ExperimentError(f"images of one grid have one size, found {found}")
