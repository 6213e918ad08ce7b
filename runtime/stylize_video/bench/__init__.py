"""``stylize-bench``: how fast a style is here, where the time goes, and against what."""
