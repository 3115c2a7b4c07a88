"""One loop for pretraining and finetuning: optimizer, schedule, checkpoints, metrics history."""
