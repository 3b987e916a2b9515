"""INT8: post-training quantisation and quantisation-aware training, with accuracy as the judge."""
