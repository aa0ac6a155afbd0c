"""Draws images of two systems, makes a study of them, serves it, and takes pictures of the page of one question."""

import hashlib
import json
import tempfile
from collections.abc import Mapping
from functools import cached_property, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from repro.harness import records
from repro.harness.experiment import ExperimentError, Row
from repro.harness.files import ROOT, digest_json, write_atomic
from repro.harness.options import RunOptions
from repro.harness.plots import figure_path, stamped
from repro.harness.profile import Profile
from repro.harness.provenance import OpenRun, versions
from repro.harness.schema import RecordSet
from repro.kinds.interface.declare import InterfaceFigure
from repro.stages.failures import told
from repro.stages.images import Unusable
from repro.stages.measurement import Measurement
from repro.stages.shipped import ShippedNetworks
from repro.study.definition import Study
from repro.study.errors import StudyError
from repro.study.making import Request, make_study
from repro.study.screenshots import Window, criterion_pages, find_browser
from repro.study.texts import load_texts

STAGE, VERSION = "interface", 1
LANGUAGE = "en"
PACKAGES = ("starlette", "jinja2", "uvicorn", "playwright")
WINDOWS: Mapping[str, Window] = {
    "desktop": Window(width=1100, height=900),
    "phone": Window(width=390, height=844, scheme="dark"),
}


def run(figure: InterfaceFigure, profile: Profile, options: RunOptions) -> Path:
    """Make the study, take the pictures, and write the record of the run.

    Returns:
        The records file. It is left alone where it already holds exactly this.

    Raises:
        ExperimentError: no browser, no student that ships, or the extra ``study`` is not installed.
        UsageError: the folder holds the records of other settings.
    """
    with told(options.work):
        check(figure, profile, options)
        return _Runner(figure, profile, options).run()


def check(figure: InterfaceFigure, profile: Profile, options: RunOptions) -> None:
    """Whatever can be known to be missing or broken is, before any work.

    Raises:
        ExperimentError: and the errors of models.
    """
    if lacking := [name for name in PACKAGES if find_spec(name) is None]:
        raise ExperimentError(f"pictures of pages need {', '.join(lacking)}: pip install {' '.join(lacking)}")
    if find_browser() is None:
        raise ExperimentError("pictures of pages need Chromium or Chrome on the PATH: apt-get install chromium")
    _Runner(figure, profile, options).check()


class _Runner(Measurement[InterfaceFigure, RunOptions]):
    def check(self) -> None:
        self.networks.check(self.table.systems)

    def run(self) -> Path:
        return self.once(STAGE, self.open(self._config()), lambda opened: partial(self._write, opened))

    @property
    def pictures(self) -> dict[str, Path]:
        """One of each window."""
        return {kind: figure_path(self.options.out, self.profile.stem(self.table.key), kind) for kind in WINDOWS}

    @cached_property
    def networks(self) -> ShippedNetworks:
        """The two systems."""
        return ShippedNetworks(self)

    @cached_property
    def _prompts(self) -> list[dict[str, Any]]:
        known = [prompts.key for prompts in self.profile.prompt_sets]
        key = self.table.prompts if self.table.prompts in known else known[-1]
        return self.world.prompts(key)[: self.table.num_prompts]

    def _config(self) -> dict[str, Any]:
        texts, criterion = load_texts(LANGUAGE, ROOT), self.table.criterion
        question = f"criteria.{criterion}"
        inputs = [self.networks.inputs(row) for row in self.table.systems]
        return {
            "figure": self.table.content,
            "profile": self.profile.name,
            "pipeline": self.pipeline_digest,
            "adapters": [own["adapter"] for own in inputs],
            "sampling": [own["sampling"] for own in inputs],
            "prompts": [[prompt["caption"], prompt["seed"]] for prompt in self._prompts],
            "texts": texts.questions,
            "shown": {
                "name": texts(f"{question}.name"),
                "question": texts(f"{question}.question"),
                "parts": [texts(f"{question}.parts.{part}") for part in texts.parts(criterion)],
            },
            "versions": versions(),
            "device": self.device.type,
            "version": VERSION,
        }

    def _write(self, opened: OpenRun) -> None:
        with tempfile.TemporaryDirectory() as folder:
            taken = self._take(self._study(Path(folder)))
        figures = {kind: hashlib.sha256(data).hexdigest() for kind, data in taken.items()}
        for kind, data in taken.items():
            write_atomic(self.pictures[kind], stamped(data, figures[kind]))
        config = opened.config
        closed = opened.close(
            device=self.device.type,
            dtype=self.execution.dtype,
            data_hash=digest_json(config["prompts"]),
            weights_hash=digest_json([config["pipeline"], config["adapters"]]),
            figures=figures,
        )
        records.save(self.records_path, RecordSet.of([closed]))

    def _study(self, folder: Path) -> Study:
        """A study of the images of both systems, in files whose names are their prompts'."""
        for row in self.table.systems:
            self._draw(row, folder / row.key)
        lines = [{"id": f"p{n}", "caption": prompt["caption"]} for n, prompt in enumerate(self._prompts)]
        (folder / "prompts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        request = Request(
            systems={row.key: folder / row.key for row in self.table.systems},
            prompts=folder / "prompts.jsonl",
            out=folder / "study",
            images=1,
            criteria=(self.table.criterion,),
            language=LANGUAGE,
        )
        try:
            return make_study(request)
        except StudyError as error:
            raise ExperimentError(str(error)) from error

    def _draw(self, row: Row, folder: Path) -> None:
        generate = self.networks.generator(row)
        folder.mkdir()
        for number, image in enumerate(generate(self._prompts)):
            if isinstance(image, Unusable):
                raise ExperimentError(f"row {row.key}: image {number} has {image.reason}")
            image.save(folder / f"p{number}-0.png")

    def _take(self, study: Study) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        try:
            for kind, window in WINDOWS.items():
                pictures = criterion_pages(study, study.folder / kind, window=window)
                found[kind] = pictures[self.table.criterion].read_bytes()
        except StudyError as error:
            raise ExperimentError(str(error)) from error
        return found
