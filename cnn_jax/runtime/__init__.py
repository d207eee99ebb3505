"""The process and its devices: settings, compilation, time, memory, how processes find each other.

Read compiling.py first: every jitted function goes through it.
"""
