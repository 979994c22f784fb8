"""Components of our own, in each of the styles that TFX has for writing them."""
