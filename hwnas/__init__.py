"""Hardware-aware neural architecture search: one supernet in, one verified model file per device out."""

__version__ = "0.1.0"
