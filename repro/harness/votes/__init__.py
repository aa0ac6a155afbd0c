"""Votes of people who saw two images side by side, and what follows from them; no torch."""
