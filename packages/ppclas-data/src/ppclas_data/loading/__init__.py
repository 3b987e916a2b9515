"""From records to batches: pipeline, order of samples, worker processes, the loader."""
