"""Requests in, answers out, and the page.

``app`` is the ASGI application; ``routes`` and ``oip`` are the forms of the API. The models behind
it are ``ppclas_serve.backend``'s.
"""
