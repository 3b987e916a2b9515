"""Evaluation and prediction, and what is shown of them: tables, pictures, the report."""
