import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from geneval_checkpoints import clip_folder, detector_folder
from PIL import Image

from repro.metrics.base import MemoryMeasured, WeightsError
from repro.metrics.geneval.colors import ColorNamer, crop
from repro.metrics.geneval.metric import GenEval, load_geneval, reasons
from repro.metrics.geneval.names import COLORS, OBJECTS, TAGS
from repro.metrics.geneval.rules import Found, Thresholds, judge, select


def found(score: float, box: Sequence[float] = (0, 0, 10, 10)) -> Found:
    return Found(np.array(box, dtype=float), score)


def prompt(tag: str = "single_object", name: str = "cow", count: int = 1, **more: object) -> dict:
    wanted = {"tag": tag, "include": [{"class": name, "count": count, **more}], "prompt": "x"}
    return {"id": "00000-0", "caption": "x", "geneval": wanted}


IMAGE = Image.new("RGB", (20, 10), "red")


def metric(objects: dict[int, list[Found]], colors: Sequence[str] = ()) -> GenEval:
    return GenEval(lambda image, *, least: objects, lambda *_: colors, sources={"detector": "d"})


def test_an_object_that_is_there() -> None:
    cow = OBJECTS.index("cow")
    measured = metric({cow: [found(0.31)]}).measure([IMAGE, IMAGE], [prompt(), prompt(name="cat")])
    assert measured["geneval"].tolist() == [1.0, 0.0]
    assert reasons(measured["geneval.reasons"]) == ["", "expected cat>=1, found 0"]


def test_confidence_must_be_above_the_threshold_and_higher_for_counts() -> None:
    objects = {0: [found(0.3), found(0.9), found(0.91)]}
    assert [len(select(objects[0], tag, Thresholds())) for tag in TAGS] == [2, 2, 1, 2, 2, 2]
    assert metric(objects).judge(IMAGE, prompt("counting", "person", 2)).reasons == ("expected person>=2, found 1",)


def test_the_detector_is_asked_for_no_more_than_the_rules_need() -> None:
    asked = []

    def detect(image: Image.Image, *, least: float) -> dict[int, list[Found]]:
        asked.append(least)
        return {}

    looker = GenEval(detect, lambda *_: [], sources={})
    looker.measure([IMAGE] * 6, [prompt(tag) for tag in TAGS])
    assert asked == [0.3, 0.3, 0.9, 0.3, 0.3, 0.3]


def test_colours_are_asked_for_the_objects_that_are_counted_and_only_then() -> None:
    bench = OBJECTS.index("bench")
    objects = {bench: [found(0.5), found(0.8)]}
    asked = []

    def name(image: Image.Image, items: Sequence[Found], cls: str) -> list[str]:
        asked.append((image, [item.score for item in items], cls))
        return ["blue"] * len(items)

    looker = GenEval(lambda image, *, least: objects, name, sources={})
    assert not looker.judge(IMAGE, prompt("colors", "bench", color="green")).correct
    assert looker.judge(IMAGE, prompt("colors", "bench", color="blue")).correct
    assert looker.judge(IMAGE, prompt("single_object", "bench")).correct
    assert asked == [(IMAGE, [0.8], "bench")] * 2


def test_the_score_is_the_mean_of_tags_not_of_images() -> None:
    values = np.array([1, 1, 1, 0, 0, 1], dtype=float)
    prompts = [prompt("colors")] * 4 + [prompt("counting")] * 2
    estimates = metric({}).estimates(MemoryMeasured(prompts, {"geneval": [values[:1], values[1:]]}))
    assert set(estimates) == {"geneval", "geneval_colors", "geneval_counting"}
    assert estimates["geneval_colors"].value == 0.75
    assert estimates["geneval"].value == pytest.approx((0.75 + 0.5) / 2)
    assert estimates["geneval"].n == 6
    error = np.sqrt(np.var(values[:4], ddof=1) / 4 + np.var(values[4:], ddof=1) / 2) / 2
    assert estimates["geneval"].ci_high == min(1.0, 0.625 + 2.7764 * error)
    low = estimates["geneval"].ci_low
    assert low is not None
    assert low == pytest.approx(max(0.0, 0.625 - 2.7764 * error), abs=1e-4)


def test_one_image_of_a_tag_has_no_interval() -> None:
    estimates = metric({}).estimates(MemoryMeasured([prompt()], {"geneval": [np.ones(1)]}))
    assert (estimates["geneval"].value, estimates["geneval"].ci_low) == (1.0, None)


def test_long_reasons_are_cut_at_a_character() -> None:
    wanted = {"tag": "two_object", "prompt": "x", "include": [{"class": "caf\u00e9" * 40, "count": 1}] * 4}
    measured = metric({}).measure([IMAGE], [{"id": "0", "caption": "x", "geneval": wanted}])
    (text,) = reasons(measured["geneval.reasons"])
    assert 500 < len(text.encode()) <= 512
    assert text.startswith("expected caf\u00e9")


