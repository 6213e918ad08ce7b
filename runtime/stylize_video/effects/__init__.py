"""Effects: what is done to stylized frames, and to one after the other."""
