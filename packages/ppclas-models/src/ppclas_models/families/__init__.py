"""One file a family of papers; each has ``models``, its ``Variants``. Importing one imports
Paddle.
"""
