"""What this package registers."""

ppclas_load_order = 0
