"""Layers that two families or more share."""
