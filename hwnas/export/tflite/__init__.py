"""TFLite files, and LiteRT to run them."""
