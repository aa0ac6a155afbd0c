"""Whatever file a user brings, changed at random: it is read, or refused by an error of ours, and nothing else."""

import io
import json
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from adapters import make_adapter
from conftest import make_transformer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from study_world import tiny_study
from training_world import cache

from repro.harness.files import ROOT
from repro.harness.records import RecordError, load
from repro.harness.votes import files as votes
from repro.harness.votes.vote import Vote
from repro.stages.image_folders import files_by_id
from repro.stages.image_sets import ImageSetError
from repro.study.definition import load_study
from repro.study.errors import StudyError
from repro.study.texts import MASTER, load_texts
from repro.worlds.prompts import PromptFileError
from repro.worlds.prompts.plain import read_plain
from swd.data.layout import CacheIndex
from swd.data.metadata import read_metadata
from swd.errors import AdapterError, CacheError
from swd.errors import StudyError as TrainingStudyError
from swd.images import ImageFileError, read_image
from swd.lora.files import read_adapter, write_adapter
from swd.train import read_study

EXAMPLES = settings(
    max_examples=int(os.environ.get("SWD_FUZZ", "60")),
    derandomize=True,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


@dataclass(frozen=True)
class Brought:
    """One kind of file: a good one, what reads it, and the errors that it may end in."""

    name: str
    good: bytes
    read: Callable[[Path], Any]
    errors: tuple[type[Exception], ...]


@st.composite
def spoilt(draw: st.DrawFn, good: bytes) -> bytes:
    """A file with up to four changes: bits flipped, parts cut out, doubled, zeroed, or put in from elsewhere."""
    data = bytearray(good)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, max(len(data) - 1, 0)))
        length = draw(st.sampled_from([1, 2, 8, 64, len(data)]))
        end = min(start + length, len(data))
        how = draw(st.sampled_from(["flip", "cut", "double", "zero", "insert"]))
        if how == "flip" and data:
            data[start] ^= 1 << draw(st.integers(0, 7))
        elif how == "cut":
            del data[start:end]
        elif how == "double":
            data[start:start] = data[start:end]
        elif how == "zero":
            data[start:end] = bytes(end - start)
        else:
            data[start:start] = draw(st.one_of(st.binary(max_size=16), st.sampled_from(WORDS)))
    return bytes(data)


WORDS = [b"null", b"NaN", b"1e999", b"-1", b"[" * 3000, b'"', b"\n", b"../", b"\\ud800", b"\x00", b"\xff\xfe"]
RECORDS = ROOT / "paper_tables" / "records" / "figure3.jsonl"  # a small one


def picture(form: str) -> bytes:
    stream = io.BytesIO()
    Image.linear_gradient("L").resize((24, 16)).convert("RGB").save(stream, form)
    return stream.getvalue()


def one_vote(image: int) -> Vote:
    return Vote(
        study="s",
        prompt="p",
        image=image,
        criterion="defects",
        left="a",
        right="b",
        choice="tie",
        assessor="x",
        seconds=1.5,
    )


def in_folder(name: str, read: Callable[[Path], Any]) -> Callable[[Path], Any]:
    """Reads the folder of a file that has this name in it."""

    def run(path: Path) -> Any:
        (path.parent / "0.png").write_bytes(picture("png"))
        path.rename(path.with_name(name))
        return read(path.parent)

    return run


