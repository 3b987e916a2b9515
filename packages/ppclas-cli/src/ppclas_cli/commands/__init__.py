"""One command a module; each is imported when it is called."""
