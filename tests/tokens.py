"""What a text costs a model that counts in o200k tokens."""

from __future__ import annotations

import bpe_openai

O200K = bpe_openai.get_encoding("o200k_base")


def real_tokens(text: str) -> int:
    return len(O200K.encode(text))
