"""Which labels are wrong: confident learning, copies with two labels, a list to edit and apply."""
