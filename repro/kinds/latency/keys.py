"""What the numbers of Table 3 are called in its records. The variant is the key of a row, unless said otherwise.

Seconds and FLOPs are for one image, or for one sample of a training batch.
"""

from typing import Literal, get_args

from repro.kinds.latency.declare import Autoencoder

Part = Literal["text", "steps", "decode", "empty"]  # empty: the empty prompt of guidance, once for a whole batch
PARTS: tuple[Part, ...] = get_args(Part)

TEXT_TOKENS = "text_tokens"  # record of the device: of all text encoders, in the arithmetic of the published setting
DEVICE = "device"  # variant of what belongs to no row
MATMUL_FLOPS = "matmul_flops"  # record of the device: FLOP/s of its fastest matrix product
SIDES = "sides"  # series over steps: latent side of every step of a student


def seconds(batch: int) -> str:
    """Seconds of an image in a batch of that many, from text to pixels: a series over rounds."""
    return f"seconds_b{batch}"


def parts(batch: int) -> str:
    """Where they go: a series over text, every step of a student or all of a teacher, and decoding; medians."""
    return f"parts_b{batch}"


def peak_bytes(batch: int) -> str:
    """Peak memory of a batch in bytes: a record."""
    return f"peak_bytes_b{batch}"


def flops(part: Part) -> str:
    """FLOPs of a part of an image: a record."""
    return f"flops_{part}"


def flops_of_side(side: int) -> str:
    """FLOPs of a step at a latent side: a record of the device."""
    return f"flops_side_{side}"


def train_seconds(loss: str) -> str:
    """Seconds of a training iteration of a batch under a loss, a key of ``LOSSES``: a series over rounds."""
    return f"train_seconds_{loss}"


def train_peak_bytes(loss: str) -> str:
    """Peak memory of a training in bytes: a record."""
    return f"train_peak_bytes_{loss}"


def train_flops(loss: str) -> str:
    """FLOPs of a training iteration for each sample: a record."""
    return f"train_flops_{loss}"


def ideal(steps: int, vae: Autoencoder) -> str:
    """FLOPs of full-scale by those of scale-wise at so many steps: a record whose variant is a published model."""
    return f"ideal_{steps}_{vae}"
