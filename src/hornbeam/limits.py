"""Bounds against files that are made to fill the memory; needed where no options are read, too."""

MAX_PIXELS = 178_956_970
"""Of a picture, height x width; Pillow's limit too. Above it a small file may fill the memory."""

MAX_BUNDLE_BYTES = 16 * 2**30
"""Of all files of a bundle; all formats of the largest network of the zoo take less than 4 GiB."""

MAX_BUNDLE_ENTRIES = 10_000
"""Files and folders in a bundle's archive."""

MAX_RATIO = 200
"""Times that a file of more than `RATIO_FREE` bytes may be larger than it is in the archive. Weights
shrink to 0.9, JSON to 0.1 (DEFLATE reaches 0.001, of nothing but zeros)."""

RATIO_FREE = 2**20

MAX_MANIFEST_BYTES = 256 * 2**20
"""Of `bundle.json`; with golden answers of 20,000 classes in all formats it has 30 MiB."""
