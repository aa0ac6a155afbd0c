"""The mini world: the paper's experiment at a size that two CPU cores can train. Scenes with exact ground truth."""

from repro.harness.experiment import Column, PromptSet
from repro.harness.profile import Adapters, Data, Distil, Execution, Profile, Teacher, Weights

DATA = Data(
    resolution=64,
    world="repro.worlds.mini.world:MiniWorld",
    reference_images=1000,
    training_images=8000,
    drawn_images=3600,  # what a training reads
    sources=("scenes", "photographs"),
)
EXECUTION = Execution(
    batch_size=50,
    dtype="float32",  # bfloat16 is a hundred times slower on a CPU without arithmetic for it
)
# Same iterations, batch and data for every student; the learning rate is each kind's own. How they were chosen:
# docs/decisions/student-training.md.
DISTIL = Distil(
    common={
        "iterations": 50,
        "batch_size": 24,
        "lr": 8e-4,
        "lr_fake": 8e-4,
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
    scalewise={"lr": 3.2e-3, "lr_fake": 3.2e-3},
    fullscale={"lr": 8e-4, "lr_fake": 8e-4},
)
ADAPTERS = Adapters(folder="repro/worlds/mini/weights/adapters", distil=DISTIL)

# Those with a role passed their trial on images of known quality (paper_tables/validity.md). Margins were fixed before
# the records of the tables were measured, by one rule: a tenth of what half resolution costs there, against decoded
# scenes for the distances whose reference is decoded and against real ones for all else; of diversity, a tenth of what
# one scene per caption costs. What was known from earlier students: docs/decisions/verdicts.md.
COLUMNS = (
    Column(
        "scene_score",
        "Scene score",
        better="higher",
        role="prompt_alignment",
        margin=0.010,
        digits=3,
        meaning="overlap of each object of the caption with its exact shape, 0 for one that is missing or that nobody "
        "asked for, times how well their relation holds; 1 is a perfect scene",
    ),
    Column(
        "contour_error",
        "Contour error",
        better="lower",
        role="fidelity",
        margin=0.04,
        digits=3,
        unit="px",
        meaning="how far the outlines of the objects lie from those of the exact shapes, in pixels",
    ),
    Column(
        "fid_e_decoded",
        "FID-E, decoded reference",
        better="lower",
        role="distribution",
        margin=3.5,
        digits=1,
        meaning="Fr\u00e9chet distance to 1,000 other scenes seen through the VAE, in features of EfficientNet-Lite0, "
        "not of Inception; compares rows of this page alone",
    ),
    Column(
        "placement",
        "Placement",
        better="higher",
        role="diversity",
        margin=0.35,
        digits=2,
        unit="% of the side",
        prompts=("short",),  # captions of two objects hardly repeat: there are 9,024
        meaning="standard deviation of an object's place over images of one caption, of which there are a few: 3.5 "
        "for scenes, 0 for a model that draws a caption in one way",
    ),
    Column(
        "colour_error",
        "Colour error",
        better="lower",
        margin=0.9,
        digits=2,
        unit="levels",
        detail=True,
        meaning="distance of an object's colour from the palette's, in levels of 0 to 255",
    ),
    Column(
        "kid_e_decoded",
        "KID-E, decoded reference",
        better="lower",
        margin=0.005,
        digits=2,
        scale=1000.0,
        unit="1e-3",
        detail=True,
        meaning="kernel distance (squared MMD, cubic kernel) of the same features; its floor is 0",
    ),
    Column(
        "fid_e",
        "FID-E",
        better="lower",
        digits=1,
        detail=True,
        meaning="to scenes that did not pass the VAE",
    ),
    Column(
        "fid_e_inf",
        "FID-E, infinite images",
        better="lower",
        digits=1,
        detail=True,
        meaning="its limit for ever more images",
    ),
    Column(
        "detail",
        "Detail",
        digits=3,
        detail=True,
        meaning="logarithm of the power above a quarter cycle per pixel over that of the caption's own scene through "
        "the VAE: 0 is right, less is softer",
    ),
    *(
        Column(
            f"scene_accuracy{key}", label, better="higher", digits=1, percent=True, most=1.0, detail=True, meaning=text
        )
        for key, label, text in (
            (
                "_050",
                "Scene accuracy, fit 0.5",
                "share of images that draw their caption, where an object counts if it overlaps its shape by the fit",
            ),
            ("", "Scene accuracy, fit 0.6, the oracle's own", ""),
            ("_065", "Scene accuracy, fit 0.65", ""),
            ("_070", "Scene accuracy, fit 0.7", ""),
        )
    ),
)
PROFILE = Profile(
    name="mini",
    title="the mini world",
    caption=(
        "Measured in the mini world: an SD3-style teacher of 2.3 M parameters on 64x64 scenes, and students distilled "
        "from it. It is not SD3.5; its numbers say how the methods compare here, not what they reach there."
    ),
    presets="mini",
    columns=COLUMNS,
    prompt_sets=(
        PromptSet("short", "Short captions", reported="COCO 2014"),
        PromptSet("compositional", "Compositional captions", reported="MJHQ"),
    ),
    images_per_set=250,  # 8 rows of Table 2 within twelve minutes on 2 cores; short captions repeat, as placement needs
    data=DATA,
    weights=Weights(
        pipeline="repro/worlds/mini/weights/pipeline",
        adapters=ADAPTERS,
        networks={"single_side": "repro/worlds/mini/weights/teacher-single-side"},
        clip="repro/worlds/mini/weights/clip",
    ),
    teacher=Teacher(steps=28, guidance_scale=4.0),
    execution=EXECUTION,
    distil=DISTIL,
    committed=True,
)
