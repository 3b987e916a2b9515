"""Weights of other origins and formats: read without executing anything, renamed, checked,
written.
"""
