"""Downloads over HTTP: resumed, bounded, by ranges, one member of an archive at a time."""
