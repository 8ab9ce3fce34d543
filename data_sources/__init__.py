"""Files become tables here: reading and writing datasets, the data doctor, importers and the synthetic generator.

A dataset is a folder with `schema.toml` and the tables `events`, `users` and `items` (see docs/dataset.md). This
package opens one in canonical types (`dataset`), turns it into codes and arrays (`indexed`), says what is wrong with it
(`doctor`, with one family of checks a file), makes one from nothing (`generator`) or from the formats that public data
sets come in (`importers`). It knows polars and files; it knows nothing of models, releases, stores or serving, and what
a feature means to a tower. The CLI, training_job, batch_job and evaluation's drivers call it.
"""
