"""What steps keep on disk: inputs, results, and labels measured so far."""
