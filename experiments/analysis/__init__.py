"""Whether it mattered: logs of exposures, slates and events in, effects with intervals out."""
