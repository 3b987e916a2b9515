"""Train, evaluate and predict: plans, the loop, ranks, what a run leaves behind."""

__all__: list[str] = []
