"""What networks cost, counted on meta tensors: no memory, no arithmetic. Of training: `swd.training.cost`."""

from swd.cost.inference import (
    decode_cost,
    encode_cost,
    forward_cost,
    prompt_cost,
    schedule_cost,
    text_cost,
    weight_bytes,
)
from swd.cost.meta import on_meta

__all__ = [
    "decode_cost",
    "encode_cost",
    "forward_cost",
    "on_meta",
    "prompt_cost",
    "schedule_cost",
    "text_cost",
    "weight_bytes",
]
