"""The HTTP service: several models behind one port, each proven before it answers.

``run`` starts it; ``app`` is the ASGI application; ``fleet`` holds the models, ``served`` is one of
them, and ``batching`` is the queue before its engine.
"""
