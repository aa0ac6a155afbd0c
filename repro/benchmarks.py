"""Benchmarks: how fast the building blocks are, and how our sampling compares with diffusers'."""

from repro.kinds.benchmarks.declare import BenchmarkPage

PAGE = BenchmarkPage(
    key="benchmarks",
    title="Benchmarks",
    question="How fast are the building blocks, and how does our sampling compare with that of diffusers?",
    baseline="diffusers",
    targets={"plain": 1.0, "fast": 0.8},
    rounds=15,
    left_out=("bench_training.py",),
    notes=(
        "Providers: *plain* and *fast* are our pipeline without and with `enable_fast()`; *diffusers* is "
        "StableDiffusion3Pipeline with FlowMatchLCMScheduler, which samples in the same way. All run the same networks "
        "with the student's adapter loaded and not fused; merging it is one part of the fast path. Every call encodes "
        "its prompts and decodes its images. Providers take turns within every round, and a ratio is the median of the "
        "ratios within a round. *Roofline*: the least time that FLOPs and bytes allow at the rates of the fastest "
        "matrix product and of a copy, both measured here, by the time taken. Peak memory is the resident size of the "
        "whole process on a CPU, and what torch allocated on CUDA.",
    ),
)
