"""Build checkpoints: encoders, models, objectives, one trainer on DeepSpeed ZeRO, evaluations, export."""
