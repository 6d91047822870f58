"""Small language models on random documents, for the tests."""

import numpy as np

from celo.meta.data import SPLITS, TextData
from celo.meta.tasks import RecurrentLM, TransformerLM


def documents(n=20, length=6, vocab_size=30, note="ours", seed=0):
    """Documents of random tokens and random length, at least one token."""
    rng = np.random.default_rng(seed)
    splits = {}
    for split in SPLITS:
        tokens = rng.integers(1, vocab_size, (n, length + 1)).astype(np.uint16)
        lengths = rng.integers(1, length + 2, (n, 1))
        splits[split] = np.where(np.arange(length + 1)[None] < lengths, tokens, np.uint16(0))
    return TextData("ours", splits, vocab_size, "32k", note=note)


def recurrent(core, **data):
    return RecurrentLM.of(documents(**data), core=core, embedding=3, hidden=4, length=6, batch_size=5)


def transformer(dropout=0.0, **data):
    config = {"num_layers": 2, "d_model": 8, "num_heads": 3, "batch_size": 5, "dropout": dropout}
    return TransformerLM.of(documents(**data), length=6, **config)
