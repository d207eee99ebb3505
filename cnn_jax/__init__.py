"""Train and fine-tune convolutional image classifiers."""

import time

STARTED = time.perf_counter()
"""When this process began to import the package; for the report of what a start takes."""
