"""GenEval as a metric: 1 for an image that shows what its prompt asks for, else 0; the score is the mean of six tags.

The tags' means stand beside it as ``geneval_counting`` and so on. Reasons are kept for every image, as text
(`reasons`).
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL.Image import Image

from repro.metrics.base import Estimate, Measured, Prompt, share_estimate, t_quantile
from repro.metrics.geneval.colors import FILES as CLIP_FILES
from repro.metrics.geneval.colors import ColorNamer
from repro.metrics.geneval.detector import FILES as DETECTOR_FILES
from repro.metrics.geneval.detector import Detector
from repro.metrics.geneval.names import OBJECTS, TAGS
from repro.metrics.geneval.rules import Found, Thresholds, Verdict, judge, select
from repro.metrics.weights import digests

VERSION = 1  # raise it when another value is given to the same image
REASON_BYTES = 512  # of a text, in UTF-8; what is longer is cut

Finder = Callable[..., Mapping[int, Sequence[Found]]]
Namer = Callable[[Image, Sequence[Found], str], Sequence[str]]


class GenEval:
    """Looks for what GenEval's prompts ask for; a prompt has its object under ``geneval``.

    Args:
        detector: objects by number of class in an image, above a confidence ``least`` (`Detector`).
        colors: names of colours (`ColorNamer`).
        sources: what both follow from, as plain data: digests of their weights.
        thresholds: the numbers of the rules; the default is what was published.
    """

    key = "geneval"

    def __init__(
        self,
        detector: Finder,
        colors: Namer,
        *,
        sources: Mapping[str, Any],
        thresholds: Thresholds | None = None,
    ) -> None:
        self._detector, self._colors = detector, colors
        self._sources = dict(sources)
        self._thresholds = thresholds or Thresholds()

    def inputs(self) -> dict[str, Any]:
        """Version, numbers of the rules, and digests of the networks."""
        rules = {name: getattr(self._thresholds, name) for name in Thresholds.__dataclass_fields__}
        return {"formula": "GenEval, mean of six tags", "version": VERSION, "rules": rules, **self._sources}

    def measure(self, images: Sequence[Image], prompts: Sequence[Prompt]) -> dict[str, np.ndarray]:
        """0 or 1 for each image, (B,), and its reasons as bytes (B, 512).

        Raises:
            ValueError: a prompt is none of GenEval's.
        """
        verdicts = [self.judge(image, prompt) for image, prompt in zip(images, prompts, strict=True)]
        return {
            self.key: np.array([verdict.correct for verdict in verdicts], dtype=np.float64),
            f"{self.key}.reasons": np.stack([_bytes("\n".join(verdict.reasons)) for verdict in verdicts]),
        }

    def judge(self, image: Image, prompt: Prompt) -> Verdict:
        """The verdict on one image."""
        wanted, numbers = _wanted(prompt), self._thresholds
        least = numbers.counting if wanted["tag"] == "counting" else numbers.confidence
        found = self._detector(image, least=least)
        kept = {OBJECTS[label]: select(objects, wanted["tag"], numbers) for label, objects in found.items()}

        def colors(objects: Sequence[Found], name: str) -> Sequence[str]:
            return self._colors(image, objects, name)

        return judge(kept, wanted, colors, margin=numbers.position)

    def estimates(self, measured: Measured) -> dict[str, Estimate]:
        """The mean of the tags that are there, and each tag's share with Wilson's interval.

        The interval of the mean is the tags' binomial variances added up, with the normal quantile.
        """
        values, tags = measured.column(self.key), np.array([_wanted(prompt)["tag"] for prompt in measured.prompts])
        shares = {tag: values[tags == tag] for tag in TAGS if np.any(tags == tag)}
        by_tag = {f"{self.key}_{tag}": share_estimate(hits) for tag, hits in shares.items()}
        return {self.key: _mean_of_tags(list(shares.values())), **by_tag}


def load_geneval(detector: Path, clip: Path, *, device: str | torch.device = "cpu") -> GenEval:
    """The metric with the networks of two folders: a converted detector, and CLIP ViT-L/14 of OpenAI.

    Raises:
        WeightsError: a folder is not whole, or CLIP has the wrong activation.
    """
    finder, namer = Detector(detector, device=device), ColorNamer(clip, device=device)
    sources = {"detector": digests(detector, DETECTOR_FILES), "clip": digests(clip, CLIP_FILES)}
    return GenEval(finder, namer, sources=sources)


def reasons(column: np.ndarray) -> list[str]:
    """Texts of the column ``geneval.reasons``, (N, 512); empty where the image is correct."""
    return [bytes(row).rstrip(b"\0").decode("utf-8", "ignore") for row in column.astype(np.uint8)]


def _mean_of_tags(shares: Sequence[np.ndarray]) -> Estimate:
    count = sum(map(len, shares))
    value = float(np.mean([np.mean(hits) for hits in shares]))
    if min(map(len, shares)) < 2:
        return Estimate(value, None, None, count)
    error = float(np.sqrt(sum(np.var(hits, ddof=1) / len(hits) for hits in shares))) / len(shares)
    half = t_quantile(count - len(shares)) * error
    return Estimate(value, max(value - half, 0.0), min(value + half, 1.0), count)


def _wanted(prompt: Prompt) -> Mapping[str, Any]:
    wanted = prompt.get("geneval")
    if not isinstance(wanted, Mapping) or wanted.get("tag") not in TAGS:
        named = f"prompt {prompt.get('id')!r} ({str(prompt.get('caption'))[:60]!r})"
        raise ValueError(f"{named} is none of GenEval's: expected its object under 'geneval'")
    return wanted


def _bytes(text: str) -> np.ndarray:
    data = text.encode()[:REASON_BYTES]
    return np.frombuffer(data.ljust(REASON_BYTES, b"\0"), dtype=np.uint8)
