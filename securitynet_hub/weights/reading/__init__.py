"""The safe reader: a checkpoint's tensors, without running a line of its code."""
