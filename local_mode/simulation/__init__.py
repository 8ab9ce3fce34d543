"""A world whose truth is known, and experiments run in it through the pipeline that serves."""
