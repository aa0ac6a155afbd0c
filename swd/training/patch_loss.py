"""L_PDM as a config asks for it: which kernel, of which bandwidth, image by image or over the whole batch."""

import math

from torch import Tensor

from swd.losses import median_distance, naive_patch, pdm_linear, pdm_rbf
from swd.losses.patch import NonFiniteFeaturesError
from swd.training.config import DistillConfig
from swd.training.gathering import of_whole_batch, whole_batch


def patch_loss(fake: Tensor, real: Tensor, config: DistillConfig) -> Tensor:
    """L_PDM of features (B, N, D): of each image, (B,), or of the batch pooled, then over all processes, (1,).

    Args:
        fake: of the student's samples, carry the gradient.
        real: of the data.
        config: kernel, its bandwidth, and whether a batch is pooled.
    """
    if config.pdm_pool_batch:
        return of_whole_batch(_distance(whole_batch(fake), whole_batch(real), config))
    return _distance(fake, real, config)


def _distance(fake: Tensor, real: Tensor, config: DistillConfig) -> Tensor:
    pool = config.pdm_pool_batch
    if config.pdm_kernel == "naive":
        return naive_patch(fake, real)
    if config.pdm_kernel == "rbf":
        median = config.pdm_bandwidth_rule == "median"
        method = config.pdm_method
        # not checked here: the trainer stops on NaN, all processes together
        try:
            bandwidth = median_distance(real if pool else whole_batch(real)) if median else config.pdm_bandwidth
        except NonFiniteFeaturesError:
            return math.nan * (fake.sum().view(1) if pool else fake.sum((1, 2)))
        return pdm_rbf(fake, real, bandwidth=bandwidth, method=method, pool_batch=pool, check_finite=False)
    return pdm_linear(fake, real, huber_c=config.pdm_huber_c, pool_batch=pool)
