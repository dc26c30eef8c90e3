"""The linear head in tiles of logits: the plan, the tile loop, and what drives it."""
