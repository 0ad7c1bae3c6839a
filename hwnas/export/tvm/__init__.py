"""Libraries that TVM compiles, and Relax's virtual machine to run them."""
