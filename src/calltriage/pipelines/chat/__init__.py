"""Detectors that ask a language model, over any endpoint that speaks OpenAI's chat protocol. No library of a vendor is used.

What a model says is checked before it counts: its form by a schema, its quotes by the transcript, its price by the file.
"""
