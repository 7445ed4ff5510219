"""The weight matrices of a network, from its sizes alone: a configuration is checked without torch."""

from lxmert_tickets.model.architecture import Architecture

Shapes = dict[str, tuple[int, int]]


def matrix_shapes(arch: Architecture) -> Shapes:
    """Return the shape (outputs, inputs), of tables (rows, columns), of each matrix of `lxmert.LxmertForVqa`, by name.

    What can be pruned is among these; all other parameters have one dimension.
    """
    hidden = arch.hidden_size
    return {
        "lxmert.embeddings.word_embeddings.weight": (arch.vocab_size, hidden),
        "lxmert.embeddings.position_embeddings.weight": (arch.max_positions, hidden),
        "lxmert.embeddings.token_type_embeddings.weight": (2, hidden),
        "lxmert.encoder.visn_fc.visn_fc.weight": (hidden, arch.feature_dim),
        "lxmert.encoder.visn_fc.box_fc.weight": (hidden, 4),
        **_stacked("lxmert.encoder.layer", arch.n_language_layers, _layer(arch)),
        **_stacked("lxmert.encoder.r_layers", arch.n_vision_layers, _layer(arch)),
        **_stacked("lxmert.encoder.x_layers", arch.n_cross_layers, _cross_layer(arch)),
        "lxmert.pooler.dense.weight": (hidden, hidden),
        "answer_head.logit_fc.0.weight": (2 * hidden, hidden),
        "answer_head.logit_fc.3.weight": (arch.n_answers, 2 * hidden),
    }


def _stacked(place: str, n_layers: int, layer: Shapes) -> Shapes:
    return {f"{place}.{k}.{name}": shape for k in range(n_layers) for name, shape in layer.items()}


def _layer(arch: Architecture) -> Shapes:
    return _attention("attention.self", "attention.output", arch) | _feeding("intermediate", "output", arch)


def _cross_layer(arch: Architecture) -> Shapes:
    shapes = _attention("visual_attention.att", "visual_attention.output", arch)
    for stream in ("lang", "visn"):
        shapes |= _attention(f"{stream}_self_att.self", f"{stream}_self_att.output", arch)
        shapes |= _feeding(f"{stream}_inter", f"{stream}_output", arch)
    return shapes


def _attention(heads: str, output: str, arch: Architecture) -> Shapes:
    parts = (f"{heads}.query", f"{heads}.key", f"{heads}.value", f"{output}.dense")
    return {f"{part}.weight": (arch.hidden_size, arch.hidden_size) for part in parts}


def _feeding(first: str, output: str, arch: Architecture) -> Shapes:
    hidden, between = arch.hidden_size, arch.intermediate_size
    return {f"{first}.dense.weight": (between, hidden), f"{output}.dense.weight": (hidden, between)}
