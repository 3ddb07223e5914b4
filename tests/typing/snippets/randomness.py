"""Two kinds of randomness that never mix."""

import numpy as np

from ringfort.core import SecureRandom, Seeds


def makes_keys(random: SecureRandom) -> bytes:
    return random.token(32)


def simulates(rng: np.random.Generator) -> float:
    return float(rng.random())


makes_keys(SecureRandom())
simulates(Seeds(7).child("round", 1))

makes_keys(np.random.default_rng(7))  # error: arg-type
makes_keys(Seeds(7))  # error: arg-type
makes_keys(Seeds(7).child("keys"))  # error: arg-type
simulates(SecureRandom())  # error: arg-type
simulates(Seeds(7))  # error: arg-type
SecureRandom(7)  # error: call-arg
Seeds()  # error: call-arg
