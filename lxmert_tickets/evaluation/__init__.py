"""How good the answers are: predictions as files, the official VQA accuracy, and the command that prints it.

Imports go one way: accuracy and predictions (neither knows the other) <- score_command.
"""
