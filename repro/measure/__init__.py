"""The stages between a declared table and its records: students, images, scores, compute. Each is never done twice."""
