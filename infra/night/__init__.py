"""The nightly retrain in AWS: a state machine, its functions and jobs, what each may do, and when it starts."""
