"""``python -m d3torch.cli``."""

import sys

from . import main

sys.exit(main())
