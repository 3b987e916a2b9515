"""``python -m ppclas_cli`` is ``ppclas``."""

import sys

from ppclas_cli.main import main

sys.exit(main())
