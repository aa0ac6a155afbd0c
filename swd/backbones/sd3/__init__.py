"""SD3 and SD3.5: `backbone.py` answers for the family, `fast.py` is its fast path."""
