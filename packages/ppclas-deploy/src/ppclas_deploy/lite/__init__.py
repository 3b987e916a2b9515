"""Paddle-Lite, which lives in an older Python of its own: finding one, converting, running, and
what a phone needs.
"""
