"""TFX components, executors, metrics and resolver strategies that every pipeline may use."""
