"""The basis of every other room: errors, arrays, files, seeds, retries and text."""
