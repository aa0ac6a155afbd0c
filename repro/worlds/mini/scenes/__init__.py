"""The mini world: captioned 64x64 scenes with exact ground truth, and the oracle that reads them back."""

from repro.worlds.mini.scenes.captions import CAPTION_WORDS, Caption, parse_caption
from repro.worlds.mini.scenes.grading import DrawnObject, Grade, grade
from repro.worlds.mini.scenes.negatives import changed
from repro.worlds.mini.scenes.oracle import Reading, SceneOracle
from repro.worlds.mini.scenes.render import render
from repro.worlds.mini.scenes.scene import COLOURS, KINDS, SHAPES, Kind, Scene, SceneObject, sample_scene, slots_of

__all__ = [
    "CAPTION_WORDS",
    "COLOURS",
    "KINDS",
    "SHAPES",
    "Caption",
    "DrawnObject",
    "Grade",
    "Kind",
    "Reading",
    "Scene",
    "SceneObject",
    "SceneOracle",
    "changed",
    "grade",
    "parse_caption",
    "render",
    "sample_scene",
    "slots_of",
]
