"""Experiments as data: declarations, records, claims and rendering. Only ``runner`` imports torch."""
