"""Experiments as data: declarations, records, claims and rendering. Nothing here imports torch."""
