"""Training: the way from a configuration to updated parameters.

Read step.py first, which is the mathematics, then state.py and freezing.py for what it changes and what it must not,
optimizer.py and schedule.py; then loop.py, the whole of a run, with setup.py, phases.py, loaders.py and epochs.py in
the order in which it calls them. run/ is the run directory, features/ what frozen layers gave.
"""
