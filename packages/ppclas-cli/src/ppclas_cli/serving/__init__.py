"""The HTTP side of ``ppclas serve``: requests in, answers out, the page, the processes.

``run`` starts it; ``app`` is the ASGI application; ``routes`` and ``oip`` are the forms of the API.
The models behind it are ``ppclas_deploy.server``'s.
"""
