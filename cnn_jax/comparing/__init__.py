"""Runs side by side: what they were told, what they reached, and on which images they differ."""
