"""``train-gallery``: the shipped styles, trained, exported, measured and shown from recipes kept as files."""
