"""The mini world with a handful of images and training iterations: shows that everything runs, measures nothing."""

from dataclasses import replace

from repro.profiles import mini

PROFILE = replace(
    mini.PROFILE,
    name="smoke",
    title="a smoke run of the mini world",
    caption="A smoke run: a handful of images of the mini world. These numbers show that the code runs, nothing else.",
    images_per_set=8,
    data=replace(mini.DATA, reference_images=16, training_images=32, drawn_images=16),
    teacher=replace(mini.PROFILE.teacher, steps=4),
    execution=replace(mini.EXECUTION, batch_size=8),
    distil=replace(mini.DISTIL, common={**mini.DISTIL.common, "iterations": 3, "batch_size": 4, "checkpoint_every": 2}),
    most_seeds=1,
    committed=False,
    output="results/smoke",
)
