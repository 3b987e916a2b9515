"""The ppclas command."""
