"""A run from its command to its folder: sessions, checkpoints, what is kept."""
