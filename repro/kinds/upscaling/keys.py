"""What the numbers of Table 1 are called in its records. The variant is the key of a ``Cell``."""


def fid_e(timestep: int) -> str:
    """FID-E of the images that the teacher finished from a noise level, 1000 sigma: a record."""
    return f"fid_e_t{timestep}"


def fid_e_without_block(timestep: int) -> str:
    """The same without each block of images in turn: a series over the replicates of a jackknife."""
    return f"fid_e_t{timestep}_without_block"
