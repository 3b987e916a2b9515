"""What every test session needs, wherever it was started from."""

import signal

# A shell that starts pytest in the background has it ignore Ctrl-C, and every process of a test would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
