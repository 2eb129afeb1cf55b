"""TFX pipelines: one folder a task, shared components and runners."""
