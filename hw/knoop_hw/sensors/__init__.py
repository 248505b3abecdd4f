"""One driver a file; `knoop_hw.source` says what a driver is."""
