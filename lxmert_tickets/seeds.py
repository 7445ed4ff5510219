"""One seed a purpose: streams of random numbers that do not influence one another."""

import hashlib


def derive_seed(seed: int, *purpose: str | int) -> int:
    """Return a 63-bit seed for `purpose` ("classifier", "data_order", "random_mask", ...) of run `seed`.

    Hashing keeps streams apart: adding a purpose, or drawing more numbers for one, changes no other.
    """
    text = "/".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
