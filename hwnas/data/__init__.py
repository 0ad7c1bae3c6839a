"""Image data sets by config: found, read, split, augmented, and prepared as network inputs."""
