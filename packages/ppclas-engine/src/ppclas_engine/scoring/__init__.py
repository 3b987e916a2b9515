"""From batches to numbers: predictors, metrics of a set of photos, and which number decides."""
