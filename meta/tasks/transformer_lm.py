"""Next-token prediction with a small transformer, and its tasks: on LM1B, and on bytes of a small corpus."""

import math

import jax
import jax.numpy as jnp

from celo._core.mlp import truncated_normal
from celo.meta.data.tokenizers import PAD
from celo.meta.tasks.base import pytree, static
from celo.meta.tasks.entry import Entry
from celo.meta.tasks.language_model import LanguageModel, dense
from celo.meta.tasks.layers import Layers, check_positive, init_mlp, rescaled_normal
from celo.meta.tasks.text_data import SUBWORDS, TextEntry

HEAD_SIZE = 32  # whatever the width of the model
_WIDENING = 4
_EPSILON = 1e-5
_MASKED = -1e30

Layer = dict[str, jax.Array]


@pytree
class TransformerLM(LanguageModel):
    """Predict the next token by causal self-attention, layer norms coming first.

    With LN the layer norm, every block does `x <- x + D(A(LN(x)))`, then `x <- x + D(M(LN(x)))`: A attends to
    earlier positions that are not padding, in heads of 32 whatever the width; M is `gelu` (tanh form) between
    a linear layer to four times the width and one back; D is dropout. A last LN and a linear layer, not tied
    to the embedding, give the logits. There is no positional encoding: order shows in the causal mask alone.

    Architecture and loss of the `TransformerLM_*` tasks of learned_optimization (Metz et al. 2022, arXiv
    2203.11860), which keeps dropout on when it evaluates; so does this task, whose loss has no other mode.

    Attributes:
        num_layers: blocks.
        d_model: width of the model.
        num_heads: heads of 32 each; their total need not be the width.
        dropout: share of the outputs of A and M set to zero, 0 <= dropout < 1.
    """

    num_layers: int = static(default=1)
    d_model: int = static(default=32)
    num_heads: int = static(default=4)
    dropout: float = static(default=0.0)

    def __post_init__(self):
        super().__post_init__()
        for what in ("num_layers", "d_model", "num_heads"):
            check_positive(what, getattr(self, what))
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, got {self.dropout!r}")

    def describe(self, data: str) -> str:
        """Make a name of a name for the data and of the configuration."""
        net = f"{self.num_layers}layer_{self.d_model}width_{self.num_heads}heads"
        drop = f"_dropout{self.dropout:g}" if self.dropout else ""
        return f"TransformerLM_{data}_Patch{self.length}_{net}{drop}_bs{self.batch_size}"

    def init(self, key: jax.Array) -> tuple[Layers, tuple[()]]:
        """Draw the parameters; there is no model state.

        Kernels of the blocks: truncated normal rescaled to variance `2 / (num_layers * fan-in)`; embedding
        and output layer as in `RecurrentLM`; biases and offsets zero, scales one.
        """
        embed, head, *blocks = jax.random.split(key, 2 + self.num_layers)
        params = {"embedding": {"w": truncated_normal(embed, (self.vocab_size, self.d_model), 1)}}
        for i, block in enumerate(blocks):
            params |= {f"block_{i}_{part}": layer for part, layer in self._init_block(block).items()}
        params["norm"] = _init_norm(self.d_model)
        return params | init_mlp(head, (self.d_model, self.vocab_size)), ()

    def _init_block(self, key: jax.Array) -> Layers:
        inner, wide = self.num_heads * HEAD_SIZE, _WIDENING * self.d_model
        shapes = dict.fromkeys(("query", "key", "value"), (self.d_model, inner)) | {
            "attention": (inner, self.d_model),
            "mlp_in": (self.d_model, wide),
            "mlp_out": (wide, self.d_model),
        }
        keys = jax.random.split(key, len(shapes))
        layers = {
            part: {"w": rescaled_normal(k, shape, 2 / self.num_layers), "b": jnp.zeros(shape[1], jnp.float32)}
            for k, (part, shape) in zip(keys, shapes.items(), strict=True)
        }
        return {**layers, "attention_norm": _init_norm(self.d_model), "mlp_norm": _init_norm(self.d_model)}

    def logits(self, params: Layers, key: jax.Array, tokens: jax.Array) -> jax.Array:
        """Compute the logits of the next token; see `LanguageModel.logits`."""
        x = params["embedding"]["w"][tokens]
        mask = _attention_mask(tokens)
        for i, block_key in enumerate(jax.random.split(key, self.num_layers)):
            prefix = f"block_{i}_"
            block = {part[len(prefix) :]: p for part, p in params.items() if part.startswith(prefix)}
            attention_key, mlp_key = jax.random.split(block_key)
            attended = _attend(block, _layer_norm(block["attention_norm"], x), mask)
            x = x + _drop(attention_key, attended, self.dropout)
            wide = jax.nn.gelu(dense(block["mlp_in"], _layer_norm(block["mlp_norm"], x)), approximate=True)
            x = x + _drop(mlp_key, dense(block["mlp_out"], wide), self.dropout)
        return dense(params["linear_0"], _layer_norm(params["norm"], x))


