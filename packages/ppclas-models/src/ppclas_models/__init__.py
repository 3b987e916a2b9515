"""The ppclas model zoo: families, catalogue, published weights."""
