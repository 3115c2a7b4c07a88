"""Finetuning tasks as records: where examples come from, how they become numbers, how predictions are scored."""
