"""Pool3 features (2048) of the Inception of FID (Heusel et al., 2017), and the recipes by which images reach it.

The network is TensorFlow's of 2015-12-05, built from torch-fidelity's blocks; the weights are the state dict that
pytorch-fid and torch-fidelity publish, read from a local file. What implementations differ in is how an image becomes
299 x 299 pixels, and that moves FID by points: each way is a `Recipe` with a name, and its name stands in the record
(Parmar et al., 2022, "On Aliased Resizing"). docs/decisions/fid-recipes.md tells where each comes from.
"""

import hashlib
import pickle
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors
import safetensors.torch
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch_fidelity import feature_extractor_inceptionv3 as blocks
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import center_crop, pil_to_tensor, resize

from repro.metrics.base import WeightsError
from repro.metrics.preprocess import stacked

SIDE = 299
DIMENSIONS = 2048
PUBLISHED_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
"""Of pt_inception-2015-12-05-6726825d.pth; torch-fidelity publishes the same bytes under another name."""
CLASSIFIER = {"fc.weight": (1008, DIMENSIONS), "fc.bias": (1008,)}
"""In the file, not in pool3."""

Enlargement = Literal["bilinear", "bilinear antialiased", "bilinear of TensorFlow 1", "bicubic of PIL in float"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How an RGB image becomes the network's input (3, 299, 299); None leaves a step out.

    ``shrink``: shorter side to this by PIL's bicubic filter. ``crop``: shorter side to this by Lanczos, then the
    central square. ``resize``: the way to 299 x 299, aspect ratio not kept. ``scaling``: of values in 0..255.
    """

    name: str
    shrink: int | None = None
    crop: int | None = None
    resize: Enlargement
    scaling: Literal["2 x / 255 - 1", "(x - 128) / 128"]

    def __call__(self, image: Image.Image) -> Tensor:
        """Pixels (3, 299, 299) in about [-1, 1]."""
        if self.shrink is not None:
            image = resize(image, self.shrink, InterpolationMode.BICUBIC)
        if self.crop is not None:
            image = center_crop(resize(image, self.crop, InterpolationMode.LANCZOS), self.crop)
        pixels = pil_to_tensor(image)[None].float()
        if self.scaling == "2 x / 255 - 1":
            return RESIZE[self.resize](pixels / 255)[0] * 2 - 1
        return (RESIZE[self.resize](pixels)[0] - 128) / 128


def bicubic_in_float(pixels: Tensor) -> Tensor:
    """clean-fid's: PIL's antialiased bicubic filter on each channel in float, clipped to 0..255."""
    channels = [Image.fromarray(channel.numpy()) for channel in pixels[0]]  # mode F
    small = [np.asarray(channel.resize((SIDE, SIDE), Image.Resampling.BICUBIC)) for channel in channels]
    return torch.from_numpy(np.stack(small).clip(0, 255))[None]


RESIZE: Mapping[str, Callable[[Tensor], Tensor]] = {
    "bilinear": lambda x: interpolate(x, size=(SIDE, SIDE), mode="bilinear", align_corners=False),
    "bilinear antialiased": lambda x: interpolate(
        x, size=(SIDE, SIDE), mode="bilinear", align_corners=False, antialias=True
    ),
    "bilinear of TensorFlow 1": lambda x: interpolate_bilinear_2d_like_tensorflow1x(
        x, size=(SIDE, SIDE), align_corners=False
    ),
    "bicubic of PIL in float": bicubic_in_float,
}
RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(name="swd", shrink=512, crop=256, resize="bilinear", scaling="2 x / 255 - 1"),
        Recipe(name="pytorch-fid", resize="bilinear", scaling="2 x / 255 - 1"),
        Recipe(name="clean-fid", resize="bicubic of PIL in float", scaling="(x - 128) / 128"),
        Recipe(name="torchmetrics", resize="bilinear antialiased", scaling="(x - 128) / 128"),
        Recipe(name="torch-fidelity", resize="bilinear of TensorFlow 1", scaling="(x - 128) / 128"),
    )
}


def recipe_named(name: str) -> Recipe:
    """Look a recipe up.

    Raises:
        ValueError: for a name that is none.
    """
    if name not in RECIPES:
        raise ValueError(f"no FID recipe {name!r}, expected one of {', '.join(RECIPES)}")
    return RECIPES[name]


def pool3_network() -> nn.Sequential:
    """The network up to its last pooling, (B, 3, 299, 299) to (B, 2048), names as in the published state dict."""
    return nn.Sequential(
        OrderedDict(
            Conv2d_1a_3x3=blocks.BasicConv2d(3, 32, kernel_size=3, stride=2),
            Conv2d_2a_3x3=blocks.BasicConv2d(32, 32, kernel_size=3),
            Conv2d_2b_3x3=blocks.BasicConv2d(32, 64, kernel_size=3, padding=1),
            MaxPool_1=nn.MaxPool2d(kernel_size=3, stride=2),
            Conv2d_3b_1x1=blocks.BasicConv2d(64, 80, kernel_size=1),
            Conv2d_4a_3x3=blocks.BasicConv2d(80, 192, kernel_size=3),
            MaxPool_2=nn.MaxPool2d(kernel_size=3, stride=2),
            Mixed_5b=blocks.InceptionA(192, pool_features=32),
            Mixed_5c=blocks.InceptionA(256, pool_features=64),
            Mixed_5d=blocks.InceptionA(288, pool_features=64),
            Mixed_6a=blocks.InceptionB(288),
            Mixed_6b=blocks.InceptionC(768, channels_7x7=128),
            Mixed_6c=blocks.InceptionC(768, channels_7x7=160),
            Mixed_6d=blocks.InceptionC(768, channels_7x7=160),
            Mixed_6e=blocks.InceptionC(768, channels_7x7=192),
            Mixed_7a=blocks.InceptionD(768),
            Mixed_7b=blocks.InceptionE_1(1280),
            Mixed_7c=blocks.InceptionE_2(DIMENSIONS),
            AvgPool=nn.AdaptiveAvgPool2d(output_size=(1, 1)),
            Flatten=nn.Flatten(),
        )
    )


def read_inception(path: Path) -> dict[str, Tensor]:
    """Read the state dict in pytorch-fid's layout, from .safetensors or by torch with ``weights_only``.

    Raises:
        WeightsError: if the file is missing, truncated or holds something else.
    """
    if not path.is_file():
        raise WeightsError(
            f"no Inception weights at {path}. Get pt_inception-2015-12-05-6726825d.pth (95.6 MB) from the release "
            "fid_weights of github.com/mseitzer/pytorch-fid"
        )
    try:
        if path.suffix == ".safetensors":
            state: Any = safetensors.torch.load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError, safetensors.SafetensorError) as error:
        raise WeightsError(f"cannot read Inception weights from {path}: {error}") from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"{path} holds no state dict of tensors, but {type(state).__name__}")
    return {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}


def check_layout(state: Mapping[str, Tensor], network: nn.Module, path: Path) -> None:
    """Refuse another network's tensors: every name and shape must be that of the published file."""
    wanted = {name: tuple(value.shape) for name, value in network.state_dict().items() if "num_batches" not in name}
    wanted |= CLASSIFIER
    found = {name: tuple(value.shape) for name, value in state.items()}
    if found == wanted:
        return
    wrong = [name for name in wanted if name in found and found[name] != wanted[name]]
    for names, what in ((wanted.keys() - found, "misses"), (found.keys() - wanted, "does not expect")):
        if names:
            raise WeightsError(f"{path} is not FID's Inception: it {what} {len(names)} tensors, first {min(names)}")
    raise WeightsError(f"{path}: {wrong[0]} has shape {found[wrong[0]]}, FID's Inception needs {wanted[wrong[0]]}")


class InceptionFeatures:
    """Pool3 features (B, 2048) of RGB images of any size.

    Args:
        weights: state dict in pytorch-fid's layout, .pth or .safetensors.
        recipe: how images become 299 x 299; the paper's by default.
        device: where the network runs, in float32.

    Raises:
        WeightsError: for a file that is missing, truncated or another network's.
    """

    name = "inception"
    dimensions = DIMENSIONS

    def __init__(self, weights: Path, *, recipe: str = "swd", device: str | torch.device = "cpu") -> None:
        self.recipe = recipe_named(recipe)
        state = read_inception(weights)
        network = pool3_network()
        check_layout(state, network, weights)
        network.load_state_dict({name: value for name, value in state.items() if name not in CLASSIFIER}, strict=False)
        self._network = network.requires_grad_(False).eval().to(device=device, dtype=torch.float32)
        self._device = torch.device(device)
        self._sha256 = hashlib.sha256(weights.read_bytes()).hexdigest()

    @torch.no_grad()
    def __call__(self, images: Sequence[Image.Image]) -> np.ndarray:
        """Encode one batch, (B, 2048) float32."""
        pixels = stacked(self.recipe, images).to(self._device)
        features: np.ndarray = self._network(pixels).cpu().numpy()
        return features

    def inputs(self) -> dict[str, Any]:
        """What the features follow from."""
        return {
            "network": "Inception v3 of 2015-12-05, pool3",
            "recipe": asdict(self.recipe),
            "weights_sha256": self._sha256,
            "published_weights": self._sha256 == PUBLISHED_SHA256,
        }
