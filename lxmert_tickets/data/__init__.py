"""Official formats in, arrays out: questions, annotations, region features, answers, tokens."""
