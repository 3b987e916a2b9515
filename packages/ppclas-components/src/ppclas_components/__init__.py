"""Losses, schedules, optimizers, metrics and trackers that ship; registered as a plugin's are."""

__all__: list[str] = []
