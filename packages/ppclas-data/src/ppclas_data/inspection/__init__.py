"""What can be said of photos before training: checks, statistics, likeness, previews."""
