"""What a plugin can be: the base class and the value types of each kind of component."""
