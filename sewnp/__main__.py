"""``python -m sewnp`` is ``sewnp``."""

import sys

from sewnp.cli import main

sys.exit(main())
