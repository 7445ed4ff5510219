"""External files: downloads that resume, checked, pinned by SHA-256, recorded in a receipt."""
