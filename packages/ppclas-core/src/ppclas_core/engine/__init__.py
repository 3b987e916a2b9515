"""Train, evaluate and predict: plain loops over what the registries build."""
