"""The mini world: the paper's experiment at a size that two CPU cores can train. Scenes with exact ground truth."""

from repro.harness.experiment import Column, PromptSet
from repro.harness.profile import Adapters, Data, Distil, Execution, Profile, Teacher, Weights

DATA = Data(
    resolution=64,
    world="repro.worlds.mini.world:MiniWorld",
    reference_images=1000,
    training_images=8000,
    sources=("scenes", "photographs"),
)
EXECUTION = Execution(
    batch_size=50,
    dtype="float32",  # bfloat16 is a hundred times slower on a CPU without arithmetic for it
)
# Same iterations, batch and data for every student; the learning rate is each kind's own.
DISTIL = Distil(
    common={
        "iterations": 100,
        "batch_size": 24,
        "lr": 2e-4,
        "lr_fake": 2e-4,
        "lr_discriminator": 1e-3,
        "fake_updates": 2,
        "rank": 16,
        "alpha": 16.0,
        "guidance_scale": 4.0,
        "feature_block": 1,
        "warmup": 10,
        "ema_decay": 0.98,
        "mixed_precision": "no",
        "checkpoint_every": 25,
    },
    scalewise={"lr": 4e-4, "lr_fake": 4e-4},
    fullscale={"lr": 2e-4, "lr_fake": 2e-4},
)
ADAPTERS = Adapters(folder="repro/worlds/mini/weights/adapters", distil=DISTIL)

PROFILE = Profile(
    name="mini",
    title="the mini world",
    caption=(
        "Measured in the mini world: an SD3-style teacher of 2.3 M parameters on 64x64 scenes, and students distilled "
        "from it. It is not SD3.5; its numbers say how the methods compare here, not what they reach there."
    ),
    presets="mini",
    columns=(
        Column(
            "scene_accuracy",
            "Scene accuracy",
            better="higher",
            role="prompt_alignment",
            digits=1,
            unit="%",
            percent=True,
        ),
        Column("mini_clip", "Mini-CLIP", better="higher", role="text_similarity", digits=3),
        Column("fid_e", "FID-E", better="lower", role="distribution", digits=2),
        Column("fid_e_inf", "FID-E, infinite images", better="lower", digits=2, detail=True),
        Column("scene_accuracy_single", "Single", better="higher", digits=1, unit="%", percent=True, detail=True),
        Column("scene_accuracy_count", "Count", better="higher", digits=1, unit="%", percent=True, detail=True),
        Column("scene_accuracy_position", "Position", better="higher", digits=1, unit="%", percent=True, detail=True),
    ),
    prompt_sets=(
        PromptSet("short", "Short captions", reported="COCO 2014"),
        PromptSet("compositional", "Compositional captions", reported="MJHQ"),
    ),
    images_per_set=500,
    data=DATA,
    weights=Weights(
        pipeline="repro/worlds/mini/weights/pipeline",
        adapters=ADAPTERS,
        clip="repro/worlds/mini/weights/clip",
    ),
    teacher=Teacher(steps=28, guidance_scale=4.0),
    execution=EXECUTION,
    distil=DISTIL,
    committed=True,
)
