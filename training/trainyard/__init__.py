"""Trainyard's runtime: checkpoints, resumable state and telemetry inside a PyTorch training job."""
