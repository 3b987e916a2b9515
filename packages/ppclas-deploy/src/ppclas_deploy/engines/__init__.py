"""What runs an export, one a file."""
