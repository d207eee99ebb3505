"""The command line: flags, their help and completion, exit codes.

Read command_line.py first: `parse` and `run` are all that a command calls.
"""
