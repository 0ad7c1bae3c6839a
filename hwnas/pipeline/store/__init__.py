"""What steps keep on disk: inputs and results, labels measured so far, and runs side by side."""
