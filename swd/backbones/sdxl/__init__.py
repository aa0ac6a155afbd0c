"""SDXL: `backbone.py` answers for the family, `pipeline.py` is its scale-wise pipeline."""
