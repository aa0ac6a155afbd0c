"""Folders of images that another system made: every prompt finds its file, or the folder is refused by name."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from repro.harness.experiment import PromptSet, Row
from repro.kinds.scores.given_sources import FolderSource
from repro.stages.image_folders import check_drawn, check_folder, files_by_id, images_of_folder
from repro.stages.image_sets import ImageSetError
from repro.stages.images import make_images
from repro.stages.store import StageStore

PROMPTS = [{"id": name, "caption": f"a {name}"} for name in ("cat", "dog", "cow")]
SHADES = {"cat": 10, "dog": 20, "cow": 30}


def picture(shade: int) -> Image.Image:
    return Image.fromarray(np.full((4, 6, 3), shade, dtype=np.uint8))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images by numbers, of every prompt and of one more."""
    folder = tmp_path / "system"
    (folder / "sub").mkdir(parents=True)
    for index, shade in enumerate([*SHADES.values(), 40]):
        picture(shade).save(folder / "sub" / f"{index}.png")
    return folder


def by_lines(folder: Path) -> None:
    rows = [{"id": name, "file": f"sub/{index}.png"} for index, name in enumerate([*SHADES, "hen"])]
    (folder / "manifest.jsonl").write_text("\n\n".join(json.dumps(row) for row in rows), encoding="utf-8-sig")


def by_table(folder: Path) -> None:
    lines = ["file,note,id", *(f'sub/{index}.png,"a, b",{name}' for index, name in enumerate([*SHADES, "hen"]))]
    (folder / "manifest.csv").write_bytes("\r\n".join(lines).encode("utf-8-sig"))


def by_names(folder: Path) -> None:
    for index, name in enumerate([*SHADES, "hen"]):
        (folder / "sub" / f"{index}.png").rename(folder / "sub" / f"{name}.png")


@pytest.mark.parametrize("said", [by_lines, by_table, by_names])
def test_every_prompt_finds_its_image(folder: Path, tmp_path: Path, said: Callable[[Path], None]) -> None:
    said(folder)
    images = images_of_folder(StageStore(tmp_path / "work"), folder, PROMPTS, shard_size=2)
    found = {
        prompt["id"]: image for batch, prompts in images.batches() for image, prompt in zip(batch, prompts, strict=True)
    }
    assert {name: image.getpixel((0, 0))[0] for name, image in found.items()} == SHADES


def test_another_image_of_the_same_name_and_length_is_noticed(folder: Path, tmp_path: Path) -> None:
    by_lines(folder)
    store, path = StageStore(tmp_path / "work"), folder / "sub" / "1.png"
    measurement = SimpleNamespace(store=store, execution=SimpleNamespace(shard_size=2, batch_size=2))
    studio = SimpleNamespace(measurement=measurement, profile=SimpleNamespace(prompt_sets=[PromptSet("coco", "COCO")]))
    source = FolderSource(studio, Row("theirs", "Theirs", images=True), folder)  # type: ignore[arg-type]
    before, images = source.inputs(), source.images("coco", PROMPTS)
    length, when = path.stat().st_size, path.stat().st_mtime_ns
    picture(21).save(path)
    assert path.stat().st_size == length
    os.utime(path, ns=(when, when))
    assert source.inputs() != before
    after = source.images("coco", PROMPTS)
    assert after.inputs != images.inputs
    (lost,) = [lost for shard in images.shards for batch in images.read(shard, 2) for lost in batch.skipped]
    assert (lost.id, "another sha256" in lost.reason) == ("dog", True)  # under the old identity it is not measured


def test_an_image_set_of_ours_is_such_a_folder(tmp_path: Path) -> None:
    prompts = [{**prompt, "seed": seed} for seed, prompt in enumerate(PROMPTS)]
    made = make_images(
        StageStore(tmp_path / "first"),
        {"shard_size": 2},
        prompts,
        lambda: lambda part: [picture(SHADES[prompt["id"]]) for prompt in part],
        "test",
    )
    images = images_of_folder(StageStore(tmp_path / "second"), made.folder, prompts, shard_size=3)
    assert [image.getpixel((0, 0))[0] for image in images.shown(3)] == list(SHADES.values())


def test_the_images_are_the_identity_and_not_their_place(folder: Path, tmp_path: Path) -> None:
    by_names(folder)
    store = StageStore(tmp_path / "work")
    first = images_of_folder(store, folder, PROMPTS, shard_size=2)
    picture(99).save(folder / "sub" / "dog.png")
    second = images_of_folder(store, folder, PROMPTS, shard_size=2)
    assert first.inputs != second.inputs
    (lost,) = next(first.read("shard-00000", 2)).skipped
    assert lost.id == "dog"
    picture(20).save(folder / "sub" / "dog.png")
    moved = folder.rename(tmp_path / "elsewhere")
    third = images_of_folder(store, moved, PROMPTS, shard_size=2)
    assert third.inputs == first.inputs
    assert len(next(third.read("shard-00000", 2)).images) == 2  # from where they are now


