import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from swd.losses import pdm_linear, pdm_rbf

sizes = st.integers(2, 12)
seeds = st.integers(0, 2**31)


def tokens(seed: int, count: int, dim: int, batch: int = 2) -> Tensor:
    return torch.randn(batch, count, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(deadline=None, max_examples=30)
@given(seed=seeds, n=sizes, m=sizes, dim=st.integers(1, 6), bandwidth=st.floats(0.3, 100))
def test_pdm_ignores_where_patches_sit(seed: int, n: int, m: int, dim: int, bandwidth: float) -> None:
    fake, real = tokens(seed, n, dim), tokens(seed + 1, m, dim)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(pdm_linear(fake[:, order], real), pdm_linear(fake, real))
    moved = pdm_rbf(fake[:, order], real, bandwidth=bandwidth)
    torch.testing.assert_close(moved, pdm_rbf(fake, real, bandwidth=bandwidth), rtol=1e-6, atol=1e-10)


@settings(deadline=None, max_examples=30)
@given(seed=seeds, n=sizes, dim=st.integers(1, 6), offset=st.floats(-1e3, 1e3))
def test_rbf_does_not_move_with_the_origin(seed: int, n: int, dim: int, offset: float) -> None:
    fake, real = tokens(seed, n, dim), tokens(seed + 1, n, dim)
    shifted = pdm_rbf(fake + offset, real + offset, bandwidth=2.0)
    torch.testing.assert_close(shifted, pdm_rbf(fake, real, bandwidth=2.0), rtol=1e-6, atol=1e-9)


@settings(deadline=None, max_examples=30)
@given(seed=seeds, n=sizes, dim=st.integers(1, 6))
def test_images_do_not_mix(seed: int, n: int, dim: int) -> None:
    fake, real = tokens(seed, n, dim, batch=3), tokens(seed + 1, n, dim, batch=3)
    for loss in (pdm_linear, lambda f, r: pdm_rbf(f, r, bandwidth=1.5)):
        torch.testing.assert_close(loss(fake, real)[1], loss(fake[1:2], real[1:2])[0], rtol=1e-6, atol=1e-10)
