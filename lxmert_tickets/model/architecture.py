"""The sizes of a network: enough to build it, and to tell it from another."""

import msgspec


class Architecture(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Sizes of an LXMERT (Tan & Bansal 2019, section 2); the defaults are the published base network's."""

    n_answers: int
    vocab_size: int = 30522
    hidden_size: int = 768
    n_heads: int = 12
    intermediate_size: int = 3072
    n_language_layers: int = 9
    n_vision_layers: int = 5
    n_cross_layers: int = 5
    feature_dim: int = 2048
    max_positions: int = 512

    def transformers_config(self) -> dict[str, object]:
        """Return the keyword arguments of `transformers.LxmertConfig` that describe the same network."""
        return {
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "num_attention_heads": self.n_heads,
            "intermediate_size": self.intermediate_size,
            "l_layers": self.n_language_layers,
            "r_layers": self.n_vision_layers,
            "x_layers": self.n_cross_layers,
            "visual_feat_dim": self.feature_dim,
            "max_position_embeddings": self.max_positions,
            "num_qa_labels": self.n_answers,
        }
