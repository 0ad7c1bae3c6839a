"""Where work that splits is done: in processes of this machine, or on Ray. Begin with `executor.py`."""
