"""``ppclas search``: the best model and settings for a budget, as ordinary runs."""
