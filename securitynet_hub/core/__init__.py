"""What everything else stands on: errors, arrays, files, seeds and text."""