def test_bad_images_are_skipped_with_their_reason(folder: Path, tmp_path: Path) -> None:
    by_names(folder)
    (folder / "sub" / "dog.png").write_bytes(b"")
    Image.new("CMYK", (4, 4)).save(folder / "sub" / "cow.jpg")
    (folder / "sub" / "cow.png").unlink()
    images = images_of_folder(StageStore(tmp_path / "work"), folder, PROMPTS, shard_size=3)
    batch = next(images.read("shard-00000", 3))
    assert [prompt["id"] for prompt in batch.prompts] == ["cat"]
    assert {lost.id: lost.reason.split(",")[0] for lost in batch.skipped} == {"dog": "empty file", "cow": "CMYK"}


def test_missing_ids_are_named(folder: Path, tmp_path: Path) -> None:
    by_names(folder)
    prompts = [*PROMPTS, *({"id": f"x{i}", "caption": ""} for i in range(7))]
    with pytest.raises(ImageSetError, match=r"7 of 10 prompts have no image: x0, x1, x2, x3, x4, \.\.\."):
        images_of_folder(StageStore(tmp_path / "work"), folder, prompts, shard_size=2)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "manifest.jsonl",
            '{"id": "a", "file": "sub/0.png"}\n{"id": "a", "file": "sub/1.png"}',
            "line 2: id 'a' stands in .*line 1",
        ),
        ("manifest.jsonl", '{"id": "a", "file": "../secret.png"}', "line 1: .* lies outside of"),
        ("manifest.jsonl", '{"id": "a", "file": "sub/9.png"}', r"line 1: there is no file .*9\.png"),
        ("manifest.jsonl", '{"id": "a"}', "line 1: id 'a' and file None; expected two texts"),
        ("manifest.jsonl", '{"id": "a", "fi', "line 1: not JSON"),
        ("manifest.jsonl", "[1]", "line 1: expected an object"),
        ("manifest.csv", "name,file\na,sub/0.png", r"manifest\.csv: no column id; it has name, file"),
        ("manifest.csv", "id,file\n,sub/0.png", "line 2: id '' and file"),
        ("manifest.csv", "", "no column file, id"),
    ],
)
def test_damaged_manifests_are_refused_by_line(folder: Path, name: str, content: str, message: str) -> None:
    (folder / name).write_text(content)
    with pytest.raises(ImageSetError, match=message):
        files_by_id(folder)


def test_a_file_that_is_the_image_of_two_prompts_is_told_of(folder: Path) -> None:
    rows = [{"id": name, "file": file} for name, file in (("cat", "sub/0.png"), ("dog", "./sub/0.png"))]
    (folder / "manifest.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.warns(UserWarning, match=r"manifest.jsonl, line 2: .*0\.png is the image of 'cat' too"):
        assert files_by_id(folder).keys() == {"cat", "dog"}


def test_two_files_of_one_name_two_manifests_and_no_folder(folder: Path) -> None:
    picture(1).save(folder / "0.webp")
    with pytest.raises(ImageSetError, match=r"0\.png: id '0' stands in .*0\.webp too"):
        files_by_id(folder)
    by_lines(folder)
    by_table(folder)
    with pytest.raises(ImageSetError, match=r"holds both manifest\.jsonl and manifest\.csv"):
        files_by_id(folder)
    (folder / "manifest.csv").unlink()
    (folder / "manifest.jsonl").write_bytes(b'{"id": "\xff"}')
    with pytest.raises(ImageSetError, match="is not UTF-8"):
        files_by_id(folder)
    with pytest.raises(ImageSetError, match=r"no such folder of images: .*nowhere"):
        files_by_id(folder / "nowhere")


def test_a_folder_of_one_image_says_how_many_are_wanted(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "0.png")
    prompts = [{"caption": "a dot", "seed": number, "kind": "short"} for number in range(10)]
    with pytest.raises(ImageSetError, match=r"9 of 10 prompts have no image: 1, 2, .*; the folder holds 1"):
        check_folder(tmp_path, prompts)
    assert check_folder(tmp_path, prompts[:1]) == {"0": tmp_path / "0.png"}


def test_black_or_broken_images_are_known_before_any_work(tmp_path: Path) -> None:
    flat, broken, drawn = tmp_path / "flat.png", tmp_path / "broken.png", tmp_path / "drawn.png"
    Image.new("RGB", (8, 8)).save(flat)
    broken.write_bytes(flat.read_bytes()[:40])
    Image.effect_noise((8, 8), 50).convert("RGB").save(drawn)
    with pytest.raises(ImageSetError, match="each of the first 2 images that can be read shows one colour"):
        check_drawn([flat, broken])
    with pytest.raises(ImageSetError, match=r"none of the first 1 images can be read: .*broken\.png"):
        check_drawn([broken])
    check_drawn([flat, broken, drawn])
    check_drawn([])
