"""Tensors as arguments of pure functions: of which kind, how many axes, and never empty."""

from torch import Tensor

from swd.values import is_real, real, typed


def check_floating(**given: Tensor) -> None:
    """Make sure that arguments are tensors of floating-point numbers that hold some.

    NaN is not looked for: that would wait for the device at every call. It goes through to the result.

    Args:
        given: the arguments by their names.

    Raises:
        TypeError: no tensor, or one of integers, bools or complex numbers.
        ValueError: an empty one.
    """
    for name, value in given.items():
        if not isinstance(value, Tensor):
            raise TypeError(f"{name} must be a tensor, got {typed(value)}")
        if not value.is_floating_point():
            raise TypeError(f"{name} must hold floating-point numbers, got {value.dtype} {tuple(value.shape)}")
        if value.numel() == 0:
            raise ValueError(f"{name} must hold at least one number, got an empty tensor {tuple(value.shape)}")


def check_maps(**given: Tensor) -> None:
    """Make sure that arguments are floating-point (B, C, H, W).

    Raises:
        TypeError: as `check_floating`.
        ValueError: an empty one, or another number of axes.
    """
    check_floating(**given)
    for name, value in given.items():
        if value.ndim != 4:
            raise ValueError(f"{name} must be (B, C, H, W), got {tuple(value.shape)}")


def check_alike(**given: Tensor) -> None:
    """Make sure that floating-point arguments have one shape.

    Raises:
        TypeError: as `check_floating`.
        ValueError: shapes that differ.
    """
    check_floating(**given)
    if len({value.shape for value in given.values()}) > 1:
        shapes = " and ".join(str(tuple(value.shape)) for value in given.values())
        raise ValueError(f"{' and '.join(given)} must be of one shape, got {shapes}")


def levels(name: str, sigma: Tensor | float, images: int | None = None, *, above: float = -1.0) -> Tensor | float:
    """Noise levels: one number, or a tensor of one, or of one for each image.

    Args:
        name: of the argument.
        sigma: noise level in [0, 1]; those of a tensor on a GPU are not read.
        images: in the batch; any number of levels goes where it is None.
        above: a level has to be more than that.

    Returns:
        The tensor, or a number of whatever library as Python's.

    Raises:
        TypeError: no number and no tensor.
        ValueError: another number of levels, or a level outside [0, 1].
    """
    if not isinstance(sigma, Tensor):
        if not is_real(sigma):
            raise TypeError(f"{name} must be a number or a tensor, got {typed(sigma)}")
        return real(name, sigma, above=above, least=0, most=1)
    if not sigma.is_floating_point():
        raise TypeError(f"{name} must hold floating-point numbers, got {sigma.dtype}")
    if images is not None and sigma.numel() not in (1, images):
        raise ValueError(f"{name} must be a number or one for each of {images} images, got {tuple(sigma.shape)}")
    return sigma
