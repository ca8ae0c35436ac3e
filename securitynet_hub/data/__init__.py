"""Images: sources, splits, preprocessing, augmentations and triggers."""
