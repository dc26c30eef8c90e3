"""The public function `lastlayer.check`: scores and targets in, the usual mistakes in them out."""
