"""`python -m knoop_hw`."""

import sys

from knoop_hw.cli import main

sys.exit(main())
