"""The only place that knows the whole pipeline: compile, realize, capture, profile."""
