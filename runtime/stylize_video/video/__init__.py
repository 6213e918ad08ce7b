"""Video: files, pictures, pipes and streams, read and written with all that belongs to their frames."""
