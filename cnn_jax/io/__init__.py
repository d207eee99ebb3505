"""Paths, files, what is kept on disk, and names made safe to print; on this machine and on gs:// alike.

Read files.py and writing.py first. remote.py has gs://, store.py arrays that are kept between runs.
"""
