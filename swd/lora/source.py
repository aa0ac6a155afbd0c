"""Where an adapter lies: a file, a folder, or a name on the Hub. A pickle is refused and never opened."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download, list_repo_files
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError, OfflineModeIsEnabled
from safetensors import SafetensorError, safe_open
from torch import Tensor

from swd.errors import AdapterError
from swd.lora.layouts import diffusers, peft
from swd.lora.layouts.contents import Contents

_FILES = (peft.FILE, diffusers.FILE)  # by these names they are found, in this order
_SUFFIX = ".safetensors"
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """Which of an adapter's files, and how the Hub is asked for it; all as in diffusers.

    Attributes:
        weight_name: file name; found by itself where there is but one.
        subfolder: inside the folder or repository.
        hub: options of ``huggingface_hub.hf_hub_download``: revision, token, cache_dir, and so on.
    """

    weight_name: str | None = None
    subfolder: str | None = None
    hub: Mapping[str, Any] | None = None

    def check(self) -> None:
        """Raise AdapterError where a name is no text."""
        for name, value in (("weight_name", self.weight_name), ("subfolder", self.subfolder)):
            if not isinstance(value, str | None):
                raise AdapterError(f"{name} must be a name, got an object of type {type(value).__name__}")


def read_contents(source: Path | str | Mapping[str, Tensor], location: Location | None = None) -> Contents:
    """Tensors, header and options of an adapter.

    Args:
        source: file, folder, name on the Hub, or the tensors themselves.
        location: which file.

    Raises:
        FileNotFoundError: nothing is there.
        AdapterError: no such source, or what is there is a pickle, broken, or more than one file.
    """
    location = location or Location()
    if isinstance(source, Mapping):
        return Contents(dict(source), source="the state dict")
    if not isinstance(source, str | PathLike):
        raise AdapterError(
            "an adapter is a file, a folder, a name on the Hub or a mapping of tensors, got an object of type "
            f"{type(source).__name__}"
        )
    location.check()
    weights = _find(source, location)
    config = weights.parent / peft.CONFIG_FILE
    tensors, header = _load(weights)
    has_config = weights.name == peft.FILE and config.is_file()
    return Contents(tensors, header, _read_config(config) if has_config else None, str(source))


def _find(source: Path | str, location: Location) -> Path:
    path = Path(source)
    if path.is_file():
        return _checked(path)
    folder = path / (location.subfolder or "")
    if path.is_dir():
        if location.weight_name is not None:
            return _existing(folder / location.weight_name)
        names = sorted(file.name for file in folder.iterdir()) if folder.is_dir() else []
        return folder / _choose(names, str(folder))
    parts = str(source).split("/")
    if len(parts) != 2 or not all(parts) or parts[0] in (".", "..", "~"):
        raise FileNotFoundError(f"no adapter at {path}, expected a file {diffusers.FILE} or {peft.FILE}")
    return _download(str(source), location)


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise FileNotFoundError(f"no adapter at {path}")
    return _checked(path)


def _checked(path: Path) -> Path:
    if path.suffix in _PICKLES:
        raise AdapterError(
            f"{path} is a pickle, which runs code when it is opened: it is not read; save the adapter as safetensors"
        )
    return path


def _choose(names: list[str], folder: str) -> str:
    """The file of an adapter among all."""
    for name in _FILES:
        if name in names:
            return name
    found = [name for name in names if name.endswith(_SUFFIX) and not name.startswith(".")]
    if len(found) == 1:
        return found[0]
    if found:
        raise AdapterError(f"{folder} holds several files, give weight_name, one of: {', '.join(found)}")
    for name in names:
        _checked(Path(folder) / name)
    raise FileNotFoundError(f"no adapter at {folder}, expected a file {diffusers.FILE} or {peft.FILE}")


def _download(name: str, location: Location) -> Path:
    """Paths in the Hub's cache; of a PEFT folder the options too."""
    options = {**(location.hub or {}), "subfolder": location.subfolder}

    def fetch(file: str) -> Path:
        return Path(hf_hub_download(name, file, **options))

    try:
        if location.weight_name is not None:
            _checked(Path(location.weight_name))
        for candidate in _FILES if location.weight_name is None else (location.weight_name,):
            try:
                if candidate == peft.FILE:
                    fetch(peft.CONFIG_FILE)
                return fetch(candidate)
            except EntryNotFoundError:  # also: offline and not in the cache
                continue
        if location.weight_name is None:
            prefix = f"{location.subfolder}/" if location.subfolder else ""
            listing = {key: value for key, value in options.items() if key in ("revision", "token")}
            files = [file.removeprefix(prefix) for file in list_repo_files(name, **listing) if file.startswith(prefix)]
            return fetch(_choose(sorted(files), name))
    except HFValidationError as error:
        raise FileNotFoundError(f"no adapter at {name}, neither a path nor a name on the Hub: {error}") from error
    except (HfHubHTTPError, OfflineModeIsEnabled, ConnectionError) as error:
        raise FileNotFoundError(f"no adapter at {name}, and the Hub does not give one: {error}") from error
    raise FileNotFoundError(f"no adapter at {name}: the Hub has no {location.weight_name} there")


def _load(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except SafetensorError as error:
        raise AdapterError(f"{path} is truncated or not a safetensors file: {error}") from error


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise AdapterError(f"cannot read {path}: {error}") from error
    if not isinstance(config, dict):
        raise AdapterError(f"{path} is no JSON object")
    return config
