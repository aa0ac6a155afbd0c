"""Stages between a declaration and its records, shared by kinds of results; no world by name."""
