"""The sizes of a network: enough to build it, and to tell it from another."""

import msgspec

TRANSFORMERS_NAMES = {
    "hidden_size": "hidden_size",
    "num_attention_heads": "n_heads",
    "intermediate_size": "intermediate_size",
    "l_layers": "n_language_layers",
    "r_layers": "n_vision_layers",
    "x_layers": "n_cross_layers",
    "vocab_size": "vocab_size",
    "visual_feat_dim": "feature_dim",
    "max_position_embeddings": "max_positions",
}
"""The sizes of an encoder by their names in `transformers.LxmertConfig`, which are the keys of config.json."""


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
        sizes = {name: getattr(self, size) for name, size in TRANSFORMERS_NAMES.items()}
        return sizes | {"num_qa_labels": self.n_answers}
