"""The first day in AWS, and the daily work there, from one's own machine.

Finds a deployment by the outputs of its stacks, looks whether an account is ready for one, fills it for the first
time, asks it, and says how it is. boto3 is imported when the first client is made, so that nothing else needs the
extra `aws`. `cli/aws.py` calls it.
"""
