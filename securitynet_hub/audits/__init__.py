"""Audits of one target, a module for each kind of attack: from images to records."""
