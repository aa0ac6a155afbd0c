"""Weights of a pipeline folder as they lie in its safetensors files, looked at without being loaded."""

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from swd.errors import PipelineError

STEMS = {"diffusers": "diffusion_pytorch_model", "transformers": "model"}
MOVED = "text_model."  # before every key of a published CLIPTextModel; transformers 5 has dropped it
UNSIGNED = ("BOOL", "U8", "U16", "U32", "U64")


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Where a tensor lies.

    Attributes:
        path: of its file.
        start: of its first byte.
        size: of its bytes.
        shape: as written.
        dtype: as safetensors writes it.
    """

    path: Path
    start: int
    size: int
    shape: tuple[int, ...]
    dtype: str

    def signs(self, count: int) -> bytes:
        """Sign bits, a byte each, of up to ``count`` evenly spaced values; one tensor is mapped at a time."""
        numel = prod(self.shape)
        if not numel or self.dtype in UNSIGNED:
            return bytes(min(numel, -(-numel // (-(-numel // count) or 1))))
        width, step = self.size // numel, -(-numel // count)
        raw = np.memmap(self.path, np.uint8, "r", offset=self.start, shape=(self.size,))
        return (raw[width - 1 :: width * step] >> 7).tobytes()  # little-endian: the sign is the last byte's first bit


@dataclass(frozen=True, slots=True)
class StoredNetwork:
    """A part of a pipeline folder, such as ``text_encoder``.

    Attributes:
        folder: of the part.
        library: diffusers or transformers.
        kind: name of its class there.
        variant: of the files to prefer, such as fp16.
    """

    folder: Path
    library: str
    kind: str
    variant: str | None = None

    @classmethod
    def find(cls, pipeline: Path, part: str, variant: str | None = None) -> "StoredNetwork | None":
        """The part of a pipeline folder; None where ``model_index.json`` says that there is none."""
        index = json.loads((pipeline / "model_index.json").read_text(encoding="utf-8"))
        library, kind = index.get(part) or ("", "")
        return cls(pipeline / part, library, kind, variant) if library in STEMS else None

    def tensors(self) -> dict[str, StoredTensor] | None:
        """Every weight that the network would have once loaded; None where only loading can tell.

        Raises:
            PipelineError: a file is missing or torn.
        """
        found = {key: tensor for path in self._files() for key, tensor in read_header(path)}
        names = self._names()
        for moved in (found, {f"{MOVED}{key}": t for key, t in found.items()}, _without(MOVED, found)):
            known = {name: next((moved[tied] for tied in ties if tied in moved), None) for name, ties in names.items()}
            if None not in known.values():
                return {name: tensor for name, tensor in known.items() if tensor is not None}
        return None

    def load(self) -> nn.Module:
        """The network itself."""
        exists = self.variant is not None and self.variant in "".join(path.name for path in self._files())
        made: nn.Module = self._class().from_pretrained(self.folder, variant=self.variant if exists else None)
        return made

    def _class(self) -> Any:
        return getattr(import_module(self.library), self.kind)

    def _names(self) -> dict[str, list[str]]:
        """Names in the state of the network, each with all names of the same tensor, itself first."""
        kind: Any = self._class()
        with torch.device("meta"):
            if self.library == "diffusers":
                network = kind.from_config(kind.load_config(self.folder))
            else:
                network = kind(kind.config_class.from_pretrained(self.folder))
        state = network.state_dict(keep_vars=True)
        return {name: [name, *(n for n in state if n != name and state[n] is state[name])] for name in state}

    def _files(self) -> list[Path]:
        stem = STEMS[self.library]
        for variant in dict.fromkeys((self.variant, None)):
            middle = f".{variant}" if variant else ""
            whole = self.folder / f"{stem}{middle}.safetensors"
            index = self.folder / f"{stem}.safetensors.index{middle}.json"
            if whole.is_file():
                return [whole]
            if index.is_file():
                files = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
                return [self.folder / name for name in sorted(set(files))]
        raise PipelineError(f"{self.folder} holds no {stem}.safetensors: weights are read from safetensors alone")


def _without(prefix: str, tensors: dict[str, StoredTensor]) -> dict[str, StoredTensor]:
    return {key.removeprefix(prefix): tensor for key, tensor in tensors.items()}


def read_header(path: Path) -> Iterator[tuple[str, StoredTensor]]:
    """Where every tensor of a safetensors file lies: it is eight bytes of length, a JSON header, then the tensors.

    Raises:
        PipelineError: the file is missing or torn.
    """
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length))
        for key, entry in header.items():
            if key == "__metadata__":
                continue
            start, stop = (8 + length + offset for offset in entry["data_offsets"])
            if stop > path.stat().st_size:
                raise ValueError(f"{key} ends behind the end of the file")
            yield key, StoredTensor(path, start, stop - start, tuple(entry["shape"]), entry["dtype"])
    except (OSError, ValueError, KeyError, TypeError, struct.error) as error:
        raise PipelineError(f"{path} is missing or torn: {error}") from error
