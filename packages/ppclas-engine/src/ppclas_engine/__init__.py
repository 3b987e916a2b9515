"""Train, evaluate and predict: plans, the loop, ranks, what a run leaves behind."""
