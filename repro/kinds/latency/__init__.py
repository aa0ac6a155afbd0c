"""Seconds per image and per training iteration, beside what the arithmetic allows."""
