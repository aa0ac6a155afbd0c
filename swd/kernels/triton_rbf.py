"""Triton: a strip of the kernel matrix of two token sets, without the matrix of distances in between."""

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _expm1(z):
    """exp(z) - 1 to the last digits: near 0 the difference would lose them, so there a series to the seventh power."""
    series = z * (1 + z / 2 * (1 + z / 3 * (1 + z / 4 * (1 + z / 5 * (1 + z / 6 * (1 + z / 7))))))
    return tl.where(tl.abs(z) < 0.5, series, tl.exp(z) - 1)


@triton.jit
def _rbf_strip(
    x_ptr,
    y_ptr,
    x_square_ptr,
    y_square_ptr,
    strip_ptr,
    sums_ptr,
    lift_ptr,
    num_rows,
    num_columns,
    width,
    diagonal,
    factor,
    x_batch,
    x_row,
    x_column,
    y_batch,
    y_row,
    y_column,
    x_square_batch,
    y_square_batch,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLUMNS: tl.constexpr,
    BLOCK_WIDTH: tl.constexpr,
    HAS_DIAGONAL: tl.constexpr,
    STORE: tl.constexpr,
    UPCAST: tl.constexpr,
):
    """A tile of expm1(factor |x_i - y_j|^2) + lift: stored if STORE, summed always; column ``diagonal + i`` as 0."""
    image = tl.program_id(2).to(tl.int64)
    rows = tl.program_id(1) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    columns = tl.program_id(0) * BLOCK_COLUMNS + tl.arange(0, BLOCK_COLUMNS)
    x_rows = x_ptr + image * x_batch + rows.to(tl.int64)[:, None] * x_row
    y_rows = y_ptr + image * y_batch + columns.to(tl.int64)[:, None] * y_row
    x_square = tl.load(x_square_ptr + image * x_square_batch + rows, mask=rows < num_rows, other=0.0)
    y_square = tl.load(y_square_ptr + image * y_square_batch + columns, mask=columns < num_columns, other=0.0)
    product = tl.zeros((BLOCK_ROWS, BLOCK_COLUMNS), dtype=tl.float32)
    for start in range(0, width, BLOCK_WIDTH):
        inside = start + tl.arange(0, BLOCK_WIDTH)
        x = tl.load(
            x_rows + inside[None, :] * x_column, mask=(rows < num_rows)[:, None] & (inside < width)[None, :], other=0.0
        )
        y = tl.load(
            y_rows + inside[None, :] * y_column,
            mask=(columns < num_columns)[:, None] & (inside < width)[None, :],
            other=0.0,
        )
        if UPCAST:
            product = tl.dot(x.to(tl.float32), tl.trans(y.to(tl.float32)), product, input_precision="ieee")
        else:
            product = tl.dot(x, tl.trans(y), product, input_precision="ieee")
    values = _expm1(factor * (x_square[:, None] + y_square[None, :] - 2 * product)) + tl.load(lift_ptr + image)
    valid = (rows < num_rows)[:, None] & (columns < num_columns)[None, :]
    if HAS_DIAGONAL:
        valid = valid & (columns[None, :] != rows[:, None] + diagonal)
    values = tl.where(valid, values, 0.0)
    row_place = image * num_rows + rows.to(tl.int64)
    tl.store(sums_ptr + row_place * tl.num_programs(0) + tl.program_id(0), tl.sum(values, axis=1), mask=rows < num_rows)
    if STORE:
        inside = (rows < num_rows)[:, None] & (columns < num_columns)[None, :]
        tl.store(strip_ptr + row_place[:, None] * num_columns + columns[None, :], values, mask=inside)


def rbf_strip(
    x: Tensor,
    y: Tensor,
    square_x: Tensor,
    square_y: Tensor,
    factor: float,
    lift: Tensor,
    *,
    diagonal: int | None = None,
    store: bool = True,
) -> tuple[Tensor, Tensor]:
    """expm1(factor |x_i - y_j|^2) + lift, of tokens near the origin.

    Args:
        x: rows, (B, C, D) float32, bfloat16 or float16, of any strides.
        y: columns, (B, M, D), same dtype and device.
        square_x: squared norms of the rows, (B, C) float32; the images may lie apart.
        square_y: squared norms of the columns, (B, M) float32, likewise.
        factor: -1 / (2 bandwidth^2).
        lift: (B,) float32, 1 less what is taken off the kernel.
        diagonal: row i and column ``diagonal + i`` are the same token, whose value counts as 0.
        store: whether the strip is wanted, or its row sums alone.

    Returns:
        The strip (B, C, M) in the dtype of ``x``, empty unless ``store``, and its row sums (B, C) in float32, taken
        before rounding.
    """
    (images, num_rows, width), num_columns = x.shape, y.shape[1]
    tiles = launch_options(x.dtype, num_rows, num_columns, width)
    block_rows, block_columns = tiles["BLOCK_ROWS"], tiles["BLOCK_COLUMNS"]
    grid = (triton.cdiv(num_columns, block_columns), triton.cdiv(num_rows, block_rows), images)
    strip = x.new_empty((images, num_rows, num_columns) if store else (0,))
    sums = x.new_empty((images, num_rows, grid[0]), dtype=torch.float32)
    with torch.cuda.device_of(x):
        _rbf_strip[grid](
            x,
            y,
            square_x,
            square_y,
            strip,
            sums,
            lift,
            num_rows,
            num_columns,
            width,
            diagonal or 0,
            factor,
            *x.stride(),
            *y.stride(),
            square_x.stride(0),
            square_y.stride(0),
            HAS_DIAGONAL=diagonal is not None,
            STORE=store,
            UPCAST=x.device.type == "cpu",  # the interpreter multiplies no bfloat16
            **tiles,
        )
    return strip, sums.sum(-1)


def launch_options(dtype: torch.dtype, rows: int, columns: int, width: int) -> dict[str, int]:
    """Tiles, warps and stages of ``rbf_strip``."""
    exact = dtype == torch.float32
    tile = 64 if exact else 128  # full float32 products take twice the registers
    block_rows, block_columns = (min(tile, max(16, triton.next_power_of_2(n))) for n in (rows, columns))
    return {
        "BLOCK_ROWS": block_rows,
        "BLOCK_COLUMNS": block_columns,
        "BLOCK_WIDTH": min(32 if exact else 64, max(16, triton.next_power_of_2(width))),
        "num_warps": 4 if exact else 8,
        "num_stages": 3,
    }
