"""One seed per purpose: independent streams of random numbers."""

import hashlib


def derive_seed(seed: int, *purpose: str | int) -> int:
    """Return a 63-bit seed for `purpose` ("classifier", "data_order", "random_mask", ...) of run `seed`.

    Hashing keeps the streams independent: adding a purpose, or drawing more numbers for one, changes no other.
    """
    text = "/".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
