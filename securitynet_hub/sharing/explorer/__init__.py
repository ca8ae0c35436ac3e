"""A database explorer and leaderboards: one page that needs no server and no network."""
