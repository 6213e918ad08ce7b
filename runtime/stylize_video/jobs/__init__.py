"""Jobs: from a source to a whole result, one or many, here or on a cluster."""
