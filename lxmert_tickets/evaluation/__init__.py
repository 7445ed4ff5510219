"""How good the answers are: prediction files, the official VQA accuracy, EvalAI's results, and two commands.

Imports go one way: accuracy and predictions (neither imports the other) <- evalai, score_command, submission_command.
"""
