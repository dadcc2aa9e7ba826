"""TFRecord shards: read, scanned, written."""
