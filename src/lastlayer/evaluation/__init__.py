"""Evaluation: from scores and labels to numbers with error bars, in one pass and constant memory."""
