"""Prompt files of the field's benchmarks, read into one form: no torch, no network, every refusal with its line.

| module | file |
|---|---|
| `coco` | COCO 2014 captions: CSV, parquet, or a Hugging Face data set |
| `mjhq` | MJHQ-30K's `meta_data.json` |
| `geneval` | GenEval's `evaluation_metadata.jsonl` |
| `parti` | `PartiPrompts.tsv` |
| `plain` | a file of the user's own: text, CSV, TSV or JSONL |
"""

from repro.worlds.prompts.entry import PromptEntry, PromptFileError
from repro.worlds.prompts.subset import image_seed, subset

__all__ = ["PromptEntry", "PromptFileError", "image_seed", "subset"]
