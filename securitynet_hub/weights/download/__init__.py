"""Download over HTTP: resume, bound the size, and fetch one member of an archive by ranges."""
