"""From a config to a plan: what is inferred, and what is refused before the first step."""
