"""Trained networks as files for other programs: how each format is written, read back and held against its run.

Read formats.py, the table of formats, then exporting.py; litert.py, onnx.py and their like each know one library.
"""
