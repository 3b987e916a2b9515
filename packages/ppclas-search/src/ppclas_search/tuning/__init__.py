"""Settings that are measured before a training: learning rate, batch size, a larger image size."""
