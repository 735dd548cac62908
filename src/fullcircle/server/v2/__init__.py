"""The Open Inference Protocol, version 2, over REST: documents and tensors there, rows and verdicts here."""
