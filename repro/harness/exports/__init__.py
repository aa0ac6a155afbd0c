"""Records in formats of others, which are written here and not depended on, and a logbook of the claims."""