def _attention_mask(tokens: jax.Array) -> jax.Array:
    """Say which keys each query may see: (batch, 1, queries, keys), earlier or equal and not padding."""
    length = tokens.shape[0]
    causal = jnp.tril(jnp.ones((length, length), bool))
    return causal[None, None] & (tokens.T != PAD)[:, None, None, :]


def _attend(block: Layers, x: jax.Array, mask: jax.Array) -> jax.Array:
    """Multi-head attention over (length, batch, width)."""
    heads = (*x.shape[:2], -1, HEAD_SIZE)
    query, key, value = (dense(block[part], x).reshape(heads) for part in ("query", "key", "value"))
    scores = jnp.einsum("tbhd,sbhd->bhts", query, key) / math.sqrt(HEAD_SIZE)
    weights = jax.nn.softmax(jnp.where(mask, scores, _MASKED), axis=-1)
    attended = jnp.einsum("bhts,sbhd->tbhd", weights, value)
    return dense(block["attention"], attended.reshape(*x.shape[:2], -1))


def _init_norm(width: int) -> Layer:
    return {"scale": jnp.ones(width, jnp.float32), "offset": jnp.zeros(width, jnp.float32)}


def _layer_norm(layer: Layer, x: jax.Array) -> jax.Array:
    """Normalise over the last axis, `(x - mean) rsqrt(variance + 1e-5) scale + offset`."""
    centred = x - jnp.mean(x, axis=-1, keepdims=True)
    normal = centred * jax.lax.rsqrt(jnp.mean(jnp.square(centred), axis=-1, keepdims=True) + _EPSILON)
    return normal * layer["scale"][None, None] + layer["offset"][None, None]


def _drop(key: jax.Array, x: jax.Array, rate: float) -> jax.Array:
    """Set a share `rate` of the entries to zero and scale the others up by 1 / (1 - rate)."""
    if not rate:
        return x
    return jnp.where(jax.random.bernoulli(key, 1 - rate, x.shape), x / (1 - rate), 0.0)


def _transformer(
    suffix: str, length: int, batch: int, layers: int, heads: int, width: int, dropout: float = 0.0
) -> tuple[str, Entry]:
    config = {
        "length": length,
        "batch_size": batch,
        "num_layers": layers,
        "num_heads": heads,
        "d_model": width,
        "dropout": dropout,
    }
    entry = TextEntry("transformer_lm", "lm1b", TransformerLM.of, config, SUBWORDS)
    return f"TransformerLM_LM1B_{suffix}", entry


TRANSFORMER_LM_TASKS: dict[str, Entry] = dict(
    [
        # length, batch, layers, heads, width
        _transformer("MultiRuntime_0", 8, 4, 1, 5, 20, dropout=0.1),
        _transformer("MultiRuntime_1", 8, 4, 1, 6, 24, dropout=0.1),
        _transformer("MultiRuntime_2", 8, 8, 2, 4, 32),
        _transformer("MultiRuntime_3", 16, 8, 1, 4, 32),
        _transformer("MultiRuntime_4", 4, 16, 2, 4, 32),
        _transformer("MultiRuntime_5", 32, 8, 1, 4, 32),
        _transformer("MultiRuntime_6", 64, 4, 1, 5, 80),
        _transformer("MultiRuntime_7", 32, 16, 3, 7, 112),
        _transformer("MultiRuntime_8", 32, 64, 1, 4, 128),
        _transformer("MultiRuntime_9", 64, 64, 2, 4, 256),
        _transformer("MultiRuntime_10", 64, 128, 3, 4, 256),
        _transformer("MultiRuntime_11", 32, 256, 2, 19, 304),
        _transformer("5layer_32width", 128, 32, 5, 8, 32, dropout=0.1),
        _transformer("5layer_128width", 128, 32, 5, 8, 128, dropout=0.1),
        _transformer("5layer_256width", 128, 32, 5, 8, 256, dropout=0.1),
        _transformer("5layer_512width", 128, 32, 5, 8, 512, dropout=0.1),
    ]
)


def _windows(dataset: str, length: int, batch_size: int, heads: int, width: int) -> TextEntry:
    config = {"length": length, "batch_size": batch_size, "num_heads": heads, "d_model": width}
    return TextEntry(
        "byte_transformer_lm", dataset, TransformerLM.of, config | {"num_layers": 2}, windows=True
    )


BYTE_TRANSFORMER_LM_TASKS: dict[str, Entry] = {
    "TransformerLM_pydocbytes_Patch32_Dim32_Layers2_bs16": _windows("pydoc", 32, 16, 1, 32),
    "TransformerLM_tinyshakespearebytes_Patch32_Dim64_Layers2_bs16": _windows(
        "tiny_shakespeare", 32, 16, 2, 64
    ),
    "TransformerLM_wikitext2validbytes_Patch32_Dim64_Layers2_bs32": _windows(
        "wikitext2_valid", 32, 32, 2, 64
    ),
}
