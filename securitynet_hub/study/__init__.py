"""SecurityNet's findings, derived again from the annotations and from any records."""
