"""Anti-aliased rendering of scenes from signed distances, at any resolution."""

from functools import cache

import numpy as np

from repro.worlds.mini.scenes.scene import COLOURS, Scene


def render(scene: Scene, size: int = 64) -> np.ndarray:
    """Draw a scene.

    Args:
        scene: what to draw.
        size: side in pixels; objects need about 16 px to keep their shapes.

    Returns:
        (size, size, 3), uint8.

    Raises:
        ValueError: the size is below 1.
    """
    if size < 1:
        raise ValueError(f"an image side is at least 1 pixel, got {size}")
    canvas = np.empty((size, size, 3), np.float32)
    canvas[:] = scene.base_rgb
    for leaf in scene.leaves:
        _paint(canvas, "circle", (leaf.x, leaf.y, leaf.radius), leaf.rgb)
    for item in scene.objects:
        _paint(canvas, item.shape, (item.x, item.y, item.radius), COLOURS[item.colour])
    return np.clip(np.rint(canvas), 0, 255).astype(np.uint8)


def coverage(shape: str, x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
    """Share of each pixel that the shape covers, in [0, 1]; ``x`` and ``y`` are pixel offsets from its centre."""
    return np.clip(0.5 - signed_distance(shape, x, y, radius), 0, 1)


def _paint(canvas: np.ndarray, shape: str, place: tuple[float, float, float], rgb: tuple[float, ...]) -> None:
    size = canvas.shape[0]
    centre_x, centre_y, radius = (value * size for value in place)
    left, right = _span(centre_x, radius, size)
    top, bottom = _span(centre_y, radius, size)
    if left >= right or top >= bottom:
        return
    x = np.arange(left, right, dtype=np.float32) + 0.5 - centre_x
    y = np.arange(top, bottom, dtype=np.float32) + 0.5 - centre_y
    alpha = coverage(shape, x[None, :], y[:, None], radius)[..., None]
    window = canvas[top:bottom, left:right]
    window += alpha * (np.asarray(rgb, np.float32) - window)


def _span(centre: float, radius: float, size: int) -> tuple[int, int]:
    return max(0, int(np.floor(centre - radius - 1))), min(size, int(np.ceil(centre + radius + 1)))


def signed_distance(shape: str, x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
    """Distance to the outline in pixels, negative inside."""
    distance: np.ndarray = np.hypot(x, y)
    if shape == "circle":
        return distance - radius
    if shape == "ring":
        return np.abs(distance - 0.72 * radius) - 0.28 * radius
    return _polygon_distance(_outline(shape) * radius, x, y)


@cache
def _outline(shape: str) -> np.ndarray:
    """Vertices (V, 2) on or inside the unit circle."""
    if shape == "square":
        return 0.7 * np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])
    if shape == "triangle":
        return np.array([(0, -1), (0.92, 0.72), (-0.92, 0.72)])
    if shape == "cross":
        a, b = 0.95, 0.3
        arm = np.array([(-b, -a), (b, -a), (b, -b)])
        quarter_turn = np.array([(0, 1), (-1, 0)])
        return np.concatenate([arm @ np.linalg.matrix_power(quarter_turn, k) for k in range(4)])
    if shape == "star":
        angle = np.pi / 5 * np.arange(10) - np.pi / 2
        reach = np.where(np.arange(10) % 2 == 0, 1.0, 0.42)
        return np.stack([reach * np.cos(angle), reach * np.sin(angle)], axis=1)
    raise ValueError(f"unknown shape {shape!r}")


def _polygon_distance(vertices: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """All edges at once, along the first axis."""
    x, y = np.broadcast_arrays(x, y)
    (ax, ay), (bx, by) = (points.T[:, :, None, None] for points in (vertices, np.roll(vertices, -1, axis=0)))
    ex, ey = bx - ax, by - ay
    along = np.clip(((x - ax) * ex + (y - ay) * ey) / (ex * ex + ey * ey), 0, 1)
    distance = np.hypot(x - ax - along * ex, y - ay - along * ey).min(0)
    slope = ex / np.where(ey == 0, np.inf, ey)
    crosses = ((ay > y) != (by > y)) & (x < ax + (y - ay) * slope)  # even-odd rule; a horizontal edge is never crossed
    signed: np.ndarray = np.where(crosses.sum(0) % 2, -distance, distance)
    return signed
