"""Models that answer many requests at once, each proven before it does.

``fleet`` holds the models, ``served`` is one of them, ``batching`` is the queue before its engine,
and ``proving`` asks it about photos whose answers are known.
"""
