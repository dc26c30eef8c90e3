"""Learn a vocabulary from a text, by byte pairs, and write the text in its tokens.

    python examples/tokenise.py 32000 < text > tokens

The tokens are 32-bit integers, after one that says how many classes there are. It is a
process of its own because it takes far more memory than the training that `train.py` measures. Needs
tokenizers.
"""

from __future__ import annotations

import sys

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers, trainers


def tokenise(text: str, vocabulary: int) -> tuple[np.ndarray, int]:
    """Return the tokens of a text (n,) int32, and how many there are to choose from."""
    lines = text.splitlines(keepends=True)
    tokenizer = Tokenizer(models.BPE())  # the most frequent pair becomes a token, again and again
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(lines, trainer)
    codes = [token for line in tokenizer.encode_batch_fast(lines) for token in line.ids]
    return np.array(codes, dtype=np.int32), tokenizer.get_vocab_size()


def main(argv: list[str]) -> int:
    codes, classes = tokenise(sys.stdin.buffer.read().decode(), int(argv[0]))
    sys.stdout.buffer.write(np.array([classes], dtype=np.int32).tobytes() + codes.tobytes())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
