"""The suite. A package by itself, for other distributions install one of the same name (smdebug does)."""
