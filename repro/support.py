"""Supported models: what sampling and training of each hold in memory."""

from repro.kinds.support.declare import Model, SupportPage

PAGE = SupportPage(
    key="support",
    title="Supported models",
    question="Which models can be sampled and distilled, and on how large a GPU?",
    models=(
        Model("sd35-medium", "SD3.5 Medium", "6"),
        Model("sd35-large", "SD3.5 Large", "6"),
        Model("sdxl", "SDXL", "4"),
        Model("flux", "FLUX.1-dev", "4"),
    ),
    gpus=(8, 12, 16, 24, 32, 40, 48, 80, 141),
    spare=0.1,
    notes=(
        "Images of 1024 px, one at a time, everything in bfloat16, T5 at 512 tokens. *Sample*: all weights stay on the "
        "GPU. *Model offload*: one part at a time, as `enable_model_cpu_offload` moves them. *Train*: one image in a "
        "pass, every block computed again on the way back, latents and prompts from a cache, adapters of rank 64 with "
        "their optimisers in float32; larger batches and less recomputation take more, up to what "
        "[training cost](training_cost.md) says. Of a GPU, a tenth is left for fragments and buffers of libraries.",
        "A count says what tensors hold at once under eager execution and fused attention. It is not a measurement: "
        "a clock or an allocator on a GPU has the last word.",
    ),
)
