"""The losses, schedules, optimizers, metrics and trackers that ship, registered like any
plugin's.
"""
