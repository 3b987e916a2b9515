"""The ppclas command."""

__all__: list[str] = []
