"""The ppclas model zoo: families, catalogue, published weights."""

__all__: list[str] = []
