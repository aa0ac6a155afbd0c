"""Table 1: where to upscale on the way from a small clean latent to a large noisy one."""
