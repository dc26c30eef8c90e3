"""The public function `lastlayer.check`. In: scores and targets. Out: the common mistakes found in them."""
