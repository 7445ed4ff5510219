"""Files from elsewhere: fetched through broken connections, checked, pinned by SHA-256, remembered by a receipt."""
