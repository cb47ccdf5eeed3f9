"""Detectors that ask a language model at any endpoint with OpenAI's chat protocol. No vendor's library is used.

A model's answer is checked before it counts: its form by a schema, its quotes by the transcript. Its cost is limited by the
file.
"""
