"""What the numbers of the page of supported models are called in its records. The variant is the profile of a model."""

from typing import Literal, get_args

Part = Literal["network", "text_encoders", "vae"]
PARTS: tuple[Part, ...] = get_args(Part)
Use = Literal["sample", "sample_offloaded", "train"]
USES: tuple[Use, ...] = get_args(Use)

PARAMETERS = "parameters"  # record: of the network alone
STEPS = "steps"  # record: of the student's schedule
CACHE_BYTES = "cache_bytes"  # record: of one image and its caption in a latent cache


def weight_bytes(part: Part) -> str:
    """Memory of the weights of a part of the pipeline: a record."""
    return f"weight_bytes_{part}"


def peak_bytes(use: Use) -> str:
    """Most memory that a use of the model takes: a record."""
    return f"peak_bytes_{use}"
