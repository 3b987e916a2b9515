"""From photos on disk to batches: sources, decoding, transforms, the loader, and the checks."""

__all__: list[str] = []
