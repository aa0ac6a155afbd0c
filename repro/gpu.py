"""The first half hour on a GPU: seven parts in the order of their worth, sizes of each, and what we aim at."""

from repro.kinds.gpu.declare import Aim, GpuPage, KernelCase, Provider, Scope

RBF, POOLED = (8, 4096, 1536), (1, 65536, 1536)
MATRICES = ("eager", "compile", "chunked", "triton")
BLOCK = ("eager", "compile", "triton")
MODELS = {"sd35-medium": "SD3.5 Medium", "sd35-large": "SD3.5 Large"}
ROWS = {
    "scalewise_6": ("Scale-wise", "6"),
    "scalewise_4": ("Scale-wise", "4"),
    "fullscale_6": ("Full-scale", "6"),
    "fullscale_4": ("Full-scale", "4"),
    "fullscale_2": ("Full-scale", "2"),
    "teacher": ("Teacher", "28"),
}
WHOLE = Scope(
    models=("sd35-medium", "sd35-large"),
    presets=("sd35-6", "sd35-full-6", "sd35-4", "sd35-full-4", "sd35-full-2"),
    shrink=1,
    batches=(1, 8),
    turns=(("plain", "dynamic", "largest"), ("fast", "static", "graphs")),  # graphs for each scale compile longest
    families={"sdxl": "sdxl-4", "flux": "flux-4"},
    family_batches=(1, 8),
    dtype="bfloat16",
    peaks=("bfloat16", "float16", "float32"),
    peak_sides=(1024, 2048, 4096, 8192),
    rounds=(3, 10),
    seconds=1.5,
    kernels=(
        KernelCase("rbf_mmd", RBF, MATRICES),
        KernelCase("rbf_mmd", (8, 4096, 2432), MATRICES),
        KernelCase("rbf_mmd", POOLED, ("chunked", "triton")),
        KernelCase("layer_norm_modulate", (8, 4429, 1536), BLOCK),  # with the text, as attention sees them
        KernelCase("layer_norm_modulate", (8, 4429, 2432), BLOCK),
        KernelCase("gated_residual", (8, 4429, 1536), BLOCK),
        KernelCase("gated_residual", (8, 4429, 2432), BLOCK),
        KernelCase("upscale_renoise", (8, 96, 128), BLOCK),
    ),
    train_model="sd35-medium",
    train_preset="sd35-6",
    train_steps=None,
    train_batch=4,
    train={},
    table_models=MODELS,
    table_dtype="float16",
    table_batch=8,
    table_rows=ROWS,
    test_files=None,
)
SMOKE = Scope(
    models=("sd35-medium",),
    presets=("sd35-6", "sd35-full-6"),
    shrink=8,
    batches=(2,),
    turns=(("plain", "dynamic"), ("graphs",)),
    families={"sdxl": "sdxl-4", "flux": "flux-4"},
    family_batches=(2,),
    dtype="bfloat16",
    peaks=("float32",),
    peak_sides=(256,),
    rounds=(1, 3),
    seconds=0.1,
    kernels=(
        KernelCase("rbf_mmd", (2, 64, 16), ("eager", "compile", "chunked")),
        KernelCase("layer_norm_modulate", (2, 64, 16), ("eager", "compile")),
        KernelCase("gated_residual", (2, 64, 16), ("eager", "compile")),
        KernelCase("upscale_renoise", (2, 12, 16), ("eager", "compile")),
    ),
    train_model="sd35-medium",
    train_preset="sd35-full-2",
    train_steps=1,
    train_batch=2,
    train={"feature_block": 0, "rank": 2, "alpha": 2.0, "mixed_precision": "bf16"},
    table_models={"sd35-medium": "SD3.5 Medium"},
    table_dtype="float16",
    table_batch=2,
    table_rows={key: ROWS[key] for key in ("scalewise_6", "fullscale_2")},
    test_files=1,
)

