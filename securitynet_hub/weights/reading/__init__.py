"""The safe reader: returns a checkpoint's tensors without running any of its code."""
