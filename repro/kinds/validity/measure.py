"""Tries every metric on images of known quality, and writes the numbers with their replicates."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np
from PIL.Image import Image
from tqdm import tqdm

from repro.harness import plots, records
from repro.harness.experiment import ExperimentError, Row
from repro.harness.files import ROOT, digest_json
from repro.harness.options import RunOptions
from repro.harness.profile import Profile
from repro.harness.provenance import OpenRun, versions
from repro.harness.schema import Line, Record, RecordSet, Run, Series
from repro.kinds.validity import keys
from repro.kinds.validity.declare import Condition, ValidityPage
from repro.kinds.validity.sources import real_images, shown_for, worsened
from repro.metrics.base import Prompt, measure_batch, pictures, pixels
from repro.metrics.trials import UNDETERMINED, Replicated, Rows, Trials, replicated
from repro.stages.failures import told
from repro.stages.images import ImageSet, check_pipeline, image_inputs, make_images
from repro.stages.measurement import Measurement
from repro.stages.references import StoredReferences
from repro.stages.sample_grid import image_grid
from repro.stages.shipped import ShippedNetworks
from repro.worlds.base import TriedWorld, load_world

STAGE, VERSION = "validity", 4
BATCH = 50
SHOWN = 8  # captions in the picture
LABEL_WIDTH = 12  # characters of a row label there, in a line

Numbers = Mapping[str, Mapping[str, Replicated]]
"""By condition and metric."""


def run(page: ValidityPage, profile: Profile, options: RunOptions) -> Path:
    """Measure every condition and write the records and the picture.

    Returns:
        The records file. It is left alone where it already holds exactly these numbers.

    Raises:
        ExperimentError: weights are missing or truncated, or the world has no metrics to try.
    """
    with told(options.work):
        return _Runner(page, profile, options).run()


def check(page: ValidityPage, profile: Profile, options: RunOptions) -> None:
    """Whatever can be known to be missing or broken is, before any work."""
    _Runner(page, profile, options).check()


class _Runner(Measurement[ValidityPage, RunOptions]):
    def check(self) -> None:
        _ = self._tried
        check_pipeline(self.pipeline_folder)
        self.world.check()

    def run(self) -> Path:
        self.check()
        return self.once(STAGE, self.open(self._config()), self._measure)

    def _measure(self, opened: OpenRun) -> Callable[[], None]:
        """Try every metric in every condition; gives what writes the records and draws the picture."""
        trials = self._tried.trials(self.device, self.references)
        found = {condition.key: self._numbers(condition, trials) for condition in self.table.conditions}

        def write() -> None:
            self._draw_grid()
            self._write(opened, found)

        return write

    @cached_property
    def networks(self) -> ShippedNetworks:
        """What samples images."""
        return ShippedNetworks(self)

    @cached_property
    def prompts(self) -> list[Prompt]:
        """Of every set as many as declared."""
        return [prompt for name, count in self.table.images for prompt in self.world.prompts(name)[:count]]

    @cached_property
    def references(self) -> StoredReferences:
        """Real images, fewer than a table compares with, and the VAE that the profile ships."""
        few = replace(self.profile, data=replace(self.profile.data, reference_images=self.table.references))
        return StoredReferences(self.store, load_world(few, ROOT), self.device)

    def _config(self) -> dict[str, Any]:
        """All that the numbers follow from."""
        return {
            "page": self.table.content,
            "profile": self.profile.name,
            "pipeline": self.pipeline_digest,
            "vae": self.references.vae,
            "sampled": {c.key: self._sampled(c.row) for c in self.table.conditions if c.row is not None},
            "metrics": self.world.metric_inputs(),
            "world": self.world.fingerprint(),
            "prompts": digest_json(self.prompts),
            "device": self.device.type,
            "versions": versions(),
            "version": VERSION,
        }

    def _sampled(self, row: Row) -> dict[str, Any]:
        """All that the images of a network follow from."""
        return image_inputs(self.networks.inputs(row), self.prompts, self.execution, self.device, shard_size=BATCH)

    def _drawn(self, row: Row) -> ImageSet:
        side, make = self.profile.data.resolution, partial(self.networks.generator, row)
        return make_images(self.store, self._sampled(row), self.prompts, make, f"{row.key}: images", side=side)

    def _captioned(self, condition: Condition) -> list[Prompt]:
        """Prompts as images are measured against them."""
        if not condition.change:
            return self.prompts
        return [self._tried.changed(prompt, condition.change) for prompt in self.prompts]

    @property
    def _tried(self) -> TriedWorld:
        if not isinstance(self.world, TriedWorld):
            raise ExperimentError(f"the world of profile {self.profile.name} has no metrics to try")
        return self.world

    def _images(self, condition: Condition, part: slice) -> list[Image]:
        if condition.row is not None:
            return self._drawn(condition.row).shown(part.stop)[part]
        shown = shown_for(condition, self.prompts)[part]
        return pictures(worsened(condition, real_images(self.world, shown), self.references.through))

    def _numbers(self, condition: Condition, trials: Trials) -> dict[str, Replicated]:
        arrays: dict[str, list[np.ndarray]] = {}
        count, captioned = len(self.prompts), self._captioned(condition)
        for start in tqdm(range(0, count, BATCH), desc=condition.label):
            part = slice(start, min(start + BATCH, count))
            batch = measure_batch(self._images(condition, part), captioned[part], trials.metrics)
            for name, values in batch.items():
                arrays.setdefault(name, []).append(values)
        images = Rows(self.prompts, {name: np.concatenate(parts) for name, parts in arrays.items()})
        return {key: replicated(images, statistic) for key, statistic in trials.statistics.items()}

    def _write(self, opened: OpenRun, found: Numbers) -> None:
        config = opened.config
        closed = opened.close(
            device=self.device.type,
            dtype=self.execution.dtype,
            data_hash=digest_json([config["world"], self.prompts]),
            weights_hash=digest_json([config["pipeline"], config["metrics"]]),
            reused=self.store.reused,
            figures={"samples": plots.recorded_digest(self.grid_path) or ""},
        )
        lines: list[Line] = [closed]
        for condition, numbers in found.items():
            for candidate in self.table.candidates:
                key = candidate.column.key
                lines += _lines(closed, condition, key, numbers[key], len(self.prompts))
        records.save(self.records_path, RecordSet.of(lines))

    def _draw_grid(self) -> None:
        """The last captions, which say most, in every condition."""
        part = slice(len(self.prompts) - SHOWN, len(self.prompts))
        shown = [condition for condition in self.table.conditions if not condition.change]
        grid = [pixels(self._images(condition, part)) for condition in shown]
        labels = ["\n".join(wrap(condition.label, LABEL_WIDTH)) for condition in shown]
        captions = [str(prompt["caption"]) for prompt in self.prompts[part]]
        image_grid(self.grid_path, grid, rows=labels, captions=captions)


def _lines(run: Run, condition: str, key: str, found: Replicated, n: int) -> Iterator[Line]:
    """The number and its replicates; only a remark where the images do not determine it."""
    if not all(map(math.isfinite, (found.value, *found.replicates))):
        yield replace(Record.of(run, condition, key, 0.0, n=n), value=None, note=UNDETERMINED)
        return
    yield Record.of(run, condition, key, float(f"{found.value:.8g}"), n=n)
    yield Series.of(condition, keys.without_group(key), found.replicates, over="replicate", n=n, digits=8)
