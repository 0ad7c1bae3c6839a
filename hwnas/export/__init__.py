"""Networks as files: ONNX and TFLite writers, parity with torch, manifests. Imports nothing heavy by itself."""
