"""The export step: which files are to be written, of which networks, checked and bundled."""
