"""Triton: bicubic upscaling of x0 and the noise of the next step, in one pass over the larger latent."""

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 512


@triton.jit
def _cubic(distance):
    """Keys' kernel with A = -0.75, as torch's bicubic interpolation has it."""
    near = (1.25 * distance - 2.25) * distance * distance + 1
    far = ((-0.75 * distance + 3.75) * distance - 6) * distance + 3
    return tl.where(distance <= 1, near, tl.where(distance < 2, far, 0.0))


@triton.jit
def _upscale_renoise(
    x0_ptr,
    noise_ptr,
    sigma_ptr,
    out_ptr,
    channels,
    height,
    width,
    out_height,
    out_width,
    x0_image,
    x0_channel,
    x0_row,
    x0_column,
    BLOCK: tl.constexpr,
):
    """BLOCK places of one channel: (1 - sigma) of the 16 nearest latents, weighted, plus sigma times the noise."""
    plane = tl.program_id(0)
    image, channel = plane // channels, plane % channels
    place = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = place < out_height * out_width
    row = (place // out_width + 0.5) * (height / out_height) - 0.5
    column = (place % out_width + 0.5) * (width / out_width) - 0.5
    top, left = tl.floor(row).to(tl.int32), tl.floor(column).to(tl.int32)
    start = x0_ptr + image.to(tl.int64) * x0_image + channel * x0_channel
    upscaled = tl.zeros((BLOCK,), dtype=tl.float32)
    for i in tl.static_range(-1, 3):
        y = tl.minimum(tl.maximum(top + i, 0), height - 1)
        line = tl.zeros((BLOCK,), dtype=tl.float32)
        for j in tl.static_range(-1, 3):
            x = tl.minimum(tl.maximum(left + j, 0), width - 1)
            value = tl.load(start + y * x0_row + x * x0_column, mask=inside, other=0.0).to(tl.float32)
            line += _cubic(tl.abs(column - (left + j))) * value
        upscaled += _cubic(tl.abs(row - (top + i))) * line
    sigma = tl.load(sigma_ptr + image)
    target = plane.to(tl.int64) * out_height * out_width + place
    noise = tl.load(noise_ptr + target, mask=inside, other=0.0).to(tl.float32)
    tl.store(out_ptr + target, (1 - sigma) * upscaled + sigma * noise, mask=inside)


def upscale_renoise(x0: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
    """(1 - sigma) upscaled x0 + sigma noise.

    Args:
        x0: (B, C, h, w), of any strides.
        noise: (B, C, H, W), H >= h and W >= w.
        sigma: (B,), of any stride.

    Returns:
        (B, C, H, W) in the dtype of ``noise``; the arithmetic is that of float32.
    """
    (images, channels, height, width), (out_height, out_width) = x0.shape, noise.shape[-2:]
    noise, sigma = noise.contiguous(), sigma.to(torch.float32).contiguous()
    out = torch.empty_like(noise)
    grid = (images * channels, triton.cdiv(out_height * out_width, BLOCK))
    sizes = (channels, height, width, out_height, out_width)
    with torch.cuda.device_of(x0):
        _upscale_renoise[grid](x0, noise, sigma, out, *sizes, *x0.stride(), BLOCK=BLOCK)
    return out
