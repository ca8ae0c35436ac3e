"""HTML pages: the frame, style and script that all of them share, and bars on a common scale."""
