"""``python -m neurfield`` is the command line."""

import sys

from neurfield.cli import main

sys.exit(main())
