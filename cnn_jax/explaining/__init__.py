"""Where a network looks and what its layers see: saliency, class activation maps, feature maps, and the page of them.

Read saliency.py, then explanation.py, which the command calls.
"""
