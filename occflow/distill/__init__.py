"""Distillation into few-step students: one file a method, one protocol for all."""
