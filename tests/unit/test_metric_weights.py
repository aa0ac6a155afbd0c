import json
from pathlib import Path

import pytest
import torch
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError
from safetensors.torch import save_file

from repro.harness.files import digest_file
from repro.metrics import weights
from repro.metrics.base import WeightsError
from repro.metrics.weights import command, digests, first_match, resolve

COMMIT = "0123456789012345678901234567890123456789"
NAME = "someone/model"


def fill(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    save_file({"w": torch.arange(6.0)}, folder / "model.safetensors")
    (folder / "config.json").write_text("{}")
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache with one model in it; gives the folder of its snapshot."""
    root = tmp_path / "models--someone--model"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text(COMMIT)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    original = weights.snapshot_download
    monkeypatch.setattr(
        weights, "snapshot_download", lambda name, **kwargs: original(name, cache_dir=tmp_path, **kwargs)
    )
    return fill(root / "snapshots" / COMMIT)


def test_a_path_is_taken_as_it_is(tmp_path: Path) -> None:
    folder = fill(tmp_path / "model")
    assert resolve(str(folder), revision=None) == folder
    assert resolve(str(folder / "model.safetensors"), revision=None) == folder / "model.safetensors"
    assert resolve(str(folder), revision=None, files=["config.json", "pytorch_model.bin|model*.safetensors"]) == folder


def test_a_name_is_found_in_the_cache(cache: Path) -> None:
    assert resolve(NAME, revision=None) == cache
    assert resolve(NAME, revision=COMMIT, files=["config.json"]) == cache


def test_a_name_that_cannot_be_had_says_how_to_get_it(cache: Path) -> None:
    with pytest.raises(WeightsError, match=r"someone/other: it is not in the local cache.*hf download someone/other$"):
        resolve("someone/other", revision=None)
    with pytest.raises(WeightsError, match=r"hf download someone/model --include more.safetensors"):
        resolve(NAME, revision=None, files=["more.safetensors|more.bin"])
    with pytest.raises(WeightsError, match=r"hf download someone/model --revision v2"):
        resolve(NAME, revision="v2")


def test_known_terms_are_named() -> None:
    name = "stabilityai/stable-diffusion-3.5-medium"
    with pytest.raises(WeightsError, match=r"Stability AI Community License; accept it on the page.*hf download"):
        resolve(name, revision="no-such-revision")


@pytest.mark.parametrize(
    ("error", "reason"),
    [(GatedRepoError, "it is gated: accept its terms"), (RepositoryNotFoundError, "no model of that name")],
)
def test_what_the_hub_answers_is_passed_on(
    error: type[Exception], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(name: str, *, local_files_only: bool = False, **kwargs: object) -> str:
        if local_files_only:
            raise weights.LocalEntryNotFoundError("not here")
        raise error.__new__(error)  # its own __init__ wants the hub's answer

    monkeypatch.setattr(weights, "snapshot_download", refuse)
    with pytest.raises(WeightsError, match=f"cannot get someone/model: .*{reason}.*hf download someone/model"):
        resolve(NAME, revision=None)


@pytest.mark.parametrize("source", ["/nowhere/at/all", "./nowhere", "~/nowhere-at-all", "a/b/c"])
def test_a_path_that_is_not_there_is_no_name(source: str) -> None:
    with pytest.raises(WeightsError, match="no such file or folder"):
        resolve(source, revision=None)


def test_a_path_has_no_revision(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="is a path and has no revision, got 'main'"):
        resolve(str(tmp_path), revision="main")


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no weights in .*expected a file \.bin or \.pt or"):
        resolve(str(tmp_path), revision=None)
    with pytest.raises(WeightsError, match=r"missing in .*: vocab\.txt, a\.bin or b\.bin"):
        resolve(str(fill(tmp_path)), revision=None, files=["config.json", "vocab.txt", "a.bin|b.bin"])


@pytest.mark.parametrize("suffix", ["safetensors", "pt", "bin"])
def test_truncated_files_are_refused(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"model.{suffix}"
    state = {"w": torch.arange(1000.0)}
    save_file(state, path) if suffix == "safetensors" else torch.save(state, path)
    assert resolve(str(path), revision=None) == path
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(WeightsError, match=f"is truncated.*{len(whole) - 100} bytes"):
        resolve(str(tmp_path), revision=None)
    path.write_bytes(b"")
    with pytest.raises(WeightsError, match="is empty: 0 bytes"):
        resolve(str(path), revision=None)
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 4000\n")
    with pytest.raises(WeightsError, match="Git LFS pointer"):
        resolve(str(path), revision=None)


def test_an_index_needs_all_its_files(tmp_path: Path) -> None:
    fill(tmp_path)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"w": "model.safetensors", "v": "model-2.safetensors"}}))
    with pytest.raises(WeightsError, match=r"names model-2\.safetensors, which is missing"):
        resolve(str(tmp_path), revision=None, files=["model.safetensors.index.json"])
    index.write_text("[]")
    with pytest.raises(WeightsError, match="is no index of weights"):
        resolve(str(tmp_path), revision=None, files=["*.index.json"])


def test_alternatives_are_tried_in_order() -> None:
    names = ["model.bin", "model-1.safetensors", "model-2.safetensors"]
    assert first_match(names, "model*.safetensors|model.bin") == ["model-1.safetensors", "model-2.safetensors"]
    assert first_match(names, "no*|model.bin") == ["model.bin"]
    assert first_match(names, "no*") == []


def test_the_command_can_be_pasted() -> None:
    assert (
        command("a/b", "v1", ["x.json", "*.bin|*.pt"])
        == "hf download a/b --revision v1 --include x.json --include '*.bin'"
    )


def test_a_blob_of_the_cache_is_named_by_its_digest(tmp_path: Path) -> None:
    folder = fill(tmp_path / "snapshot")
    digest = digest_file(folder / "model.safetensors")
    assert digests(folder, ["model.safetensors"]) == {"model.safetensors": digest}
    blob = tmp_path / "blobs" / ("f" * 64)
    blob.parent.mkdir()
    (folder / "model.safetensors").rename(blob)
    (folder / "model.safetensors").symlink_to(blob)
    assert digests(folder, ["model.safetensors"]) == {"model.safetensors": "f" * 64}
