"""ExecuTorch programs for XNNPACK, and ExecuTorch's runtime for Python to run them."""
