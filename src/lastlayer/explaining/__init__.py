"""The public function `lastlayer.explain`. In: logits and a target. Out: the steps to loss and gradient."""
