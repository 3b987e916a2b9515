"""The training loop: parts, steps, averages, and what ends it."""
