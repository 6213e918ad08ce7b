"""``stylize-eval``: how steady a stylized video is, beside its source and other styles."""