def test_inputs_name_the_numbers_and_the_networks() -> None:
    inputs = metric({}).inputs()
    assert inputs["detector"] == "d"
    assert inputs["rules"] == {"confidence": 0.3, "counting": 0.9, "most": 16, "overlap": 1.0, "position": 0.1}
    json.dumps(inputs)


def test_a_prompt_of_another_benchmark_is_refused() -> None:
    with pytest.raises(ValueError, match=r"prompt '7' \('a cow'\) is none of GenEval's: expected its object under"):
        metric({}).measure([IMAGE], [{"id": "7", "caption": "a cow"}])


def test_overlapping_objects_may_be_left_out() -> None:
    near, far = found(0.8, (1, 0, 11, 10)), found(0.7, (50, 50, 60, 60))
    objects = [found(0.9), near, far]
    assert select(objects, "colors", Thresholds()) == objects
    assert select(objects, "colors", Thresholds(overlap=0.5)) == [objects[0], far]
    assert len(select([found(0.5 + i / 100) for i in range(20)], "colors", Thresholds())) == 16


def test_exclusions_count_what_is_seen() -> None:
    wanted = {"include": [{"class": "clock", "count": 2}], "exclude": [{"class": "clock", "count": 3}]}
    for number, reason in ((1, "expected clock>=2, found 1"), (2, ""), (3, "expected clock<3, found 3")):
        verdict = judge({"clock": [found(0.95)] * number}, wanted, lambda *_: [])
        assert (verdict.correct, "\n".join(verdict.reasons)) == (not reason, reason)


def test_the_crop_is_grey_where_the_object_is_not() -> None:
    image = Image.new("RGB", (4, 3), (255, 0, 0))
    mask = np.zeros((3, 4), dtype=bool)
    mask[1, 1:3] = True
    cut = np.asarray(crop(image, Found(np.array([1.0, 0.0, 3.0, 2.0]), 0.9, mask)))
    assert cut.tolist() == [[[0x99] * 3] * 2, [[255, 0, 0]] * 2]
    assert crop(image, Found(np.array([1.0, 0.0, 3.0, 2.0]), 0.9)).getcolors() == [(4, (255, 0, 0))]
    with pytest.raises(ValueError, match=r"mask \(3, 4\) of an image \(4, 3\); expected the same size"):
        crop(image.resize((3, 4)), Found(np.zeros(4), 0.9, mask))


def test_colours_are_those_of_the_written_out_classifier(tmp_path: Path) -> None:
    folder = clip_folder(tmp_path / "clip")
    items = [Found(np.array([x, 0.0, x + 30.0, 40.0]), 0.9, np.ones((60, 80), bool)) for x in (0.0, 20.0, 50.0)]
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8))
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    sides = []
    with torch.no_grad():
        for color in COLORS:
            texts = [f"a photo of a {color} cup", f"a photo of a {color}-colored cup", f"a photo of a {color} object"]
            unit = torch.nn.functional.normalize(model.eval().encode_text(tokenizer(texts)), dim=-1).mean(0)
            sides.append(unit / unit.norm())
        pixels = torch.stack([transform(image.crop(tuple(item.box))) for item in items])
        best = (torch.nn.functional.normalize(model.encode_image(pixels), dim=-1) @ torch.stack(sides, 1)).argmax(1)
    assert ColorNamer(folder)(image, items, "cup") == [COLORS[index] for index in best]


def test_the_wrong_activation_is_refused(tmp_path: Path) -> None:
    folder = clip_folder(tmp_path / "clip", quick_gelu=False)
    with pytest.raises(WeightsError, match=r"quick_gelu is False; expected true, as of ViT-L-14-quickgelu"):
        ColorNamer(folder)
    (folder / "open_clip_config.json").unlink()
    with pytest.raises(WeightsError, match=r"missing in .*: open_clip_config.json"):
        ColorNamer(folder)


def test_the_whole_metric_on_tiny_networks(tmp_path: Path) -> None:
    detector, clip = detector_folder(tmp_path / "detector"), clip_folder(tmp_path / "clip")
    whole = load_geneval(detector, clip)
    blocks = np.random.default_rng(0).integers(0, 256, (13, 17, 3), dtype=np.uint8)
    image = Image.fromarray(np.repeat(np.repeat(blocks, 20, 0), 20, 1)[:256])
    there = [OBJECTS[label] for label in whole._detector(image, least=0.3)]
    absent = next(name for name in OBJECTS if name not in there)
    prompts = [prompt(name=there[0]), prompt(name=absent), prompt("colors", there[0], color="red")]
    measured = whole.measure([image] * 3, prompts)
    assert measured["geneval"].tolist()[:2] == [1.0, 0.0]
    alone = [whole.measure([image], [each])["geneval"][0] for each in prompts]
    assert alone == measured["geneval"].tolist()
    assert reasons(measured["geneval.reasons"])[1] == f"expected {absent}>=1, found 0"
    before = whole.inputs()
    assert len(before["detector"]["model.safetensors"]) == 64
    (detector / "preprocessor_config.json").write_text(
        (detector / "preprocessor_config.json").read_text().replace('"size_divisor": 32', '"size_divisor": 64')
    )
    assert load_geneval(detector, clip).inputs() != before
