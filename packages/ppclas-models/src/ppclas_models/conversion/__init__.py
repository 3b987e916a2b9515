"""Weights of other origins and formats: read without executing, renamed, checked, written."""
