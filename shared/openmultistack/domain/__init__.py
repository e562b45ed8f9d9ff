"""The nouns and their rules: pure, without I/O; imports nothing of ours but itself."""
