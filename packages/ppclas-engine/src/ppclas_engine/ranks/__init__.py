"""Several processes that train one model, and how they are started."""