PAGE = GpuPage(
    key="gpu",
    title="The first half hour on a GPU",
    question="Does everything run on a GPU, how long does it take there, and what would the arithmetic allow?",
    parts={
        "tests": "Tests that need a GPU",
        "peaks": "What the device can do",
        "sampling": "Sampling of SD3.5",
        "kernels": "Kernels",
        "training": "A training iteration",
        "table3": "Table 3 in the paper's protocol",
        "families": "SDXL and FLUX",
    },
    whole=WHOLE,
    smoke=SMOKE,
    providers=(
        Provider("plain", "eager"),
        Provider("fast", "fast, not compiled", {"compile": False}),
        Provider("dynamic", "fast, compiled for all sizes", {"shapes": "dynamic"}),
        Provider("largest", "fast, largest scale first", {"shapes": "largest"}),
        Provider("static", "fast, a graph for each scale", {"shapes": "static"}),
        Provider("graphs", "fast, CUDA graphs", {"shapes": "static", "compile_mode": "reduce-overhead"}),
    ),
    baseline="diffusers, FlowMatchLCMScheduler",
    ratio=("sd35-6", "sd35-full-6"),
    aims=(
        Aim(
            text="SD3.5 Medium, `sd35-6`, one image, transformer, ms",
            kind="sampling",
            of=("sd35-medium", "sd35-6", 1),
            most=48.0,
            limit=32.0,
            unit=1e3,
        ),
        Aim(
            text="SD3.5 Large, `sd35-6`, one image, transformer, ms",
            kind="sampling",
            of=("sd35-large", "sd35-6", 1),
            most=133.0,
            limit=96.0,
            unit=1e3,
        ),
        Aim(
            text="SD3.5 Medium, batch 8: share of the scale-wise speed-up that FLOPs allow, %",
            kind="scalewise",
            of=("sd35-medium", 8),
            least=95.0,
            limit=100.0,
            unit=1e2,
        ),
        Aim(
            text="SD3.5 Large, batch 8: the same share, %",
            kind="scalewise",
            of=("sd35-large", 8),
            least=95.0,
            limit=100.0,
            unit=1e2,
        ),
        Aim(
            text="RBF-MMD and its gradient, 8 x 4096 tokens of width 1536, ms",
            kind="kernel",
            of=("rbf_mmd", *RBF),
            most=4.3,
            limit=2.6,
            unit=1e3,
            digits=2,
        ),
        Aim(
            text="RBF-MMD of 65,536 pooled tokens: memory beside its inputs, GB",
            kind="memory",
            of=("rbf_mmd", *POOLED),
            most=1.0,
            unit=1e-9,
            digits=2,
        ),
        Aim(
            text="Training iteration, SD3.5 Medium, 4 samples: lean by plain",
            kind="training",
            of=(),
            most=0.6,
            digits=2,
        ),
    ),
    reference_flops=790e12,
    part_seconds=480.0,
    times="table3_times.csv",
    notes=(
        "Networks have the true architecture and random weights, which cost a clock the same. *Transformer*: all steps "
        "from noise to latents, upscaling and renoising among them, on conditions that are ready; noise is drawn on "
        "the device, as diffusers does. diffusers samples the same schedule and takes turns with each provider in "
        "every round, and the ratio is the median of those within a round. *Of roofline*: the time that the FLOPs "
        "would take at the rate of the fastest matrix product of the same dtype, measured here, by the median time. "
        "*Done once*: what the first two calls take beyond later ones, compiling and the recording of CUDA graphs; of "
        "a provider, its sum over all cases. *Calls*: as many as last 10 ms go between two marks of the clock, and a "
        "time is their mean, for from an idle GPU launching is most of a short one. What providers before it compiled "
        "lies in torch's cache on the disk. The limits of the aims are FLOPs at 790 TFLOP/s.",
        "What `auto` of `swd.kernels` takes rests on such times: a kernel that has not won there is used on request.",
    ),
)