def brought(folder: Path) -> Iterator[Brought]:
    captions = [{"file_name": "0.png", "text": "a red star"}, {"file_name": "0.png", "text": "zwei Kreise"}]
    metadata = "".join(json.dumps(row) + "\n" for row in captions).encode()
    manifest = json.dumps({"id": "0", "file": "0.png"}).encode() + b"\n"
    yield Brought("metadata.jsonl", metadata, in_folder("metadata.jsonl", read_metadata), (CacheError,))
    yield Brought("manifest.jsonl", manifest, in_folder("manifest.jsonl", files_by_id), (ImageSetError,))
    yield Brought("manifest.csv", b"id,file\n0,0.png\n", in_folder("manifest.csv", files_by_id), (ImageSetError,))
    for form in ("png", "jpeg", "webp"):
        yield Brought(f"image.{form}", picture(form), read_image, (ImageFileError,))
    yield Brought("records.jsonl", RECORDS.read_bytes(), load, (RecordError,))
    for ending in (".jsonl", ".csv"):
        votes.write(folder / f"votes{ending}", [one_vote(0), one_vote(1)])
        yield Brought(f"votes{ending}", (folder / f"votes{ending}").read_bytes(), votes.read, (RecordError,))
    rows = {"txt": b"a red star\ntwo\n", "csv": b"id,caption\n0,one\n1,two\n", "tsv": b"id\tcaption\n0\tone\n1\ttwo\n"}
    rows["jsonl"] = b'{"id": "0", "caption": "one"}\n{"id": "1", "caption": "two"}\n'
    for ending, good in rows.items():
        yield Brought(f"prompts.{ending}", good, read_plain, (PromptFileError,))
    study = tiny_study(folder / "made", prompts=2, criteria=["defects"], side=8)
    yield Brought("STUDY.toml", study.file.read_bytes(), load_study, (StudyError,))
    yield Brought("xx.toml", MASTER.read_bytes(), lambda path: load_texts(path.name, path.parent), (StudyError,))
    training = b'pipeline = "p"\n[distill]\npreset = "mini-4"\niterations = 3\nlr = 1e-4\n'
    yield Brought("training.toml", training, read_study, (TrainingStudyError,))
    adapter = make_adapter(make_transformer(), ("to_q", "to_k"))
    written = write_adapter(adapter, "diffusers", folder / "lora", component="transformer")
    yield Brought("adapter.safetensors", written.read_bytes(), read_adapter, (AdapterError,))
    written = write_adapter(adapter, "peft", folder / "peft", component="transformer")
    options = (folder / "peft" / "adapter_config.json").read_bytes()

    def with_options(path: Path) -> Any:
        path.rename(path.with_name("adapter_config.json"))
        (path.parent / written.name).write_bytes(written.read_bytes())
        return read_adapter(path.parent)

    yield Brought("options.json", options, with_options, (AdapterError,))
    made = cache().index
    index = json.dumps(replace(made, fingerprint=made.own_fingerprint).as_json()).encode()
    yield Brought("index.json", index, in_folder("index.json", CacheIndex.read), (CacheError,))


NAMES = [
    "metadata.jsonl", "manifest.jsonl", "manifest.csv", "image.png", "image.jpeg", "image.webp",
    "records.jsonl", "votes.jsonl", "votes.csv", "prompts.txt", "prompts.csv", "prompts.tsv",
    "prompts.jsonl", "STUDY.toml", "xx.toml", "training.toml", "adapter.safetensors", "options.json", "index.json",
]  # fmt: skip


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Brought]:
    folder = tmp_path_factory.mktemp("brought")
    (folder / "made").mkdir()
    return {one.name: one for one in brought(folder)}


@pytest.mark.parametrize("name", NAMES)
def test_a_spoilt_file_is_read_or_refused_by_its_name(
    kinds: dict[str, Brought], name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    kind = kinds[name]
    place = tmp_path_factory.mktemp("spoilt")

    def attempt(data: bytes) -> str:
        folder = Path(tempfile.mkdtemp(dir=place))
        (folder / name).write_bytes(data)
        try:
            kind.read(folder / name)
        except kind.errors as error:
            return str(error)
        return ""

    @EXAMPLES
    @given(spoilt(kind.good))
    def search(data: bytes) -> None:
        said = attempt(data)
        assert "\n" not in said.strip() or "Traceback" not in said

    assert attempt(kind.good) == "", "the good file is read"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Pillow's, on the way to an error
        search()


def test_every_kind_is_tried(kinds: dict[str, Brought]) -> None:
    assert sorted(kinds) == sorted(NAMES)
