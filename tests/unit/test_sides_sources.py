"""Images at a share of the side: where they come from, how they are shown, and what is refused ahead of them."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from adapters import TARGETS, make_adapter
from PIL import Image
from safetensors.torch import load_file
from tiny_pipelines import make, save

from repro.figure4 import TABLE
from repro.harness.experiment import ExperimentError, Row
from repro.harness.files import ROOT, digest_json
from repro.harness.schema import CAPTIONS, PerImage, Record, RecordSet, Run
from repro.harness.systems import HubFile, System
from repro.kinds.scores import grids
from repro.kinds.scores.given_sources import RealSource
from repro.kinds.scores.network_source import NetworkSource
from repro.kinds.scores.page import page
from repro.kinds.scores.result import ScoresResult
from repro.kinds.scores.sides_figure import rows_by_side, sides_data, sides_drawing
from repro.kinds.scores.sources import Studio
from repro.profiles import mini, smoke
from repro.profiles.mini import PROFILE
from repro.stages.images import check_network, enlarged, load_pipeline, put_network
from repro.stages.store import StageStore
from repro.stages.systems import load_system, system_generator, system_inputs
from repro.worlds.mini.scenes import render, sample_scene
from repro.worlds.mini.world import MiniWorld
from swd.errors import PipelineError
from swd.lora.files import write_adapter

CPU = torch.device("cpu")
PIPELINE = ROOT / PROFILE.weights.pipeline
SINGLE = ROOT / PROFILE.weights.networks["single_side"]
PROMPTS = [{"caption": "a red star", "seed": 3}, {"caption": "two circles", "seed": 4}]
CARD = {"scales": [8, 12, 16], "sigmas": [1.0, 0.8, 0.6, 0.0], "process": "flow", "guidance_scale": 1.0}
RUN = Run(
    run="r", table="figure4", profile="mini", commit=None, dirty=None, config={},
    config_hash=digest_json({}), versions={}, device="d", dtype="float32", data_hash="",
    weights_hash="", command="", start="2026-11-27T00:00:00",
    wall_seconds=1.0, peak_memory_bytes=1,
)  # fmt: skip


def studio(**own: Any) -> Any:
    """A studio of the mini world that hands images on as they are made."""
    measurement = SimpleNamespace(pipeline_digest="p", pipeline_folder=PIPELINE, device=CPU, **own)
    options = SimpleNamespace(images={}, adapters={}, retrain=False)
    made = Studio(measurement, options, ())  # type: ignore[arg-type]
    measurement.profile = PROFILE
    return made


@pytest.mark.parametrize("name", ["sd35-medium", "sdxl"])
def test_an_early_image_of_a_published_student_is_x0_of_the_whole_run(name: str, tmp_path: Path) -> None:
    """Also of a network that is told how large the finished image will be."""
    folder, pipeline = save(make(name), tmp_path / "base"), make(name)
    process = "flow" if name == "sd35-medium" else "variance-preserving"
    part = "transformer" if name == "sd35-medium" else "unet"
    header = {**CARD, "process": process, "backbone": "sd3" if process == "flow" else "sdxl"}
    adapter = make_adapter(getattr(pipeline, part), TARGETS[name])
    write_adapter(replace(adapter, header=header), "peft", tmp_path / "student", component=part)
    made = System(base=HubFile(str(folder)), steps=2, student=HubFile(str(tmp_path / "student")), until=12)
    loaded = load_system(made, Path("/"), torch.float32, CPU)
    whole: list[torch.Tensor] = []
    captions, seeds = [prompt["caption"] for prompt in PROMPTS], [prompt["seed"] for prompt in PROMPTS]
    loaded(captions, seeds=seeds, output_type="latent", on_step=lambda step, x_t, x0: whole.append(x0))
    assert len(whole) == 3
    images = np.stack([np.asarray(image) for image in system_generator(made, loaded)(PROMPTS)])
    expected = (loaded.decode(whole[1], output_type="pt").clamp(0, 1) * 255).round().permute(0, 2, 3, 1)
    assert images.shape[1:3] == (24, 24)
    np.testing.assert_array_equal(images, expected.numpy())
    assert np.asarray(system_generator(replace(made, until=None, steps=3), loaded)(PROMPTS)[0]).shape == (32, 32, 3)
    assert system_inputs(made, Path("/"))["until"] == 12
    assert "until" not in system_inputs(replace(made, until=None, steps=3), Path("/"))  # finished images stay


def test_only_a_student_on_its_own_schedule_stops_early() -> None:
    base, student = HubFile("base"), HubFile("student")
    with pytest.raises(ValueError, match="only a student on its own schedule stops after side 8: base"):
        System(base=base, steps=1, until=8)
    with pytest.raises(ValueError, match="stops after side 8"):
        System(base=base, steps=1, student=student, until=8, call={"schedule": "mini-6"})


def test_another_network_takes_the_place_of_the_pipelines_own() -> None:
    pipeline = load_pipeline(PIPELINE, "float32", CPU)
    own = pipeline.transformer.state_dict()["proj_out.weight"].clone()
    put_network(pipeline, SINGLE)
    found = pipeline.transformer.state_dict()
    stored = load_file(SINGLE / "diffusion_pytorch_model.safetensors")
    assert all(torch.equal(found[name], weight.float()) for name, weight in stored.items())
    assert not torch.equal(found["proj_out.weight"], own)


def test_a_missing_or_torn_network_is_refused(tmp_path: Path) -> None:
    check_network(SINGLE)
    with pytest.raises(PipelineError, match=r"no network in .*expected config.json and its weights"):
        check_network(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(PipelineError, match=r"model\.safetensors is truncated"):
        check_network(tmp_path)


def test_patches_that_do_not_tile_a_side_are_refused_before_any_work() -> None:
    with pytest.raises(ExperimentError, match=r"row odd in profile mini: scales must be multiples of the patch size 2"):
        studio().source(Row("odd", "Odd", sample={"share": 9 / 32}), 0)


@pytest.mark.parametrize(
    ("key", "more"),
    [
        ("mixed_1", set()),
        ("mixed_1_4", {"enlarged"}),
        ("single_1", {"network"}),
        ("single_1_4", {"enlarged", "network"}),
    ],
)
def test_images_are_known_by_network_and_enlargement_where_they_have_such(key: str, more: set[str]) -> None:
    found = NetworkSource(studio(), TABLE.row(key), None).inputs()
    assert found.keys() == {"pipeline", "adapter", "sampling"} | more
    assert found.get("enlarged", "bicubic") == "bicubic"


def test_real_scenes_of_a_side_are_downscaled_and_enlarged_again(tmp_path: Path) -> None:
    world = MiniWorld(smoke.PROFILE, ROOT)
    prompts = world.prompts("short")[:2]
    own = SimpleNamespace(world=world, device=CPU, store=StageStore(tmp_path))

    def made(label: str, prompts: Any, inputs: Any, make: Any, *, side: int) -> Any:
        return make()(prompts)

    place: Any = SimpleNamespace(measurement=own, profile=smoke.PROFILE, made=made)
    source = RealSource(place, Row("real", "Real", real="real", sample={"share": 1 / 4}))
    assert source.inputs()["side"] == 16
    scenes = np.stack([render(sample_scene(prompt["seed"], prompt["kind"])) for prompt in prompts]).astype(float)
    small = torch.from_numpy(scenes.reshape(2, 16, 4, 16, 4, 3).mean((2, 4)).round()).permute(0, 3, 1, 2)
    expected = (enlarged(small.float() / 255, 64).clamp(0, 1) * 255).permute(0, 2, 3, 1).numpy()
    found = np.stack([np.asarray(image) for image in source.images("short", prompts)]).astype(float)
    assert found.shape == (2, 64, 64, 3)
    assert np.abs(found - expected).max() <= 2  # a mean of a half rounds either way
    assert "side" not in RealSource(place, Row("real", "Real", real="real")).inputs()


def test_enlarging_keeps_what_has_the_side_already() -> None:
    image = torch.rand(1, 3, 8, 8)
    assert enlarged(image, 8) is image
    assert enlarged(image, 16).shape == (1, 3, 16, 16)


def measured() -> ScoresResult:
    """Scene scores of every row that rise with the side, the student's above the teachers'."""
    lines: list[Any] = [RUN]
    for prompts in ("short", "compositional"):
        lines.append(PerImage.of(range(8), variant=CAPTIONS, prompts=prompts, metric=CAPTIONS, seed=0))
        for row in TABLE.rows_in("mini"):
            level = 0.5 + 0.3 * row.share + (0.1 if row.is_student else 0.0)
            values = level + 0.001 * np.arange(8) * (1 + len(row.key))
            value = float(values.mean())
            lines.append(
                Record.of(RUN, row.key, "scene_score", value, prompts=prompts, n=8, bounds=(value - 0.01, value))
            )
            lines.append(PerImage.of(values, variant=row.key, prompts=prompts, metric="scene_score", seed=0))
    return ScoresResult(TABLE, mini.PROFILE, RecordSet.of(lines))


def test_the_figure_has_a_line_for_each_system_and_a_point_for_each_side() -> None:
    data = sides_data(measured())
    panel = data.panels[0]
    assert (data.columns, panel.title, panel.axis) == (3, "Short captions", "Scene score \u2191")
    assert [line.label for line in panel.lines] == [
        "Real scenes through the VAE", "Teacher of one side", "Teacher of mixed sides", "SwD student",
    ]  # fmt: skip
    assert [line.is_real for line in panel.lines] == [True, False, False, False]
    for line in panel.lines:
        assert [point.side for point in line.points] == [16, 24, 32, 48, 64]
        assert all(point.low < point.quality < point.high for point in line.points)
    drawn = sides_drawing(measured())
    assert drawn is not None
    assert drawn.draw().startswith(b"\x89PNG")
    assert sides_drawing(ScoresResult(TABLE, mini.PROFILE, RecordSet.of([RUN]))) is None


def test_the_page_says_how_low_sides_are_scored_and_judges_every_claim(tmp_path: Path) -> None:
    text = page(measured(), tmp_path)
    assert "Of 4 claims tested in the mini world, 4 reproduced" in text
    for part in ("enlarged to it by bicubic interpolation, once", "ceiling of each side", "never saw a quarter"):
        assert part in text
    assert "| Teacher of one side, 1/4 " in text
    published = ScoresResult(TABLE, smoke.PROFILE, RecordSet.of([RUN]))
    assert set(rows_by_side(TABLE, published.profile)) == {
        line.label for line in sides_data(measured()).panels[0].lines
    }


def test_samples_stand_side_by_side_in_a_line_for_each_system(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: dict[str, Any] = {}

    def image_grid(path: Path, images: Any, **texts: Any) -> None:
        drawn.update(images=images, **texts)

    def images_of(row: Row) -> Any:
        shade = round(200 * row.share)
        return SimpleNamespace(shown=lambda count: [Image.new("RGB", (64, 64), (shade, 0, 0))] * count)

    monkeypatch.setattr(grids, "image_grid", image_grid)
    profile = TABLE.in_profile(PROFILE)
    measurement: Any = SimpleNamespace(
        table=TABLE,
        profile=profile,
        world=MiniWorld(profile, ROOT),
        grid_path=Path("x"),
        options=SimpleNamespace(seeds=(0,)),
    )
    rows = TABLE.rows_in("mini")
    images: Mapping[Any, Any] = {
        (row.key, name, 0): images_of(row)
        for row in rows
        for name in ("short", "compositional")
        if row.key != "mixed_1_4"
    }
    grids.draw_grid(measurement, rows, images)
    assert len(drawn["rows"]) == 4
    assert [caption.partition(":")[0] for caption in drawn["captions"]] == [
        "16 px",
        "24 px",
        "32 px",
        "48 px",
        "64 px",
    ] * 2
    shades = drawn["images"][3][:, 0, 0, 0].tolist()
    assert shades == [50, 75, 100, 150, 200] * 2
    assert drawn["images"][2][0, :, 0, 0].tolist() == [128] * 3  # grey: it has none
