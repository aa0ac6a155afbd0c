"""Training cost: one iteration, from the published order of passes to the lean one."""

from repro.kinds.training_cost.declare import Order, TrainingCostPage

PAGE = TrainingCostPage(
    key="training_cost",
    title="Training cost",
    question="What does a training iteration spend its work on, and how much of it do the losses need?",
    orders=(
        Order("plain", "The published order"),
        Order("cached", "Latents and prompts from a cache"),
        Order("one_network", "One network with adapters, guidance in one batch"),
        Order("fake_pass", "Fake model's x0 and GAN features from one pass"),
        Order("student_pass", "Student samples for all fake updates in one pass"),
        Order("half", "Every second block computed again on the way back"),
        Order("memory", "No block computed again"),
        Order("lean", "The next batch read meanwhile: the default"),
    ),
    counted={"mini": None, "sd35-medium": 512, "sd35-large": 512},
    fake_updates=5,
    batch=4,
    rounds=5,
    aim=0.67,
    notes=(
        "Every order computes the same losses and gradients from the same random numbers; "
        "`tests/parity/test_lean_order.py` holds the lean ones to the published one within 1e-5 in float32. The "
        "published order is `repro/stages/published_order.py`: a fresh batch through text encoders and VAE for each of "
        "five fake updates and the student's, a student pass for each, separate passes for score, GAN features and "
        "PDM features, and every block computed again on the way back. Each line adds its saving to those above it, "
        "and each is a switch of `swd.training.DistillConfig` but for the cache and the network, which training has "
        "no other way to do. The features of samples and data for PDM stay two passes: the one of the data needs no "
        "way back, and in a shared batch it would get one.",
        "FLOPs are counted on meta tensors, averaged over the steps of the schedule, with LoRA of rank 64 for SD3.5 "
        "and prompts of 77 CLIP and 512 T5 tokens; a multiply-add counts 2. What switches only in time or memory "
        "has the FLOPs of the line above. A round is a cycle of the schedule, in which the orders take turns at "
        "every step; seconds are means over its steps, and a ratio is the median of the ratios within a round.",
        "Memory is that of the networks which an order needs, and the most that tensors take beside them in an "
        "iteration at the largest scale. On a CPU the tensors of a real iteration are followed one by one, since the "
        "size of the process is mostly that of its libraries; on CUDA the allocator tells it. Adapters and what their "
        "optimisers keep, the same in every order, are left out, and so is data read ahead; counts take SD3.5 to be "
        "in bfloat16. What is not computed again on the way back is held instead: by default `gradient_checkpointing` "
        "chooses by the memory of the GPU, and where it has to choose `full` or `half`, training costs what the lines "
        "*Student samples for all fake updates in one pass* and *Every second block* say.",
    ),
)
