"""`scenes`: an embedded visual question answering data set, rendered from a seed and written in VQA v2's formats.

Order: world <- render, questions, captions, annotators; regions reads pixels only; dataset puts the parts together.
"""
