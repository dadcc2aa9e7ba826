"""Pictures in: datasets, splits, checks, augmentation, batches."""
