"""Reports that people read: one self-contained HTML file for any records, and the study as a page."""
