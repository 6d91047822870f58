"""What the path of a parameter says about it: embedding or head; and glob patterns on paths.

Nothing here runs an expression from a file: patterns are globs, whose matching takes no more than quadratic
time.
"""

from __future__ import annotations

import fnmatch
import re

EMBEDDING = "embedding"
HEAD = "head"

_EMBEDDING_WORDS = {
    *("embed", "embeds", "embedding", "embeddings", "embedder", "emb", "wte", "wpe"),
    *("unembed", "unembedding"),
}
_HEAD_WORDS = {"logit", "logits", "classifier", "readout"}
_HEAD_NAMES = {("output", "layer"), ("out", "layer")}
_ATTENTION_WORDS = {"multi", "multihead", "attention", "attn", "self", "cross"}
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_OF_EXPRESSIONS = frozenset("^$(){}+\\")


def kind(path: str) -> str | None:
    """Whether a path names an embedding or a head.

    Each key is cut into words at ``_``, digits and capitals; whole words count, parts of words do not.

    >>> kind("transformer/wte"), kind("lm_head/kernel"), kind("multi_head/w"), kind("embedded_mlp/w")
    ('embedding', 'head', None, None)

    Args:
        path: the keys that lead to the parameter, joined by ``/``.

    Returns:
        `EMBEDDING`, `HEAD` or None.
    """
    for key in path.split("/"):
        words = [word.lower() for word in _WORD.findall(key)]
        if _EMBEDDING_WORDS.intersection(words):
            return EMBEDDING
        named = tuple(word for word in words if not word.isdigit())
        if _HEAD_WORDS.intersection(words) or named in _HEAD_NAMES:
            return HEAD
        if words and words[-1] == "head" and not _ATTENTION_WORDS.intersection(words):
            return HEAD
    return None


def check_patterns(what: str, patterns: object) -> None:
    """Refuses what is no text of globs separated by ``|``, least of all a regular expression.

    Raises:
        ValueError: naming the value.
    """
    if not isinstance(patterns, str):
        raise ValueError(f"{what} is {patterns!r}; expected globs separated by |, such as 'wte|*/out'")
    wrong = "".join(sorted(_OF_EXPRESSIONS.intersection(patterns))) or (".*" if ".*" in patterns else "")
    if wrong:
        raise ValueError(
            f"{what} is {patterns!r}, with {wrong!r} of a regular expression; expected globs separated "
            "by |, such as 'wte|*/out'"
        )


def matches(path: str, patterns: str) -> bool:
    """Whether any of the globs, separated by ``|``, matches the path, or without a ``/`` a key of it.

    >>> matches("block/wte/w", "out|wte"), matches("block/wte/w", "*/w"), matches("block/wte/w", "wte/w")
    (True, True, False)
    """
    keys = path.split("/")
    return any(
        fnmatch.fnmatchcase(path, pattern)
        or ("/" not in pattern and any(fnmatch.fnmatchcase(key, pattern) for key in keys))
        for pattern in patterns.split("|")
        if pattern
    )
