"""``python -m ppclas_cli`` is ``ppclas``."""

import sys

if not getattr(sys.flags, "safe_path", False):  # of Python 3.11
    # A ``random.py`` in the current folder is the user's; ``-m`` puts that folder first.
    sys.path.append(sys.path.pop(0))

from ppclas_cli.main import main

sys.exit(main())
