"""Cost of FID-E: features of a batch of mini images, then distance, limit and intervals over 500 images."""

import torch
from pytest_benchmark.fixture import BenchmarkFixture

from repro.metrics import EfficientNetLite0, FrechetDistance, MemoryMeasured


def bench_features(benchmark: BenchmarkFixture) -> None:
    images = torch.randint(0, 256, (16, 3, 64, 64), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    assert benchmark(EfficientNetLite0(), images).shape == (16, 1280)


def bench_distance_with_intervals(benchmark: BenchmarkFixture) -> None:
    rng = torch.Generator().manual_seed(0)
    extractor = torch.nn.Identity()
    extractor.num_features = 1280  # as the network has
    metric = FrechetDistance(extractor, torch.randn(1000, 1280, generator=rng))
    features = torch.randn(500, 1280, generator=rng).numpy()
    measured = MemoryMeasured([{}] * 500, {"fid_e.features": [features]})
    estimates = benchmark.pedantic(metric.estimates, (measured,), rounds=1)
    assert set(estimates) == {"fid_e", "fid_e_inf"}
