"""How good the answers are: predictions as files, the official VQA accuracy, EvalAI's figures, and two commands.

Imports go one way: accuracy and predictions (neither knows the other) <- evalai, score_command, submission_command.
"""
