"""Trainings: autoencoder, mean, teacher and student, with their checkpoints."""
