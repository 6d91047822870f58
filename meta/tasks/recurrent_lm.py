"""Next-token prediction with one recurrent layer."""

import jax

from celo._core.mlp import truncated_normal
from celo._core.names import unknown_name
from celo.meta.tasks.base import pytree, static
from celo.meta.tasks.language_model import LanguageModel, dense
from celo.meta.tasks.layers import Layers, check_positive, init_mlp
from celo.meta.tasks.recurrent_cores import CORES


@pytree
class RecurrentLM(LanguageModel):
    """Predict the next token by an embedding, one recurrent layer and a dense output.

    With E the embedding: `h_t = core(h_{t-1}, E[token_t])`, logits `h_t W + b`; the first state is learned.
    The recurrent layers are those of `celo.meta.tasks.recurrent_cores`.

    Architecture and loss of the `RNNLM_*` tasks of learned_optimization (Metz et al. 2022, arXiv 2203.11860).

    Attributes:
        embedding: width of the embedding.
        hidden: width of the recurrent state.
        core: "GRU", "LSTM", "VanillaRNN" or "IRNN".
    """

    embedding: int = static(default=32)
    hidden: int = static(default=64)
    core: str = static(default="GRU")

    def __post_init__(self):
        super().__post_init__()
        for what in ("embedding", "hidden"):
            check_positive(what, getattr(self, what))
        if self.core not in CORES:
            raise unknown_name("recurrent core", self.core, CORES)

    def describe(self, data: str) -> str:
        """Make a name of a name for the data and of the configuration."""
        net = f"{self.core}{self.hidden}_Embed{self.embedding}"
        return f"RNNLM_{data}_Patch{self.length}_{net}_bs{self.batch_size}"

    def init(self, key: jax.Array) -> tuple[Layers, tuple[()]]:
        """Draw the parameters; there is no model state."""
        keys = jax.random.split(key, 4)
        params = {
            "embedding": {"w": truncated_normal(keys[0], (self.vocab_size, self.embedding), 1)},
            self.core.lower(): CORES[self.core].init(keys[1:3], self.embedding, self.hidden),
        }
        return params | init_mlp(keys[3], (self.hidden, self.vocab_size)), ()

    def logits(self, params: Layers, key: jax.Array, tokens: jax.Array) -> jax.Array:
        """Compute the logits of the next token; see `LanguageModel.logits`. The key is not used."""
        embedded = params["embedding"]["w"][tokens]
        states = CORES[self.core].run(params[self.core.lower()], embedded)
        return dense(params["linear_0"], states)
