"""Exporters and engines for ppclas, each export proven against the trained model."""
