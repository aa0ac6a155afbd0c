"""What the numbers of a figure of the method are called in its records."""

STUDENT, FAKE = "student", "fake"  # variants: whose update, and the steps of which model
STEP, ITERATION, SIDE, LOWER = "step", "iteration", "side", "lower_side"  # records: what is shown
SIGMA, SIGMA_PDM, SIGMA_DMD = "sigma", "sigma_pdm", "sigma_dmd"  # records: noise levels of the image shown, in [0, 1]
SIGMA_FAKE = "sigma_fake"  # record: likewise, of the image shown of the fake model's update
UPSCALED_ERROR, PREDICTED_ERROR = "upscaled_error", "predicted_error"  # records: RMS distance to the target, latents
LOSSES = ("pdm", "dmd", "gan", "total")  # records of the student's update: means over the batch
FAKE_LOSSES = ("fake", "discriminator")  # records of the fake model's updates, likewise, averaged over them
SIGMAS, TIMESTEPS, SIDES = "sigmas", "timesteps", "sides"  # series over steps
NOISY, PREDICTED, CHANGE = "x_t_rms", "x0_rms", "x0_change"  # series over steps: root mean square of latents


def loss(term: str) -> str:
    """The value of a term, before its weight: a record."""
    return f"loss_{term}"


def weight(term: str) -> str:
    """What the term is multiplied by in the sum: a record."""
    return f"weight_{term}"
