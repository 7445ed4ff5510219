"""The shapes of a network's parameters, from its sizes alone: without torch, and without building the network."""

from lxmert_tickets.model.architecture import Architecture

Shapes = dict[str, tuple[int, ...]]


def matrix_shapes(arch: Architecture) -> Shapes:
    """Return the shape of each matrix of `lxmert.LxmertForVqa`, by name: the candidates for pruning."""
    return {name: shape for name, shape in parameter_shapes(arch).items() if len(shape) > 1}


def parameter_shapes(arch: Architecture) -> Shapes:
    """Return the shape of each parameter of `lxmert.LxmertForVqa`, by name.

    It is (outputs, inputs) for a dense layer and (rows, columns) for a table; all else has one dimension.
    """
    hidden = arch.hidden_size
    return {
        "lxmert.embeddings.word_embeddings.weight": (arch.vocab_size, hidden),
        "lxmert.embeddings.position_embeddings.weight": (arch.max_positions, hidden),
        "lxmert.embeddings.token_type_embeddings.weight": (2, hidden),
        **_norm("lxmert.embeddings.LayerNorm", hidden),
        **_dense("lxmert.encoder.visn_fc.visn_fc", hidden, arch.feature_dim),
        **_norm("lxmert.encoder.visn_fc.visn_layer_norm", hidden),
        **_dense("lxmert.encoder.visn_fc.box_fc", hidden, 4),
        **_norm("lxmert.encoder.visn_fc.box_layer_norm", hidden),
        **_stacked("lxmert.encoder.layer", arch.n_language_layers, _layer(arch)),
        **_stacked("lxmert.encoder.r_layers", arch.n_vision_layers, _layer(arch)),
        **_stacked("lxmert.encoder.x_layers", arch.n_cross_layers, _cross_layer(arch)),
        **_dense("lxmert.pooler.dense", hidden, hidden),
        **_dense("answer_head.logit_fc.0", 2 * hidden, hidden),
        **_norm("answer_head.logit_fc.2", 2 * hidden),
        **_dense("answer_head.logit_fc.3", arch.n_answers, 2 * hidden),
    }


def _dense(name: str, n_outputs: int, n_inputs: int) -> Shapes:
    return {f"{name}.weight": (n_outputs, n_inputs), f"{name}.bias": (n_outputs,)}


def _norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


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
    hidden, shapes = arch.hidden_size, Shapes()
    for part in ("query", "key", "value"):
        shapes |= _dense(f"{heads}.{part}", hidden, hidden)
    return shapes | _ending(output, hidden, arch)


def _feeding(first: str, output: str, arch: Architecture) -> Shapes:
    between = arch.intermediate_size
    return _dense(f"{first}.dense", between, arch.hidden_size) | _ending(output, between, arch)


def _ending(output: str, n_inputs: int, arch: Architecture) -> Shapes:
    return _dense(f"{output}.dense", arch.hidden_size, n_inputs) | _norm(f"{output}.LayerNorm", arch.hidden_size)
