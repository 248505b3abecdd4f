"""`python -m knoop`."""

import sys

from knoop.cli import main

sys.exit(main())
