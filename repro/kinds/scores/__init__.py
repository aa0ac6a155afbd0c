"""Tables of scores: rows, prompt sets, metrics, claims."""
