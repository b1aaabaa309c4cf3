"""Data: files to records, examples and batches."""

import os

# Albumentations asks PyPI for a newer version whenever it is imported, unless told not to.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
