"""The deployed half of the system, run on this machine as far as its contracts run anywhere: a rehearsal.

The functions are the built bundles under AWS's own runtime client; profiles are in DynamoDB Local, vectors in a real
OpenSearch; S3, Firehose, SNS and Secrets Manager are moto's server, which botocore signs for and parses as it does for
AWS. A night is the state machine of the synthesised templates in moto's Step Functions, its jobs are held to
SageMaker's service model and run by SageMaker's own toolkit and as processes. What none of these is, CPU shares, IAM,
networks, is not rehearsed. `tandem aws rehearse-serving`, `tandem aws nightly-rehearsal` and the tests call it.
"""
