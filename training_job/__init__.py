"""Events → a candidate release. The only place that imports torch, implicit and scikit-learn.

`fit` trains (towers, ALS, popularity, TF-IDF), `export` writes the files. It does not know how a release is published,
indexed or served. The CLI, the nightly run and SageMaker (`python -m training_job`) call it.
"""
