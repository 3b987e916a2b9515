"""Cross-validation: folds that never split a group, a run for each, one answer for each photo."""
