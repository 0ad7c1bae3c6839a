"""Progressive shrinking with distillation, from nothing to a supernet; resumes anywhere."""
