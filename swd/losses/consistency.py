"""Latent consistency distillation (LCM; Luo et al. 2023, arXiv 2310.04378, eq. 14; LCM-LoRA, arXiv 2311.05556).

A consistency function f maps every point of a trajectory of the teacher's ODE to its clean end. Where f is an estimate
of x0, as every denoiser here is, f(x, 0) = x holds by itself: x0_hat = x_t - sigma v at sigma = 0 under flow matching,
and so the c_skip and c_out of the published code, which force it there, have nothing left to do.
"""

from typing import Literal, get_args

from torch import Tensor

from swd.tensors import check_alike
from swd.values import one_of, real

Distance = Literal["huber", "l2"]


def consistency_loss(
    prediction: Tensor, target: Tensor, *, distance: Distance = "huber", huber_c: float = 1e-3
) -> Tensor:
    """L_LCM = mean d(f_theta(x_{n+k}, t_{n+k}), f_theta-(x_n, t_n)), x_n being one guided step of the ODE from x_{n+k}.

    d is the pseudo-Huber distance sqrt(e^2 + c^2) - c of every element e of the difference, or its square, both as in
    the published code. The target f_theta- is a constant: the student itself or its average, without a gradient.

    Args:
        prediction: x0 of the student at the noisier point, (B, C, H, W), carries the gradient.
        target: x0 of the target network at the point that the ODE leads to, the same shape.
        distance: d.
        huber_c: c > 0, below which the distance is quadratic.

    Returns:
        A scalar.

    Raises:
        TypeError: no floating-point tensors, or no number.
        ValueError: empty tensors, shapes that differ, an unknown distance, or a ``huber_c`` that is not positive.
    """
    check_alike(prediction=prediction, target=target)
    one_of("distance", distance, get_args(Distance))
    huber_c = real("huber_c", huber_c, above=0)
    square = (prediction - target.detach()).square()
    if distance == "l2":
        return square.mean()
    # e^2 / (sqrt(e^2 + c^2) + c) is the same number without the cancellation
    return (square / ((square + huber_c**2).sqrt() + huber_c)).mean()
