"""Heat maps: where in a photo the evidence for a class is, and how far to trust them."""
