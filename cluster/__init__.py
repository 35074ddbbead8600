"""Start pipeline and pretrain anywhere: this machine, Ray, torchrun. Owns the command line."""
