"""What the numbers of Table 1 are called in its records. The variant is the key of a ``Cell``."""


def distance(metric: str, timestep: int) -> str:
    """Distance of the images that the teacher finished from a noise level, 1000 sigma: a record.

    Args:
        metric: the profile's own, such as ``fid_e``.
        timestep: of the level.
    """
    return f"{metric}_t{timestep}"


def without_block(distance_key: str) -> str:
    """The same without each block of images in turn: a series over the replicates of a jackknife."""
    return f"{distance_key}_without_block"


def skipped(distance_key: str) -> str:
    """Images that could not be made or read and are in no distance: a record with their reasons."""
    return f"{distance_key}_skipped"
